"""Killed builds go on where they were and end with what an undisturbed one has; stores grow; writers work together."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hiw_data import (
    BuildConfig,
    ClipError,
    HiwStore,
    ProceduralSource,
    SkippedClip,
    SourceInfo,
    StoreError,
    StoreWriter,
    build,
)
from hiw_data.clips import Clip
from hiw_data.store.part import Part

MakeClip = Callable[..., Clip]

BUILD = """
import sys, time
import numpy as np
from hiw_data import SkippedClip, SourceInfo, build
from hiw_data.store import writer

class Slow:
    name = "slow"
    def __len__(self):
        return 120
    def info(self):
        return SourceInfo("Made up", False, "Noise.", "CC0", "a test")
    def stream(self, fps):
        for k in range(120):
            if k >= self.start:
                time.sleep(0.004)
            if k % 7 == 3:
                yield SkippedClip(f"gone {k}", "slow", "Expected a file, got none.")
                continue
            rng = np.random.default_rng(k)
            frames = int(rng.integers(5, 60))
            yield dict(clip_id=str(k), source="slow", split="", fps=fps, captions=[f"clip {k} ä"], attributes={"k": k},
                       features=rng.normal(size=(frames, 198)).astype("f4"), valid=rng.random((frames, 2)) < 0.9,
                       residual=rng.random((frames, 2)).astype("f4"), group=f"person {k % 9}")
    start = 0

init = writer.StoreWriter.__init__
def small(self, *a, **k):
    init(self, *a, **{"shard_frames": 512, **k})
writer.StoreWriter.__init__ = small
print("ready", flush=True)
build([Slow()], sys.argv[1], overwrite=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_build_killed_at_random_moments_ends_with_what_an_undisturbed_build_has(tmp_path: Path, kills: int) -> None:
    undisturbed, killed = tmp_path / "a.zarr", tmp_path / "b.zarr"
    with subprocess.Popen([sys.executable, "-c", BUILD, str(undisturbed)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()  # of the build, without the time that imports take
        process.communicate()
        assert process.returncode == 0
    took, rng, done, went_on = time.monotonic() - began, random.Random(kills), 0, 0
    journal = tmp_path / ".b.zarr.building" / "main" / "journal.jsonl"
    while done < kills:
        before = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", BUILD, str(killed)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.02, took))
        process.send_signal(signal.SIGKILL)
        done += 1
        assert process.wait() in (0, -signal.SIGKILL)
        process.stdout.close()
        assert not killed.exists() or HiwStore.open(killed)
        went_on += journal.exists() and journal.stat().st_size > before > 0
    subprocess.run([sys.executable, "-c", BUILD, str(killed)], check=True, capture_output=True)
    assert went_on or kills < 20
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.zarr", "b.zarr"]
    files = sorted(p.relative_to(undisturbed) for p in undisturbed.rglob("*") if p.is_file())
    assert len(files) > 10
    for name in files:
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
    store = HiwStore.open(killed)
    store.verify()
    assert len(store) == 103
    assert store.summary()["skipped"]["count"] == 17


@pytest.mark.parametrize("torn", range(0, 400, 23))
def test_a_journal_torn_anywhere_gives_back_the_clips_before(make_clip: MakeClip, tmp_path: Path, torn: int) -> None:
    clips = [make_clip(str(k), 8 + 4 * k, seed=k) for k in range(4)]
    with StoreWriter(tmp_path / "a.zarr", fps=15, key="k", shard_frames=64) as writer:
        for clip in clips:
            writer.append(clip)
    journal = tmp_path / ".a.zarr.building" / "main" / "journal.jsonl"
    os.truncate(journal, journal.stat().st_size - torn)
    with StoreWriter(tmp_path / "a.zarr", fps=15, key="k", shard_frames=64) as writer:
        there = len(writer.metadata)
        assert there < 4 or torn == 0
        clips[there:] = [make_clip(f"new {k}", 12, seed=100 + k) for k in range(2)]  # not what the torn lines told of
        for clip in clips[there:]:
            writer.append(clip)
        writer.publish({})
    store = HiwStore.open(tmp_path / "a.zarr")
    store.verify()
    for wrote, read in zip(clips, store.clips(), strict=True):
        np.testing.assert_array_equal(read["features"], wrote["features"])


class Listed:
    """A source of given clips, which counts what is asked of it."""

    def __init__(self, clips: list[Clip | SkippedClip], fails_at: int | None = None, name: str = "made") -> None:
        self.clips, self.name, self.made = clips, name, []  # type: ignore[var-annotated]
        self._fails_at = {fails_at}  # no plain option of the source, so that its builds count as the same

    def __len__(self) -> int:
        return len(self.clips)

    def info(self) -> SourceInfo:
        return SourceInfo("Made up", False, "Noise.", "CC0", "a test")

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        yield from self.stream_from(fps, 0)

    def stream_from(self, fps: float, start: int) -> Iterator[Clip | SkippedClip]:
        for k in range(start, len(self.clips)):
            if k in self._fails_at:
                raise OSError("the disk is gone")
            self.made.append(k)
            yield self.clips[k]


def test_a_source_that_can_is_asked_for_the_rest_alone(make_clip: MakeClip, tmp_path: Path) -> None:
    clips: list[Clip | SkippedClip] = [make_clip(str(k), seed=k, split="") for k in range(10)]
    broken, whole = Listed(clips, fails_at=6), Listed(clips)
    with pytest.raises(OSError, match="the disk is gone"):
        build([broken], tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    store = build([whole], tmp_path / "a.zarr")
    assert whole.made == [6, 7, 8, 9]
    assert store.data_hash == build([Listed(clips)], tmp_path / "b.zarr").data_hash


@pytest.mark.parametrize("options", [{"resume": False}, {"config": BuildConfig(seed=1)}, {}])
def test_another_configuration_or_resume_false_starts_anew(make_clip: MakeClip, tmp_path: Path, options: dict) -> None:
    clips: list[Clip | SkippedClip] = [make_clip(str(k), seed=k, split="") for k in range(10)]
    with pytest.raises(OSError, match="the disk is gone"):
        build([Listed(clips, fails_at=6)], tmp_path / "a.zarr")
    source = Listed(clips)
    build([source], tmp_path / "a.zarr", **options)
    assert source.made == list(range(10) if options else range(6, 10))


def test_two_builds_of_one_store_at_once_are_told_apart(make_clip: MakeClip, tmp_path: Path) -> None:
    with (
        StoreWriter(tmp_path / "a.zarr", fps=15, key="k"),
        pytest.raises(StoreError, match="nobody else to be writing"),
        StoreWriter(tmp_path / "a.zarr", fps=15, key="k"),
    ):
        pass
    with (
        StoreWriter(tmp_path / "b.zarr", fps=15, key="k"),
        pytest.raises(StoreError, match="nobody else to be writing"),
        StoreWriter(tmp_path / "b.zarr", fps=15, key="another"),
    ):
        pass


def test_appending_keeps_clips_splits_and_shards_and_counts_anew(make_clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    first: list[Clip | SkippedClip] = [make_clip(f"a{k}", seed=k, split="", group=f"p{k % 5}") for k in range(20)]
    more: list[Clip | SkippedClip] = [make_clip(f"b{k}", seed=50 + k, split="", group=f"p{k % 5}") for k in range(7)]
    old = build([Listed(first)], path)
    rows, inode = list(old.metadata), (path / "features/c/0/0").stat().st_ino
    store = build([Listed([*more, make_clip("a0", seed=99), first[1]])], path, append=True)
    assert list(store.metadata)[:20] == rows
    assert len(store) == 27
    assert (path / "features/c/0/0").stat().st_ino == inode
    store.verify()
    of_group = {row["group"]: row["split"] for row in rows}
    assert all(row["split"] == of_group[row["group"]] for row in list(store.metadata)[20:])
    made = store.summary()["sources"]["made"]
    assert (made["clips"], store.summary()["clips"], store.summary()["skipped"]["count"]) == (27, 27, 1)
    both = build([ProceduralSource(5)], path, append=True)
    assert both.summary()["clips"] == 32
    assert set(both.summary()["sources"]) == {"made", "procedural"}
    assert both.summary()["sources"]["made"] == made
    with pytest.raises(StoreError, match=r"Expected 15.0 fps"):
        StoreWriter(path, fps=30, append=True)


WORKER = """
import sys
import numpy as np
from hiw_data import StoreWriter
number = int(sys.argv[2])
with StoreWriter(sys.argv[1], fps=15, key="k", part=f"part-{number}", shard_frames=64) as writer:
    for k in range(number * 10, number * 10 + 10):
        rng = np.random.default_rng(k)
        writer.append(dict(clip_id=str(k), source="made", split="train", fps=15.0, captions=["a"], attributes={},
                           features=rng.normal(size=(8 + k % 3 * 4, 198)).astype("f4"),
                           valid=np.ones((8 + k % 3 * 4, 2), bool)))
"""


def test_processes_write_shards_of_their_own_that_become_one_store(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(n)]) for n in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    with StoreWriter(path, fps=15, key="k", part="publisher", shard_frames=64) as writer:
        writer.collect()
        writer.publish({})
    store = HiwStore.open(path)
    store.verify()
    assert [clip["clip_id"] for clip in store.clips()] == [str(k) for k in range(30)]
    np.testing.assert_array_equal(
        store.clip(23)["features"], np.random.default_rng(23).normal(size=(16, 198)).astype("f4")
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    alone = tmp_path / "b.zarr"
    with StoreWriter(alone, fps=15) as writer:
        for clip in store.iterate():
            writer.append(clip)
        writer.publish({})
    assert HiwStore.open(alone).data_hash == store.data_hash
    assert len(HiwStore.open(alone).shards) == 1 < len(store.shards)


def test_a_part_that_is_still_written_or_a_clip_in_two_parts_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    options = {"fps": 15, "key": "k", "shard_frames": 64}
    with StoreWriter(tmp_path / "a.zarr", part="one", **options) as one:  # type: ignore[arg-type]
        one.append(make_clip("same"))
        with (
            StoreWriter(tmp_path / "a.zarr", part="two", **options) as two,  # type: ignore[arg-type]
            pytest.raises(StoreError, match="nobody else to be writing"),
        ):
            two.collect()
    with StoreWriter(tmp_path / "a.zarr", part="two", **options) as two:  # type: ignore[arg-type]
        two.append(make_clip("same", seed=1))
        with pytest.raises(StoreError, match=r"different clips in the parts.*'same' again"):
            two.collect()


def test_a_clip_of_a_part_that_the_store_got_meanwhile_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    with StoreWriter(path, fps=15) as writer:
        writer.append(make_clip("there"))
        writer.publish({})
    with StoreWriter(path, fps=15, append=True, key="k", part="one") as writer:
        writer.append(make_clip("same"))
    with StoreWriter(path, fps=15, append=True) as other:
        other.append(make_clip("same", seed=1))
        other.publish({})
    with (
        StoreWriter(path, fps=15, append=True, key="k", part="publisher") as writer,
        pytest.raises(StoreError, match=r"different clips in the parts.*'same' again"),
    ):
        writer.collect()
    assert HiwStore.open(path).column("clip_id").to_pylist() == ["there", "same"]


def test_frames_that_a_power_cut_took_are_noticed(make_clip: MakeClip, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.zarr", fps=15, key="k") as writer:
        writer.append(make_clip("a"))
    frames = tmp_path / ".a.zarr.building" / "main" / "features-000000"
    frames.write_bytes(bytes(frames.stat().st_size))
    with pytest.raises(StoreError, match=r"Expected the frames of a in .* as they were written"):
        Part(tmp_path / ".a.zarr.building" / "main", 65536)
    with StoreWriter(tmp_path / "b.zarr", fps=15) as writer:
        writer.append(make_clip("a"))
        with pytest.raises(ClipError, match="again"):
            writer.append(make_clip("a"))
