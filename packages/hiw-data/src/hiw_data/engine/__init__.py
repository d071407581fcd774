"""Where videos are annotated: in this process or several of this machine, or on a cluster by Ray."""

from hiw_data.engine.annotator import Annotator, Done, Job
from hiw_data.engine.base import Engine, engine_of
from hiw_data.engine.local import LocalEngine
from hiw_data.engine.timings import Timings

__all__ = ["Annotator", "Done", "Engine", "Job", "LocalEngine", "Timings", "engine_of"]
