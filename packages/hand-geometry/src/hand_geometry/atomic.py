"""Files written all at once: beside the target, then renamed, so that nobody ever meets half a file.

Modes are what the umask gives any new file: temporary names are opened as other files are, not by ``tempfile``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hand_geometry.errors import InputError


@contextmanager
def write_beside(target: Path) -> Iterator[Path]:
    """A temporary name in the target's folder with its suffix; renamed at the end, removed on failure.

    Args:
        target: The file to write. Missing folders are made.

    Yields:
        Where to write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes, suffix: str) -> Path:
    """Write a whole file.

    Args:
        path: Ends in ``suffix``, in any case. Missing folders are made.
        content: All of it.
        suffix: What the name must end in, with the dot.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is another.
    """
    target = _named(path, suffix)
    with write_beside(target) as temporary:
        temporary.write_bytes(content)
    return target


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays to an .npz all at once: beside the target, then renamed.

    Args:
        path: Ends in .npz. Missing folders are made.
        arrays: Plain arrays by name.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is not .npz.
    """
    target = _named(path, ".npz")
    with write_beside(target) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return target


def write_npy(path: str | os.PathLike[str], array: np.ndarray) -> Path:
    """Write one array to a .npy all at once: beside the target, then renamed.

    Args:
        path: Ends in .npy. Missing folders are made.
        array: A plain array.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is not .npy.
    """
    target = _named(path, ".npy")
    with write_beside(target) as temporary, open(temporary, "wb") as stream:
        np.save(stream, array, allow_pickle=False)
    return target


def _named(path: str | os.PathLike[str], suffix: str) -> Path:
    target = Path(path)
    if target.suffix.lower() != suffix:
        raise InputError(f"path: Expected a name that ends in {suffix}, got {target.name!r}. Rename it.")
    return target
