"""Kedro project settings: the configuration loader and the hooks."""

from kedro.config import OmegaConfigLoader

from pipelines.hooks import MlflowTracking
from pipelines.problems import CheckedStart, ClearErrors
from pipelines.processes import Processes, rank
from pipelines.versions import DvcRecord

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},  # an environment says only what it changes
}
# After a run: MLflow's runs end, DVC records, and last of all the other processes are let go.
HOOKS = (CheckedStart(), *([MlflowTracking()] if rank() == 0 else []), DvcRecord(), Processes(), ClearErrors())
