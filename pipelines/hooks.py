"""A Kedro hook for MLflow: every stage is a run under the pipeline's run.

A node belongs to the stage its tag `stage.NAME` says. The nodes of a stage share its run, interleaved or not; what they
save is logged as artifacts of that run. The tracking server is `MLFLOW_TRACKING_URI`, or SQLite in the project.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

import mlflow
from pipelines.charts import draw_curves
from pipelines.datasets import HiwStoreDataset, PretrainedDataset
from pipelines.tracking import flatten, git_revision, log_summary

logger = logging.getLogger(__name__)

EXPERIMENT = "clutch"


def stage_of(node: Node) -> str | None:
    """Return the stage that the node's tag names, or None."""
    return next((tag.removeprefix("stage.") for tag in node.tags if tag.startswith("stage.")), None)


class MlflowTracking:
    """Records a pipeline as one MLflow run with a nested run for each of its stages."""

    _own_uri: ClassVar[str | None] = None  # MLflow puts what it is told into the environment, as if a user had

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._entered = 0.0
        self._stage: str | None = None
        self._catalog: Any = None
        self._data_hash: str | None = None
        self._revision = "unknown"

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Start the run of the pipeline."""
        root = Path(run_params["project_path"])
        if os.environ.get("MLFLOW_TRACKING_URI") in (None, "", MlflowTracking._own_uri):
            MlflowTracking._own_uri = f"sqlite:///{root / 'mlflow.db'}"
            mlflow.set_tracking_uri(MlflowTracking._own_uri)
        with contextlib.chdir(root):  # MLflow takes the folder of its artifacts from where its store is first opened
            mlflow.set_experiment(EXPERIMENT)
        self._runs, self._seconds, self._stage, self._catalog = {}, {}, None, catalog
        self._revision = git_revision(root)
        name = "+".join(run_params["pipeline_names"] or ["full"])
        mlflow.start_run(
            run_name=name,
            tags={"pipeline": name, "git_revision": self._revision, "kedro_env": run_params["env"] or "base"},
        )

    @hook_impl
    def before_node_run(self, node: Node, catalog: Any, inputs: dict[str, Any]) -> None:
        """Enter the run of the node's stage and log the parameters the node reads."""
        self._enter(stage_of(node))
        if self._stage is None:
            return
        for name, value in inputs.items():
            if name.startswith("params:"):
                mlflow.log_params(flatten(value, name.removeprefix("params:")))

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Remember which data this run stands on."""
        if isinstance(self._source(dataset_name), HiwStoreDataset):
            self._data_hash = data.data_hash

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Log what a stage saved: folders and files as artifacts, a history also as a picture of its curves."""
        if self._stage is None:
            return
        source = self._source(dataset_name)
        if isinstance(source, HiwStoreDataset):
            self._data_hash = data.data_hash
            mlflow.set_tag("data_hash", self._data_hash)
            return
        path = Path(getattr(source, "_filepath", ""))
        if isinstance(source, PretrainedDataset):
            mlflow.log_artifacts(str(path), artifact_path=dataset_name)
        elif path.is_file() and path.suffix in {".json", ".html", ".md"}:
            mlflow.log_artifact(str(path))
        if dataset_name.endswith("_history") and data:
            with tempfile.TemporaryDirectory() as folder:
                picture = Path(folder) / f"{dataset_name}.png"
                draw_curves(data, picture)
                mlflow.log_artifact(str(picture))
        elif dataset_name.endswith("_metrics"):
            log_summary(data)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End the runs as finished."""
        self._leave("FINISHED")
        mlflow.end_run("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """End the runs as failed."""
        self._leave("FAILED")
        mlflow.end_run("FAILED")

    def _source(self, dataset_name: str) -> Any:
        return None if dataset_name.startswith("params:") else self._catalog.get(dataset_name)

    def _enter(self, stage: str | None) -> None:
        if stage == self._stage:
            return
        self._leave("FINISHED")
        if stage is None:
            return
        logger.info("%s: started", stage)
        self._stage = stage
        self._entered = time.monotonic()
        tags = {"stage": stage, "git_revision": self._revision}
        if self._data_hash:
            tags["data_hash"] = self._data_hash
        if stage in self._runs:
            mlflow.start_run(run_id=self._runs[stage], nested=True)
        else:
            self._runs[stage] = mlflow.start_run(run_name=stage, nested=True, tags=tags).info.run_id

    def _leave(self, status: str) -> None:
        if self._stage is None:
            return
        seconds = self._seconds.get(self._stage, 0.0) + time.monotonic() - self._entered
        self._seconds[self._stage] = seconds  # of all its stretches
        logger.info("%s: %s after %.0f s", self._stage, status.lower(), seconds)
        mlflow.log_metric("stage_seconds", seconds)
        mlflow.end_run(status)
        self._stage = None
