"""What MLflow is told of a run: which parameters, metrics, files and state belong to which stage."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner

import mlflow
from pipelines.hooks import MlflowTracking, stage_of
from pipelines.tracking import flatten, live_metrics, log_summary, study_run
from tests.wiring_stand_ins import Kept


@dataclass(frozen=True)
class Settings:
    steps: int = 3
    shares: dict[str, float] = field(default_factory=lambda: {"a": 0.5})


def learn(settings: Settings) -> tuple[str, list[dict[str, float]]]:
    with live_metrics() as log:
        for step in range(1, settings.steps + 1):
            log(step, {"step": float(step), "loss": 1.0 / step})
    return "model", [{"step": 1.0, "loss": 1.0}, {"step": 3.0, "loss": 1 / 3}]


def measure(model: str, split: str) -> dict[str, Any]:
    return {"error": {"mm": 4.0, "none": float("nan")}, "name": model}


def study(model: str) -> str:
    for lam in (0.0, 2.0):
        with study_run(f"lam={lam:g}", {"lam": lam}, "sweep"):
            log_summary({"error": lam + 1})
    return "done"


PIPELINE = Pipeline(
    [
        node(learn, "params:learn", ["model", "learn_history"], name="learn", tags="stage.learning"),
        node(measure, ["model", "params:split"], "shift_metrics", name="measure", tags="stage.measuring"),
        node(study, "model", "studied", name="study", tags="stage.study"),
    ]
)


def catalog() -> DataCatalog:
    made = DataCatalog({name: Kept() for name in ("model", "learn_history", "shift_metrics", "studied")})
    made["params:learn"], made["params:split"] = Settings(), "test"
    return made


def run(project: Path, pipeline: Pipeline) -> list[Any]:
    """Run a pipeline with the hook in a project's folder, from another; the runs that MLflow has then."""
    hook, manager, made = MlflowTracking(), _create_hook_manager(), catalog()
    manager.register(hook)
    about = {"project_path": str(project), "pipeline_names": ["mine"], "env": None}
    hook.before_pipeline_run(run_params=about, pipeline=pipeline, catalog=made)
    try:
        SequentialRunner().run(pipeline, made, manager)
    except ZeroDivisionError:
        hook.on_pipeline_error()
    else:
        hook.after_pipeline_run()
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("clutch")
    assert Path(experiment.artifact_location).is_relative_to(project)
    return client.search_runs([experiment.experiment_id])


@pytest.fixture(scope="module", autouse=True)
def _tracking_of_its_own():
    """MLflow as it is before anything has said where to; and again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory) -> tuple[dict[str, Any], mlflow.MlflowClient]:
    """The runs by name of a pipeline of three stages, started from another folder than the project's."""
    project, elsewhere = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("elsewhere")
    before = Path.cwd()
    os.chdir(elsewhere)
    try:
        runs = run(project, PIPELINE)
        assert os.listdir(elsewhere) == []
    finally:
        os.chdir(before)
    return {r.info.run_name: r for r in runs}, mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def test_every_stage_is_a_run_below_the_pipelines(tracked):
    runs, _ = tracked
    assert set(runs) == {"mine", "learning", "measuring", "study", "lam=0", "lam=2"}
    parents = {name: found.data.tags.get("mlflow.parentRunId") for name, found in runs.items()}
    top, sweep = runs["mine"].info.run_id, runs["study"].info.run_id
    assert parents == {"mine": None, "learning": top, "measuring": top, "study": top, "lam=0": sweep, "lam=2": sweep}
    assert {found.info.status for found in runs.values()} == {"FINISHED"}
    assert {name: found.data.tags.get("stage") for name, found in runs.items()} == {
        "mine": None,
        "learning": "learning",
        "measuring": "measuring",
        "study": "study",
        "lam=0": "sweep",
        "lam=2": "sweep",
    }


def test_a_stage_has_the_parameters_that_it_read_and_no_others(tracked):
    runs, _ = tracked
    assert runs["learning"].data.params == {"learn.steps": "3", "learn.shares.a": "0.5"}
    assert runs["measuring"].data.params == {"split": "test"}
    assert runs["lam=2"].data.params == {"lam": "2.0"}


def test_a_stage_has_its_metrics_while_it_trains_and_at_its_end(tracked):
    runs, client = tracked
    history = client.get_metric_history(runs["learning"].info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert "step" not in runs["learning"].data.metrics
    measured = runs["measuring"].data.metrics
    assert measured.pop("stage_seconds") >= 0
    assert measured == {"error.mm": 4.0}
    assert [runs[name].data.metrics["error"] for name in ("lam=0", "lam=2")] == [1.0, 3.0]


def test_a_history_is_drawn_and_kept_with_its_stage(tracked):
    runs, client = tracked
    assert [a.path for a in client.list_artifacts(runs["learning"].info.run_id)] == ["learn_history.png"]
    assert client.list_artifacts(runs["measuring"].info.run_id) == []


def test_a_run_that_failed_is_marked_so(tmp_path):
    broken = Pipeline([node(lambda s: 1 / 0, "params:split", "model", name="broken", tags="stage.breaking")])
    runs = {r.info.run_name: r.info.status for r in run(tmp_path, broken)}
    assert runs == {"mine": "FAILED", "breaking": "FAILED"}


def test_outside_a_run_nothing_is_tracked():
    with live_metrics() as log, study_run("alone", {}, "none"):
        log(1, {"loss": 1.0})
        log_summary({"error": 1.0})
    assert mlflow.active_run() is None


def test_parameters_are_named_by_their_place():
    assert flatten({"a": {"b": Settings()}, "c": None}, "x") == {"x.a.b.steps": 3, "x.a.b.shares.a": 0.5, "x.c": None}


def test_a_stage_is_the_tag_of_its_nodes():
    assert stage_of(node(lambda: 1, None, "out", name="make", tags="stage.data")) == "data"
    assert stage_of(node(lambda: 1, None, "out", name="make")) is None
