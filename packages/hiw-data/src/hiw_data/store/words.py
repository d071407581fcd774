"""Words for clips that are in a store already: the index is written anew, frames stay where they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
from hand_geometry import mirror_text

from hiw_data.atomic import clear_disk_full, replace_folder, staging_folder
from hiw_data.card import documents
from hiw_data.clips import Clip, check_clip
from hiw_data.errors import StoreError
from hiw_data.store import schema
from hiw_data.store.part import file_sha256
from hiw_data.store.reader import HiwStore
from hiw_data.store.shards import WIDTHS, shard_key
from hiw_data.store.validation import read_whole
from hiw_data.store.writer import building_folder, link, link_extra, refuse_other_writers, write_json


@dataclass(frozen=True)
class Words:
    """What is to be said of a clip.

    Attributes:
        captions: in the order in which they are to follow those that are there.
        provenance: as many: who made each, see `Clip`.
        answers: from which they were summed up, or None.
        codes: the motion codes that they rest on, as JSON, or None.
    """

    captions: list[str]
    provenance: list[dict[str, Any]]
    answers: dict[str, Any] | None = None
    codes: Any = None


def add_words(
    path: str | Path,
    words: Callable[[Clip], Words | None],
    *,
    positions: Collection[int] | None = None,
    replace: bool = False,
) -> HiwStore:
    """Adds captions to clips of a store, which changes in one rename: whole or not at all.

    New captions come after those that are there; a sentence that a clip has already is not added again, so that the
    same words twice change nothing. Mirrored captions, where a clip has them, are made by `mirror_text`. Answers become
    the clip's `atomic_answers` where it has none; else they stand with the provenance of the new captions. The card,
    the report's count of captions and `data_hash` follow. Frames are read, to be held against their checksums, but
    not copied.

    Args:
        path: the store's folder.
        words: for a clip, or None for a clip that stays as it is.
        positions: of the clips that are asked for; default all.
        replace: the new captions (and answers) take the place of all that a clip had.

    Returns:
        The store, opened again; as it was if there is nothing new.

    Raises:
        StoreError: no store in a folder, a damaged clip, another process that writes it, or changed it meanwhile.
        ClipError: words that no clip may have.
        DiskFullError: no space left; the store is untouched.
    """
    out = Path(path)
    store = HiwStore.open(out)
    refuse_other_writers(building_folder(out))
    asked = range(len(store)) if positions is None else set(positions)
    digests: list[bytes] = []
    distinct: dict[str, list[set[str]]] = {}
    with clear_disk_full(out):
        staged = staging_folder(out)
        try:
            options = pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V5)
            with (
                (staged / schema.INDEX_FILE).open("wb") as raw,
                pa.ipc.new_file(raw, schema.ROW_SCHEMA, options=options) as index,
            ):
                for batch in _batches(store, words, asked, replace):
                    index.write_batch(batch)
                    digests += batch.column("sha256").to_pylist()
                    _count(batch, distinct)
            data_hash = schema.content_hash(store.fps, digests)
            if data_hash == store.data_hash:
                return store
            if HiwStore.open(out).data_hash != store.data_hash:
                raise StoreError(f"Expected {out} as it was when this began, got a store that changed. Begin again.")
            _finish(store, staged, data_hash, distinct)
            replace_folder(staged, out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return HiwStore.open(out)


def _batches(
    store: HiwStore, words: Callable[[Clip], Words | None], asked: Collection[int], replace: bool
) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in store.batches():
        places = [row for row in range(batch.num_rows) if first + row in asked]
        first += batch.num_rows
        changed: dict[int, tuple[dict[str, Any], bytes]] = {}
        for place in places:
            whole = read_whole(store, batch.slice(place, 1))
            if whole is None:
                name = batch.column("clip_id")[place].as_py()
                raise StoreError(
                    f"Expected {name} of {store.path} as it was written, got damage. `hiw repair {store.path}` keeps "
                    "the rest."
                )
            row, features, valid = whole["row"], whole["features"], whole["valid"]
            told = words(store._clip(dict(row), features, valid))
            if told is not None and (new := _told(row, told, replace)) != row:
                check_clip(store._clip(dict(new), features, valid))
                changed[place] = new, schema.row_digest(new, schema.arrays_digest(features, valid))
        if not changed:
            yield batch
            continue
        values = batch.to_pylist()
        rows = [changed[k][0] if k in changed else schema.from_columns(row) for k, row in enumerate(values)]
        sums = [changed[k][1] if k in changed else row["sha256"] for k, row in enumerate(values)]
        yield schema.to_batch(rows, [row["start"] for row in values], sums)


def _told(row: dict[str, Any], words: Words, replace: bool) -> dict[str, Any]:
    """The row with the new words; equal to the old one if they bring nothing new."""
    captions = [] if replace else list(row["captions"])
    made = [] if replace else list(row.get("caption_provenance", [{} for _ in captions]))
    mirrored = [] if replace else list(row.get("mirrored_captions", []))
    beside: dict[str, Any] = {}
    answers = None if replace else row.get("atomic_answers")
    if words.answers is not None and answers not in (None, words.answers):
        beside = {"answers": words.answers}
    for caption, maker in zip(words.captions, words.provenance, strict=True):
        if caption not in captions:
            captions.append(caption)
            made.append({**maker, **beside})
            mirrored.append(mirror_text(caption))
    if captions == row["captions"] and not replace:
        return row
    new = {**row, "captions": captions, "caption_provenance": made}
    if replace:
        new.pop("atomic_answers", None)
    if "mirrored_captions" in row:
        new["mirrored_captions"] = mirrored
    if words.answers is not None and not beside:
        new["atomic_answers"] = words.answers
    if words.codes is not None:
        new["motion_codes"] = words.codes
    return new


def _count(batch: pa.RecordBatch, distinct: dict[str, list[set[str]]]) -> None:
    for source, captions in zip(batch.column("source").to_pylist(), batch.column("captions").to_pylist(), strict=True):
        seen = distinct.setdefault(source, [])
        seen.extend(set() for _ in range(len(captions) - len(seen)))
        for own, caption in zip(seen, captions, strict=False):
            own.add(caption)


def _finish(store: HiwStore, staged: Path, data_hash: str, distinct: dict[str, list[set[str]]]) -> None:
    """Links the frames, and writes what else a store has."""
    assert isinstance(store.path, Path)
    for array in WIDTHS:
        link(store.path / array / "zarr.json", staged / array / "zarr.json")
        for number in range(len(store.shards)):
            link(store.path / shard_key(array, number), staged / shard_key(array, number))
    report = dict(store._attributes["report"])
    if "sources" in report:
        counts = {name: [len(seen) for seen in sets] for name, sets in distinct.items()}
        report["sources"] = {
            name: {**source, "distinct_captions": counts.get(name, source["distinct_captions"])}
            for name, source in report["sources"].items()
        }
    if "config" in report:  # as `build` writes it
        for name, text in documents(report, data_hash).items():
            (staged / name).write_text(text, encoding="utf-8")
    link_extra(store.path, staged)
    index = file_sha256(staged / schema.INDEX_FILE)
    attributes = {**store._attributes, "report": report, "data_hash": data_hash, "index_sha256": index}
    write_json(staged / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
