"""Keeping what is whole of a damaged store: clips that cannot be read are dropped, and the rest is written anew."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from hiw_data.clips import Clip
from hiw_data.errors import StoreError
from hiw_data.store import schema
from hiw_data.store.files import LocalFiles
from hiw_data.store.reader import HiwStore
from hiw_data.store.validation import clip_name, read_whole
from hiw_data.store.writer import StoreWriter

logger = logging.getLogger(__name__)

_MAGIC_BYTES = 8
"""An Arrow file is "ARROW1" padded to 8 bytes, a stream, and a footer: without the footer the stream is still there."""


@dataclass
class Repair:
    """What `repair` did.

    Attributes:
        kept: clips that are whole.
        dropped: names of the clips that are not.
        lost: clips of which not even the name could be read.
        data_hash: of the store as it is now.
    """

    kept: int = 0
    dropped: list[str] = field(default_factory=list)
    lost: int = 0
    data_hash: str = ""


def repair(path: str | Path, out: str | Path | None = None) -> Repair:
    """Drops what cannot be read, rewrites the index, keeps the rest.

    Every clip is held against its checksum. Those that are whole are written to a new store, which takes the place of
    the old one at the very end; its report says what was dropped.

    Args:
        path: the store's folder.
        out: write the repaired store here, and leave the old one; default in its place.

    Raises:
        StoreError: no clip is whole, or `zarr.json` itself is lost, so that the rate and the report are unknown.
    """
    path = Path(path)
    store = _open_roughly(path)
    done = Repair()
    fps = store.fps
    rows = _rows(store)
    in_place = out is None or Path(out).resolve() == path.resolve()
    with StoreWriter(
        path if out is None else out, fps=fps, multiple=1, overwrite=in_place, shard_frames=store.shard_frames
    ) as writer:
        for position, row in enumerate(rows):
            whole = read_whole(store, row)
            if whole is None:
                name = clip_name(row, position)
                logger.warning("Dropped %s: it is not what was written.", name)
                done.dropped.append(name)
                continue
            writer.append(_clip(store, whole))
            done.kept += 1
        done.lost = max(0, int(store._attributes.get("clips", 0)) - done.kept - len(done.dropped))
        if not done.kept:
            raise StoreError(f"Expected at least one whole clip in {path}, got none. Build it again.")
        report = dict(store._attributes["report"])
        gone = len(done.dropped) + done.lost
        if gone:
            note = f"Repaired: {gone} damaged clip(s) were dropped; the figures of this report still count them."
            report["notes"] = [*report.get("notes", []), note]
        writer.publish(report)
    done.data_hash = HiwStore.open(path if out is None else out).data_hash
    return done


def _clip(store: HiwStore, whole: dict[str, Any]) -> Clip:
    return store._clip(whole["row"], whole["features"], whole["valid"])


def _open_roughly(path: Path) -> HiwStore:
    try:
        return HiwStore.open(path)
    except StoreError as error:
        try:
            attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
            right = attributes["format"] == schema.FORMAT and attributes["schema_version"] == schema.SCHEMA_VERSION
            whole = right and all(key in attributes for key in ("fps", "shards", "shard_frames", "report"))
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise error
        logger.warning("%s", error)
        return HiwStore(path, LocalFiles(path), attributes)


def _rows(store: HiwStore) -> Iterator[pa.RecordBatch]:
    """One-row batches, as far as the index can be read."""
    try:
        batches: Iterator[pa.RecordBatch] = iter(list(store.batches()))
    except (OSError, pa.ArrowInvalid):
        data = store.files.read(schema.INDEX_FILE)
        batches = _stream(pa.BufferReader(data[_MAGIC_BYTES:]))
    for batch in batches:
        for row in range(batch.num_rows):
            yield batch.slice(row, 1)


def _stream(source: pa.BufferReader) -> Iterator[pa.RecordBatch]:
    try:
        reader = pa.ipc.open_stream(source)
        while True:
            yield reader.read_next_batch()
    except (StopIteration, OSError, pa.ArrowInvalid):
        return
