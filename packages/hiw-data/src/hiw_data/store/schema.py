"""The layout of a store, schema version 2: what its files hold, how a clip becomes a row, and what its hash covers.

A store is a folder (or a prefix in an object store) that is a Zarr 3 group:
    zarr.json           group; attributes: format, schema_version, complete, fps, clips, frames, data_hash, shards
                        (per shard the SHA-256 of its two files), index_sha256, report
    features/c/N/0      shard N of the array (frames, 198) float32, little endian
    valid/c/N/0         shard N of the array (frames, 2) bool
    clips.arrow         Arrow IPC file: one row a clip, one record batch a shard
    README.md, quality.json    data card and quality report, where `build` wrote the store

Design choices. A clip lies whole in one shard, at `start` (a row of the arrays), so a shard can be written, moved,
checked or lost alone; the rows between the last clip of a shard and its end are no clip's, and take no space. Shards
are uncompressed, with chunks in order, so a window is one read at a known place. Metadata are columns in an Arrow file
that is mapped, not parsed. Nothing in a store depends on when or where it was built; `data_hash` does not depend on its
shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hiw_data.clips import FEATURES

FORMAT = "hiw-data"
SCHEMA_VERSION = 2
INDEX_FILE = "clips.arrow"
SHARD_FRAMES = 65536
"""Frames of a shard: 52 MB of features."""
CHUNK_FRAMES = 256
"""Frames of a chunk inside a shard, for readers that know Zarr alone."""

JSON_COLUMNS = ("attributes", "caption_provenance", "atomic_answers", "motion_codes", "camera")
"""Columns whose text is JSON."""
_OPTIONAL = (
    "group",
    "licence",
    "hand_model",
    "mirrored_captions",
    "paraphrases",
    "mirrored_paraphrases",
    *JSON_COLUMNS[1:],
    "betas",
    "timestamps",
    "filled",
)

ROW_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("held_out", pa.bool_(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("captions", pa.list_(pa.string()), nullable=False),
        pa.field("mirrored_captions", pa.list_(pa.string())),
        pa.field("paraphrases", pa.list_(pa.string())),
        pa.field("mirrored_paraphrases", pa.list_(pa.string())),
        pa.field("caption_provenance", pa.string()),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("atomic_answers", pa.string()),
        pa.field("motion_codes", pa.string()),
        pa.field("camera", pa.string()),
        pa.field("hand_model", pa.string()),
        pa.field("betas", pa.list_(pa.float32(), 20)),
        pa.field("timestamps", pa.list_(pa.float64())),
        pa.field("filled", pa.list_(pa.bool_())),
        pa.field("sha256", pa.binary(32), nullable=False),
    ],
    metadata={"format": FORMAT, "schema_version": str(SCHEMA_VERSION)},
)
"""Columns of `clips.arrow`; attributes, caption_provenance, atomic_answers, motion_codes and camera are JSON text."""

STORED_KEYS = ("clip_id", "source", "split", "origin", "held_out", "captions", "attributes", *_OPTIONAL)
"""Keys of a Clip that its row holds; those it does not have are null, or left out of `HiwStore.metadata`."""


def canonical_json(value: object) -> str:
    """JSON text, the same for equal content."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def clip_row(clip: Mapping[str, Any]) -> dict[str, Any]:
    """What a row holds of a clip, as plain JSON-like values, with `length`."""
    row: dict[str, Any] = {"origin": clip["clip_id"], "held_out": False}
    row |= {key: clip[key] for key in STORED_KEYS if clip.get(key) is not None}
    if "betas" in row:
        row["betas"] = np.asarray(row["betas"], np.float32).ravel().tolist()
    if "timestamps" in row:
        row["timestamps"] = np.asarray(row["timestamps"], np.float64).tolist()
    if "filled" in row:
        row["filled"] = np.asarray(row["filled"], bool).ravel().tolist()
    row["length"] = len(clip["features"])
    return row


def arrays_digest(features: NDArray[np.float32], valid: NDArray[np.bool_]) -> bytes:
    """SHA-256 of a clip's arrays, (T, 198) and (T, 2)."""
    digest = hashlib.sha256(f"{FEATURES},{len(features)};".encode())
    digest.update(np.ascontiguousarray(features, "<f4").data)
    digest.update(np.ascontiguousarray(valid, np.uint8).data)
    return digest.digest()


def row_digest(row: Mapping[str, Any], arrays: bytes) -> bytes:
    """SHA-256 of all that a clip is: its row (but for where it lies) and its arrays' digest."""
    return hashlib.sha256(arrays + canonical_json(row).encode()).digest()


def content_hash(fps: float, digests: Sequence[bytes]) -> str:
    """The `data_hash` of a store: SHA-256 over the rate and its clips' digests, in their order."""
    digest = hashlib.sha256(f"{FORMAT}/{SCHEMA_VERSION}/{FEATURES}/{float(fps)!r}\0".encode())
    for one in digests:
        digest.update(one)
    return digest.hexdigest()


def to_batch(rows: Sequence[Mapping[str, Any]], starts: Sequence[int], digests: Sequence[bytes]) -> pa.RecordBatch:
    """Rows as a record batch of `ROW_SCHEMA`."""
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in ROW_SCHEMA.names}
    for name in JSON_COLUMNS:
        columns[name] = [None if value is None else canonical_json(value) for value in columns[name]]
    columns["start"], columns["sha256"] = list(starts), list(digests)
    return pa.record_batch([pa.array(columns[f.name], f.type) for f in ROW_SCHEMA], schema=ROW_SCHEMA)


def from_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """The row (as `clip_row` makes it) that stands in the columns: the inverse of `to_batch`."""
    row = {key: values[key] for key in STORED_KEYS if values.get(key) is not None}
    for name in JSON_COLUMNS:
        if name in row:
            row[name] = json.loads(row[name])
    row["length"] = values["length"]
    return row
