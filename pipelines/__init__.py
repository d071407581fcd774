"""What runs, in which order: the Kedro pipelines over the four packages."""

import os
import warnings

# No tool of this project reports to anyone unless a user says so; said before any of them is imported.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# The option's old name is this project's front door; the version of Kedro is pinned.
warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")
