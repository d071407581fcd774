"""A store in the layouts that others read: Parquet as the Hugging Face hub keeps it, and tar shards of WebDataset."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hiw_data.atomic import clear_disk_full, replace_folder, staging_folder
from hiw_data.clips import FEATURES, Clip
from hiw_data.errors import OptionError
from hiw_data.store import schema
from hiw_data.store.hub_card import hub_card
from hiw_data.store.reader import HiwStore

LAYOUTS = ("parquet", "webdataset")
SHARD_CLIPS = 4096
"""Clips of an exported file by default."""

_BATCH = 256
_HUB_NAMES = {"validation": "val"}

PARQUET_SCHEMA = pa.schema(
    [
        *(
            pa.field("betas", pa.list_(pa.float32())) if field.name == "betas" else field  # Parquet wants no null there
            for field in schema.ROW_SCHEMA
            if field.name not in ("start", "sha256")
        ),
        pa.field("fps", pa.float64()),
        pa.field("features", pa.list_(pa.list_(pa.float32(), FEATURES))),
        pa.field("valid", pa.list_(pa.list_(pa.bool_(), 2))),
    ]
)
"""Columns of exported Parquet: those of the index but for where a clip lies; fps, features (T, 198), valid (T, 2)."""


def export(store: HiwStore, out: str | Path, layout: str = "parquet", *, shard_clips: int = SHARD_CLIPS) -> list[Path]:
    """Writes a store into a new folder, whole or not at all, with a card in the hub's format.

    parquet: `data/SPLIT-00000-of-00003.parquet`, which `datasets.load_dataset("FOLDER")` and the hub find by themselves
    ("val" is called "validation", as there). webdataset: `SPLIT-000000.tar`, per clip `NUMBER.features.npy`,
    `NUMBER.valid.npy` and `NUMBER.json` (everything else); the same store gives the same bytes.

    Args:
        store: open.
        out: the new folder; nothing may be there.
        layout: "parquet" or "webdataset".
        shard_clips: clips of a file.

    Returns:
        The files with clips.

    Raises:
        OptionError: an unknown layout, something is at `out`, or shard_clips below 1.
        StoreError: a shard cannot be read.
        DiskFullError: no space left.
    """
    out = Path(out)
    if layout not in LAYOUTS or shard_clips < 1:
        raise OptionError(f"Expected a layout of {LAYOUTS} and shard_clips >= 1, got {layout!r} and {shard_clips}.")
    if out.exists():
        raise OptionError(f"Expected nothing at {out}, got something. Choose another folder for the export.")
    write, suffix = (_write_parquet, "parquet") if layout == "parquet" else (_write_tar, "tar")
    names: list[str] = []
    with clear_disk_full(out):
        staged = staging_folder(out)
        try:
            for split in ("train", "validation", "test"):
                chosen = store.select(_HUB_NAMES.get(split, split))
                shards = -(-len(chosen) // shard_clips)
                for number in range(shards):
                    name = f"data/{split}-{number:05d}-of-{shards:05d}.{suffix}"
                    if layout == "webdataset":
                        name = f"{split}-{number:06d}.{suffix}"
                    path = staged / name
                    path.parent.mkdir(exist_ok=True)
                    write(store, chosen[number * shard_clips : (number + 1) * shard_clips], path)
                    names.append(name)
            (staged / "README.md").write_text(hub_card(store, parquet=layout == "parquet"), encoding="utf-8")
            replace_folder(staged, out)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return [out / name for name in names]


def _write_parquet(store: HiwStore, chosen: list[int], path: Path) -> None:
    with pq.ParquetWriter(path, PARQUET_SCHEMA, compression="zstd") as writer:
        for begin in range(0, len(chosen), _BATCH):
            positions = chosen[begin : begin + _BATCH]
            rows = store.table.take(positions)
            blocks = [store.read_frames(index) for index in positions]
            ends = np.cumsum([0, *(len(features) for features, _ in blocks)]).astype(np.int32)
            columns = [rows.column(field.name).cast(field.type) for field in list(PARQUET_SCHEMA)[:-3]]
            columns.append(pa.array([store.fps] * len(positions), pa.float64()))
            for place, width, kind in ((0, FEATURES, pa.float32()), (1, 2, pa.bool_())):
                flat = pa.array(np.concatenate([block[place] for block in blocks]).ravel(), kind)
                columns.append(pa.ListArray.from_arrays(ends, pa.FixedSizeListArray.from_arrays(flat, width)))
            writer.write_table(pa.table(columns, schema=PARQUET_SCHEMA))


def _write_tar(store: HiwStore, chosen: list[int], path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index in chosen:
            for name, data in _tar_entries(store.clip(index), index):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o644
                archive.addfile(entry, io.BytesIO(data))


def _tar_entries(clip: Clip, number: int) -> Iterator[tuple[str, bytes]]:
    for name in ("features", "valid"):
        buffer = io.BytesIO()
        np.save(buffer, clip[name], allow_pickle=False)
        yield f"{number:09d}.{name}.npy", buffer.getvalue()
    told: Mapping[str, Any] = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in clip.items()
        if key not in ("features", "valid")
    }
    yield f"{number:09d}.json", json.dumps(told, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()
