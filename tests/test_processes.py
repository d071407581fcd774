"""Under a launcher, nodes that train run everywhere, the others once, and rank 0 alone writes."""

import json

import click
import pytest
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner

from pipelines import processes, settings
from pipelines.pipeline_registry import register_pipelines
from pipelines.processes import ALONE, TOGETHER, Processes


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def pipeline(calls) -> Pipeline:
    """Read, describe (rank 0) -> train (all) -> measure, two outputs (rank 0)."""

    def read(start: int) -> dict:
        calls.append("read")
        return {"clips": start}

    def describe(data: dict) -> dict:
        calls.append("describe")
        return {"card": data["clips"]}

    def train(data: dict) -> dict:
        calls.append("train")
        return {"model": data["clips"] + 1}

    def measure(model: dict) -> tuple[dict, dict]:
        calls.append("measure")
        return {"error": model["model"]}, {"shown": 1}

    return Pipeline(
        [
            node(read, "params:start", "data", name="read"),
            node(describe, "data", "card", name="describe"),
            node(train, "data", "model", name="train", tags=TOGETHER),
            node(measure, "model", ["metrics", "samples"], name="measure"),
        ]
    )


@pytest.fixture
def catalog(tmp_path) -> DataCatalog:
    names = ("data", "card", "model", "metrics")
    found = DataCatalog.from_config(
        {n: {"type": "json.JSONDataset", "filepath": str(tmp_path / f"{n}.json")} for n in names}
    )
    found["params:start"] = 1
    return found


def run(pipeline: Pipeline, catalog: DataCatalog, hook: Processes) -> None:
    manager = _create_hook_manager()
    manager.register(hook)
    hook.before_pipeline_run(pipeline=pipeline, catalog=catalog)
    SequentialRunner().run(pipeline, catalog, manager)
    hook.after_pipeline_run()


@pytest.fixture
def hook(monkeypatch, tmp_path) -> Processes:
    """The hook of rank 1 of two; rank 0 writes `data.json` no sooner than they meet to train."""

    def meet(where: str) -> None:
        hook.met.append(where)
        hook.found.append(sorted(path.name for path in tmp_path.iterdir()))
        (tmp_path / "data.json").write_text('{"clips": 41}')

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(processes, "_join", object)
    monkeypatch.setattr(processes.dist, "destroy_process_group", lambda: None)
    hook = Processes()
    hook.met, hook.found = [], []
    monkeypatch.setattr(hook, "_meet", meet)
    return hook


def test_above_rank_0_a_run_calls_the_shared_nodes_alone_and_writes_nothing(pipeline, catalog, hook, calls, tmp_path):
    run(pipeline, catalog, hook)
    assert calls == ["train"]
    assert hook.found == [[], ["data.json"]]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"data.json": '{"clips": 41}'}


def test_the_processes_meet_where_a_shared_node_begins_and_at_the_end(pipeline, catalog, hook, monkeypatch):
    run(pipeline, catalog, hook)
    assert hook.met == ["train", "the end"]
    monkeypatch.setenv("RANK", "0")
    hook.met.clear()
    run(pipeline, catalog, hook)
    assert hook.met == ["train", "the end"]


def test_rank_0_runs_and_writes_everything(pipeline, catalog, hook, calls, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    run(pipeline, catalog, hook)
    assert sorted(calls) == ["describe", "measure", "read", "train"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"error": 42}
    assert json.loads((tmp_path / "card.json").read_text()) == {"card": 1}


def test_what_several_processes_read_must_be_on_disk(pipeline, hook):
    with pytest.raises(RuntimeError, match=r"Expected 'data' in conf/base/catalog.yml"):
        run(pipeline, DataCatalog(), hook)


def test_one_process_waits_for_nobody(pipeline, catalog, calls, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(processes, "_join", lambda: pytest.fail("it joined others"))
    run(pipeline, catalog, Processes())
    assert len(calls) == 4


def test_processes_that_are_not_at_the_same_node_say_so(monkeypatch):
    hook = Processes()

    def gather(found: list, where: str, group: object) -> None:
        found[:] = [where, "train"]

    monkeypatch.setattr(processes.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(processes.dist, "all_gather_object", gather)
    hook._meet("train")
    with pytest.raises(RuntimeError, match=r"Expected all processes at 'refine', got \['refine', 'train'\]"):
        hook._meet("refine")


def test_a_study_in_several_processes_is_refused_before_it_starts(catalog, hook):
    study = Pipeline([node(lambda start: start, "params:start", "out", name="sweep", tags=ALONE)])
    with pytest.raises(click.ClickException, match="Expected one process for sweep, got 2"):
        run(study, catalog, hook)


def test_the_training_stages_are_shared_and_nothing_else_is():
    shared = {n.func.__name__ for n in register_pipelines()["full"].nodes if TOGETHER in n.tags}
    assert shared == {"train", "pretrain", "refine", "refine_control", "instruct"}
    for study in ("refinement_sweep", "refinement_study", "reinforcement_study", "ablation", "baselines"):
        assert any(ALONE in n.tags for n in register_pipelines()[study].nodes)


def test_after_a_run_mlflow_ends_then_dvc_records_then_the_others_are_let_go():
    manager = _create_hook_manager()
    _register_hooks(manager, settings.HOOKS)
    called = [type(impl.plugin).__name__ for impl in reversed(manager.hook.after_pipeline_run.get_hookimpls())]
    assert called == ["MlflowTracking", "DvcRecord", "Processes"]
    started = [type(impl.plugin).__name__ for impl in reversed(manager.hook.before_pipeline_run.get_hookimpls())]
    assert started[0] == "Processes"
    checked = [type(impl.plugin).__name__ for impl in reversed(manager.hook.after_context_created.get_hookimpls())]
    assert checked == ["CheckedStart", "DvcRecord"]
