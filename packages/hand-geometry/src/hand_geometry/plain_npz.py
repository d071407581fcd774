"""Arrays out of .npz and .npy files that others made: nothing is run, and no more is allocated than the file holds."""

from __future__ import annotations

import ast
import io
import os
import re
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000  # NumPy's own limit
_MOST_INFLATED = 1100  # deflate makes nothing smaller than a 1032nd
_HEADER_KEYS = {"descr", "fortran_order", "shape"}
_LONG = re.compile(r"(?<=\d)L(?=[,) ])")


class BrokenArrayError(ValueError):
    """A file is no .npz or .npy of plain arrays; says why."""


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of an .npz.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        BrokenArrayError: If it is no .npz, is broken, or holds anything but plain arrays.
        OSError: If it cannot be opened.
    """
    with open(path, "rb") as stream:
        room = os.fstat(stream.fileno()).st_size
        try:
            with zipfile.ZipFile(stream) as archive:
                return {
                    entry.filename.removesuffix(".npy"): _member(archive, entry, room) for entry in archive.infolist()
                }
        except BrokenArrayError:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise BrokenArrayError(f"{type(error).__name__}: {error}") from error


def read_npy(source: str | os.PathLike[str] | BinaryIO) -> np.ndarray:
    """The array of a .npy.

    Args:
        source: The file's path, or a stream that can seek and stands where the .npy begins.

    Returns:
        The array.

    Raises:
        BrokenArrayError: If it is no .npy, is broken, or holds anything but a plain array.
        OSError: If it cannot be opened.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as stream:
            return read_npy(stream)
    here = source.tell()
    room = source.seek(0, io.SEEK_END) - source.seek(here)
    return _array(source, room)


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, room: int) -> np.ndarray:
    if entry.compress_size > room or entry.file_size > _MOST_INFLATED * (entry.compress_size + 64):
        raise BrokenArrayError(f"{entry.filename} claims {entry.file_size} bytes in a file of {room}")
    with archive.open(entry) as stream:
        content = stream.read()
    return read_npy(io.BytesIO(content))


def _array(stream: BinaryIO, room: int) -> np.ndarray:
    dtype, shape, fortran = _header(stream)
    count = 1
    for length in shape:
        count *= length
    size = count * dtype.itemsize
    if max(size, count) > room:
        raise BrokenArrayError(f"an array of {shape} {dtype} in {room} bytes")
    content = stream.read(size)
    if len(content) != size:
        raise BrokenArrayError(f"{len(content)} bytes of an array of {size}")
    flat = np.frombuffer(content, dtype, count) if size else np.zeros(count, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def _header(stream: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Type, shape and order that a .npy states (NumPy's format, versions 1 to 3)."""
    start = stream.read(8)
    if start[:6] != _MAGIC or len(start) < 8 or start[6] not in (1, 2, 3):
        raise BrokenArrayError("no array of NumPy's format")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > _LONGEST_HEADER:
        raise BrokenArrayError(f"a header of {length} bytes")
    text = stream.read(length)
    try:
        header = _literal(text.decode("utf-8" if start[6] == 3 else "latin1").strip())
        dtype = np.lib.format.descr_to_dtype(header["descr"])
        shape, fortran = header["shape"], header["fortran_order"]
        whole = set(header) == _HEADER_KEYS and isinstance(fortran, bool) and isinstance(shape, tuple)
        whole = whole and all(type(n) is int and 0 <= n < 2**62 for n in shape) and len(shape) <= 32
        whole = whole and dtype.subdtype is None
    except Exception as error:  # the text of a broken header raises nearly anything, down to MemoryError
        raise BrokenArrayError(f"a header that cannot be read ({type(error).__name__})") from error
    if not whole:
        raise BrokenArrayError("a header that is not NumPy's")
    if dtype.hasobject:
        raise BrokenArrayError("an array of objects, which would have to be unpickled")
    return dtype, shape, fortran


def _literal(text: str) -> Any:
    """What a header says; Python 2 wrote some lengths as 3L."""
    try:
        return ast.literal_eval(text)
    except SyntaxError:
        return ast.literal_eval(_LONG.sub("", text))
