"""Files and folders that appear whole or not at all: written beside their place, then renamed.

Modes are those that the process gives to any new file (its umask).
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from .errors import ShiftTokenizerError


@contextlib.contextmanager
def write_beside(path: str | PathLike[str]) -> Iterator[Path]:
    """For a file: gives a path beside it to write to, which takes its place when the block ends without an error.

    Folders on the way are made.

    Raises:
        ShiftTokenizerError: the disk refuses; what was there before stays, and nothing else is left behind.
    """
    path = Path(path)
    with _saying(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _beside(path)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def write_folder_beside(folder: str | PathLike[str]) -> Iterator[Path]:
    """For several files of one folder: gives an empty folder beside it, whose files are moved into it in the end.

    A new folder appears at once. In one that exists, files of the same names are replaced one after the other, when all
    of them are written; others stay.

    Raises:
        ShiftTokenizerError: the disk refuses; no half file is left behind.
    """
    folder = Path(folder)
    with _saying(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = _beside(folder)
        try:
            part.mkdir()
            yield part
            if folder.exists():
                for file in sorted(part.iterdir()):
                    os.replace(file, folder / file.name)
            else:
                os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def make_folder(folder: str | PathLike[str]) -> None:
    """Makes a folder that can be written to, before work begins that ends in it.

    Raises:
        ShiftTokenizerError: there can be none.
    """
    folder = Path(folder)
    with _saying(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


@contextlib.contextmanager
def _saying(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ShiftTokenizerError(f"Could not write {path}: {error}. Free space or choose another folder.") from error
