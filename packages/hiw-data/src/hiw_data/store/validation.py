"""Finding what is damaged in a store: every file against its checksum, and then clip by clip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from tqdm import tqdm

from hiw_data.errors import StoreError
from hiw_data.store import schema
from hiw_data.store.reader import HiwStore
from hiw_data.store.shards import WIDTHS, shard_key


@dataclass
class Validation:
    """What `validate` found.

    Attributes:
        clips: how many were checked.
        problems: one sentence each; none if all is whole.
        damaged: names of the clips that are not what was written; "row 12" where the name itself is unreadable.
    """

    clips: int = 0
    problems: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def validate(store: HiwStore) -> Validation:
    """Reads the whole store once and holds it against its checksums.

    Args:
        store: open; for one that cannot be opened, see `hiw_data.store.repair`.

    Returns:
        The files that differ, and in them the clips that do.
    """
    found = Validation(clips=len(store))
    index = hashlib.sha256(store.files.read(schema.INDEX_FILE)).hexdigest()
    if index != store.index_sha256:
        found.problems.append(f"{schema.INDEX_FILE} of {store.path} is not what was written")
    first = 0
    for number, shard in enumerate(tqdm(store.shards, desc="shards", unit="shard", disable=None)):
        wrong = [problem for array in WIDTHS if (problem := _check_file(store, array, number, shard[array]))]
        found.problems += wrong
        clips = range(first, min(first + shard["clips"], len(store)))
        if wrong or index != store.index_sha256:
            found.damaged += [name for position, name in _damaged(store, clips)]
        first += shard["clips"]
    if not found.problems:
        digests = store.column("sha256").to_pylist()
        if schema.content_hash(store.fps, digests) != store.data_hash:
            found.problems.append(f"The data_hash of {store.path} is not that of its clips")
    elif found.damaged:
        some = ", ".join(found.damaged[:5]) + (", ..." if len(found.damaged) > 5 else "")
        found.problems.append(f"{len(found.damaged)} clip(s) are damaged: {some}")
    return found


def _check_file(store: HiwStore, array: str, number: int, expected: str) -> str | None:
    key = shard_key(array, number)
    try:
        got = hashlib.sha256(store.files.read(key)).hexdigest()
    except OSError as error:
        return f"{key} of {store.path} cannot be read ({error})"
    return None if got == expected else f"{key} of {store.path} is not what was written (SHA-256 {got[:12]})"


def _damaged(store: HiwStore, clips: range) -> Iterator[tuple[int, str]]:
    for position in clips:
        values = store.table.slice(position, 1)
        if not is_whole(store, values, position):
            yield position, clip_name(values, position)


def clip_name(row: pa.Table | pa.RecordBatch, position: int) -> str:
    """The name of the clip in a one-row table, or which row it is, where that is damaged too."""
    try:
        return str(row.column("clip_id").to_pylist()[0])
    except (ValueError, pa.ArrowException):
        return f"row {position}"


def is_whole(store: HiwStore, row: pa.Table | pa.RecordBatch, position: int) -> bool:
    """True if a clip's row and frames are what was written."""
    return read_whole(store, row) is not None


def read_whole(store: HiwStore, row: pa.Table | pa.RecordBatch) -> dict[str, Any] | None:
    """The clip of a one-row table as `{"row", "features", "valid"}`, or None if it is not what was written."""
    try:
        values = row.to_pylist()[0]
        meta = schema.from_columns(values)
        number, first = divmod(values["start"], store.shard_frames)
        features = np.empty((meta["length"], WIDTHS["features"] // 4), "<f4")
        valid = np.empty((meta["length"], 2), np.uint8)
        for array, block in (("features", features), ("valid", valid)):
            store.files.read_into(shard_key(array, number), first * WIDTHS[array], block)
        seen = valid.astype(bool)
        if not np.array_equal(seen, valid):
            return None
        digest = schema.row_digest(meta, schema.arrays_digest(features, seen))
    except (StoreError, ValueError, TypeError, KeyError, OverflowError, MemoryError, pa.ArrowException):
        return None
    return {"row": meta, "features": features, "valid": seen} if digest == values["sha256"] else None
