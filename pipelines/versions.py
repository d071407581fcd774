"""What Kedro has run counts for DVC too: the finished stages are recorded in dvc.lock, as `dvc repro` would.

Only what DVC would have made itself is recorded: whole stages, with the parameters of conf/base, written where dvc.yaml
expects them. Anything else (`--params`, another environment, a part of a stage) is left for `dvc repro` to make anew.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from pipelines.places import resolve_paths
from pipelines.processes import rank

logger = logging.getLogger(__name__)

_PARAMETERS = "conf/base/parameters.yml"


class DvcRecord:
    """Records finished stages in dvc.lock, where the project is a repository of git and DVC."""

    def __init__(self) -> None:
        self._parameters: Mapping[str, Any] = {}

    @hook_impl(trylast=True)
    def after_context_created(self, context: Any) -> None:
        """Keep the parameters of the run."""
        self._parameters = resolve_paths(context.config_loader["parameters"], context.project_path)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any) -> None:
        """Record what this run has made; a DVC that refuses is a warning, not the end of the run."""
        root = Path(run_params["project_path"])
        inside_dvc = "DVC_STAGE" in os.environ  # it records its stages itself, and holds the lock
        if rank() > 0 or inside_dvc or run_params.get("only_missing_outputs"):
            return
        if not ((root / ".dvc").is_dir() and (root / ".git").exists() and (root / "dvc.yaml").is_file()):
            return
        done = list(finished_stages(root, pipeline, catalog, self._parameters))
        if not done:
            return
        command = [sys.executable, "-m", "dvc", "commit", "--force", "--quiet", *done]
        result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if result.returncode:
            logger.warning("DVC did not record %s: %s", ", ".join(done), result.stderr.strip() or result.stdout.strip())
        else:
            logger.info("recorded in dvc.lock: %s", ", ".join(done))


def finished_stages(root: Path, run: Pipeline, catalog: Any, parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the stages of dvc.yaml that a run has made as DVC would.

    Args:
        root: the project's folder.
        run: the nodes that were run.
        catalog: where they wrote.
        parameters: that they were run with, paths made absolute.
    """
    loader = OmegaConfigLoader(str(root / "conf"), base_env="base", default_run_env="base")
    base = resolve_paths(loader["parameters"], root)
    for name, stage in yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        own = pipelines[name]
        sections = [key for entry in stage.get("params", []) for key in entry[_PARAMETERS]]
        written = {catalog.get(output) for output in own.all_outputs()}
        places = {Path(dataset._filepath) for dataset in written if hasattr(dataset, "_filepath")}
        expected = {root / _path(entry) for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])}
        if (
            set(own.nodes) <= set(run.nodes)
            and places == expected
            and all(parameters.get(key) == base.get(key) for key in sections)
        ):
            yield name


def _path(entry: str | Mapping[str, Any]) -> str:
    return entry if isinstance(entry, str) else next(iter(entry))
