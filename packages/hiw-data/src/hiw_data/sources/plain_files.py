"""Files of datasets, read without running anything that they hold: pickles by an allow-list, YAML without objects.

Every function raises ValueError or OSError for a file that is broken or asks for more than plain data.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from hand_geometry.exporting.plain_pickle import read_plain_pickle
from hand_geometry.plain_npz import BrokenArrayError, read_npy

from hiw_data.errors import ClipError, SourceError

DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, RecursionError,
          zipfile.BadZipFile, AssertionError, MemoryError)  # fmt: skip
"""What reading a damaged file may raise."""

LARGEST = 2**32
"""Bytes of one array or object in a file, at most."""

_MAGIC = b"\x93NUMPY"
_MOST_INFLATED = 1100
"""Deflate makes nothing smaller than a 1032nd."""


def check_regular(path: Path) -> None:
    """Refuses what is no file: reading a pipe or a device never ends.

    Raises:
        ClipError: a folder, a pipe, a device, or a link to one or to nothing.
    """
    try:
        regular = path.is_file()
    except (OSError, ValueError) as error:  # a link to itself, for one
        raise ClipError(f"Expected a file at {path.name!r}, got: {error}.") from error
    if not regular:
        kind = "a folder" if path.is_dir() else "a broken link, a pipe or a device"
        raise ClipError(f"Expected a file at {path.name!r}, got {kind}. Take it away, or put the file there.")


def read_pickle(path: Path) -> Any:
    """Plain containers, numbers, texts, arrays and tensors of a pickle or an uncompressed joblib file."""
    with open(path, "rb") as stream:
        return read_plain_pickle(stream)


def read_npy_object(path: Path) -> Any:
    """What `np.save` of a dict or list wrote: the object in a .npy; of a .npy of numbers, its array."""
    with open(path, "rb") as stream:
        return _npy(stream)


def read_npz_objects(path: Path) -> dict[str, Any]:
    """All entries of an .npz, arrays of numbers as well as pickled objects (0-d ones unwrapped)."""
    room = path.stat().st_size
    with open(path, "rb") as stream:
        return dict(_members(stream, room))


def npz_objects(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and values of an .npz as of `read_npz_objects`, one after the other."""
    with open(path, "rb") as stream:
        yield from _members(stream, path.stat().st_size)


def _members(stream: BinaryIO, room: int) -> Iterator[tuple[str, Any]]:
    try:
        with zipfile.ZipFile(stream) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if entry.file_size > min(LARGEST, room * _MOST_INFLATED):
                    raise ValueError(f"an entry {name!r} of {entry.file_size} bytes in a file of {room}")
                yield name, _npy(io.BytesIO(archive.read(entry)))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"a broken .npz ({error})") from error


def _npy(stream: BinaryIO) -> Any:
    start = stream.read(8)
    if start[:6] != _MAGIC or len(start) < 8:
        raise ValueError("no array of NumPy's format")
    length = int.from_bytes(stream.read(2 if start[6] == 1 else 4), "little")
    header = stream.read(min(length, 10_000))
    if b"'|O'" not in header:
        stream.seek(0)
        try:
            return read_npy(stream)
        except BrokenArrayError as error:
            raise ValueError(f"a broken array ({error})") from error
    content = read_plain_pickle(stream)
    return content.item() if isinstance(content, np.ndarray) and content.shape == () else content


def read_json(path: Path) -> Any:
    """A JSON file in UTF-8."""
    return parse_json(path.read_text(encoding="utf-8-sig"))


def parse_json(text: str) -> Any:
    """A JSON text."""
    return json.loads(text)


def read_json_lines(path: Path) -> list[Any]:
    """A file of one JSON value a line; empty lines are passed over."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def read_yaml(path: Path) -> Any:
    """A YAML file of plain data; `python/tuple`, which DexYCB's files carry, becomes a list and no other tag is known.

    Raises:
        SourceError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise SourceError(
            "Expected the package PyYAML to read .yml files, got none. Do `pip install 'hiw-data[dexycb]'`."
        ) from error

    class Loader(yaml.SafeLoader):
        """Safe, and knows tuples."""

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", lambda loader, node: loader.construct_sequence(node))
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML of plain data ({error})") from error


def numbers(value: Any, *shape: int | None) -> np.ndarray:
    """An array of finite or unseen numbers of a shape.

    Args:
        value: an array, a tensor or nested lists.
        shape: expected, None for any length; no shape at all takes any.

    Returns:
        float64.

    Raises:
        ValueError: other things than numbers, or another shape.
    """
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"an array of {array.dtype} instead of numbers")
    fits = len(array.shape) == len(shape) and all(w in (None, g) for w, g in zip(shape, array.shape, strict=True))
    if shape and not fits:
        raise ValueError(f"an array of {array.shape} instead of {tuple('any' if n is None else n for n in shape)}")
    return array.astype(np.float64)
