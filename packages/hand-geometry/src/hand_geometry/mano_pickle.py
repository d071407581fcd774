"""Official MANO files, which are Python 2 pickles of NumPy, SciPy and chumpy objects, read without running any of them.

Design:
    * Every name that a pickle may ask for is listed here and answered with a stand-in of this module, which only keeps
      what it is given. A pickle that asks for any other name is refused before that name is looked up.
    * The opcodes are looked through first: references to what lies outside the pickle, and memo numbers that would make
      the reader allocate without end, are refused.
    * Arrays are rebuilt from raw bytes, numbers only, and must be exactly as long as they say.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.errors import AssetError

_LARGEST = 2**28  # bytes; the official files have 4 MB
_LARGEST_DENSE = 2**24  # numbers in a sparse matrix written out
_NUMBERS = re.compile(r"[<>=|]?(?:f[248]|[iu][1248]|b1)")
_FORBIDDEN_OPCODES = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


class _RefusedError(Exception):
    """The pickle asks for something that a hand model has no need of."""


class _Object:
    """Stands in for any instance: keeps the state that the pickle gives it."""

    def __init__(self, *arguments: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (__dict__, __slots__)
            state = {**(state[0] or {}), **(state[1] or {})}
        if not isinstance(state, dict):
            raise _RefusedError(f"a {type(self).__name__.strip('_')} whose state is a {type(state).__name__}")
        self.state = state


class _Ch(_Object):
    """A chumpy array: its numbers are the term ``x``."""


class _Select(_Object):
    """A chumpy selection: entries ``idxs`` of the flattened term ``a``, in the shape ``preferred_shape``."""


class _Csc(_Object):
    """A SciPy matrix in compressed columns."""


class _Csr(_Object):
    """A SciPy matrix in compressed rows."""


class _Dtype:
    """A dtype of plain numbers."""

    def __init__(self, code: Any, *flags: Any) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise _RefusedError(f"an array of dtype {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", ">", "=", "|")):
            raise _RefusedError("a dtype of an unknown layout")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A NumPy array, before and after its state has come."""

    def __init__(self, *arguments: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise _RefusedError("an array of an unknown layout")
        self.value = _from_bytes(state[4], state[2], state[1], "F" if state[3] else "C")


def read_mano_pickle(file: Path) -> dict[str, np.ndarray]:
    """Arrays of an official MANO ``.pkl``.

    Args:
        file: The pickle.

    Returns:
        Plain arrays by their official names. Entries that are no arrays of numbers are left out.

    Raises:
        AssetError: If the file is too large, truncated, holds something else, or asks for a name that reading a hand
            model does not need; the name is in the message.
    """
    if file.stat().st_size > _LARGEST:
        raise AssetError(f"{file}: Expected a MANO pickle of some megabytes, got {file.stat().st_size} bytes.")
    content = file.read_bytes()
    try:
        _look_through(content)
        stored = _Reader(io.BytesIO(content), encoding="latin1").load()
        if not isinstance(stored, dict):
            raise _RefusedError(f"a {type(stored).__name__} instead of a dict")
        found = {name: _plain(value) for name, value in stored.items() if isinstance(name, str)}
    except _RefusedError as error:
        raise AssetError(
            f"{file}: Expected a MANO pickle of NumPy, SciPy and chumpy arrays, got {error}. "
            "It was not run. Get the file from the publisher again, or save its arrays with numpy.savez."
        ) from error
    except Exception as error:  # the reader fails on broken bytes in more ways than can be listed
        raise AssetError(f"{file}: Expected a whole MANO pickle, got a broken one ({error}). Get it again.") from error
    return {name: value for name, value in found.items() if value is not None}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"one that asks for '{module}.{name}'") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("one that refers to what lies outside of it")


def _look_through(content: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _FORBIDDEN_OPCODES:
            raise _RefusedError(f"one that uses the opcode {opcode.name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise _RefusedError(f"one with memo number {argument}")


def _plain(value: Any) -> np.ndarray | None:
    """The array in a stand-in, or None if there is none."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, _Ch):
        return _plain(value.state.get("x"))
    if isinstance(value, _Select):
        return _selected(value)
    if isinstance(value, _Csc | _Csr):
        return _dense(value)
    return np.asarray(value) if isinstance(value, int | float | np.ndarray) else None


def _selected(value: _Select) -> np.ndarray:
    source, index = _plain(value.state.get("a")), _plain(value.state.get("idxs"))
    if source is None or index is None:
        raise _RefusedError("a chumpy Select without 'a' or 'idxs'")
    picked = source.ravel()[index]
    shape = value.state.get("preferred_shape")
    if isinstance(shape, _Array):
        shape = tuple(shape.value.tolist())
    return picked if shape is None else picked.reshape(shape)


def _dense(value: _Csc | _Csr) -> np.ndarray:
    from scipy.sparse import csc_matrix, csr_matrix

    state = value.state
    parts = tuple(_plain(state.get(name)) for name in ("data", "indices", "indptr"))
    shape = state.get("_shape", state.get("shape"))
    if any(part is None for part in parts) or not (isinstance(shape, tuple) and len(shape) == 2):
        raise _RefusedError("a sparse matrix that lacks a part")
    if math.prod(shape) > _LARGEST_DENSE:
        raise _RefusedError(f"a sparse matrix of shape {shape}")
    matrix = (csc_matrix if isinstance(value, _Csc) else csr_matrix)(parts, shape=shape)
    matrix.check_format(full_check=True)
    return np.asarray(matrix.toarray())


def _from_bytes(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(data, str):  # Python 2 kept bytes in a str
        data = data.encode("latin1")
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray) or not isinstance(shape, tuple):
        raise _RefusedError("an array that is not made of numbers")
    if len(data) != math.prod(shape) * dtype.dtype.itemsize or min(shape, default=0) < 0:
        raise _RefusedError(f"an array of shape {shape} with {len(data)} bytes")
    return np.frombuffer(bytes(data), dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.value = _from_bytes(data, dtype, shape, order)
    return made


def _empty_array(kind: Any, *arguments: Any) -> _Array:
    if kind is not _Array:
        raise _RefusedError("an array of an unknown class")
    return _Array()


def _number(dtype: Any, data: Any) -> np.ndarray:
    return _from_bytes(data, dtype, (), "C")


def _instance(kind: Any, *arguments: Any) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, _Object)):
        raise _RefusedError("an instance of an unknown class")
    return kind()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError("text in an unknown encoding")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("chumpy.ch", "Ch"): _Ch,
    ("chumpy", "Ch"): _Ch,
    ("chumpy.reordering", "Select"): _Select,
    **{(module, "_reconstructor"): _instance for module in ("copy_reg", "copyreg")},
    **{(module, name): _Object for module in ("__builtin__", "builtins") for name in ("object", "set")},
    ("_codecs", "encode"): _encoded,
    **{(f"scipy.sparse.{module}", "csc_matrix"): _Csc for module in ("csc", "_csc")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): _Csr for module in ("csr", "_csr")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array_from_buffer for core in ("core", "_core")},
}
