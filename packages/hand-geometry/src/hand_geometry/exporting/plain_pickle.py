"""Reading arrays out of pickles that others made, without running what they hold.

A pickle may name any function to call. Here only the handful that rebuild NumPy arrays and torch tensors are let
through; every other name is refused before anything of it is imported. joblib's inline arrays are read as well.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any, BinaryIO, ClassVar

import numpy as np

_NUMPY = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((core, "_reconstruct") for core in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *((core, "scalar") for core in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *((core, "_frombuffer") for core in ("numpy.core.numeric", "numpy._core.numeric")),
    *(("numpy.dtypes", type(np.dtype(code)).__name__) for code in np.typecodes["All"]),
}
_TORCH = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")}
_NAMES, _FLAGS = 3, 7  # where a NumPy type's state has the names of its fields and its flags
_OBJECT_FLAGS = 0x0F  # counted references, pickled as a list, pointers, to be cleared: what Python objects have
_PythonUnpickler: Any = pickle._Unpickler  # the one in Python: joblib's arrays need its stack
_JOBLIB = ("joblib.numpy_pickle", "NumpyArrayWrapper")


class RefusedPickleError(ValueError):
    """A pickle names something other than arrays."""


def read_plain_pickle(stream: BinaryIO) -> Any:
    """What a pickle or joblib file holds, if it holds plain containers, numbers, text, arrays and tensors only.

    Args:
        stream: Open for reading bytes, at the pickle's start.

    Returns:
        The object; tensors are on the CPU.

    Raises:
        RefusedPickleError: If it names a class or function that no array needs.
        ValueError: If it is truncated or corrupt.
    """
    try:
        return _Unpickler(stream).load()
    except RefusedPickleError:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        raise ValueError(f"it is truncated or corrupt ({type(error).__name__}: {error})") from error


class _InlineArray:
    """joblib's note that the bytes of an array follow in the stream."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str
    numpy_array_alignment_bytes: int | None = None

    def read(self, stream: BinaryIO) -> np.ndarray:
        if np.dtype(self.dtype).hasobject:
            raise RefusedPickleError("it holds an array of objects")
        if self.numpy_array_alignment_bytes is not None:
            stream.read(stream.read(1)[0])
        size = int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize
        here = stream.tell()
        room = stream.seek(0, io.SEEK_END) - stream.seek(here)
        if not 0 <= size <= room:
            raise ValueError(f"expected {size} bytes of an array, got {room}")
        content = stream.read(size)
        if len(content) != size:
            raise ValueError(f"expected {size} bytes of an array, got {len(content)}")
        return np.frombuffer(content, self.dtype).reshape(self.shape, order="F" if self.order == "F" else "C")


class _Unpickler(_PythonUnpickler):
    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="latin1")
        self._stream = stream

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _JOBLIB:
            return _InlineArray
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_storage
        if (module, name) in _NUMPY | _TORCH:  # whole names: a dotted one would reach into the module
            return super().find_class(module, name)
        raise RefusedPickleError(f"it asks for {module}.{name}, which no array needs")

    def load_build(self) -> None:
        kind, state = self.stack[-2:]
        if isinstance(kind, np.dtype) and isinstance(state, tuple) and len(state) >= _FLAGS + 1:
            own = 0 if state[_NAMES] is not None else kind.flags
            if (state[_FLAGS] ^ own) & _OBJECT_FLAGS:  # NumPy would follow numbers as if they were pointers
                raise ValueError(f"a type {kind} with flags {state[_FLAGS]}, which are not its own")
        super().load_build()
        if isinstance(self.stack[-1], _InlineArray):
            self.stack[-1] = self.stack[-1].read(self._stream)

    dispatch: ClassVar[dict[int, Any]] = {**_PythonUnpickler.dispatch, pickle.BUILD[0]: load_build}


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """Bytes that protocol 2 stored as text."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedPickleError(f"it asks for the codec {encoding!r}")
    return text.encode("latin1")


def _load_storage(content: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
