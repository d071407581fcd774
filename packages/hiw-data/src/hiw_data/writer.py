"""Writing a store: clips are streamed into a folder beside, which then takes the store's place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from hiw_data.atomic import clear_disk_full, recover_folder, replace_folder, staging_folder
from hiw_data.clips import FEATURES, SPLITS, Clip, check_clip
from hiw_data.errors import ClipError, StoreError
from hiw_data.store import CHUNK_FRAMES, FORMAT, SCHEMA_VERSION, STORED_KEYS, ContentHash, metadata_bytes


class StoreWriter:
    """A context in which clips are appended; `publish` puts the finished store in place.

    Leaving the context without `publish`, by an error or not, leaves whatever was at `out` untouched.

    Args:
        out: the store's folder.
        fps: frames a second of all clips.
        multiple: lengths of all clips are a multiple of this, and at least twice this.
        overwrite: replace a store that is there.

    Raises:
        StoreError: something is at `out` and `overwrite` is False, or it is no store and must not be replaced.
    """

    def __init__(self, out: str | Path, *, fps: float, multiple: int = 4, overwrite: bool = False) -> None:
        self.out, self.fps, self.multiple = Path(out), float(fps), multiple
        recover_folder(self.out)
        if self.out.exists():
            if not self.out.is_dir() or (any(self.out.iterdir()) and not (self.out / "zarr.json").is_file()):
                raise StoreError(f"Expected a store or nothing at {self.out}, got other files. Choose another --out.")
            if not overwrite and any(self.out.iterdir()):
                raise StoreError(
                    f"Expected nothing at {self.out}, got a store. Choose another --out, or replace it: --overwrite on "
                    "the command line, overwrite=True in Python."
                )
        self.metadata: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._hash = ContentHash()
        self._pending: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
        self._pending_frames = 0

    def __enter__(self) -> StoreWriter:
        with clear_disk_full(self.out):
            self.folder = staging_folder(self.out)
            self._group = zarr.create_group(self.folder, overwrite=True)
            for name, width, dtype in (("features", FEATURES, "float32"), ("valid", 2, "bool")):
                self._group.create_array(
                    name, shape=(0, width), chunks=(CHUNK_FRAMES, width), dtype=dtype, compressors=None
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def append(self, clip: Clip) -> None:
        """Adds one clip.

        Raises:
            ClipError: the clip is malformed, or its name was used before. Nothing was added. Its split may be "" as
                long as `metadata` has it before `publish`.
            DiskFullError: no space left.
        """
        check_clip(clip, multiple=self.multiple)
        if clip["clip_id"] in self._ids:
            raise ClipError(f"Expected a new clip_id, got {clip['clip_id']!r} again.")
        if clip["fps"] != self.fps:
            raise ClipError(f"Expected {self.fps} fps in clip {clip['clip_id']}, got {clip['fps']}.")
        features, valid = np.asarray(clip["features"], np.float32), np.asarray(clip["valid"], bool)
        self._ids.add(clip["clip_id"])
        row = {key: clip[key] for key in STORED_KEYS if key in clip}  # type: ignore[literal-required]
        self.metadata.append({"origin": clip["clip_id"], **row, "length": len(features)})
        self._hash.update(features, valid)
        self._pending.append((features, valid))
        self._pending_frames += len(features)
        if self._pending_frames >= CHUNK_FRAMES:
            self._flush(self._pending_frames // CHUNK_FRAMES * CHUNK_FRAMES)

    def _flush(self, frames: int) -> None:
        """Writes the first `frames` pending frames: whole chunks, but for the last call."""
        if not self._pending:
            return
        blocks = [np.concatenate(column) for column in zip(*self._pending, strict=True)]
        with clear_disk_full(self.out):
            for name, block in zip(("features", "valid"), blocks, strict=True):
                array = self._group[name]
                start = array.shape[0]
                array.resize((start + frames, block.shape[1]))
                array[start : start + frames] = block[:frames]
        self._pending = [(blocks[0][frames:], blocks[1][frames:])]
        self._pending_frames -= frames

    def publish(self, report: dict[str, Any], *, write_extra: Callable[[Path, str], None] | None = None) -> None:
        """Finishes the store and puts it in place of what was there.

        Args:
            report: JSON-like, kept in the store's attributes; see `HiwStore.summary`.
            write_extra: called with the staged folder and the data hash, to write more files into it.

        Raises:
            StoreError: no clip was appended, or a clip has no split.
            DiskFullError: no space left.
        """
        if not self.metadata:
            raise StoreError(f"Expected at least one clip for {self.out}, got none. Append one before publishing.")
        if homeless := [row["clip_id"] for row in self.metadata if row["split"] not in SPLITS]:
            raise StoreError(f"Expected a split of {SPLITS} for every clip, got none for {homeless[:5]}. Assign it.")
        self._flush(self._pending_frames)
        data_hash = self._hash.finish(self.metadata)
        document = np.frombuffer(metadata_bytes(self.metadata), np.uint8)
        with clear_disk_full(self.out):
            self._group.create_array("clips", data=document, chunks=document.shape, compressors=None)
            self._group.attrs.update(
                {
                    "format": FORMAT,
                    "schema_version": SCHEMA_VERSION,
                    "fps": self.fps,
                    "data_hash": data_hash,
                    "report": report,
                    "complete": True,
                }
            )
            if write_extra is not None:
                write_extra(self.folder, data_hash)
            replace_folder(self.folder, self.out)
