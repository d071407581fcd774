"""Shard files: bytes of whole clips in a row, closed by the index that Zarr's sharding codec wants at the end."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from hiw_data.clips import FEATURES
from hiw_data.store.schema import CHUNK_FRAMES

WIDTHS = {"features": FEATURES * 4, "valid": 2}
"""Bytes of a frame, by array."""


def chunk_frames(shard_frames: int) -> int:
    """Frames of a chunk in a shard of so many."""
    return math.gcd(CHUNK_FRAMES, shard_frames)


def shard_key(array: str, number: int) -> str:
    """Where shard `number` of an array lies in a store."""
    return f"{array}/c/{number}/0"


def shard_index(chunks: int, chunk_bytes: int, total: int) -> bytes:
    """The index of a shard whose first `chunks` of `total` chunks are there, in order.

    Per chunk offset and length as little-endian uint64, all ones where there is none; then CRC-32C (Zarr 3, sharding
    codec 1.0).
    """
    table = np.full((total, 2), np.iinfo(np.uint64).max, "<u8")
    table[:chunks, 0] = np.arange(chunks) * chunk_bytes
    table[:chunks, 1] = chunk_bytes
    raw = table.tobytes()
    return raw + int(google_crc32c.value(raw)).to_bytes(4, "little")


@dataclass
class OpenShard:
    """The two files of one shard while clips are appended to them.

    Attributes:
        folder: where they lie, as `features-N` and `valid-N`.
        number: N.
        shard_frames: how many frames fit.
        frames: how many are there.
    """

    folder: Path
    number: int
    shard_frames: int
    frames: int = 0

    def __post_init__(self) -> None:
        self._files = {}
        for array, width in WIDTHS.items():
            path = self.path(array)
            path.touch()
            if (
                path.stat().st_size > self.frames * width
            ):  # what a killed process left after the last row of its journal
                os.truncate(path, self.frames * width)
            self._files[array] = path.open("ab", buffering=0)

    def path(self, array: str) -> Path:
        """The file of an array."""
        return self.folder / f"{array}-{self.number:06d}"

    def append(self, features: NDArray[np.float32], valid: NDArray[np.bool_]) -> int:
        """Writes a clip's frames; returns where in the shard they start."""
        start = self.frames
        _write_all(self._files["features"], np.ascontiguousarray(features, "<f4").data.cast("B"))
        _write_all(self._files["valid"], np.ascontiguousarray(valid, np.uint8).data.cast("B"))
        self.frames += len(features)
        return start

    def seal(self) -> None:
        """Pads to whole chunks, writes the index, and sees both files to the disk."""
        size = chunk_frames(self.shard_frames)
        chunks = -(-self.frames // size)
        for array, width in WIDTHS.items():
            file = self._files[array]
            _write_all(file, memoryview(bytes((chunks * size - self.frames) * width)))
            _write_all(file, memoryview(shard_index(chunks, size * width, self.shard_frames // size)))
            os.fsync(file.fileno())
        self.close()

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()


def _write_all(file: Any, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def array_metadata(array: str, shards: int, shard_frames: int) -> dict[str, Any]:
    """The Zarr 3 metadata (`zarr.json`) of an array of so many shards."""
    frames, columns = chunk_frames(shard_frames), WIDTHS[array] // (4 if array == "features" else 1)
    endian = {"configuration": {"endian": "little"}}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [shards * shard_frames, columns],
        "data_type": "float32" if array == "features" else "bool",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard_frames, columns]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0 if array == "features" else False,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [frames, columns],
                    "codecs": [{"name": "bytes", **(endian if array == "features" else {})}],
                    "index_codecs": [{"name": "bytes", **endian}, {"name": "crc32c"}],
                    "index_location": "end",
                },
            }
        ],
        "attributes": {},
        "dimension_names": ["frame", "feature" if array == "features" else "hand"],
        "storage_transformers": [],
    }
