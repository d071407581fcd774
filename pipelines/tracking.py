"""MLflow in small: the revision we run, metrics streamed while a stage trains, and runs of a study.

Everything here does nothing outside an active MLflow run, so that nodes stay plain functions.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Metric

import mlflow

PROJECT = Path(__file__).resolve().parents[1]

LogFunction = Callable[[int, Mapping[str, float]], None]

_FLUSH_SECONDS = 3.0
_BATCH = 900  # a tracking server takes at most 1000 metrics a request


def git_revision(root: Path = PROJECT) -> str:
    """Return the commit of a project, with `-dirty` where its tree differs from it, or `unknown` outside git."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten dataclasses and mappings to dotted names, for MLflow parameters."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


@contextmanager
def live_metrics() -> Iterator[LogFunction]:
    """Yield `log(step, values)`; values go to the active MLflow run in batches, the last ones on leaving."""
    run = mlflow.active_run()
    if run is None:
        yield lambda step, values: None
        return
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    pending: list[Metric] = []
    flushed = time.monotonic()

    def flush() -> None:
        nonlocal flushed
        while pending:
            client.log_batch(run_id, metrics=pending[:_BATCH])
            del pending[:_BATCH]
        flushed = time.monotonic()

    def log(step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        pending.extend(
            Metric(name, float(value), now, step)
            for name, value in values.items()
            if name != "step" and isinstance(value, int | float)
        )
        if len(pending) >= _BATCH or time.monotonic() - flushed > _FLUSH_SECONDS:
            flush()

    try:
        yield log
    finally:
        flush()


def log_summary(values: Mapping[str, Any]) -> None:
    """Log the numbers of a nested mapping as metrics of the active run, by dotted name."""
    if mlflow.active_run() is None:
        return
    numbers = {k: float(v) for k, v in flatten(values).items() if isinstance(v, int | float) and v == v}
    mlflow.log_metrics(numbers)


@contextmanager
def study_run(name: str, params: Mapping[str, Any], stage: str) -> Iterator[None]:
    """One run of a study, nested under the active one: its own parameters, metrics and status."""
    if mlflow.active_run() is None:
        yield
        return
    with mlflow.start_run(run_name=name, nested=True, tags={"stage": stage}):
        mlflow.log_params(flatten(params))
        yield
