"""Datasets in their own layouts: joints before and after agree, and so do validity, rate, words, group and side."""

from __future__ import annotations

import json
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hiw_data import BuildConfig, HiwStore, OptionError, SkippedClip, SourceError, build
from hiw_data.clips import check_clip
from hiw_data.sources import aria
from hiw_data.sources.datasets import DATASETS, dataset, dataset_source
from hiw_data.sources.hand_recording import Context, HandRecording, KeypointRecording
from hiw_data.sources.handx import joint_order
from hiw_data.sources.recordings import MOTION_MAKER, clip_joints
from hiw_data.sources.time_grid import bridge_dropped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .dataset_files import WRITERS as FIRST_WRITERS
from .dataset_files import Written, add_entry, write_hot3d_clip
from .dataset_files_more import KEYPOINT_WRITERS, MANO_WRITERS, leap_frames, open_joints
from .mano_files import random_motion, write_mano

TENTH_OF_A_MILLIMETRE = 1e-4

WRITERS = FIRST_WRITERS | MANO_WRITERS
EVERY = WRITERS | KEYPOINT_WRITERS


@pytest.fixture(scope="session")
def mano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mano(tmp_path_factory.mktemp("mano"))


def clips_of(name: str, written: Written, mano: Path, **options: object) -> list:
    source = dataset_source(name, written.folder, mano=mano, workers=0, **options)
    return list(source.stream(written.fps))


def makers_of(clip: dict) -> list[str]:
    return [made["maker"] for made in clip["caption_provenance"]]


@pytest.mark.parametrize("name", WRITERS)
def test_joints_come_back_to_a_tenth_of_a_millimetre(name: str, tmp_path: Path, mano: Path) -> None:
    written = WRITERS[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano)
    assert not isinstance(clip, SkippedClip), clip
    check_clip(clip)
    assert np.array_equal(clip["valid"], written.valid)
    joints = clip_joints(clip, mano, folder=written.folder if name == "grab" else None)
    error = np.linalg.norm(joints - written.joints, axis=-1)[written.valid]
    assert error.max() < TENTH_OF_A_MILLIMETRE, error.max(axis=0)


@pytest.mark.parametrize("name", WRITERS)
def test_wrists_of_the_open_hand_lie_where_the_datasets_do(name: str, tmp_path: Path, mano: Path) -> None:
    from hand_geometry import features_to_joints

    written = WRITERS[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano)
    wrists = np.asarray(features_to_joints(clip["features"]))[:, :, 0] + clip["attributes"]["frame_origin"]
    assert np.abs(wrists - written.joints[:, :, 0])[written.valid].max() < TENTH_OF_A_MILLIMETRE


@pytest.mark.parametrize("name", EVERY)
def test_words_rate_group_split_and_name_are_the_datasets(name: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano)
    assert not isinstance(clip, SkippedClip), clip
    assert clip["clip_id"] == f"{name}/{written.clip}"
    assert clip["fps"] == written.fps
    assert clip["captions"][: len(written.captions)] == written.captions
    assert makers_of(clip)[: len(written.makers)] == written.makers
    assert len(makers_of(clip)) == len(clip["captions"])
    assert clip.get("group") == written.group
    assert clip["split"] == written.split
    if not written.captions:
        assert set(makers_of(clip)) == {MOTION_MAKER}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("damage", ["cut", "empty", "hostile"])
def test_a_damaged_file_is_skipped_with_its_reason(name: str, damage: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY[name](tmp_path, mano)
    content = written.file.read_bytes()
    marker = tmp_path / "was_run"
    hostile = pickle.dumps(Hostile(str(marker)))
    written.file.write_bytes({"cut": content[: len(content) // 3], "empty": b"", "hostile": hostile}[damage])
    (skipped,) = clips_of(name, written, mano)
    assert isinstance(skipped, SkippedClip)
    assert skipped.clip_id.startswith(f"{name}/")
    assert skipped.reason.startswith("Expected")
    assert not marker.exists()


class Hostile:
    """A pickle that would make a file if it were run."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return open, (self.path, "w")


def test_another_frame_rate_is_resampled(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["arctic"](tmp_path, mano)
    (clip,) = dataset_source("arctic", tmp_path, mano=mano).stream(15.0)
    assert len(clip["features"]) == 6
    joints = clip_joints(clip, mano)
    assert np.linalg.norm(joints - written.joints[::2], axis=-1).max() < TENTH_OF_A_MILLIMETRE


def test_pieces_keep_the_words_that_are_about_them_and_their_place(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["vitra"](tmp_path, mano)
    path = written.file
    episode = np.load(path, allow_pickle=True).item()
    tail = {key: np.concatenate([episode[key]] * 2) for key in ("video_decode_frame", "extrinsics")}
    episode |= tail | {"text": [("first half", (0, 12)), ("second half", (12, 24))], "text_rephrase": []}
    for side in ("left", "right"):
        hand = episode[side]
        episode[side] = {k: v if k == "beta" else np.concatenate([v, v]) for k, v in hand.items()}
    np.save(path, np.array(episode, dtype=object), allow_pickle=True)
    first, second = dataset_source("vitra", tmp_path, max_frames=12).stream(15.0)
    assert (first["captions"], second["captions"]) == (["first half"], ["second half"])
    assert np.allclose(second["timestamps"], 0.8 + np.arange(12) / 15)
    assert (first["origin"], second["attributes"]["start_seconds"]) == (second["origin"], 0.8)
    for clip in (first, second):
        error = np.linalg.norm(clip_joints(clip, mano) - written.joints, axis=-1)
        assert error[written.valid].max() < TENTH_OF_A_MILLIMETRE


def test_hawor_without_its_chunks_takes_its_own_validity_and_says_so(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["hawor"](tmp_path, mano)
    for chunk in (tmp_path / "kitchen/cam_space").rglob("*.json"):
        chunk.unlink()
    for folder in ("0", "1", ""):
        (tmp_path / "kitchen/cam_space" / folder).rmdir()
    source = dataset_source("hawor", written.folder, mano=mano)
    (clip,) = source.stream(30.0)
    assert clip["valid"].all()
    assert "HaWoR filled in count as seen (1 recordings)" in source.info().notes[0]


def test_gigahands_segments_are_clips_of_their_own_frames(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["gigahands"](tmp_path, mano)
    rows = [
        {"scene": "p001-tea", "sequence": "003", "start_frame_id": 0, "end_frame_id": 4, "clarify_annotation": "one"},
        {"scene": "p001-tea", "sequence": "003", "start_frame_id": 8, "end_frame_id": -1, "clarify_annotation": "two"},
        {"scene": "p002-tea", "sequence": "003", "start_frame_id": 0, "end_frame_id": -1, "clarify_annotation": "no"},
    ]
    folder = tmp_path / "again"
    (tmp_path / "hand_poses").rename(folder.parent / "again_hand_poses")
    folder.mkdir()
    (tmp_path / "again_hand_poses").rename(folder / "hand_poses")
    (folder / "annotations_v2.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, two = dataset_source("gigahands", folder, mano=mano).stream(30.0)
    assert (one["captions"], two["captions"]) == (["one"], ["two"])
    error = np.linalg.norm(clip_joints(one, mano) - written.joints[:5], axis=-1)
    assert error[written.valid[:5]].max() < TENTH_OF_A_MILLIMETRE
    assert np.array_equal(two["valid"], written.valid[8:])


def test_arctics_protocol_states_the_splits(tmp_path: Path, mano: Path) -> None:
    WRITERS["arctic"](tmp_path, mano)
    (tmp_path / "splits_json").mkdir()
    (tmp_path / "splits_json/protocol_p1.json").write_text(json.dumps({"train": [], "val": ["s05/box_grab_01"]}))
    (clip,) = dataset_source("arctic", tmp_path, mano=mano).stream(30.0)
    assert clip["split"] == "val"
    assert "group" not in clip


def test_grab_without_the_template_says_so(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["grab"](tmp_path, mano)
    for mesh in (tmp_path / "tools").rglob("*.ply"):
        mesh.unlink()
    source = dataset_source("grab", written.folder, mano=mano)
    list(source.stream(120.0))
    assert "template mesh is not there" in source.info().notes[0]


@pytest.mark.parametrize("captions", ["own", "motion", "both"])
def test_measured_captions_join_or_replace_the_datasets(captions: str, tmp_path: Path, mano: Path) -> None:
    written = WRITERS["vitra"](tmp_path, mano)
    (clip,) = clips_of("vitra", written, mano, captions=captions)
    makers = makers_of(clip)
    assert (MOTION_MAKER in makers, makers[0] == MOTION_MAKER) == {
        "own": (False, False),
        "motion": (True, True),
        "both": (True, False),
    }[captions]


def test_mano_files_are_asked_for_where_they_are_needed(tmp_path: Path, mano: Path) -> None:
    WRITERS["arctic"](tmp_path / "a", mano)
    with pytest.raises(SourceError, match="Expected `mano`, the folder of MANO_LEFT and MANO_RIGHT that ARCTIC"):
        dataset_source("arctic", tmp_path / "a")
    with pytest.raises(SourceError, match="Expected MANO files in"):
        dataset_source("arctic", tmp_path / "a", mano=tmp_path)
    written = WRITERS["vitra"](tmp_path / "v", mano)
    (clip,) = dataset_source("vitra", written.folder).stream(15.0)  # holds wrists, needs none
    assert clip["hand_model"] == "mano"
    with pytest.raises(OptionError, match="Give their folder"):
        clip_joints(clip)


def test_a_folder_without_the_datasets_files_is_said_clearly(tmp_path: Path, mano: Path) -> None:
    for name in DATASETS:
        with pytest.raises(SourceError, match="See `hiw sources`"):
            dataset_source(name, tmp_path, mano=mano)
    with pytest.raises(SourceError, match="Check the path"):
        dataset_source("grab", tmp_path / "none", mano=mano)
    with pytest.raises(OptionError, match="a dataset of hawor"):
        dataset("hawker")


def test_every_dataset_goes_into_one_store(tmp_path: Path, mano: Path) -> None:
    sources = []
    for name, write in EVERY.items():
        write(tmp_path / name, mano)
        sources.append(dataset_source(name, tmp_path / name, mano=mano, workers=0))
    store = build(sources, tmp_path / "out.zarr", BuildConfig(fps=30.0))
    assert {clip["source"] for clip in store.clips()} == set(EVERY)
    again = HiwStore.open(tmp_path / "out.zarr")
    clip = next(c for c in again.clips() if c["source"] == "arctic")
    assert np.array_equal(clip["betas"], random_motion(12, 5)["betas"].astype(np.float32))
    assert clip["hand_model"] == "mano"
    assert again.summary()["sources"]["arctic"]["info"]["licence"] == "MPI non-commercial licence"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("name", EVERY)
def test_a_file_damaged_anywhere_is_read_or_skipped_with_a_reason(
    name: str, tmp_path_factory: pytest.TempPathFactory, mano: Path, data: st.DataObject
) -> None:
    written = EVERY[name](tmp_path_factory.mktemp("damaged"), mano)
    content = bytearray(written.file.read_bytes())
    places = st.tuples(st.integers(0, 10**6), st.integers(0, 255))
    for place, byte in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place % len(content)] = byte
    written.file.write_bytes(bytes(content))
    source = dataset_source(name, written.folder, mano=mano, workers=0)
    for found in source._read(source.files[0]):  # a fit would take seconds and read nothing more
        if isinstance(found, HandRecording):
            for item in source._clips(found, written.fps):
                assert isinstance(item, dict) or item.reason.startswith("Expected")
        elif isinstance(found, SkippedClip):
            assert found.reason.startswith("Expected")


def test_absurd_numbers_are_not_seen_and_millimetres_are_told(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["arctic"](tmp_path, mano)
    stored = np.load(written.file, allow_pickle=True).item()
    stored["left"]["pose"][3, 4], stored["right"]["trans"][5] = 1e300, np.nan
    np.save(written.file, np.array(stored, dtype=object), allow_pickle=True)
    (clip,) = clips_of("arctic", written, mano)
    assert np.argwhere(~clip["valid"]).tolist() == [[3, 0], [5, 1]]
    for side in ("left", "right"):
        stored[side]["trans"] = stored[side]["trans"] * 1000
    np.save(written.file, np.array(stored, dtype=object), allow_pickle=True)
    (skipped,) = clips_of("arctic", written, mano)
    assert isinstance(skipped, SkippedClip)
    assert "metre" in skipped.reason


def test_a_template_outside_the_dataset_is_not_read(tmp_path: Path, mano: Path) -> None:
    written = WRITERS["grab"](tmp_path / "in", mano)
    (clip,) = clips_of("grab", written, mano)
    clip["attributes"]["template_left"] = "../secret.ply"
    (tmp_path / "secret.ply").write_bytes((written.folder / "tools/subject_meshes/male/s1_lhand.ply").read_bytes())
    with pytest.raises(OptionError, match=r"the mesh \.\./secret\.ply"):
        clip_joints(clip, mano, folder=written.folder)


def test_processes_fit_the_same_hands(tmp_path: Path, mano: Path) -> None:
    KEYPOINT_WRITERS["leap"](tmp_path, mano)
    (alone,) = dataset_source("leap", tmp_path, workers=0).stream(25.0)
    (spread,) = dataset_source("leap", tmp_path, workers=2).stream(25.0)
    assert np.allclose(alone["features"], spread["features"], atol=1e-5)


def test_a_frame_that_cannot_be_fitted_counts_as_not_seen(tmp_path: Path, mano: Path) -> None:
    written = KEYPOINT_WRITERS["leap"](tmp_path, mano)
    stored = json.loads(written.file.read_text())
    for k, finger in enumerate(stored["frames"][6]["pointables"]):
        finger["tipPosition"] = [400.0 * (-1) ** k, 300.0, 0.0]
    written.file.write_text(json.dumps(stored))
    (clip,) = dataset_source("leap", tmp_path, workers=0).stream(100.0)
    assert not clip["valid"][6].any()
    assert clip["valid"][7:20].all()


def test_a_missing_reader_names_its_extra(tmp_path: Path, mano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, package, extra in (("egodex", "h5py", "hdf5"), ("dexycb", "yaml", "dexycb")):
        EVERY[name](tmp_path / name, mano)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(SourceError, match=rf"pip install 'hiw-data\[{extra}\]'"):
            list(dataset_source(name, tmp_path / name, mano=mano).stream(30.0))


def test_every_listed_dataset_is_tested_here() -> None:
    assert set(EVERY) == set(DATASETS)


KEYPOINT_ORDER = {"leap": range(1, 21), "aria": [0, *range(2, 21)]}
"""Keypoints that a device has, where it lacks some."""


@pytest.mark.parametrize("name", KEYPOINT_WRITERS)
def test_keypoints_are_read_to_a_tenth_of_a_millimetre_and_fitted(name: str, tmp_path: Path, mano: Path) -> None:
    written = KEYPOINT_WRITERS[name](tmp_path, mano)
    source = dataset_source(name, written.folder, workers=0)
    (read,) = dataset(name).read(source.files[0], source.context)
    assert isinstance(read, KeypointRecording)
    has = list(KEYPOINT_ORDER.get(name, range(21)))
    seen = np.zeros((len(written.valid), 2, 21), bool)
    seen[:, :, has] = written.valid[..., None]
    assert np.array_equal(read.seen, seen)
    assert np.abs(read.keypoints - written.joints)[seen].max() < TENTH_OF_A_MILLIMETRE
    (clip,) = source.stream(read.fps)
    assert not isinstance(clip, SkippedClip), clip
    assert np.array_equal(clip["valid"], written.valid)
    error = np.linalg.norm(clip_joints(clip) - written.joints, axis=-1)[seen]
    assert error.mean() < 0.004  # the fit's priors and smoothness pull; the hands are of the model's own shape
    assert np.isfinite(clip["residual"][written.valid]).all()
    assert np.isnan(clip["residual"][~written.valid]).all()
    assert np.nanmean(clip["residual"]) == pytest.approx(error.mean(), abs=0.002)


def test_packed_and_compressed_leap_frames_are_the_same_recording(tmp_path: Path) -> None:
    lzstring = pytest.importorskip("lzstring")
    joints, valid = open_joints(12, 3), np.ones((12, 2), bool)
    frames = leap_frames(joints, valid, 50)
    fingers = ["handId", "type", "mcpPosition", "pipPosition", "dipPosition", "tipPosition"]
    names = ["id", "timestamp", {"hands": [["id", "type"]]}, {"pointables": [fingers]}]
    packed = []
    for frame in frames:
        hands = [[hand["id"], hand["type"]] for hand in frame["hands"]]
        points = [[finger[name] for name in fingers] for finger in frame["pointables"]]
        packed.append([frame["id"], frame["timestamp"], hands, points])
    (tmp_path / "plain.json").write_text(json.dumps({"frames": frames}))
    text = json.dumps({"frames": [names, *packed]})
    (tmp_path / "packed.json.lz").write_text(lzstring.LZString().compressToBase64(text))
    source = dataset_source("leap", tmp_path)
    packed_read, plain_read = (next(iter(dataset("leap").read(f, source.context))) for f in source.files)
    assert np.array_equal(packed_read.keypoints, plain_read.keypoints)
    assert (packed_read.fps, plain_read.name) == (50, "plain")
    assert [n.text for n in packed_read.narrations] == ["packed"]


def real_leap() -> Path | None:
    """Recordings of real hands, which a fresh machine lacks."""
    folders = (parent / "shared/data/real/leap" for parent in Path(__file__).resolve().parents)
    return next((folder for folder in folders if folder.is_dir()), None)


@pytest.mark.skipif(real_leap() is None, reason="needs recordings of real hands")
def test_real_leap_recordings_fit_to_a_few_millimetres(tmp_path: Path) -> None:
    source = dataset_source("leap", real_leap(), captions="both")
    clips = list(source.stream(15.0))
    assert not [clip for clip in clips if isinstance(clip, SkippedClip)]
    by_origin: dict[str, list[float]] = {}
    for clip in clips:
        by_origin.setdefault(clip["origin"], []).append(float(np.nanmean(clip["residual"])))
    assert set(by_origin) == {"HandSplay-110fps", "grab", "pinch", "rollAndPitchCropped", "three-claps", "wave"}
    assert max(np.mean(residuals) for residuals in by_origin.values()) < 0.010
    claps = [clip for clip in clips if clip["origin"] == "three-claps"]
    assert all(clip["valid"].all() for clip in claps)  # both hands throughout
    splay = next(clip for clip in clips if clip["origin"] == "HandSplay-110fps")
    assert splay["captions"][0].startswith("Stretch hand as wide as it will go")
    assert not splay["valid"][:, 0].any()  # a right hand alone


def test_a_dropped_sample_is_bridged_and_a_long_gap_is_not(tmp_path: Path) -> None:
    joints = open_joints(24, 5)
    frames = leap_frames(joints, np.ones((24, 2), bool), 100)
    kept = [frame for t, frame in enumerate(frames) if t != 3 and not 8 <= t < 16]
    (tmp_path / "wave.json").write_text(json.dumps({"frames": kept}))
    source = dataset_source("leap", tmp_path)
    (read,) = dataset("leap").read(source.files[0], source.context)
    assert isinstance(read, KeypointRecording)
    assert read.fps == 100
    assert read.seen[:, 1, 1:].all(1).tolist() == [not 8 <= t < 16 for t in range(24)]
    assert np.allclose(read.keypoints[3], (read.keypoints[2] + read.keypoints[4]) / 2)
    assert np.abs(np.diff(read.keypoints[2:5, :, 1:], axis=0)).max() > 0


def test_a_dropped_sample_shows_what_is_seen_before_and_after_it() -> None:
    """Joint 0 is seen on both sides of it, joint 1 before it alone, joint 2 after it alone, joint 3 on neither."""
    keypoints, seen = np.zeros((3, 2, 21, 3)), np.zeros((3, 2, 21), bool)
    keypoints[2] = 3.0
    seen[0, 1, :2] = seen[2, 1, [0, 2]] = True
    bridge_dropped(keypoints, seen, np.array([0, 2]), 100.0)
    assert np.flatnonzero(seen[1, 1]).tolist() == [0]
    assert not seen[1, 0].any()
    assert (keypoints[1] == 1.5).all()


def test_of_two_left_hands_leap_motions_the_one_that_is_seen_longer_is_read(tmp_path: Path) -> None:
    """Somebody else's left hand is told beside it in three frames, in the first of them before it."""
    joints = open_joints(24, 5)
    frames = leap_frames(joints, np.ones((24, 2), bool), 100)
    others = leap_frames(joints + 0.5, np.array([[True, False]] * 24), 100)
    for t in (0, 1, 2):
        (hand,), points = others[t]["hands"], [{**point, "handId": 7} for point in others[t]["pointables"]]
        hands = [{**hand, "id": 7}, *frames[t]["hands"]] if t == 0 else [*frames[t]["hands"], {**hand, "id": 7}]
        frames[t] |= {"hands": hands, "pointables": [*frames[t]["pointables"], *points]}
    (tmp_path / "wave.json").write_text(json.dumps({"frames": frames}))
    source = dataset_source("leap", tmp_path)
    (read,) = dataset("leap").read(source.files[0], source.context)
    assert isinstance(read, KeypointRecording)
    assert read.seen[:, :, 1:].all()
    np.testing.assert_allclose(read.keypoints[:, :, 1:], joints[:, :, 1:], atol=1e-9)


def test_mano_order_of_joints_is_told_from_openposes() -> None:
    joints = open_joints(8, 4)
    order = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
    mano = np.zeros_like(joints)
    mano[:, :, order] = joints
    assert (joint_order(joints), joint_order(mano)) == ("openpose", "mano")


def test_hot3d_clips_are_read_from_their_archives(tmp_path: Path, mano: Path) -> None:
    written = write_hot3d_clip(tmp_path, mano)
    (clip,) = clips_of("hot3d", written, mano)
    check_clip(clip)
    assert clip["clip_id"] == "hot3d/train_aria/clip-001849"
    assert (clip["group"], clip["attributes"]["recording_name"], clip["attributes"]["headset"]) == (
        "P0003",
        "P0003_c701bd11",
        "Aria",
    )
    assert np.array_equal(clip["valid"], written.valid)
    error = np.linalg.norm(clip_joints(clip, mano) - written.joints, axis=-1)[written.valid]
    assert error.max() < TENTH_OF_A_MILLIMETRE


@pytest.mark.parametrize("damage", ["no hands", "cut", "not tar", "huge", "no shapes", "words"])
def test_an_archive_of_a_clip_that_cannot_be_used_says_why(damage: str, tmp_path: Path, mano: Path) -> None:
    written = write_hot3d_clip(tmp_path, mano)
    content = written.file.read_bytes()
    if damage in ("cut", "not tar"):
        written.file.write_bytes(content[: len(content) // 3 + 7] if damage == "cut" else b"no archive" * 100)
    else:
        with tarfile.open(written.file, "w") as archive:
            if damage != "no hands":
                hands = b"[" * 100 if damage == "words" else b'{"left": null}' + b" " * (damage == "huge") * (17 << 20)
                add_entry(archive, "000000.hands.json", hands)
            if damage != "no shapes":
                add_entry(archive, "__hand_shapes.json__", b'{"mano": [0,0,0,0,0,0,0,0,0,0]}')
            add_entry(archive, "../outside.info.json", b"{}")
    (skipped,) = clips_of("hot3d", written, mano)
    assert isinstance(skipped, SkippedClip)
    assert "Expected" in skipped.reason
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip_definitions.json", "train_aria"]


@pytest.mark.parametrize(("part", "split"), [("train", "train"), ("test_1", "test"), ("test_4", "test")])
def test_tacos_split_is_the_authors(part: str, split: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY["taco"](tmp_path, mano)
    lists = tmp_path / "data_lists"
    lists.mkdir()
    file = lists / "v1_overall_data_train_test_split.txt"
    file.write_text(f"20230927_032,train\n20230927_027,{part}\n")
    (clip,) = clips_of("taco", written, mano)
    assert (clip["split"], clip["attributes"]["part"]) == (split, part)
    assert "group" not in clip  # one date may be in train and in test there
    file.write_text("20230927_027,perhaps\n")
    (skipped,) = clips_of("taco", written, mano)
    assert "parts perhaps in v1_overall_data_train_test_split.txt" in skipped.reason


def test_interhand_without_its_index_is_cut_where_frames_jump(tmp_path: Path, mano: Path) -> None:
    written = EVERY["interhand"](tmp_path, mano)
    written.file.with_name("InterHand2.6M_val_data.json").unlink()
    stored = json.loads(written.file.read_text())
    frames = stored["0"]
    stored["0"] = frames | {str(int(k) + 9000): v for k, v in frames.items()}
    written.file.write_text(json.dumps(stored))
    clips = list(dataset_source("interhand", tmp_path, mano=mano).stream(5.0))
    assert [clip["clip_id"] for clip in clips] == [
        "interhand/val/Capture0/frame3000",
        "interhand/val/Capture0/frame12000",
    ]


def test_aria_without_a_trajectory_stays_in_the_devices_frame_and_says_so(tmp_path: Path, mano: Path) -> None:
    EVERY["aria"](tmp_path, mano)
    (tmp_path / "rec1/closed_loop_trajectory.csv").unlink()
    source = dataset_source("aria", tmp_path, workers=0)
    (clip,) = source.stream(10.0)
    assert clip["attributes"]["frame"] == "device"
    assert "frame of the moving device" in source.info().notes[0]


@pytest.mark.parametrize("name", ["hot3d", "dexycb", "aria", "interhand", "hawor"])
def test_directions_are_told_only_where_the_axes_are_the_wearers(name: str, tmp_path: Path, mano: Path) -> None:
    written = EVERY[name](tmp_path, mano)
    (clip,) = clips_of(name, written, mano, captions="motion")
    words = set(" ".join(clip["captions"]).replace(",", " ").split())
    told = words & {"up", "down", "forward", "back", "upward", "downward", "leftward", "rightward", "backward"}
    assert clip["captions"]
    assert dataset(name).axes == ("camera" if name in ("dexycb", "hawor") else "other")
    if dataset(name).axes == "other":
        assert told == set()
        assert "palm" not in words


def test_aria_hands_without_a_pose_within_a_twentieth_of_a_second_are_not_seen(tmp_path: Path) -> None:
    names = [f"{side}_{k}" for side in ("left", "right") for k in ("tracking_confidence", *range(63))]
    hand = [1.0, *([0.1, 0.2, 0.3] * 21)]
    rows = [",".join(["tracking_timestamp_us", *names])]
    rows += [",".join(map(str, [100_000 * k, *hand, *hand])) for k in range(3)]
    (tmp_path / "hand_tracking_results.csv").write_text("\n".join(rows))
    columns = ["tracking_timestamp_us", *(f"{w}_world_device" for w in ("tx", "ty", "tz", "qx", "qy", "qz", "qw"))]
    poses = [f"{at},0,0,1,0,0,0,1" for at in (0, 149_999, 260_001)]
    (tmp_path / "closed_loop_trajectory.csv").write_text("\n".join([",".join(columns), *poses]))
    (recording,) = aria.read_aria(tmp_path / "hand_tracking_results.csv", Context(tmp_path))
    assert recording.seen[:, :, 0].tolist() == [[True, True], [True, True], [False, False]]
    np.testing.assert_allclose(recording.keypoints[0, 1, 0], [0.1, 0.2, 1.3])
