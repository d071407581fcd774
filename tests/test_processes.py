"""Under a launcher, nodes that train run everywhere, the others once, and rank 0 alone writes."""

import json

import click
import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner

from pipelines.pipeline_registry import register_pipelines
from pipelines.processes import ALONE, TOGETHER, Processes, keep_to_shared_nodes


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def pipeline(calls) -> Pipeline:
    """read (rank 0) -> train (all) -> measure, two outputs (rank 0)."""

    def read(start: int) -> dict:
        calls.append("read")
        return {"clips": start}

    def train(data: dict) -> dict:
        calls.append("train")
        return {"model": data["clips"] + 1}

    def measure(model: dict) -> tuple[dict, dict]:
        calls.append("measure")
        return {"error": model["model"]}, {"shown": 1}

    return Pipeline(
        [
            node(read, "params:start", "data"),
            node(train, "data", "model", tags=TOGETHER),
            node(measure, "model", ["metrics", "samples"]),
        ]
    )


@pytest.fixture
def catalog(tmp_path) -> DataCatalog:
    names = ("data", "model", "metrics")
    found = DataCatalog.from_config(
        {n: {"type": "json.JSONDataset", "filepath": str(tmp_path / f"{n}.json")} for n in names}
    )
    found["params:start"] = 1
    return found


def test_above_rank_0_a_run_calls_the_shared_nodes_alone_and_writes_nothing(pipeline, catalog, calls, tmp_path):
    (tmp_path / "data.json").write_text('{"clips": 41}')  # what rank 0 wrote
    keep_to_shared_nodes(pipeline, catalog)
    SequentialRunner().run(pipeline, catalog)
    assert calls == ["train"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"data.json": '{"clips": 41}'}


def test_rank_0_runs_and_writes_everything(pipeline, catalog, calls, tmp_path):
    SequentialRunner().run(pipeline, catalog)
    assert calls == ["read", "train", "measure"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"error": 2}


def test_what_several_processes_read_must_be_on_disk(pipeline, tmp_path):
    with pytest.raises(RuntimeError, match=r"Expected 'data' in conf/base/catalog.yml"):
        keep_to_shared_nodes(pipeline, DataCatalog())


def test_one_process_waits_for_nobody(pipeline, catalog, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    hook = Processes()
    hook.before_pipeline_run(pipeline=pipeline, catalog=catalog)
    hook.before_dataset_loaded(node=pipeline.nodes[1])
    hook.after_pipeline_run()


def test_a_study_in_several_processes_is_refused_before_it_starts(catalog, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    study = Pipeline([node(lambda start: start, "params:start", "out", name="sweep", tags=ALONE)])
    with pytest.raises(click.ClickException, match="Expected one process for sweep, got 2"):
        Processes().before_pipeline_run(pipeline=study, catalog=catalog)


def test_a_shared_node_meets_the_others_once_before_it_reads(pipeline, monkeypatch):
    hook, met = Processes(), []
    hook._group = object()
    monkeypatch.setattr(hook, "_meet", met.append)
    for step in pipeline.nodes:
        for _ in step.inputs:
            hook.before_dataset_loaded(node=step)
    hook.before_dataset_loaded(node=pipeline.nodes[1])
    assert met == [pipeline.nodes[1].name]


def test_the_training_stages_are_shared_and_nothing_else_is():
    shared = {n.func.__name__ for n in register_pipelines()["full"].nodes if TOGETHER in n.tags}
    assert shared == {"train", "pretrain", "refine", "refine_control", "instruct"}
    for study in ("refinement_sweep", "ablation"):
        assert all(ALONE in n.tags for n in register_pipelines()[study].nodes)
