from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hiw_data import (
    ClipError,
    DiskFullError,
    HiwStore,
    ProceduralSource,
    SchemaVersionError,
    StoreError,
    build,
)
from hiw_data.atomic import recover_folder, replace_folder
from hiw_data.clips import Clip
from hiw_data.errors import OptionError
from hiw_data.store.writer import StoreWriter
from hypothesis import given, settings
from hypothesis import strategies as st

MakeClip = Callable[..., Clip]


def write(path: Path, *clips: object, report: dict | None = None, **options: object) -> HiwStore:
    with StoreWriter(path, fps=15, overwrite=True, **options) as writer:  # type: ignore[arg-type]
        for clip in clips:
            writer.append(clip)  # type: ignore[arg-type]
        writer.publish(report or {})
    return HiwStore.open(path)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=5))
def test_what_is_written_is_read_back(
    make_clip: MakeClip, tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    clips = [make_clip(f"clip {k} ä", 4 * n, seed=k) for k, n in enumerate(lengths)]
    store = write(tmp_path_factory.mktemp("s") / "a.zarr", *clips)
    assert len(store) == len(clips)
    for position, (wrote, read) in enumerate(zip(clips, store.clips(), strict=True)):
        alone = store.clip(position)
        for key in ("features", "valid"):
            np.testing.assert_array_equal(read[key], wrote[key])  # type: ignore[literal-required]
            np.testing.assert_array_equal(alone[key], wrote[key])  # type: ignore[literal-required]
        assert {k: read[k] for k in ("clip_id", "captions", "attributes", "split", "fps")} == {  # type: ignore[literal-required]
            k: wrote[k]
            for k in ("clip_id", "captions", "attributes", "split", "fps")  # type: ignore[literal-required]
        }
    store.verify()


def test_clips_fill_shard_after_shard_and_none_is_longer_than_one(make_clip: MakeClip, tmp_path: Path) -> None:
    clips = [make_clip(str(k), n, seed=k) for k, n in enumerate((12, 64, 8, 40, 16))]
    with StoreWriter(tmp_path / "a.zarr", fps=15, shard_frames=64) as writer:
        for clip in clips:
            writer.append(clip)
        with pytest.raises(ClipError, match=r"at most 64 frames \(a shard\) in clip long, got 68"):
            writer.append(make_clip("long", 68))
        writer.publish({})
    store = HiwStore.open(tmp_path / "a.zarr")
    assert store.starts.tolist() == [0, 64, 128, 136, 176]
    assert [shard["clips"] for shard in store.shards] == [1, 1, 3]
    for wrote, read in zip(clips, store.clips(), strict=True):
        np.testing.assert_array_equal(read["features"], wrote["features"])
    store.verify()


def test_zarr_itself_reads_the_arrays(make_clip: MakeClip, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.zarr", fps=15, shard_frames=512) as writer:
        for k in range(5):
            writer.append(make_clip(str(k), 200, seed=k, valid=np.arange(400).reshape(200, 2) % 3 > 0))
        writer.publish({})
    store, group = HiwStore.open(tmp_path / "a.zarr"), zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group["features"].shape == (1536, 198)
    assert group["features"].shards == (512, 198)
    for clip, start in zip(store.clips(), (0, 200, 512, 712, 1024), strict=True):
        np.testing.assert_array_equal(group["features"][start : start + 200], clip["features"])
        np.testing.assert_array_equal(group["valid"][start : start + 200], clip["valid"])
    assert not group["features"][400:512].any()
    assert not group["features"][1280:].any()


def test_all_that_may_be_known_of_a_clip_comes_back(make_clip: MakeClip, tmp_path: Path) -> None:
    known = {
        "betas": np.arange(20, dtype=np.float32).reshape(2, 10) / 7,
        "hand_model": "mano",
        "licence": "CC-BY-4.0",
        "camera": {"focal_length": 500.5, "guessed": True},
        "timestamps": np.arange(8) / 15 + 3,
        "caption_provenance": [{"maker": "motion codes", "version": "1"}, {"maker": "person"}],
        "atomic_answers": {"hand role": "the right hand holds"},
        "motion_codes": [{"event": "contact", "start": 3}],
    }
    told, plain = write(tmp_path / "a.zarr", make_clip("a", **known), make_clip("b", seed=1)).clips()
    for key, value in known.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(told[key], value, strict=True)  # type: ignore[literal-required]
        else:
            assert told[key] == value  # type: ignore[literal-required]
    assert set(known).isdisjoint(plain)


def test_equal_content_has_an_equal_hash_and_other_content_another(make_clip: MakeClip, tmp_path: Path) -> None:
    first = write(tmp_path / "a.zarr", make_clip("a"), make_clip("b", seed=1))
    same = write(tmp_path / "b.zarr", make_clip("a"), make_clip("b", seed=1), report={"another": "report"})
    assert first.data_hash == same.data_hash
    unseen = np.ones((8, 2), bool)
    unseen[3, 1] = False
    others = [
        make_clip("a", seed=3),
        make_clip("a", valid=unseen),
        make_clip("a", captions=["else"]),
        make_clip("a", split="test"),
        make_clip("a", split="test", held_out=True),
        make_clip("a", group="subject 1"),
        make_clip("a", mirrored_captions=["short", "else"]),
    ]
    hashes = {write(tmp_path / f"{k}.zarr", clip).data_hash for k, clip in enumerate(others)}
    assert len(hashes | {write(tmp_path / "c.zarr", make_clip("a")).data_hash}) == 8


def test_what_a_clip_may_have_is_read_back(make_clip: MakeClip, tmp_path: Path) -> None:
    extra = {"group": "subject 1", "held_out": True, "mirrored_captions": ["kurz", "länger"], "split": "val"}
    told, plain = write(tmp_path / "a.zarr", make_clip("a", **extra), make_clip("b", seed=1)).clips()
    assert {key: told[key] for key in extra} == extra  # type: ignore[literal-required]
    assert plain["held_out"] is False
    assert "group" not in plain
    assert "mirrored_captions" not in plain


def test_a_clip_without_a_key_is_refused_by_its_name(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a")
    del clip["valid"]  # type: ignore[misc]
    with StoreWriter(tmp_path / "a.zarr", fps=15) as writer:
        with pytest.raises(ClipError, match="Expected valid in clip a"):
            writer.append(clip)
        writer.append(make_clip("b", split=""))
        with pytest.raises(StoreError, match=r"Expected a split of .* got none for \['b'\]"):
            writer.publish({})


def test_lengths_follow_the_latent_step(make_clip: MakeClip, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.zarr", fps=15, multiple=3) as writer:
        writer.append(make_clip("a", 6))
        with pytest.raises(ClipError, match="at least 6 that is a multiple of 3"):
            writer.append(make_clip("b", 8))
        writer.publish({})
    assert len(HiwStore.open(tmp_path / "a.zarr").clips()[0]["features"]) == 6


def test_files_have_the_modes_that_the_umask_gives(make_clip: MakeClip, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        build([ProceduralSource(2)], tmp_path / "a.zarr", card_path=tmp_path / "card.md")
    finally:
        os.umask(before)
    paths = [tmp_path / "a.zarr", tmp_path / "card.md", *(tmp_path / "a.zarr").rglob("*")]
    assert len(paths) > 6
    assert {oct(p.stat().st_mode & 0o777) for p in paths if p.is_dir()} == {"0o750"}
    assert {oct(p.stat().st_mode & 0o777) for p in paths if p.is_file()} == {"0o640"}


def test_changes_to_a_clip_do_not_reach_the_store(make_clip: MakeClip, tmp_path: Path) -> None:
    store = write(tmp_path / "a.zarr", make_clip())
    store.clips()[0]["features"][:] = 0
    assert store.clips()[0]["features"].any()


def test_a_store_that_is_replaced_while_open_is_never_read_as_the_old_one(make_clip: MakeClip, tmp_path: Path) -> None:
    old = write(tmp_path / "a.zarr", make_clip("a"))
    pickled = pickle.dumps(old)
    assert pickle.loads(pickled).data_hash == old.data_hash
    write(tmp_path / "a.zarr", make_clip("a", seed=1))
    with pytest.raises(StoreError, match="another store took its place"):
        old.clip(0)
    with pytest.raises(StoreError, match="took its place"):
        pickle.loads(pickled)


def test_selection_by_split_and_source(make_clip: MakeClip, tmp_path: Path) -> None:
    store = write(tmp_path / "a.zarr", make_clip("a"), make_clip("b", split="test", source="other"))
    assert [c["clip_id"] for c in store.clips(split="test")] == ["b"]
    assert [c["clip_id"] for c in store.clips(source="made")] == ["a"]
    assert store.clips("test", "made") == []
    with pytest.raises(ValueError, match="Expected a split"):
        store.clips("dev")
    with pytest.raises(ValueError, match="'made', 'other'"):
        store.clips(source="fingerspelling")


def test_columns_alone_are_read_without_the_motion(make_clip: MakeClip, tmp_path: Path) -> None:
    clips = [make_clip(f"c{k}", 60, split="train" if k % 3 else "test", source=f"s{k % 2}") for k in range(7)]
    clips[4]["paraphrases"] = ["in other words"]
    store = write(tmp_path / "a.zarr", *clips, shard_frames=128)  # two clips a shard
    shutil.rmtree(tmp_path / "a.zarr" / "features" / "c")
    rows = list(store.rows(("clip_id", "captions", "paraphrases", "attributes"), split="train"))
    assert [row["clip_id"] for row in rows] == ["c1", "c2", "c4", "c5"]
    assert [row["captions"] for row in rows] == [clips[k]["captions"] for k in (1, 2, 4, 5)]
    assert [row["paraphrases"] for row in rows] == [None, None, ["in other words"], None]
    assert rows[0]["attributes"] == clips[1]["attributes"]
    assert set(rows[0]) == {"clip_id", "captions", "paraphrases", "attributes"}
    assert [row["length"] for row in store.rows(["length"])] == [60] * 7
    assert [row["clip_id"] for row in store.rows(["clip_id"], "train", "s1")] == ["c1", "c5"]
    assert [row["motion_codes"] for row in store.rows(["motion_codes"], "test")] == [None] * 3
    with pytest.raises(OptionError, match=r"Expected columns of \['clip_id'.*got \['features'\]"):
        next(store.rows(["captions", "features"]))
    with pytest.raises(OptionError, match="Expected a split"):
        next(store.rows(["captions"], "dev"))


def test_an_error_midway_leaves_the_old_store_and_no_litter(make_clip: MakeClip, tmp_path: Path) -> None:
    old = write(tmp_path / "a.zarr", make_clip("old"))

    def interrupted() -> None:
        with StoreWriter(tmp_path / "a.zarr", fps=15, overwrite=True) as writer:
            writer.append(make_clip("new"))
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        interrupted()
    assert HiwStore.open(tmp_path / "a.zarr").data_hash == old.data_hash
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


KILLED = """
import os, sys, types
import numpy as np
from hiw_data import atomic
from hiw_data.store.writer import StoreWriter
replace, calls = os.replace, []
def dying(source, target):
    calls.append(1)
    if len(calls) == int(sys.argv[2]):
        os._exit(9)
    replace(source, target)
atomic.os = types.SimpleNamespace(replace=dying, getpid=os.getpid, kill=os.kill)  # not zarr's own renames
with StoreWriter(sys.argv[1], fps=15, overwrite=True) as writer:
    clip = dict(clip_id="new", source="made", split="train", fps=15.0, captions=["a"], attributes={})
    writer.append(clip | dict(features=np.zeros((8, 198), np.float32), valid=np.ones((8, 2), bool)))
    if sys.argv[2] == "0":
        os._exit(9)
    writer.publish({})
"""


@pytest.mark.parametrize("dies_before_rename", [0, 1, 2])
def test_a_process_killed_at_any_moment_leaves_the_old_store(
    make_clip: MakeClip, tmp_path: Path, dies_before_rename: int
) -> None:
    path = tmp_path / "a.zarr"
    old = write(path, make_clip("old")).data_hash
    command = [sys.executable, "-c", KILLED, str(path), str(dies_before_rename)]
    assert subprocess.run(command, check=False).returncode == 9
    assert HiwStore.open(path).data_hash == old
    new = write(path, make_clip("new"))
    assert [c["clip_id"] for c in new.clips()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_failed_rename_puts_the_old_folder_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").touch()
    with pytest.raises(OSError, match="missing"):
        replace_folder(tmp_path / "missing", out)
    assert (out / "kept").exists()
    recover_folder(out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_said_clearly_and_the_old_store_stays(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write(tmp_path / "a.zarr", make_clip("old"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with StoreWriter(tmp_path / "a.zarr", fps=15, overwrite=True) as writer:
        writer.append(make_clip("new"))
        monkeypatch.setattr("hiw_data.store.writer.write_json", full)
        with pytest.raises(DiskFullError, match=r"No space left .* Nothing was replaced"):
            writer.publish({})
    assert HiwStore.open(tmp_path / "a.zarr").data_hash == old.data_hash


def test_nothing_is_overwritten_unless_asked_and_other_folders_are_never_replaced(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    write(tmp_path / "a.zarr", make_clip())
    with pytest.raises(StoreError, match="Expected nothing at"):
        StoreWriter(tmp_path / "a.zarr", fps=15)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").touch()
    with pytest.raises(StoreError, match="other files"):
        StoreWriter(tmp_path / "letters", fps=15, overwrite=True)
    with pytest.raises(StoreError, match="other files"):
        StoreWriter(tmp_path / "letters" / "love.txt", fps=15, overwrite=True)


def test_a_store_of_another_schema_version_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", make_clip())
    zarr.open_group(tmp_path / "a.zarr", mode="r+").attrs["schema_version"] = 99
    with pytest.raises(SchemaVersionError, match=r"version 2 at .*got version 99.*Install the hiw-data that wrote it"):
        HiwStore.open(tmp_path / "a.zarr")


def test_incomplete_and_damaged_stores_are_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with pytest.raises(StoreError, match=r"got nothing there.*hiw build"):
        HiwStore.open(path)
    write(path, make_clip())
    group = zarr.open_group(path, mode="r+")
    group.attrs["complete"] = False
    with pytest.raises(StoreError, match="closing mark"):
        HiwStore.open(path)
    group.attrs["complete"] = True
    group.attrs["frames"] = 12
    with pytest.raises(StoreError, match=r"Expected 1 clips and 12 frames .*got 1 and 8 in its index.*hiw repair"):
        HiwStore.open(path)
    group["features"].resize((4, 198))
    with pytest.raises(StoreError, match=r"got another shape"):
        HiwStore.open(path)
    del group["features"]
    with pytest.raises(StoreError, match="without features"):
        HiwStore.open(path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="unreadable"):
        HiwStore.open(path)
    zarr.create_group(tmp_path / "b.zarr")
    with pytest.raises(StoreError, match="format None"):
        HiwStore.open(tmp_path / "b.zarr")


def test_damaged_numbers_are_found_by_verify(make_clip: MakeClip, tmp_path: Path) -> None:
    store = write(tmp_path / "a.zarr", make_clip())
    zarr.open_group(store.path, mode="r+")["features"][3, 7] = 5.0
    with pytest.raises(StoreError, match=r"features/c/0/0 of .* is not what was written"):
        HiwStore.open(store.path).verify()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros((8, 197), np.float32)}, r"\(T, 198\)"),
        ({"features": np.full((8, 198), np.nan, np.float32)}, "finite"),
        ({"features": np.zeros((6, 198), np.float32), "valid": np.ones((6, 2), bool)}, "multiple of 4"),
        ({"features": np.zeros((4, 198), np.float32), "valid": np.ones((4, 2), bool)}, "at least 8"),
        ({"features": np.zeros((8, 198))}, "float32"),
        ({"features": [[0.0] * 198] * 8}, "NumPy array"),
        ({"valid": np.ones((7, 2), bool)}, r"shape \(8, 2\)"),
        ({"valid": np.ones((8, 2), np.uint8)}, "valid as bool"),
        ({"valid": np.zeros((8, 2), bool)}, "at least one valid"),
        ({"captions": []}, "caption"),
        ({"captions": ["a", " "]}, "caption"),
        ({"captions": "a"}, "caption"),
        ({"mirrored_captions": ["one"]}, "as many mirrored_captions"),
        ({"attributes": {"speed": float("nan")}}, "attributes that JSON can hold"),
        ({"attributes": {"speed": np.float32(1)}}, "attributes that JSON can hold"),
        ({"attributes": ["synthetic"]}, "attributes as a dict"),
        ({"split": "dev"}, "a split of"),
        ({"held_out": True}, "val and test alone"),
        ({"group": ""}, "group as a text"),
        ({"source": None}, "source as a text"),
        ({"colour": "red"}, "got also colour"),
        ({"betas": np.zeros(10, np.float32)}, r"betas as finite float32 of shape \(2, 10\)"),
        ({"timestamps": np.zeros(7)}, r"timestamps as float64 of shape \(8,\)"),
        ({"timestamps": np.arange(8.0)[::-1]}, "never fall"),
        ({"caption_provenance": [{"maker": "x"}]}, "as many dicts in caption_provenance"),
        ({"motion_codes": {1, 2}}, "motion_codes that JSON can hold"),
        ({"camera": "a phone"}, "camera as a dict"),
        ({"licence": ""}, "licence as a text"),
        ({"residual": np.zeros((7, 2), np.float32)}, r"residual of shape \(8, 2\)"),
        ({"fps": 30.0}, "15.0 fps"),
        ({"fps": float("nan")}, "fps as a positive number"),
        ({"fps": "15"}, "fps as a positive number"),
        ({"clip_id": "first"}, "again"),
    ],
)
def test_malformed_clips_are_refused_by_name(make_clip: MakeClip, tmp_path: Path, changes: dict, message: str) -> None:
    with StoreWriter(tmp_path / "a.zarr", fps=15) as writer:
        writer.append(make_clip("first"))
        with pytest.raises(ClipError, match=message):
            writer.append(make_clip("second", **changes))
        writer.publish({})
    assert [c["clip_id"] for c in HiwStore.open(tmp_path / "a.zarr").clips()] == ["first"]


def test_a_store_needs_a_clip(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.zarr", fps=15) as writer, pytest.raises(StoreError, match="at least one clip"):
        writer.publish({})


def test_the_report_is_plain_json(store: HiwStore) -> None:
    summary = store.summary()
    written = json.loads((store.path / "quality.json").read_text(encoding="utf-8"))
    assert written["sources"] == summary["sources"]
    assert written["data_hash"] == store.data_hash
