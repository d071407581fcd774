"""Damage of every kind is found, named, and cut out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hiw_data import HiwStore, StoreError, StoreWriter
from hiw_data.clips import Clip
from hiw_data.store.repair import repair
from hiw_data.store.validation import validate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MakeClip = Callable[..., Clip]


@pytest.fixture
def six(make_clip: MakeClip, tmp_path: Path) -> HiwStore:
    """Three shards of two clips: "0" and "1", "2" and "3", "4" and "5"."""
    return write_six(make_clip, tmp_path / "a.zarr")


def write_six(make_clip: MakeClip, path: Path) -> HiwStore:
    with StoreWriter(path, fps=15, shard_frames=32) as writer:
        for k in range(6):
            writer.append(make_clip(str(k), 16, seed=k))
        writer.publish({"notes": []})
    return HiwStore.open(path)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def test_a_whole_store_has_no_problems(six: HiwStore) -> None:
    found = validate(six)
    assert (found.clips, found.problems, found.damaged) == (6, [], [])


def test_a_flipped_bit_is_found_in_its_shard_and_clip_and_cut_out(six: HiwStore) -> None:
    fifth = six.clip(4)["features"]
    flip(six.path / "features/c/1/0", 20 * 198 * 4)  # frame 20 of the shard: clip 3
    found = validate(six)
    assert len(found.problems) == 2
    assert "features/c/1/0" in found.problems[0]
    assert found.damaged == ["3"]
    done = repair(six.path)
    assert (done.kept, done.dropped, done.lost) == (5, ["3"], 0)
    store = HiwStore.open(six.path)
    store.verify()
    assert [clip["clip_id"] for clip in store.clips()] == ["0", "1", "2", "4", "5"]
    np.testing.assert_array_equal(store.clips()[3]["features"], fifth)
    assert store.summary()["notes"] == [
        "Repaired: 1 damaged clip(s) were dropped; the figures of this report still count them."
    ]


def test_damage_that_is_no_clips_leaves_all_clips(six: HiwStore) -> None:
    size = (six.path / "valid/c/2/0").stat().st_size
    flip(six.path / "valid/c/2/0", size - 1)
    found = validate(six)
    assert (len(found.problems), found.damaged) == (1, [])
    assert (repair(six.path).kept, repair(six.path).data_hash) == (6, six.data_hash)


def test_a_lost_and_a_short_shard_take_their_own_clips_alone(six: HiwStore) -> None:
    (six.path / "features/c/0/0").unlink()
    shard = six.path / "valid/c/2/0"
    shard.write_bytes(shard.read_bytes()[:40])  # 20 frames: clip 4 and a piece of clip 5
    with pytest.raises(StoreError, match=r"Expected a readable features/c/0/0.*hiw validate.*hiw repair"):
        six.clip(0)
    assert validate(six).damaged == ["0", "1", "5"]
    with pytest.raises(StoreError, match="hiw repair"):
        six.verify()
    assert repair(six.path).dropped == ["0", "1", "5"]
    assert [clip["clip_id"] for clip in HiwStore.open(six.path).clips()] == ["2", "3", "4"]


def test_an_index_without_its_end_gives_the_shards_before(six: HiwStore, tmp_path: Path) -> None:
    index = six.path / "clips.arrow"
    index.write_bytes(index.read_bytes()[:-1900])
    with pytest.raises(StoreError, match="hiw repair"):
        HiwStore.open(six.path)
    done = repair(six.path, tmp_path / "b.zarr")
    assert (done.kept, done.dropped, done.lost) == (4, [], 2)
    assert [clip["clip_id"] for clip in HiwStore.open(tmp_path / "b.zarr").clips()] == ["0", "1", "2", "3"]


def test_where_nothing_is_whole_nothing_is_replaced(six: HiwStore) -> None:
    for number in range(3):
        (six.path / f"features/c/{number}/0").unlink()
    with pytest.raises(StoreError, match="at least one whole clip"):
        repair(six.path)
    (six.path / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="unreadable"):
        repair(six.path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["features/c/1/0", "valid/c/0/0", "clips.arrow"]), st.floats(0, 0.999999), st.booleans())
def test_any_flip_or_cut_is_found_and_what_repair_keeps_is_what_was_written(
    make_clip: MakeClip, tmp_path_factory: pytest.TempPathFactory, name: str, where: float, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.zarr"
    before = {clip["clip_id"]: clip for clip in write_six(make_clip, path).clips()}
    data = (path / name).read_bytes()
    offset = int(where * len(data))
    (path / name).write_bytes(data[:offset] if cut else data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
    try:
        assert validate(HiwStore.open(path)).problems
    except StoreError as error:
        assert name in str(error) or "index" in str(error)  # noqa: PT017 - either way of saying so will do
    try:
        repair(path)
    except StoreError as error:
        assert "at least one whole clip" in str(error)  # noqa: PT017
        assert name == "clips.arrow"
        return
    after = HiwStore.open(path)
    after.verify()
    for clip in after.iterate():
        np.testing.assert_array_equal(clip["features"], before[clip["clip_id"]]["features"])
        assert clip["captions"] == before[clip["clip_id"]]["captions"]
