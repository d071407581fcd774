"""Schema 1 to schema 2: reads what hiw-data 0.1 wrote, checks its hash, and writes it anew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.clips import FEATURES, Clip
from hiw_data.errors import StoreError
from hiw_data.store.reader import HiwStore
from hiw_data.store.schema import FORMAT
from hiw_data.store.writer import StoreWriter

_OPTIONAL = ("origin", "group", "held_out", "mirrored_captions", "paraphrases", "mirrored_paraphrases")


def migrate(path: str | Path, out: str | Path | None = None) -> HiwStore:
    """Writes a store of schema 1 as one of schema 2; interrupted, the next call goes on after the last clip written.

    Args:
        path: the old store: arrays `features`, `valid` and `clips` (UTF-8 JSON: an object per clip).
        out: the new store's folder; default in place of the old one.

    Returns:
        The new store. Its `data_hash` differs from the old one, which its report keeps as `migrated_from`.

    Raises:
        StoreError: no store of schema 1, or one whose content is not what was written.
    """
    import zarr

    path = Path(path)
    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"Expected a store of schema 1 at {path}, got something unreadable ({error}).") from error
    if attributes.get("format") != FORMAT or attributes.get("schema_version") != 1 or not attributes.get("complete"):
        raise StoreError(
            f"Expected a complete store of schema 1 at {path}, got format {attributes.get('format')!r}, schema version "
            f"{attributes.get('schema_version')!r}. Only such a store can be migrated."
        )
    document = np.asarray(group["clips"][:]).tobytes()
    rows: list[dict[str, Any]] = json.loads(document)
    features_hash, valid_hash = hashlib.sha256(), hashlib.sha256()
    fps, multiple = float(attributes["fps"]), attributes["report"].get("config", {}).get("multiple", 1)
    in_place = out is None or Path(out).resolve() == path.resolve()
    target = path if out is None else Path(out)
    key = f"migration of {attributes['data_hash']}"
    with StoreWriter(target, fps=fps, multiple=multiple, overwrite=in_place, key=key) as writer:
        start, there = 0, len(writer.metadata)
        for number, row in enumerate(rows):
            stop = start + row["length"]
            features = np.asarray(group["features"][start:stop], np.float32)
            valid = np.asarray(group["valid"][start:stop], np.bool_)
            features_hash.update(np.ascontiguousarray(features, "<f4").data)
            valid_hash.update(np.ascontiguousarray(valid, np.uint8).data)
            clip = Clip(
                clip_id=row["clip_id"],
                source=row["source"],
                split=row["split"],
                fps=fps,
                features=features,
                valid=valid,
                captions=row["captions"],
                attributes=row["attributes"],
            )
            clip.update({key: row[key] for key in _OPTIONAL if key in row})  # type: ignore[typeddict-item]
            if number >= there:
                writer.append(clip)
            start = stop
        parts = (f"{FORMAT}/1/{FEATURES}".encode(), features_hash.digest(), valid_hash.digest(), document)
        got = hashlib.sha256(b"\0".join(parts)).hexdigest()
        if got != attributes["data_hash"]:
            writer.discard()
            raise StoreError(
                f"Expected content with hash {attributes['data_hash']} in {path}, got {got}: it is damaged. Build "
                "it again."
            )
        writer.publish(attributes["report"] | {"migrated_from": {"schema_version": 1, "data_hash": got}})
    return HiwStore.open(target)
