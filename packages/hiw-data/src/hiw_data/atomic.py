"""Files and folders that appear whole or not at all: written beside, then renamed. Modes follow the umask.

A folder cannot be renamed over another one, so the old one steps aside first. If the machine dies
between these two renames, `recover_folder` (called by whoever opens the folder next) puts the old one back.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hiw_data.errors import DiskFullError

logger = logging.getLogger(__name__)


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file to; renamed to `path` at the end, removed on an error.

    Raises:
        DiskFullError: no space left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with clear_disk_full(path):
            yield staged
            os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _previous(out: Path) -> Path:
    return out.parent / f".{out.name}.previous"


def staging_folder(out: Path) -> Path:
    """Makes an empty folder beside `out`, and clears what crashed processes left of theirs."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for stale in out.parent.glob(f".{out.name}.staging-*"):
        if not _is_running(stale.name.rpartition("-")[2]):
            logger.info("Removing what an interrupted build left: %s", stale)
            shutil.rmtree(stale, ignore_errors=True)
    staged = out.parent / f".{out.name}.staging-{os.getpid()}"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    return staged


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError):
        return False
    return True


def replace_folder(staged: Path, out: Path) -> None:
    """Puts `staged` in the place of `out`; the old folder is gone only when the new one is there."""
    previous = _previous(out)
    if out.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.replace(out, previous)
    try:
        os.replace(staged, out)
    except OSError:
        if previous.exists():
            os.replace(previous, out)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def recover_folder(out: Path) -> None:
    """Brings back the old folder if a process died between the two renames of `replace_folder`."""
    previous = _previous(out)
    if previous.exists() and not out.exists():
        logger.warning("An interrupted build had moved %s aside; putting it back.", out)
        os.replace(previous, out)


@contextmanager
def clear_disk_full(path: Path) -> Iterator[None]:
    """Turns the system's "no space left" and "quota exceeded" into a DiskFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(path) from error
        raise
