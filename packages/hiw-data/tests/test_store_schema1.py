"""Stores of schema 1, as hiw-data 0.1 wrote them: refused with a hint, and migrated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hiw_data import HiwStore, SchemaVersionError, StoreError, StoreWriter
from hiw_data.clips import Clip
from hiw_data.store.migration import migrate

MakeClip = Callable[..., Clip]


def write_schema_1(path: Path, clips: list[Clip]) -> str:
    """What `StoreWriter` of hiw-data 0.1 wrote, step by step; returns the data hash."""
    group = zarr.create_group(path)
    hashes = {"features": hashlib.sha256(), "valid": hashlib.sha256()}
    for name, width, dtype in (("features", 198, "float32"), ("valid", 2, "bool")):
        block = np.concatenate([clip[name] for clip in clips])  # type: ignore[literal-required]
        array = group.create_array(name, shape=(0, width), chunks=(16384, width), dtype=dtype, compressors=None)
        array.resize(block.shape)
        array[:] = block
        hashes[name].update(block.tobytes())
    keys = ("clip_id", "source", "split", "origin", "group", "held_out", "captions", "mirrored_captions", "attributes")
    rows = [
        {"origin": clip["clip_id"]} | {k: clip[k] for k in keys if k in clip} | {"length": len(clip["features"])}  # type: ignore[literal-required]
        for clip in clips
    ]
    document = json.dumps(rows, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    group.create_array("clips", data=np.frombuffer(document, np.uint8), chunks=(len(document),), compressors=None)
    parts = (b"hiw-data/1/198", hashes["features"].digest(), hashes["valid"].digest(), document)
    data_hash = hashlib.sha256(b"\0".join(parts)).hexdigest()
    attributes = {"format": "hiw-data", "schema_version": 1, "fps": 15.0, "data_hash": data_hash, "complete": True}
    group.attrs.update(attributes | {"report": {"notes": ["made"], "config": {"multiple": 4}}})
    return data_hash


@pytest.fixture
def old(make_clip: MakeClip, tmp_path: Path) -> tuple[Path, str, list[Clip]]:
    clips = [
        make_clip("erste ä", 12, seed=1, group="subject 1", mirrored_captions=["kurz", "länger"]),
        make_clip("b", 8, seed=2, split="val", held_out=True, valid=np.arange(16).reshape(8, 2) % 3 > 0),
    ]
    return tmp_path / "a.zarr", write_schema_1(tmp_path / "a.zarr", clips), clips


def test_a_store_of_schema_1_is_refused_with_the_command_that_migrates_it(old: tuple[Path, str, list[Clip]]) -> None:
    with pytest.raises(SchemaVersionError, match=r"got version 1\. Do `hiw migrate .*a\.zarr`"):
        HiwStore.open(old[0])


def test_migration_keeps_every_clip_and_tells_the_old_hash(old: tuple[Path, str, list[Clip]], tmp_path: Path) -> None:
    path, data_hash, clips = old
    beside = migrate(path, tmp_path / "new.zarr")
    with pytest.raises(SchemaVersionError):
        HiwStore.open(path)
    store = migrate(path)
    assert store.data_hash == beside.data_hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "new.zarr"]
    for wrote, read in zip(clips, store.clips(), strict=True):
        np.testing.assert_array_equal(read["features"], wrote["features"])
        np.testing.assert_array_equal(read["valid"], wrote["valid"])
        wanted = {k: v for k, v in wrote.items() if k not in ("features", "valid")}
        got = {k: v for k, v in read.items() if k not in ("features", "valid")}
        assert got == {"held_out": False} | wanted
    summary = store.summary()
    assert summary["notes"] == ["made"]
    assert summary["migrated_from"] == {"schema_version": 1, "data_hash": data_hash}


def test_an_interrupted_migration_goes_on_after_the_last_clip(
    old: tuple[Path, str, list[Clip]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, clips = old
    undisturbed = migrate(path, tmp_path / "new.zarr")
    append, names, room = StoreWriter.append, [], [1]

    def counted(self: StoreWriter, clip: Clip, **extra: object) -> None:
        if len(names) == room[0]:
            raise KeyboardInterrupt
        names.append(clip["clip_id"])
        append(self, clip, **extra)

    monkeypatch.setattr(StoreWriter, "append", counted)
    with pytest.raises(KeyboardInterrupt):
        migrate(path)
    assert zarr.open_group(path, mode="r").attrs["schema_version"] == 1
    room[0] = 9
    assert migrate(path).data_hash == undisturbed.data_hash
    assert names == [clip["clip_id"] for clip in clips]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "new.zarr"]


def test_a_damaged_store_is_not_migrated(old: tuple[Path, str, list[Clip]]) -> None:
    path, data_hash, _ = old
    zarr.open_group(path, mode="r+")["features"][3, 7] = 5.0
    with pytest.raises(StoreError, match=f"Expected content with hash {data_hash}"):
        migrate(path)
    assert zarr.open_group(path, mode="r").attrs["schema_version"] == 1
    assert [p.name for p in path.parent.iterdir()] == ["a.zarr"]


def test_only_stores_of_schema_1_are_migrated(store: HiwStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="schema version 2"):
        migrate(store.path)
    with pytest.raises(StoreError, match="unreadable"):
        migrate(tmp_path / "none.zarr")
