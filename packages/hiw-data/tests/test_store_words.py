"""Captions that are added to a store: atomically, after those that are there, with their makers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hiw_data import ClipError, HiwStore, ProceduralSource, StoreError, StoreWriter, build
from hiw_data.atomic import replace_folder
from hiw_data.clips import Clip
from hiw_data.store import words as module
from hiw_data.store.words import Words, add_words

MakeClip = Callable[..., Clip]
MADE = {"maker": "a model", "version": "2"}


@pytest.fixture
def four(make_clip: MakeClip, tmp_path: Path) -> HiwStore:
    with StoreWriter(tmp_path / "a.zarr", fps=15, shard_frames=16) as writer:
        writer.append(make_clip("0"))
        writer.append(make_clip("1", seed=1, caption_provenance=[{"maker": "person"}, {"maker": "dataset"}]))
        writer.append(make_clip("2", seed=2, mirrored_captions=["short", "longer"], atomic_answers={"role": "holds"}))
        writer.append(make_clip("3", seed=3))
        writer.publish({})
    return HiwStore.open(tmp_path / "a.zarr")


def test_new_captions_follow_the_old_ones_with_their_makers(four: HiwStore) -> None:
    before = four.clips()
    new = Words(["the left hand waves", "short"], [MADE, MADE], answers={"role": "waves"}, codes={"events": []})
    added = add_words(four.path, lambda clip: new, positions=[0, 1, 2])
    plain, known, mirrored, other = added.clips()
    for clip in (plain, known, mirrored):
        assert clip["captions"] == ["short", "longer", "the left hand waves"]
        assert clip["motion_codes"] == {"events": []}
    assert plain["caption_provenance"] == [{}, {}, MADE]
    assert plain["atomic_answers"] == {"role": "waves"}
    assert "mirrored_captions" not in plain
    assert known["caption_provenance"] == [{"maker": "person"}, {"maker": "dataset"}, MADE]
    assert mirrored["mirrored_captions"] == ["short", "longer", "the right hand waves"]
    assert mirrored["atomic_answers"] == {"role": "holds"}
    assert mirrored["caption_provenance"][2] == {**MADE, "answers": {"role": "waves"}}
    assert other["captions"] == ["short", "longer"]
    for old, after in zip(before, added.clips(), strict=True):
        np.testing.assert_array_equal(old["features"], after["features"])
    added.verify()
    assert added.data_hash != four.data_hash


def test_the_same_words_twice_change_nothing_and_others_take_the_place_where_asked(four: HiwStore) -> None:
    new = Words(["the hand waves"], [MADE], answers={"role": "waves"})
    first = add_words(four.path, lambda clip: new)
    assert add_words(four.path, lambda clip: new).data_hash == first.data_hash
    later = Words(["the hand rests"], [{"maker": "another"}], answers={"role": "rests"})
    for clip in add_words(four.path, lambda clip: later, replace=True).clips():
        assert clip["captions"] == ["the hand rests"]
        assert clip["caption_provenance"] == [{"maker": "another"}]
        assert clip["atomic_answers"] == {"role": "rests"}
        assert clip.get("mirrored_captions", ["the hand rests"]) == ["the hand rests"]


def test_the_card_and_the_report_follow(tmp_path: Path) -> None:
    build([ProceduralSource(6)], tmp_path / "a.zarr")
    added = add_words(tmp_path / "a.zarr", lambda clip: Words([f"clip {clip['clip_id']}", "a hand"], [MADE, MADE]))
    source = added.summary()["sources"]["procedural"]
    assert source["distinct_captions"][2:] == [6, 1]
    assert added.data_hash in (added.path / "README.md").read_text()
    quality = json.loads((added.path / "quality.json").read_text())
    assert quality["data_hash"] == added.data_hash
    assert quality["sources"]["procedural"] == source


def test_damage_bad_words_and_other_writers_leave_the_store(four: HiwStore, make_clip: MakeClip) -> None:
    before = {path: path.read_bytes() for path in four.path.rglob("*") if path.is_file()}
    with pytest.raises(ClipError, match="at least one caption in clip 0, none of them empty"):
        add_words(four.path, lambda clip: Words([" "], [MADE]))
    with (
        StoreWriter(four.path, fps=15, append=True, key="k"),
        pytest.raises(StoreError, match="another process"),
    ):
        add_words(four.path, lambda clip: Words(["a"], [MADE]))

    def meanwhile(clip: Clip) -> Words:
        with StoreWriter(four.path, fps=15, append=True) as writer:
            writer.append(make_clip(f"new {clip['clip_id']}"))
            writer.publish({})
        return Words(["a"], [MADE])

    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(StoreError, match="got a store that changed"):
        add_words(four.path, meanwhile, positions=[0])
    assert len(HiwStore.open(four.path)) == 5
    with StoreWriter(four.path, fps=15, append=True) as writer:
        add_words(four.path, lambda clip: Words(["a"], [MADE]), positions=[0])
        writer.append(make_clip("late"))
        with pytest.raises(StoreError, match="got a store that changed"):
            writer.publish({})
    shard = four.path / "features/c/0/0"
    shard.write_bytes(b"\0" + shard.read_bytes()[1:])
    with pytest.raises(StoreError, match=r"Expected 0 of .* as it was written, got damage"):
        add_words(four.path, lambda clip: Words(["b"], [MADE]), positions=[0])


KILLED = """
import os, signal, sys
from hiw_data.store import words
words.replace_folder = lambda staged, out: os.kill(os.getpid(), signal.SIGKILL)
words.add_words(sys.argv[1], lambda clip: words.Words(["a hand"], [{}]))
"""


def test_a_kill_before_the_rename_leaves_the_old_store_and_nothing_else_after_the_next(four: HiwStore) -> None:
    assert module.replace_folder is replace_folder
    assert subprocess.run([sys.executable, "-c", KILLED, str(four.path)], check=False).returncode == -signal.SIGKILL
    assert HiwStore.open(four.path).data_hash == four.data_hash
    add_words(four.path, lambda clip: Words(["a hand"], [MADE]))
    assert [path.name for path in Path(four.path).parent.iterdir()] == ["a.zarr"]
