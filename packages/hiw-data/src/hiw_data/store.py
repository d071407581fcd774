"""The store: all clips of a dataset in one Zarr 3 group, read back as plain dictionaries.

Layout (schema version 1):
    features  (frames, 198) float32   all clips end to end, in chunks of 16384 frames
    valid     (frames, 2) bool
    clips     (bytes,) uint8          UTF-8 JSON: one object per clip with its length, captions, attributes
    attributes  format, schema_version, complete, data_hash, fps, report

Design choices: frames are concatenated (no ragged arrays), chunks are few and large (DVC and object stores
dislike many small files), metadata is one JSON document (Zarr's string types are not settled yet), and
nothing in a store depends on when or where it was built, so that equal content has an equal hash.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from hiw_data.atomic import recover_folder
from hiw_data.clips import FEATURES, SPLITS, Clip
from hiw_data.errors import OptionError, SchemaVersionError, StoreError

FORMAT = "hiw-data"
SCHEMA_VERSION = 1
CHUNK_FRAMES = 16384

STORED_KEYS = (
    "clip_id",
    "source",
    "split",
    "origin",
    "group",
    "held_out",
    "captions",
    "mirrored_captions",
    "paraphrases",
    "mirrored_paraphrases",
    "attributes",
)
"""Keys of a Clip that its metadata hold as they are; those it does not have are left out."""


class HiwStore:
    """A store opened for reading. Made by `HiwStore.open`."""

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self.path = path
        self._group = group
        self._attributes: dict[str, Any] = dict(group.attrs)

    @classmethod
    def open(cls, path: str | Path) -> HiwStore:
        """Opens a store and checks that it is one, whole, and of this schema version.

        Args:
            path: the store's folder, such as "data/hiw.zarr".

        Raises:
            StoreError: nothing there, not a store, or an incomplete one.
            SchemaVersionError: written by another version of the schema.
        """
        path = Path(path)
        recover_folder(path)
        if not (path / "zarr.json").is_file():
            raise StoreError(f"Expected a store at {path}, got nothing there. Do `hiw build --out {path}`.")
        try:
            group = zarr.open_group(path, mode="r")
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise StoreError(
                f"Expected a Zarr 3 group at {path}, got something unreadable ({error}). Build it again."
            ) from error
        store = cls(path, group)
        store._check()
        return store

    def _check(self) -> None:
        attributes = self._attributes
        if attributes.get("format") != FORMAT:
            raise StoreError(
                f"Expected a store of {FORMAT} at {self.path}, got format {attributes.get('format')!r}. "
                "Point to a folder that `hiw build` wrote."
            )
        if attributes.get("schema_version") != SCHEMA_VERSION:
            raise SchemaVersionError(self.path, attributes.get("schema_version"), SCHEMA_VERSION)
        missing = [name for name in ("features", "valid", "clips") if name not in self._group]
        if missing or not attributes.get("complete"):
            raise StoreError(
                f"Expected a complete store at {self.path}, got one without "
                f"{', '.join(missing) or 'its closing mark'}. Build it again with `hiw build`."
            )
        frames = self._group["features"].shape[0]
        if self._group["valid"].shape[0] != frames or int(self._offsets[-1]) != frames:
            raise StoreError(
                f"Expected {int(self._offsets[-1])} frames in {self.path}, got {frames} of features and "
                f"{self._group['valid'].shape[0]} of validity. Build it again with `hiw build`."
            )

    @cached_property
    def metadata(self) -> list[dict[str, Any]]:
        """One object per clip, in stored order: everything of a Clip but its arrays, with "length"."""
        try:
            return list(json.loads(np.asarray(self._group["clips"][:]).tobytes()))
        except ValueError as error:
            raise StoreError(
                f"Expected JSON in the array `clips` of {self.path}, got damage ({error}). Build it again."
            ) from error

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum([m["length"] for m in self.metadata])]).astype(np.int64)

    @cached_property
    def _features(self) -> NDArray[np.float32]:
        return np.asarray(self._group["features"][:], np.float32)

    @cached_property
    def _valid(self) -> NDArray[np.bool_]:
        return np.asarray(self._group["valid"][:], np.bool_)

    @property
    def schema_version(self) -> int:
        """The version of the layout that the store was written in."""
        return int(self._attributes["schema_version"])

    @property
    def data_hash(self) -> str:
        """SHA-256 of the content (features, validity, metadata), in hexadecimal."""
        return str(self._attributes["data_hash"])

    @property
    def fps(self) -> float:
        """Frames a second, the same for all clips."""
        return float(self._attributes["fps"])

    def __len__(self) -> int:
        return len(self.metadata)

    def __repr__(self) -> str:
        return f"HiwStore({str(self.path)!r}, clips={len(self)}, data_hash={self.data_hash[:12]!r})"

    def select(self, split: str | None = None, source: str | None = None) -> list[int]:
        """Positions of the clips of a split and a source (None takes all).

        Raises:
            OptionError: no such split, or no such source in this store.
        """
        if split is not None and split not in SPLITS:
            raise OptionError(f"Expected a split of {SPLITS}, got {split!r}.")
        sources = sorted({m["source"] for m in self.metadata})
        if source is not None and source not in sources:
            raise OptionError(f"Expected a source of {sources} in {self.path}, got {source!r}.")
        return [i for i, m in enumerate(self.metadata) if split in (None, m["split"]) and source in (None, m["source"])]

    def clip(self, index: int) -> Clip:
        """The clip at a position; frames are read once, and copied for each caller."""
        return self._clip(index, self._features, self._valid, int(self._offsets[index]))

    def read_clip(self, index: int) -> Clip:
        """The same clip read from the disk alone, for stores that do not fit into memory."""
        start, stop = (int(o) for o in self._offsets[index : index + 2])
        return self._clip(index, self._group["features"][start:stop], self._group["valid"][start:stop], 0)

    def _clip(self, index: int, features: NDArray[np.float32], valid: NDArray[np.bool_], start: int) -> Clip:
        meta = self.metadata[index]
        frames = slice(start, start + meta["length"])
        clip = Clip(
            clip_id=meta["clip_id"],
            source=meta["source"],
            split=meta["split"],
            fps=self.fps,
            features=features[frames].copy(),
            valid=valid[frames].copy(),
            captions=list(meta["captions"]),
            attributes=dict(meta["attributes"]),
            origin=meta["origin"],
            held_out=meta.get("held_out", False),
        )
        if "group" in meta:
            clip["group"] = meta["group"]
        if "mirrored_captions" in meta:
            clip["mirrored_captions"] = list(meta["mirrored_captions"])
        if "paraphrases" in meta:
            clip["paraphrases"] = list(meta["paraphrases"])
        if "mirrored_paraphrases" in meta:
            clip["mirrored_paraphrases"] = list(meta["mirrored_paraphrases"])
        return clip

    def clips(self, split: str | None = None, source: str | None = None) -> list[Clip]:
        """The clips of a split and a source (None takes all), in stored order.

        Raises:
            OptionError: no such split, or no such source in this store.
        """
        return [self.clip(i) for i in self.select(split, source)]

    def summary(self) -> dict[str, Any]:
        """The quality report: counts, frames, seconds, validity, overlap of splits, skipped clips with reasons."""
        return {
            "data_hash": self.data_hash,
            "schema_version": self.schema_version,
            "fps": self.fps,
            **self._attributes["report"],
        }

    def verify(self) -> None:
        """Reads everything and compares the content's hash.

        Raises:
            StoreError: the content is not what was written.
        """
        hasher = ContentHash()
        hasher.update(self._features, self._valid)
        got = hasher.finish(self.metadata)
        if got != self.data_hash:
            raise StoreError(f"Expected content with hash {self.data_hash} in {self.path}, got {got}. Build it again.")


class ContentHash:
    """SHA-256 of a store's content, fed clip by clip."""

    def __init__(self) -> None:
        self._features, self._valid = hashlib.sha256(), hashlib.sha256()

    def update(self, features: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Adds frames in stored order: (T, 198) and (T, 2)."""
        self._features.update(np.ascontiguousarray(features, "<f4").data)
        self._valid.update(np.ascontiguousarray(valid, np.uint8).data)

    def finish(self, metadata: list[dict[str, Any]]) -> str:
        """The hash in hexadecimal of all frames and the metadata of all clips."""
        head = f"{FORMAT}/{SCHEMA_VERSION}/{FEATURES}".encode()
        parts = (head, self._features.digest(), self._valid.digest(), metadata_bytes(metadata))
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


def metadata_bytes(metadata: list[dict[str, Any]]) -> bytes:
    """Metadata of all clips as UTF-8 JSON, the same bytes for equal content."""
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
