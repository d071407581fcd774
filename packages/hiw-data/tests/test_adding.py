"""`hiw add` and `add`: clips of more sources into a store that is there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hiw_data import (
    BuildConfig,
    HiwStore,
    OptionError,
    ProceduralSource,
    SourceInfo,
    StoreError,
    StoreWriter,
    add,
    build,
)
from hiw_data.cli import main
from hiw_data.cli_add import source_options
from hiw_data.clips import Clip
from hiw_data.sources.registry import SOURCES, WITHOUT_FOLDER, make_source

MakeClip = Callable[..., Clip]


class Listed:
    """A source of given clips."""

    def __init__(self, clips: list[Clip], licence: str = "CC0") -> None:
        self.clips, self.name, self.licence = clips, "made", licence

    def __len__(self) -> int:
        return len(self.clips)

    def info(self) -> SourceInfo:
        return SourceInfo("Made up", False, "Noise.", self.licence, "a test")

    def stream(self, fps: float) -> Iterator[Clip]:
        yield from self.clips


def people(make_clip: MakeClip, names: str, seed: int) -> list[Clip]:
    return [
        make_clip(f"{name}{k}", seed=seed + k, split="", group=f"p{k % 9}", fps=30.0) for k, name in enumerate(names)
    ]


def test_a_group_keeps_its_split_and_a_clip_that_is_there_is_passed_over(make_clip: MakeClip, tmp_path: Path) -> None:
    path, config = tmp_path / "a.zarr", BuildConfig(fps=30, seed=3, split=(0.4, 0.3, 0.3))
    first, more = people(make_clip, 20 * "a", 0), people(make_clip, 12 * "b", 50)
    old = build([Listed(first)], path, config)
    rows, digests = list(old.metadata), old.column("sha256").to_pylist()
    other = make_clip("a3", seed=999, split="", group="p3", fps=30.0)  # another clip of a name that is taken
    store = add(path, [Listed([*first[:5], *more, other])])
    assert list(store.metadata)[:20] == rows
    assert store.column("sha256").to_pylist()[:20] == digests
    assert [row["clip_id"] for row in list(store.metadata)[20:]] == [clip["clip_id"] for clip in more]
    by_group = {row["group"]: row["split"] for row in rows}
    assert len(set(by_group.values())) == 3
    assert all(row["split"] == by_group[row["group"]] for row in store.metadata)
    skipped = store.summary()["skipped"]
    assert [(row["clip_id"], row["reason"]) for row in skipped["clips"]] == [
        ("a3", "Expected a new clip_id, got 'a3' again.")
    ]
    assert store.summary()["config"] == {"fps": 30, "seed": 3, "split": [0.4, 0.3, 0.3], "multiple": 4}
    store.verify()
    assert add(path, [Listed(more)]).data_hash == store.data_hash
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_terms_that_differ_and_stores_without_a_report_are_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    build([Listed(people(make_clip, "aa", 0))], tmp_path / "a.zarr", BuildConfig(fps=30))
    with pytest.raises(OptionError, match=r"Expected licence 'CC0' of 'made', as in .*, got 'CC-BY-NC'"):
        add(tmp_path / "a.zarr", [Listed(people(make_clip, "bb", 5), licence="CC-BY-NC")])
    with StoreWriter(tmp_path / "b.zarr", fps=15) as writer:
        writer.append(make_clip("a"))
        writer.publish({})
    with pytest.raises(StoreError, match="without its report"):
        add(tmp_path / "b.zarr", [ProceduralSource(3)])
    with pytest.raises(StoreError, match="Expected a store at"):
        add(tmp_path / "c.zarr", [ProceduralSource(3)])


ADD = """
import os, signal, sys
from hiw_data import ProceduralSource, add

class Killed(ProceduralSource):
    def stream(self, fps):
        yield from self.stream_from(fps, 0)

    def stream_from(self, fps, start):
        for number, clip in enumerate(super().stream_from(fps, start), start):
            if number == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            yield clip

source = Killed(12, 5)
source.name = "procedural"
add(sys.argv[1], [source])
"""


def test_an_interrupted_call_goes_on_and_ends_with_the_same_store(tmp_path: Path) -> None:
    stores = []
    for name, stops in (("a", (-1,)), ("b", (3, 9, -1))):
        build([ProceduralSource(8)], tmp_path / f"{name}.zarr")
        before = HiwStore.open(tmp_path / f"{name}.zarr").data_hash
        for stop in stops:
            done = subprocess.run([sys.executable, "-c", ADD, str(tmp_path / f"{name}.zarr"), str(stop)], check=False)
            assert done.returncode == (0 if stop < 0 else -signal.SIGKILL)
            if stop > 0:
                journal = tmp_path / f".{name}.zarr.building/main/journal.jsonl"
                assert journal.read_text().count('"row"') == stop
                assert HiwStore.open(tmp_path / f"{name}.zarr").data_hash == before
        stores.append(HiwStore.open(tmp_path / f"{name}.zarr"))
    undisturbed, interrupted = stores
    for name in ("clips.arrow", "zarr.json", "features/c/1/0", "README.md", "quality.json"):
        assert (interrupted.path / name).read_bytes() == (undisturbed.path / name).read_bytes(), name


def test_any_source_is_added_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, mine = tmp_path / "a.zarr", tmp_path / "mine"
    build([ProceduralSource(6)], path)
    mine.mkdir()
    zeros = {
        "global_orient": np.zeros((20, 2, 3)),
        "hand_pose": np.zeros((20, 2, 15, 3)),
        "transl": np.zeros((20, 2, 3)),
    }
    np.savez(mine / "still.npz", fps=15.0, captions=["hands at rest"], **zeros)
    (mine / "broken.npz").write_bytes(b"no")
    command = ["add", str(path), f"npz:{mine}", "procedural", "-o", "npz.licence=CC-BY-4.0"]
    assert main([*command, "-o", "procedural.clips=4", "-o", "procedural.seed=1", "-o", "npz.name=own"]) == 0
    said = capsys.readouterr().out
    assert "5 clips added, 1 not used" in said
    assert "broken" in said
    store = HiwStore.open(path)
    assert store.summary()["sources"]["own"]["info"]["licence"] == "CC-BY-4.0"
    assert store.clips(source="own")[0]["captions"] == ["hands at rest"]
    assert main(["add", str(path), f"npz:{mine}", "-o", "npz.licence=CC-BY-4.0", "-o", "npz.name=own"]) == 0
    assert capsys.readouterr().out.startswith("0 clips added")


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["npz"], [], r"Expected TYPE:FOLDER, .*, got 'npz'"),
        (["procedural:folder"], [], "got 'procedural:folder'"),
        (["npz:"], [], "got 'npz:'"),
        (["npz:a", "npz:b"], [], "got npz twice"),
        (["npz:a"], ["licence=CC0"], "got 'licence=CC0'"),
        (["npz:a"], ["leap.licence=CC0"], r"among npz, got 'leap\.licence=CC0'"),
    ],
)
def test_words_that_make_no_sense_are_refused(words: list[str], options: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        source_options(words, options)


def test_options_are_json_or_text_and_sources_are_made_of_them() -> None:
    asked = source_options(["npz:a=b:c", "procedural"], ["npz.max_frames=32", "npz.licence=CC0", "procedural.clips=3"])
    assert asked == {"npz": {"folder": "a=b:c", "max_frames": 32, "licence": "CC0"}, "procedural": {"clips": 3}}
    assert len(make_source("procedural", **asked["procedural"])) == 3
    assert set(WITHOUT_FOLDER) < set(SOURCES)
    with pytest.raises(OptionError, match=r"Expected a source of .*, got 'none'"):
        make_source("none")
    with pytest.raises(OptionError, match="Expected options that the source procedural has, got colour"):
        make_source("procedural", colour="red")
