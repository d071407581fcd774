"""The log of a project: what a run prints, and a file that has all of it, the tracebacks of errors included."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

import yaml
from kedro.framework.project import LOGGING

MEGABYTES, KEPT = 5, 3
"""The log file's size, after which it is moved aside, and how many older ones are kept."""

_NAME = "clutch-file"


def start_logging(project: Path, rank: int = 0) -> Path:
    """Log as `conf/logging.yml` says, and everything into `logs/clutch.log` of the project too.

    Kedro finds `conf/logging.yml` only from the project's own folder; this finds it from anywhere.

    Args:
        project: the project's folder.
        rank: of this process; each writes a file of its own.

    Returns:
        The log file. Where it can't be written, the run goes on without, and says so.
    """
    settings = project / "conf" / "logging.yml"
    if settings.is_file() and "KEDRO_LOGGING_CONFIG" not in os.environ:
        wanted = yaml.safe_load(settings.read_text(encoding="utf-8"))
        if LOGGING.get("handlers") != wanted["handlers"]:
            LOGGING.configure(wanted)
    path = project / "logs" / ("clutch.log" if rank == 0 else f"clutch-rank{rank}.log")
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.get_name() == _NAME]:
        root.removeHandler(old)
        old.close()
    try:
        path.parent.mkdir(exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=MEGABYTES * 2**20, backupCount=KEPT, encoding="utf-8")
    except OSError as error:
        logging.getLogger(__name__).warning("No log file is written: %s", error)
        return path
    handler.set_name(_NAME)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    return path
