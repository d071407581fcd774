from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hand_geometry import features_to_joints, features_to_params
from hiw_data import (
    BuildConfig,
    HiwStore,
    NoClipsError,
    NpzSource,
    OptionError,
    SkippedClip,
    SourceError,
    build,
)
from hiw_data.clips import check_clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def write_motion(path: Path, frames: int = 20, fps: float | None = 15.0, seed: int = 0, **changes: object) -> dict:
    rng = np.random.default_rng(seed)
    arrays = {
        "global_orient": rng.normal(0, 0.5, (frames, 2, 3)),
        "hand_pose": rng.normal(0, 0.2, (frames, 2, 15, 3)),
        "transl": rng.normal(0, 0.1, (frames, 2, 3)),
        "fps": np.array(fps or 0.0),
        "captions": np.array(["a person stirs", "a person stirs a pot with the left hand"]),
    }
    arrays |= {"fps": None if fps is None else arrays["fps"]} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


@settings(max_examples=6, deadline=None)
@given(st.integers(8, 40))
def test_parameters_arrive_unchanged_but_for_the_origin(tmp_path_factory: pytest.TempPathFactory, frames: int) -> None:
    folder = tmp_path_factory.mktemp("in")
    arrays = write_motion(folder / "sub" / "a.npz", frames)
    store = build([NpzSource(folder, name="mine")], folder / "out.zarr")
    (clip,) = store.clips()
    assert clip["clip_id"] == "mine/sub/a"
    assert clip["captions"] == ["a person stirs", "a person stirs a pot with the left hand"]
    assert len(clip["features"]) % 4 == 0
    assert clip["valid"][:frames].all()
    assert not clip["valid"][frames:].any()
    params = features_to_params(clip["features"][:frames])
    np.testing.assert_allclose(params["global_orient"], arrays["global_orient"], atol=1e-4)
    np.testing.assert_allclose(params["hand_pose"], arrays["hand_pose"], atol=1e-4)
    moved = params["transl"] - arrays["transl"]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0, 0], moved.shape), atol=1e-5)


def test_other_frame_rates_are_resampled_and_long_clips_are_cut(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz", 301, fps=30)
    store = build([NpzSource(tmp_path)], tmp_path / "out.zarr")
    clips = store.clips()
    assert [c["clip_id"] for c in clips] == ["npz/a#0", "npz/a#1", "npz/a#2"]
    assert sum(c["valid"][:, 0].sum() for c in clips) == 151
    assert len({c["split"] for c in clips}) == 1
    assert all(len(c["features"]) <= 64 for c in clips)
    told = [{k: v for k, v in c["attributes"].items() if k != "synthetic"} for c in clips]
    assert told == [
        {"piece": 1, "pieces": 3, "start_seconds": 0.0, "end_seconds": 3.333},
        {"piece": 2, "pieces": 3, "start_seconds": 3.333, "end_seconds": 6.733},
        {"piece": 3, "pieces": 3, "start_seconds": 6.733, "end_seconds": 10.067},
    ]
    assert store.summary()["sources"]["npz"]["cut"] == {"recordings": 1, "pieces": 3}
    assert any("1 recording(s) longer than a clip may be stand here as 3 pieces" in n for n in store.summary()["notes"])


def test_every_piece_is_canonical_in_its_own_first_frame(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).normal(0, 0.05, (150, 2, 3))
    write_motion(tmp_path / "a.npz", 150, transl=steps.cumsum(0))
    clips = build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()
    assert len(clips) == 3
    for clip in clips:
        wrists = np.asarray(features_to_joints(clip["features"][:1]))[0, :, 0]
        np.testing.assert_allclose(wrists.mean(0), 0, atol=1e-5)
    last, first = clips[0]["features"][49], clips[1]["features"][0]
    apart = [f[195:198] - f[96:99] for f in (last, first)]
    assert np.linalg.norm(apart[1] - apart[0]) < 0.5  # the two hands go on where they were


def test_every_piece_has_the_validity_and_the_captions_of_its_own_frames(tmp_path: Path) -> None:
    valid = np.ones((100, 2), bool)
    valid[70:80, 0] = False
    write_motion(tmp_path / "a.npz", 100, valid=valid)
    first, second = build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()
    assert first["valid"][:50].all()
    assert np.flatnonzero(~second["valid"][:50, 0]).tolist() == list(range(20, 30))
    assert second["valid"][:50, 1].all()
    assert first["features"].shape == second["features"].shape == (52, 198)


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ("first", [["a person stirs"], ["a person stirs"], ["and rests"]]),
        ("all", [["a person stirs", "a person stirs a pot with the left hand"]] * 2 + [["and rests"]]),
    ],
)
def test_pieces_have_the_captions_that_were_chosen(tmp_path: Path, captions: str, expected: list[list[str]]) -> None:
    write_motion(tmp_path / "a.npz", 150)
    (tmp_path / "a#2.txt").write_text("and rests\n", encoding="utf-8")
    clips = build([NpzSource(tmp_path, piece_captions=captions)], tmp_path / "out.zarr").clips()
    assert [c["captions"] for c in clips] == expected


def test_long_recordings_are_skipped_or_refused_when_asked(tmp_path: Path) -> None:
    write_motion(tmp_path / "in" / "long.npz", 65)
    write_motion(tmp_path / "in" / "short.npz", 64)
    store = build([NpzSource(tmp_path / "in", long="skip")], tmp_path / "skip.zarr")
    assert [c["clip_id"] for c in store.clips()] == ["npz/short"]
    (skipped,) = store.summary()["skipped"]["clips"]
    assert "Expected at most 64 frames at 15 fps in long.npz, got 65" in skipped["reason"]
    with pytest.raises(SourceError, match=r"at most 64 frames .* long\.npz, got 65.*--long cut"):
        build([NpzSource(tmp_path / "in", long="refuse")], tmp_path / "refuse.zarr")
    cut = build([NpzSource(tmp_path / "in")], tmp_path / "cut.zarr")
    assert cut.summary()["sources"]["npz"]["cut"] == {"recordings": 1, "pieces": 2}
    whole = build([NpzSource(tmp_path / "in", max_frames=68)], tmp_path / "whole.zarr").clips()
    assert [len(c["features"]) for c in whole] == [68, 64]
    assert "pieces" not in whole[0]["attributes"]


def test_a_rate_that_is_not_given_is_15_and_that_is_said(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz", 30, fps=None)
    write_motion(tmp_path / "b.npz", 30, fps=30.0)
    write_motion(tmp_path / "c.npz", 30, fps=30.0)
    store = build([NpzSource(tmp_path)], tmp_path / "out.zarr")
    assert [int(c["valid"][:, 0].sum()) for c in store.clips()] == [30, 15, 15]
    (note,) = [n for n in store.summary()["notes"] if "frame rate" in n]
    assert "1 file(s) do not say their frame rate; 15 fps was assumed" in note
    other = build([NpzSource(tmp_path, fps=60)], tmp_path / "other.zarr")
    assert int(other.clips()[0]["valid"][:, 0].sum()) == 8


def test_gaps_of_a_hand_are_straight_lines_and_stay_invalid(tmp_path: Path) -> None:
    transl = np.zeros((20, 2, 3))
    transl[:, 0, 0], transl[:, 1, 0] = -0.1, 0.1 + 0.01 * np.arange(20)
    transl[5:9, 1] = 0.9  # what a tracker invents
    valid = np.ones((20, 2), bool)
    valid[5:9, 1] = valid[18:, 1] = False
    still = {"global_orient": np.zeros((20, 2, 3)), "hand_pose": np.zeros((20, 2, 15, 3))}
    write_motion(tmp_path / "a.npz", 20, transl=transl, valid=valid, **still)
    (clip,) = build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()
    x = clip["features"][:, 195] - clip["features"][0, 195]
    np.testing.assert_allclose(x[:18], 0.01 * np.arange(18), atol=1e-6)
    np.testing.assert_allclose(x[18:], 0.17, atol=1e-6)
    assert clip["valid"][:, 1].tolist() == [True] * 5 + [False] * 4 + [True] * 9 + [False] * 2
    assert clip["valid"][:20, 0].all()


def test_an_unseen_hand_changes_nothing_whatever_stands_in_its_frames(tmp_path: Path) -> None:
    valid = np.ones((20, 2), np.uint8)
    valid[:, 0] = 0
    made = []
    for k, junk in enumerate((0.0, np.nan, 1e6)):
        arrays = write_motion(tmp_path / str(k) / "a.npz", valid=valid)
        for key in ("global_orient", "hand_pose", "transl"):
            arrays[key][:, 0] = junk
        np.savez(tmp_path / str(k) / "a.npz", **arrays)
        made += build([NpzSource(tmp_path / str(k))], tmp_path / f"{k}.zarr").clips()
    for clip in made:
        np.testing.assert_array_equal(clip["features"], made[0]["features"])
        np.testing.assert_array_equal(clip["valid"], made[0]["valid"])
        assert not clip["valid"][:, 0].any()


def test_groups_of_a_file_or_a_table_decide_the_split(tmp_path: Path) -> None:
    for k in range(24):
        write_motion(tmp_path / "in" / f"{k:02d}.npz", 8, seed=k, group=np.array(f"subject {k % 4}"))
    own = build([NpzSource(tmp_path / "in")], tmp_path / "own.zarr")
    by_group: dict[str, set[str]] = {}
    for clip in own.clips():
        by_group.setdefault(clip["group"], set()).add(clip["split"])
    assert set(by_group) == {f"subject {k}" for k in range(4)}
    assert all(len(splits) == 1 for splits in by_group.values())
    assert {s for splits in by_group.values() for s in splits} == {"train", "val", "test"}

    table = tmp_path / "groups.csv"
    table.write_text("\ufeffclip,group\n" + "".join(f"{k:02d}.npz,day {k // 8}\n" for k in range(24)), encoding="utf-8")
    told = build([NpzSource(tmp_path / "in", groups=table)], tmp_path / "told.zarr").clips()
    assert [c["group"] for c in told] == [f"day {k // 8}" for k in range(24)]
    assert sorted({c["split"] for c in told[k : k + 8]} for k in (0, 8, 16)) == sorted(
        {told[k]["split"]} for k in (0, 8, 16)
    )
    assert {c["split"] for c in told} == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"clip,group\nb,x\n", r"got 1 others: \['b'\]"),
        (b"clip,subject\na,x\n", "columns clip and group"),
        (b"", "columns clip and group"),
        (b"clip,group\na,\n", r"a group for every clip .* \['a'\]"),
        (b"clip,group\na,J\xfcrgen\n", "a CSV file in UTF-8"),
    ],
)
def test_a_table_of_groups_that_does_not_fit_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    write_motion(tmp_path / "a.npz")
    (tmp_path / "groups.csv").write_bytes(text)
    with pytest.raises(SourceError, match=message):
        NpzSource(tmp_path, groups=tmp_path / "groups.csv")


def test_invalid_and_broken_numbers_become_invalid_frames(tmp_path: Path) -> None:
    valid = np.ones((20, 2), bool)
    valid[:, 0] = False
    transl = np.zeros((20, 2, 3))
    transl[5, 1, 2] = np.nan  # one number of a frame is enough
    write_motion(tmp_path / "a.npz", valid=valid, transl=transl)
    (clip,) = build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()
    assert not clip["valid"][:, 0].any()
    assert clip["valid"][:20, 1].sum() == 19
    assert not clip["valid"][5, 1]
    assert np.isfinite(clip["features"]).all()


@pytest.mark.parametrize("inside", [None, np.array([]), np.array([], str), np.array(["", "  "])])
def test_captions_may_stand_in_a_text_file_beside(tmp_path: Path, inside: np.ndarray | None) -> None:
    write_motion(tmp_path / "a.npz", captions=inside)
    (tmp_path / "a.txt").write_text("\ufeffwaving\n\n waving  slowly \n", encoding="utf-8")
    assert build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()[0]["captions"] == ["waving", "waving slowly"]


def test_captions_inside_count_before_a_text_file_and_may_be_one_text(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz", captions=np.array("one hand waves"))
    (tmp_path / "a.txt").write_text("something else", encoding="utf-8")
    assert build([NpzSource(tmp_path)], tmp_path / "out.zarr").clips()[0]["captions"] == ["one hand waves"]


def zlib_damage(path: Path) -> None:
    """A compressed file, a byte of whose stream is flipped."""
    np.savez_compressed(path, **dict(np.load(path)))
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(bytes(content))


BAD: dict[str, tuple[dict[str, object], str]] = {
    "pickled": ({"captions": np.array(["a", None], object)}, "plain arrays"),
    "shape": ({"hand_pose": np.zeros((20, 2, 45))}, "hand_pose as numbers of shape (T, 2, 15, 3)"),
    "texts": ({"transl": np.full((20, 2, 3), "x")}, "transl as numbers"),
    "missing": ({"transl": None}, "transl as numbers of shape (T, 2, 3)"),
    "ragged": ({"transl": np.zeros((19, 2, 3))}, "arrays of one length"),
    "silent": ({"captions": None}, "captions in silent.npz or in silent.txt"),
    "bytes": ({"captions": np.array([b"a hand waves"])}, "captions as texts"),
    "unseen": ({"valid": np.zeros((20, 2), bool)}, "hand in at least one frame"),
    "mask": ({"valid": np.ones(20, bool)}, "valid of shape (20, 2)"),
    "scores": ({"valid": np.full((20, 2), 0.7)}, "False or True"),
    "huge": ({"transl": np.full((20, 2, 3), 1e300)}, "finite numbers"),
    "nan": ({"transl": np.full((20, 2, 3), np.nan)}, "finite numbers"),
    "millimetres": ({"transl": np.tile([[-130.0, 0, 400], [130, 0, 400]], (20, 1, 1))}, "divide it by 1000"),
    "degrees": ({"global_orient": np.full((20, 2, 3), 90.0)}, "in radians"),
    "fps_row": ({"fps": np.array([30.0])}, "fps as one number"),
    "fps_text": ({"fps": np.array("30 fps")}, "fps as one number"),
    "fps_tiny": ({"fps": np.array(1e-6)}, "fps as one number of 1 to 1000"),
    "fps_nan": ({"fps": np.array(np.nan)}, "fps as one number"),
    "group": ({"group": np.array(["a", "b"])}, "group as one text"),
    "none": (
        {"global_orient": np.zeros((0, 2, 3)), "hand_pose": np.zeros((0, 2, 15, 3)), "transl": np.zeros((0, 2, 3))},
        "hand in at least one frame",
    ),
}


def write_bad_and_good(folder: Path) -> dict[str, str]:
    """Three good files and every bad one; what each reason must say."""
    for k in range(3):
        write_motion(folder / f"good_{k}.npz", seed=k)
    for name, (changes, _) in BAD.items():
        write_motion(folder / f"{name}.npz", **changes)  # type: ignore[arg-type]
    write_motion(folder / "short.npz", 2)
    (folder / "damaged.npz").write_bytes(b"PK\x03\x04 not a zip")
    (folder / "empty.npz").touch()
    write_motion(folder / "zlib.npz")
    zlib_damage(folder / "zlib.npz")
    write_motion(folder / "cp1252.npz", captions=None)
    (folder / "cp1252.txt").write_bytes("die Hand öffnet sich".encode("cp1252"))
    write_motion(folder / "utf16.npz", captions=None)
    (folder / "utf16.txt").write_text("a hand waves", encoding="utf-16")
    (folder / "folder.npz").mkdir()
    others = {
        "short": "at least 4 frames",
        "damaged": "readable .npz",
        "empty": "readable .npz",
        "zlib": "readable .npz",
        "cp1252": "captions in UTF-8 in cp1252.txt",
        "utf16": "captions in UTF-8 in utf16.txt",
        "folder": "got a folder",
    }
    return {name: words for name, (_, words) in BAD.items()} | others


def test_unusable_files_are_skipped_each_with_its_reason(tmp_path: Path) -> None:
    expected = write_bad_and_good(tmp_path / "in")
    store = build([NpzSource(tmp_path / "in")], tmp_path / "out.zarr")
    assert [c["clip_id"] for c in store.clips()] == ["npz/good_0", "npz/good_1", "npz/good_2"]
    assert {c["split"] for c in store.clips()} == {"train", "val", "test"}
    reasons = {s["clip_id"].removeprefix("npz/"): s["reason"] for s in store.summary()["skipped"]["clips"]}
    assert reasons.keys() == expected.keys()
    assert {name: words for name, words in expected.items() if words not in reasons[name]} == {}
    assert all((reason.startswith("Expected") and f"{name}." in reason) or name in ("short", "unseen", "none")
               for name, reason in reasons.items())  # fmt: skip
    refuse = pytest.fail  # of NaN and Infinity, which are no JSON
    json.loads((tmp_path / "out.zarr" / "quality.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_reasons_are_listed_also_when_every_file_was_skipped(tmp_path: Path) -> None:
    write_motion(tmp_path / "in" / "a.npz", captions=None)
    write_motion(tmp_path / "in" / "b.npz", fps=1e-6)
    with pytest.raises(NoClipsError) as error:
        build([NpzSource(tmp_path / "in")], tmp_path / "out.zarr")
    assert "all 2 were skipped" in str(error.value)
    assert "npz/a: Expected captions in a.npz" in str(error.value)
    assert "npz/b: Expected fps as one number" in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_damaged_anywhere_is_read_or_refused_with_a_reason(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.npz"
    write_motion(path, 8)
    if data.draw(st.booleans()):
        np.savez_compressed(path, **dict(np.load(path)))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    for item in NpzSource(tmp_path).stream(15.0):
        if isinstance(item, SkippedClip):
            assert item.reason.startswith("Expected")
        else:
            check_clip(item)


def test_few_clips_give_no_nan_anywhere(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz", 8)
    store = build([NpzSource(tmp_path)], tmp_path / "out.zarr")
    for name in ("quality.json", "README.md"):
        assert "nan" not in (store.path / name).read_text(encoding="utf-8").lower()
    assert "too few for train, val, test" in (store.path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "options", [{"long": "keep"}, {"piece_captions": "none"}, {"fps": 0}, {"max_frames": 4}, {"smoothing": -1}]
)
def test_senseless_options_are_refused(tmp_path: Path, options: dict) -> None:
    write_motion(tmp_path / "a.npz")
    with pytest.raises(OptionError, match="Expected"):
        NpzSource(tmp_path, **options)


def test_a_folder_without_motion_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Expected a folder"):
        NpzSource(tmp_path / "none")
    with pytest.raises(SourceError, match="See `hiw import --help`"):
        NpzSource(tmp_path)


def test_smoothing_is_only_done_when_asked(tmp_path: Path) -> None:
    write_motion(tmp_path / "a.npz")
    raw = build([NpzSource(tmp_path)], tmp_path / "raw.zarr", BuildConfig(seed=1)).clips()[0]["features"]
    smooth = build([NpzSource(tmp_path, smoothing=0.1)], tmp_path / "smooth.zarr").clips()[0]["features"]
    assert np.abs(np.diff(smooth[:, 96:99], 3, axis=0)).mean() < 0.5 * np.abs(np.diff(raw[:, 96:99], 3, axis=0)).mean()
    assert HiwStore.open(tmp_path / "raw.zarr").summary()["config"]["seed"] == 1
