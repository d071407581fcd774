"""Kedro project settings: configuration loader, hooks, and telemetry off by default."""

import os
import warnings

# The option's old name is this project's front door; the version of Kedro is pinned.
warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")

os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from kedro.config import OmegaConfigLoader

from pipelines.hooks import ClearErrors, MlflowTracking

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},  # an environment says only what it changes
}
HOOKS = (MlflowTracking(), ClearErrors())
