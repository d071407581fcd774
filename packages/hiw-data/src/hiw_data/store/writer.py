"""Writing a store: clips are streamed into a folder beside, whose shards then become the store, in one rename."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from hiw_data.atomic import clear_disk_full, recover_folder, replace_folder, staging_folder
from hiw_data.clips import SPLITS, Clip, check_clip
from hiw_data.errors import ClipError, OptionError, StoreError
from hiw_data.store import schema
from hiw_data.store.part import Part, file_sha256, lock, records
from hiw_data.store.reader import HiwStore
from hiw_data.store.shards import WIDTHS, array_metadata, shard_key

logger = logging.getLogger(__name__)

_LIGHT = ("clip_id", "source", "split", "origin", "group", "held_out", "attributes", "length")
"""What is held in memory of each row; captions and all else lie in the journal until `publish`."""


class StoreWriter:
    """A context in which clips are appended; `publish` puts the finished store in place.

    Leaving the context without `publish`, by an error or not, leaves whatever was at `out` untouched.

    Several processes can write one store: each opens a writer with the same `key` and a `part` of its own, appends, and
    leaves; then one of them opens a writer, calls `collect` and publishes. Parts follow each other in the order of
    their names.

    Args:
        out: the store's folder.
        fps: frames a second of all clips.
        multiple: lengths of all clips are a multiple of this, and at least twice this.
        overwrite: replace a store that is there.
        append: keep the clips of the store that is there, before the new ones; its shards are linked, not copied.
        key: names what is being written (such as a hash of its configuration). With it, what was written is kept when
            the context is left without `publish`, or the process killed, and the next writer with this key goes on from
            there. Without, it is removed.
        part: the name of this process's part.
        shard_frames: frames of a shard; no clip may be longer. An appended store keeps its own.

    Attributes:
        metadata: per clip of this writer what decides its split (a dict); set `split` here before `publish`.

    Raises:
        StoreError: something is at `out` and neither `overwrite` nor `append` is True, or it is no store and must not
            be replaced, or another process is writing this part.
        OptionError: `overwrite` and `append` together, or a part's name that is no plain name.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        fps: float,
        multiple: int = 4,
        overwrite: bool = False,
        append: bool = False,
        key: str | None = None,
        part: str = "main",
        shard_frames: int = schema.SHARD_FRAMES,
    ) -> None:
        self.out, self.fps, self.multiple, self.shard_frames = Path(out), float(fps), multiple, shard_frames
        self.key, self.part = key, part
        if overwrite and append:
            raise OptionError("Expected overwrite or append, got both.")
        if not part or not part.replace("-", "").replace("_", "").isalnum():
            raise OptionError(f"Expected the part's name in letters, digits, - and _, got {part!r}.")
        recover_folder(self.out)
        self.old: HiwStore | None = None
        if self.out.exists():
            if not self.out.is_dir() or (any(self.out.iterdir()) and not (self.out / "zarr.json").is_file()):
                raise StoreError(f"Expected a store or nothing at {self.out}, got other files. Choose another --out.")
            if append and any(self.out.iterdir()):
                self.old = HiwStore.open(self.out)
                self.shard_frames = self.old.shard_frames
                if self.old.fps != self.fps:
                    raise StoreError(
                        f"Expected {self.old.fps} fps, as in {self.out}, got {self.fps}. Build with that rate."
                    )
            elif not overwrite and any(self.out.iterdir()):
                raise StoreError(
                    f"Expected nothing at {self.out}, got a store. Choose another --out, or replace it: --overwrite on "
                    "the command line, overwrite=True in Python."
                )
        self.metadata: list[dict[str, Any]] = []
        self._old_places = (
            {name: k for k, name in enumerate(self.old.column("clip_id").to_pylist())} if self.old else {}
        )
        self._ids: set[str] = set(self._old_places)
        self._parts: list[str] = [part]

    def __enter__(self) -> StoreWriter:
        with clear_disk_full(self.out):
            if self.key is None:
                self.folder = staging_folder(self.out)
            else:
                self.folder = building_folder(self.out)
                _claim(self.folder, self.key)
            self._part = Part(self.folder / self.part, self.shard_frames)
        self._load(self.part)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.close()
        if self.key is None:
            self.discard()

    def discard(self) -> None:
        """Removes what was written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, part: str) -> None:
        for record in records(self.folder / part):
            if "row" in record:
                self._add(record["row"])

    def _add(self, row: dict[str, Any]) -> None:
        if row["clip_id"] in self._ids:
            raise ClipError(f"Expected a new clip_id, got {row['clip_id']!r} again.")
        self._ids.add(row["clip_id"])
        self.metadata.append({key: row[key] for key in _LIGHT if key in row})

    def position(self, clip_id: object) -> int | None:
        """Where in the store that is added to a clip of this name is, or None."""
        return self._old_places.get(clip_id) if isinstance(clip_id, str) else None

    def records(self) -> Iterator[dict[str, Any]]:
        """What this part's journal holds so far: clips ("row", and what `append` got beside it) and notes."""
        return records(self.folder / self.part)

    def note(self, **record: object) -> None:
        """Writes a line of the caller's own to the journal, for `records` to find when the work is taken up again."""
        self._part.note(record)

    def append(self, clip: Clip, **extra: object) -> None:
        """Adds one clip. It is safe, even from a kill of the process, when this returns.

        Args:
            clip: its split may be "" as long as `metadata` has it before `publish`.
            extra: JSON-like values to be found by `records`.

        Raises:
            ClipError: the clip is malformed, too long for a shard, or its name was used before. Nothing was added.
            DiskFullError: no space left.
        """
        check_clip(clip, multiple=self.multiple)
        if clip["clip_id"] in self._ids:
            raise ClipError(f"Expected a new clip_id, got {clip['clip_id']!r} again.")
        if clip["fps"] != self.fps:
            raise ClipError(f"Expected {self.fps} fps in clip {clip['clip_id']}, got {clip['fps']}.")
        if len(clip["features"]) > self.shard_frames:
            raise ClipError(
                f"Expected at most {self.shard_frames} frames (a shard) in clip {clip['clip_id']}, got "
                f"{len(clip['features'])}. Cut it."
            )
        features, valid = np.asarray(clip["features"], np.float32), np.asarray(clip["valid"], bool)
        row = schema.clip_row(clip)
        with clear_disk_full(self.out):
            self._part.append(row, features, valid, **extra)
        self._add(row)

    def collect(self) -> None:
        """Takes up the clips of all parts that were written with this key, in the order of the parts' names.

        Raises:
            StoreError: another process is still writing one of them, or two parts have a clip of the same name.
        """
        self._parts = sorted(path.name for path in self.folder.iterdir() if (path / "journal.jsonl").is_file())
        self.metadata, self._ids = [], set(self._old_places)
        for name in self._parts:
            if name != self.part:
                with (self.folder / name / "lock").open("wb") as file:
                    lock(file, self.folder / name)
                other = Part(self.folder / name, self.shard_frames)
                other.seal()
                other.close()
            try:
                self._load(name)
            except ClipError as error:
                raise StoreError(f"Expected different clips in the parts of {self.out}. {error}") from error

    def publish(self, report: dict[str, Any], *, write_extra: Callable[[Path, str], None] | None = None) -> None:
        """Finishes the store and puts it in place of what was there.

        Args:
            report: JSON-like, kept in the store's attributes; see `HiwStore.summary`.
            write_extra: called with the staged folder and the data hash, to write more files into it.

        Raises:
            StoreError: no clip was appended, a clip has no split, or the store that is added to changed meanwhile.
            DiskFullError: no space left.
        """
        if not self.metadata:
            raise StoreError(f"Expected at least one clip for {self.out}, got none. Append one before publishing.")
        if homeless := [row["clip_id"] for row in self.metadata if row["split"] not in SPLITS]:
            raise StoreError(f"Expected a split of {SPLITS} for every clip, got none for {homeless[:5]}. Assign it.")
        if self.old and HiwStore.open(self.out).data_hash != self.old.data_hash:
            raise StoreError(f"Expected {self.out} as it was when this began, got a store that changed. Begin again.")
        with clear_disk_full(self.out):
            self._part.seal()
            staged = self.folder / "store"
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir()
            data_hash = self._assemble(staged, report)
            if write_extra is not None:
                write_extra(staged, data_hash)
            replace_folder(staged, self.out)
        self._part.close()
        self.discard()

    def _assemble(self, staged: Path, report: dict[str, Any]) -> str:
        shards: list[dict[str, Any]] = list(self.old.shards) if self.old else []
        digests: list[bytes] = self.old.column("sha256").to_pylist() if self.old else []
        frames = self.old.frames if self.old else 0
        for array in WIDTHS:
            (staged / array / "c").mkdir(parents=True)
        for number in range(len(shards)):
            for array in WIDTHS:
                link(self.out / shard_key(array, number), staged / shard_key(array, number))
        splits = iter(row["split"] for row in self.metadata)
        options = pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V5)
        with (
            (staged / schema.INDEX_FILE).open("wb") as raw,
            pa.ipc.new_file(raw, schema.ROW_SCHEMA, options=options) as index,
        ):
            for batch in self.old.batches() if self.old else ():
                index.write_batch(batch)
            for name in self._parts:
                sealed = {r["sealed"]: r for r in records(self.folder / name) if "sealed" in r}
                clips = (r for r in records(self.folder / name) if "row" in r)
                for local, group in groupby(clips, key=lambda record: record["shard"]):
                    rows, starts, own = [], [], []
                    for record in group:
                        row = record["row"] | {"split": next(splits)}
                        rows.append(row)
                        starts.append(len(shards) * self.shard_frames + record["start"])
                        own.append(schema.row_digest(row, bytes.fromhex(record["arrays"])))
                    index.write_batch(schema.to_batch(rows, starts, own))
                    for array in WIDTHS:
                        source = self.folder / name / f"{array}-{local:06d}"
                        link(source, staged / shard_key(array, len(shards)))
                    shards.append({array: sealed[local][array] for array in WIDTHS} | {"clips": len(rows)})
                    frames += sealed[local]["frames"]
                    digests += own
        data_hash = schema.content_hash(self.fps, digests)
        attributes = {
            "format": schema.FORMAT,
            "schema_version": schema.SCHEMA_VERSION,
            "fps": self.fps,
            "clips": len(digests),
            "frames": frames,
            "shard_frames": self.shard_frames,
            "data_hash": data_hash,
            "index_sha256": file_sha256(staged / schema.INDEX_FILE),
            "shards": shards,
            "report": report,
            "complete": True,
        }
        for array in WIDTHS:
            write_json(staged / array / "zarr.json", array_metadata(array, len(shards), self.shard_frames))
        write_json(staged / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
        return data_hash


def building_folder(out: Path) -> Path:
    """Where a store is built that goes on after an interruption."""
    return out.parent / f".{out.name}.building"


def link(source: Path, target: Path) -> None:
    """The same file at a second place; a copy where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def link_extra(store: Path, staged: Path) -> None:
    """Gives a staged store the files of another that no store must have, such as pictures, but for those it has."""
    own = {"zarr.json", schema.INDEX_FILE, *WIDTHS}
    for path in sorted(store.rglob("*")):
        inside = path.relative_to(store)
        if path.is_file() and inside.parts[0] not in own and not (staged / inside).exists():
            link(path, staged / inside)


def write_json(path: Path, document: object) -> None:
    """Writes JSON and sees it to the disk."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def refuse_other_writers(folder: Path) -> None:
    """Raises StoreError if a process is writing a part in this folder of work."""
    for path in folder.glob("*/lock"):
        with path.open("ab") as file:
            lock(file, folder)


def _claim(folder: Path, key: str) -> None:
    """Makes a folder for work under a key; removes what is there of another key and of nobody."""
    named = folder / "key"
    digest = hashlib.sha256(key.encode()).hexdigest()
    if folder.exists():
        there = named.read_text() if named.is_file() else ""
        if there == digest:
            return
        refuse_other_writers(folder)
        logger.warning("An interrupted build of something else was at %s; it is removed.", folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    named.write_text(digest)
