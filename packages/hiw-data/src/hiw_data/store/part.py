"""A part: what one writer has written so far, in a folder that survives a kill at any moment.

Frames go to the files of the open shard first, then one line of JSON to the journal. A line that is whole names frames
that are there; whatever comes after the last whole line is cut off when the part is opened again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hiw_data.clips import FEATURES
from hiw_data.errors import StoreError
from hiw_data.store.schema import arrays_digest, canonical_json
from hiw_data.store.shards import WIDTHS, OpenShard

try:
    import fcntl
except ImportError:  # Windows has no advisory locks: two builds of one store are not told apart there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


class Part:
    """Appends clips to shards of its own.

    Args:
        folder: of this part; made where it is missing, continued where it is not.
        shard_frames: frames of a shard.

    Raises:
        StoreError: another process is writing it.
    """

    def __init__(self, folder: Path, shard_frames: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.shard_frames = folder, shard_frames
        self._lock = (folder / "lock").open("wb")
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        folder, shard_frames = self.folder, self.shard_frames
        lock(self._lock, folder)
        tail: list[dict[str, Any]] = []
        sealed, frames, end = 0, 0, 0
        for record, end in _records(folder):  # noqa: B007 - the end of the last one counts
            if "sealed" in record:
                sealed, frames, tail = record["sealed"] + 1, 0, []
            elif "row" in record:
                tail.append(record)
        for record in tail:
            features, valid = read_record(folder, record)
            if arrays_digest(features, valid).hex() != record["arrays"]:
                raise StoreError(
                    f"Expected the frames of {record['row']['clip_id']} in {folder} as they were written, got others "
                    "(did the machine lose power?). Remove the folder and build again."
                )
            frames = record["start"] + record["row"]["length"]
        self._journal = (folder / "journal.jsonl").open("ab", buffering=0)
        self._journal.truncate(end)
        self._shard = OpenShard(folder, sealed, shard_frames, frames)

    def append(
        self, row: Mapping[str, Any], features: NDArray[np.float32], valid: NDArray[np.bool_], **extra: object
    ) -> None:
        """Writes a clip: its frames, then its row and whatever else belongs to the line."""
        if self._shard.frames + len(features) > self.shard_frames:
            self.seal()
        start = self._shard.append(features, valid)
        digest = arrays_digest(features, valid).hex()
        self.note({"row": dict(row), "shard": self._shard.number, "start": start, "arrays": digest, **extra})

    def note(self, record: Mapping[str, Any]) -> None:
        """Writes one line to the journal."""
        data = memoryview(canonical_json(record).encode() + b"\n")
        while data:
            data = data[self._journal.write(data) :]

    def seal(self) -> None:
        """Closes the open shard, if anything is in it, and opens the next."""
        if not self._shard.frames:
            return
        self._shard.seal()
        sums = {array: file_sha256(self._shard.path(array)) for array in WIDTHS}
        self.note({"sealed": self._shard.number, "frames": self._shard.frames, **sums})
        os.fsync(self._journal.fileno())
        self._shard = OpenShard(self.folder, self._shard.number + 1, self.shard_frames)

    def close(self) -> None:
        """Lets go of the files; all that was written stays."""
        self._shard.close()
        self._journal.close()
        self._lock.close()


def lock(file: BinaryIO, folder: Path) -> None:
    """Takes the lock of a part, which goes with its process.

    Raises:
        StoreError: another process has it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StoreError(
            f"Expected nobody else to be writing at {folder}, but another process is. Wait for it, or choose "
            "another --out."
        ) from error


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a part's journal, in order: clips ("row"), closed shards ("sealed") and notes."""
    for record, _ in _records(folder):
        yield record


def _records(folder: Path) -> Iterator[tuple[dict[str, Any], int]]:
    path, end = folder / "journal.jsonl", 0
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                logger.warning("Line at byte %d of %s is damaged; what follows is written anew.", end, path)
                return
            end += len(line)
            yield record, end


def read_record(folder: Path, record: Mapping[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The frames of a clip of a part: (T, 198) and (T, 2)."""
    start, length = record["start"], record["row"]["length"]
    blocks = []
    for array, width in WIDTHS.items():
        with (folder / f"{array}-{record['shard']:06d}").open("rb") as file:
            file.seek(start * width)
            blocks.append(file.read(length * width))
    features, valid = np.frombuffer(blocks[0][: len(blocks[0]) // 4 * 4], "<f4"), np.frombuffer(blocks[1], np.bool_)
    if features.size != length * FEATURES or valid.size != length * 2:
        return np.zeros((0, FEATURES), np.float32), np.zeros((0, 2), np.bool_)
    return features.reshape(length, FEATURES), valid.reshape(length, 2)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack(array: NDArray[np.float32]) -> str:
    """Numbers as text for a journal."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def unpack(text: str, columns: int) -> NDArray[np.float32]:
    """The inverse of `pack`: (N, columns)."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, columns)
