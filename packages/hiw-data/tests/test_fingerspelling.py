"""Real clips where the packages are installed, made-up .pose files for damage."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from hand_geometry import features_to_joints, mirror_text
from hiw_data import FingerspellingSource, SourceError, build
from hiw_data.clips import Clip, check_clip, pad_clip
from hiw_data.errors import ClipError
from hiw_data.sources.fingerspelling import _assemble, lexicon_folder, read_index
from hiw_data.sources.fit_worker import FittedTrack, Track, load_fits, load_tracks, save_fits, save_tracks
from hiw_data.sources.landmarks import Landmarks, bone_vectors, depth_scale, in_metres, open_hand_bones, seen_hands

installed = importlib.util.find_spec("spoken_to_signed") and importlib.util.find_spec("pose_format")
needs_lexicon = pytest.mark.skipif(not installed, reason="needs hiw-data[fingerspelling]")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [c for c in FingerspellingSource(limit=8, workers=1).stream(15.0) if isinstance(c, dict)]


@needs_lexicon
def test_real_clips_are_fitted_within_15_mm(clips: list[Clip]) -> None:
    residuals = np.concatenate([c["residual"][~np.isnan(c["residual"])] for c in clips])
    assert len(residuals) > 50
    assert np.median(residuals) < 0.015


@pytest.fixture(scope="module")
def american() -> dict[str, Clip]:
    """Four letters of American Sign Language by their letter."""
    source = FingerspellingSource(["ase"], workers=0)
    source.entries = [entry for entry in source.entries if entry.letter in "ABMS"]
    return {c["attributes"]["letter"]: c for c in source.stream(15.0) if isinstance(c, dict)}


@needs_lexicon
def test_real_letters_have_the_captions_that_a_person_would_check(american: dict[str, Clip]) -> None:
    who = "the right hand spells the letter {} in American Sign Language"
    shapes = {
        "A": "all fingers curled, thumb out",
        "B": "all fingers extended, fingers together, thumb across the palm",
        "S": "all fingers curled, thumb across the palm",
    }
    for letter, shape in shapes.items():
        assert american[letter]["captions"] == [
            who.format(letter),
            f"{who.format(letter)}: {shape}, palm facing toward the viewer, pointing up, held still",
        ]
        assert {k: v for k, v in american[letter]["attributes"].items() if k != "synthetic"} == {
            "letter": letter,
            "language": "American",
            "language_code": "ase",
            "hand": "right",
            "unseen_language": False,
        }
    assert american["A"]["mirrored_captions"][1] == (
        "the left hand spells the letter A in American Sign Language: "
        "all fingers curled, thumb out, palm facing toward the viewer, pointing up, held still"
    )
    for clip in american.values():
        assert clip["mirrored_captions"] == [mirror_text(caption) for caption in clip["captions"]]


@needs_lexicon
def test_a_letter_is_kept_in_captions_from_motion_codes(american: dict[str, Clip]) -> None:
    source = FingerspellingSource(["ase"], workers=0, measured_captions=True)
    source.entries = [entry for entry in source.entries if entry.letter == "B"]
    (clip,) = source.stream(15.0)
    assert isinstance(clip, dict)
    own = american["B"]["captions"]
    assert [clip["captions"][0], clip["captions"][-1]] == own
    assert len(clip["captions"]) == 5
    assert all(text.startswith(f"{own[0]}: ") for text in clip["captions"][1:])
    assert [made["maker"] for made in clip["caption_provenance"]] == ["lexicon", *["motion codes"] * 3, "lexicon"]
    assert clip["mirrored_captions"] == [mirror_text(caption) for caption in clip["captions"]]


@needs_lexicon
def test_a_recording_lasts_as_long_at_any_frame_rate(american: dict[str, Clip]) -> None:
    source = FingerspellingSource(["ase"], workers=0)
    source.entries = [entry for entry in source.entries if entry.letter in "ABMS"]
    (fast,) = [c for c in source.stream(60.0) if isinstance(c, dict) and c["attributes"]["letter"] == "B"]
    slow = american["B"]
    assert len(fast["features"]) / 60 == pytest.approx(len(slow["features"]) / 15, abs=1 / 15)
    np.testing.assert_allclose(fast["features"][::4][:6], slow["features"][:6], atol=1e-4)


def fitted(residual: list[float]) -> FittedTrack:
    zeros = np.zeros((len(residual), 17, 3), np.float32)
    return FittedTrack(zeros[:, 0], zeros[:, 2:], zeros[:, 1], np.array(residual, np.float32))


def test_frames_that_fit_worse_than_25_mm_are_not_valid() -> None:
    good = [0.01] * 5 + [0.0249]
    motion = _assemble({1: fitted([*good, 0.0251, np.nan])}, 25.0, 8)
    assert motion.valid[:, 1].tolist() == [True] * 6 + [False] * 2
    assert not motion.valid[:, 0].any()
    assert motion.fps == 25.0
    with pytest.raises(ClipError, match="at least 6 frames"):
        _assemble({0: fitted([*good[:5], 0.03, 0.03])}, 25.0, 7)


@needs_lexicon
def test_fingers_of_a_fist_curl_toward_the_camera_where_the_palm_faces(american: dict[str, Clip]) -> None:
    """With the tracker's depth turned round, the fit misses by 14 to 21 mm and these fingers lie behind the palm."""
    for letter in "AMS":
        clip = american[letter]
        assert np.nanmedian(clip["residual"]) < 0.010
        seen = np.asarray(features_to_joints(clip["features"]))[clip["valid"][:, 1], 1]
        middle = seen[:, [6, 10, 14, 18], 2] - seen[:, [5, 9, 13, 17], 2]  # depth from knuckle to the next joint
        assert np.median(middle) < -0.01


def test_what_is_nearer_to_the_camera_has_less_depth() -> None:
    points = tracked(640.0, 900.0)
    points.keypoints[:, 1, 8, 2] = points.keypoints[:, 1, 0, 2] - 0.05  # as MediaPipe says "before the wrist"
    assert (in_metres(points, 640.0, open_hand_bones())[:, 1, 8, 2] < -0.02).all()


@needs_lexicon
def test_some_languages_are_in_val_and_test_alone() -> None:
    source = FingerspellingSource()
    assert source.held_out == {"bzs": "val", "mfs": "test", "tsm": "test"}
    assert {entry.language for entry in source.entries} > {"bzs", "mfs", "tsm"}
    assert FingerspellingSource(["ase", "tsm"]).held_out == {}
    held = FingerspellingSource(["ase", "tsm"], limit=4, workers=0, held_out={"tsm": "test"})
    clips = [c for c in held.stream(15.0) if isinstance(c, dict)]
    assert {(c["attributes"]["language_code"], c["split"], c["held_out"]) for c in clips} == {
        ("ase", "", False),
        ("tsm", "test", True),
    }
    assert all(c["attributes"]["unseen_language"] is c["held_out"] for c in clips)
    for wrong in ({"tsm": "train"}, {"xyz": "test"}):
        with pytest.raises(ValueError, match="Expected"):
            FingerspellingSource(["ase"], held_out=wrong)


@needs_lexicon
def test_real_clips_are_well_formed_and_canonical(clips: list[Clip]) -> None:
    assert len(clips) == 8
    for clip in clips:
        check_clip(pad_clip(clip))
        joints = features_to_joints(clip["features"])
        np.testing.assert_allclose(joints[0, :, 0].mean(0), 0, atol=1e-4)
        assert clip["attributes"]["synthetic"] is False
        assert clip["attributes"]["letter"] in clip["captions"][0]
        assert clip["attributes"]["language"] in clip["captions"][1]
        assert len(clip["captions"][1]) > len(clip["captions"][0])
        with np.errstate(invalid="ignore"):
            assert not (clip["valid"] & (clip["residual"] > 0.03)).any()


@needs_lexicon
def test_a_hand_that_was_not_seen_is_relaxed_beside_the_other_and_invalid(clips: list[Clip]) -> None:
    one_handed = [c for c in clips if c["attributes"]["hand"] != "both"]
    assert one_handed
    for clip in one_handed:
        unseen = 1 if clip["attributes"]["hand"] == "left" else 0
        assert not clip["valid"][:, unseen].any()
        wrists = np.asarray(features_to_joints(clip["features"]))[:, :, 0]
        assert np.ptp(wrists[:, unseen], axis=0).max() < 1e-5
        np.testing.assert_allclose(wrists[0, :, 0], [-0.13, 0.13], atol=1e-4)


@needs_lexicon
def test_two_processes_give_what_one_gives() -> None:
    alone = list(FingerspellingSource(["ase"], limit=4, workers=1).stream(15.0))
    together = list(FingerspellingSource(["ase"], limit=4, workers=2).stream(15.0))
    for a, b in zip(alone, together, strict=True):
        assert isinstance(a, dict)
        assert isinstance(b, dict)
        np.testing.assert_allclose(a["features"], b["features"], atol=1e-5)
        assert a["captions"] == b["captions"]


@needs_lexicon
def test_a_corrupt_file_is_skipped_and_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    lexicon = lexicon_folder()
    entries = read_index(lexicon)[:4]
    rows = ["path,signed_language,words"]
    for k, entry in enumerate(entries):
        shutil.copy(lexicon / entry.path, tmp_path / f"{k}.pose")
        rows.append(f"{k}.pose,{entry.language},{entry.letter}")
    rows += ["0.pose,ase,again", "gone.pose,ase,Q"]
    (tmp_path / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    whole = (tmp_path / "1.pose").read_bytes()
    (tmp_path / "1.pose").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "2.pose").write_bytes(b"")
    store = build([FingerspellingSource(folder=tmp_path, workers=1)], tmp_path / "out.zarr")
    assert [c["clip_id"] for c in store.clips()] == ["fingerspelling/0", "fingerspelling/3"]
    skipped = store.summary()["skipped"]
    assert skipped["count"] == 3
    assert {s["clip_id"] for s in skipped["clips"]} == {f"fingerspelling/{n}.pose" for n in ("1", "2", "gone")}
    assert all("Expected a readable .pose file" in s["reason"] for s in skipped["clips"])
    assert "1.pose" in (store.path / "README.md").read_text(encoding="utf-8")


@needs_lexicon
def test_the_index_lists_each_recording_once() -> None:
    entries = read_index(lexicon_folder())
    assert len(entries) == len({e.path for e in entries}) == 600
    assert len({e.language for e in entries}) == 19


@needs_lexicon
def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Expected languages of .*got \['xyz'\]"):
        FingerspellingSource(["xyz"])
    with pytest.raises(ValueError, match="limit >= 1"):
        FingerspellingSource(limit=0)
    assert {e.language for e in FingerspellingSource(["fsl", "gss"]).entries} == {"fsl", "gss"}
    assert {e.language for e in FingerspellingSource(["fsl", "ase"]).entries} == {"ase"}  # the same recordings


def test_a_missing_package_or_index_is_said_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"spoken-to-signed.*pip install 'hiw-data\[fingerspelling\]'"):
        FingerspellingSource()
    with pytest.raises(SourceError, match=r"index\.csv in"):
        FingerspellingSource(folder=tmp_path)
    (tmp_path / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match="columns"):
        FingerspellingSource(folder=tmp_path)


def tracked(depth: float, size: float, frames: int = 12) -> Landmarks:
    """A rigid hand turning before a camera whose tracker reports z in a unit of its own."""
    rng = np.random.default_rng(0)
    hand = np.cumsum(rng.normal(0, 0.02, (21, 3)), 0)
    hand *= open_hand_bones() / np.linalg.norm(bone_vectors(hand), axis=-1).sum()
    angles = np.linspace(0, 1.5, frames)
    turns = np.array([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles])
    points = np.einsum("tij,kj->tki", turns, hand) * size
    points[..., 2] /= depth
    seen = np.zeros((frames, 2), bool)
    seen[:, 1] = True
    return Landmarks(np.stack([0 * points, points], 1), seen, 30.0)


@pytest.mark.parametrize("depth", [250.0, 640.0, 2000.0])
def test_the_depth_scale_is_found_from_the_constancy_of_bones(depth: float) -> None:
    assert depth_scale([tracked(depth, 800.0)]) == pytest.approx(depth, rel=0.02)


def test_a_hand_without_confidence_or_without_extent_was_not_seen() -> None:
    keypoints = np.tile(np.arange(63.0).reshape(21, 3), (4, 2, 1, 1))
    confidence = np.ones((4, 2, 21))
    confidence[0, 0] = 0
    keypoints[1, 1] = 0.0
    keypoints[2, 1] = 7.0
    keypoints[3, 0, 5, 2] = np.nan
    assert seen_hands(keypoints, confidence).tolist() == [[False, True], [True, False], [True, False], [False, True]]


def test_bones_come_out_in_metres() -> None:
    landmarks = tracked(640.0, 900.0)
    hand = in_metres(landmarks, 640.0, open_hand_bones())[:, 1]
    assert np.linalg.norm(bone_vectors(hand), axis=-1).sum(-1) == pytest.approx(open_hand_bones(), rel=1e-6)
    assert (hand[:, 0, 2] == 0).all()
    nobody = Landmarks(landmarks.keypoints, np.zeros((12, 2), bool), 30.0)
    assert depth_scale([nobody]) == 640
    with pytest.raises(ClipError, match="Expected a hand"):
        in_metres(nobody, 640.0, 1.0)


def test_tracks_and_fits_survive_their_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tracks = [Track(rng.normal(size=(n, 21, 3)), rng.random(n) > 0.5, n % 2) for n in (3, 7)]
    save_tracks(str(tmp_path / "t.npz"), tracks)
    for a, b in zip(tracks, load_tracks(str(tmp_path / "t.npz")), strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        np.testing.assert_array_equal(a.seen, b.seen)
        assert a.side == b.side
    fits = [
        FittedTrack(*(rng.normal(size=s).astype(np.float32) for s in ((n, 3), (n, 15, 3), (n, 3), (n,))), error=e)
        for n, e in ((2, ""), (5, "ValueError: é"))
    ]
    save_fits(str(tmp_path / "f.npz"), fits)
    for f, g in zip(fits, load_fits(str(tmp_path / "f.npz")), strict=True):
        np.testing.assert_array_equal(f.hand_pose, g.hand_pose)
        np.testing.assert_array_equal(f.residual, g.residual)
        assert f.error == g.error
