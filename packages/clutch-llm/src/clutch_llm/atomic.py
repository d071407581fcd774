"""Files and folders written beside their place and then renamed, so that a reader sees all of one or none.

Modes follow the umask, whatever wrote the file: several libraries make theirs readable by their owner alone.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_beside(path: Path | str) -> Iterator[Path]:
    """A name beside ``path`` to write to, with its suffix; it takes the place of ``path`` when the block is left.

    Missing folders are made. After an exception in the block, what was there before is still there, and nothing else.

    Yields:
        Where to write.

    Raises:
        OSError: when the disk refuses.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.stem}-{uuid.uuid4().hex}{target.suffix}")
    try:
        beside.touch()
        mode = beside.stat().st_mode & 0o777
        yield beside
        beside.chmod(mode)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def write_folder_beside(path: Path | str) -> Iterator[Path]:
    """The same for a folder: an empty one to fill, which takes the place of ``path`` and of all that was in it.

    Yields:
        The folder to write in.

    Raises:
        OSError: when the disk refuses, or ``path`` is a file.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"Expected a folder or nothing at {target}, got a file. Choose another place.")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    aside = beside.with_name(f"{beside.name}-old")
    try:
        beside.mkdir()
        yield beside
        _follow_umask(beside)
        if target.exists():
            os.replace(target, aside)
        try:
            os.replace(beside, target)
        except OSError:
            if aside.exists():
                os.replace(aside, target)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _follow_umask(folder: Path) -> None:
    """Give every file and folder below the modes that plain new ones have here."""
    probe = folder / f".{uuid.uuid4().hex}"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        path.chmod(folder.stat().st_mode & 0o777 if path.is_dir() else mode)
