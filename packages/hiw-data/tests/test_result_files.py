"""Results of HaWoR, HaMeR, WiLoR and WiLoR-mini as trackers: hands where they are, gaps flagged frame by frame."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("av")
from hand_geometry import features_to_joints, params_to_features
from hiw_data import ClipError, HiwStore, OptionError, SourceError, annotate
from hiw_data.annotation import AnnotationConfig
from hiw_data.cleaning import CleaningConfig
from hiw_data.sources.crops import CropHands
from hiw_data.sources.video_file import VideoReader
from hiw_data.tracking import Detections, ResultTracker, even_hands, fit_hands, two_hands
from hiw_data.tracking.result_files import _detections, frame_numbers

from .dataset_files import hands_of, smplx_joints
from .mano_files import random_motion

_SPEC = importlib.util.spec_from_file_location("hands_in_view", Path(__file__).parent / "hands_in_view.py")
view = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(view)

FRAMES, SIZE, FOCAL = 60, (320, 240), 300.0
MIRROR = np.array([1.0, -1.0, -1.0])
HIDDEN = {1: [*range(20, 24), *range(40, 55)]}  # of the right hand: a short gap and a long one
KINDS = ("hawor", "hamer", "wilor", "wilor-mini")


@pytest.fixture(scope="module")
def motion(mano):
    """Two hands before the camera, and their joints; the hand is the open one, of the mean shape."""
    m = random_motion(FRAMES, 4)
    m["betas"] = np.zeros((2, 10))
    joints = smplx_joints(hands_of(mano, mirrored=True), m, m["place"])
    return m, joints


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return view.write_video(tmp_path_factory.mktemp("video") / "kitchen.mp4", frames=FRAMES, size=SIZE)


def seen(t, side):
    return t not in HIDDEN.get(side, ())


def matrices(rotation_vectors):
    return Rotation.from_rotvec(rotation_vectors.reshape(-1, 3)).as_matrix().reshape(*rotation_vectors.shape, 3)


def write_hawor(folder, m):
    for side in range(2):
        chunks, t = [], 0
        while t < FRAMES:
            stop = t
            while stop < FRAMES and seen(stop, side):
                stop += 1
            if stop > t:
                chunks.append((t, stop))
            t = stop + 1
        for first, stop in chunks:
            span = slice(first, stop)
            value = {
                "init_root_orient": matrices(m["orient"][span, side])[None].tolist(),
                "init_hand_pose": matrices(m["pose"][span, side])[None].tolist(),
                "init_trans": m["place"][span, side][None].tolist(),
                "init_betas": np.zeros((1, stop - first, 10)).tolist(),
            }
            path = folder / "kitchen" / "cam_space" / str(side) / f"{first}_{stop - 1}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
    (folder / "kitchen" / "est_focal.txt").write_text(str(FOCAL))


def write_crops(folder, m, labels=(0, 1)):
    keys = ("frame", "is_right", "global_orient", "hand_pose", "betas", "cam_t")
    rows = {key: [] for key in keys}
    for t in range(FRAMES):
        for side in range(2):
            if seen(t, side):
                flip = MIRROR if labels[side] == 0 else 1.0
                turn = matrices(m["orient"][t, side] * flip)[None], matrices(m["pose"][t, side] * flip)
                for key, value in zip(keys, (t, labels[side], *turn, np.zeros(10), m["place"][t, side]), strict=True):
                    rows[key].append(value)
    np.savez(folder / "kitchen.npz", **{k: np.array(v) for k, v in rows.items()}, focal=np.array(FOCAL))


def write_wilor_mini(folder, m):
    frames = []
    for t in range(FRAMES):
        hands = []
        for side in range(2):
            if seen(t, side):
                predictions = {
                    "global_orient": m["orient"][t, side][None, None],
                    "hand_pose": m["pose"][t, side][None],
                    "betas": np.zeros((1, 10)),
                    "pred_cam_t_full": m["place"][t, side][None],
                    "scaled_focal_length": FOCAL,
                }
                hands.append(
                    {"hand_bbox": [10.0, 10.0, 40.0, 50.0], "is_right": float(side), "wilor_preds": predictions}
                )
        frames.append(hands)
    (folder / "kitchen.pkl").write_bytes(pickle.dumps(frames))


def results(kind, folder, m):
    folder.mkdir(parents=True, exist_ok=True)
    {"hawor": write_hawor, "wilor-mini": write_wilor_mini}.get(kind, write_crops)(folder, m)
    return folder


def camera():
    return np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])


@pytest.mark.parametrize("kind", KINDS)
def test_hands_are_where_the_results_say(kind, tmp_path, mano, motion, video):
    m, joints = motion
    tracker = ResultTracker(kind, results(kind, tmp_path / "r", m), mano=mano).for_video(video)
    found = tracker.track(VideoReader(video))
    assert (found.width, found.height) == SIZE
    assert found.focal == (FOCAL if kind == "hawor" else None)
    again = Detections.from_arrays(found.to_arrays())
    assert again.focal == found.focal
    assert again.along_ray == found.along_ray == (kind != "hawor")
    hands = two_hands(again)
    truth = np.stack([[seen(t, side) for side in range(2)] for t in range(FRAMES)])
    np.testing.assert_array_equal(hands.seen, truth)
    np.testing.assert_allclose(hands.points[truth], joints[truth], atol=1e-4)
    pixels = joints[..., :2] / joints[..., 2:] * FOCAL + np.array(SIZE) / 2
    np.testing.assert_allclose(hands.landmarks[truth][..., :2], pixels[truth], atol=0.1)


def test_depths_are_relative_to_the_wrist_at_its_scale():
    """A fingertip 10 cm nearer than a wrist at half a metre, of 600 pixels: 120 nearer, and further from the middle."""
    joints = np.tile([0.1, 0.0, 0.5], (1, 21, 1))
    joints[0, 8] = [0.1, -0.05, 0.4]
    one = np.ones(1)
    hands = CropHands(np.array([3]), one > 0, np.zeros((1, 16, 3)), np.zeros((1, 10)), np.zeros((1, 3)), one)
    none, (found,) = _detections(hands, joints, np.array([2, 3]), 600.0, (640, 480))
    assert none == ()
    np.testing.assert_allclose(found.landmarks[0], [440, 240, 0], atol=1e-9)
    np.testing.assert_allclose(found.landmarks[8], [470, 165, -120], atol=1e-9)


def test_the_fit_keeps_joints_and_place(tmp_path, mano, motion, video):
    m, joints = motion
    tracker = ResultTracker("hawor", results("hawor", tmp_path / "r", m), mano=mano).for_video(video)
    even = even_hands(two_hands(tracker.track(VideoReader(video))))
    fitted = fit_hands(even, camera()).motion
    params = {name: getattr(fitted, name) for name in ("global_orient", "hand_pose", "transl")}
    got = np.asarray(features_to_joints(params_to_features(params)))
    at = np.stack([[seen(t, side) for side in range(2)] for t in range(FRAMES)])
    distance = np.linalg.norm(got - joints, axis=-1)[at]
    root = np.linalg.norm((got - got[:, :, :1]) - (joints - joints[:, :, :1]), axis=-1)[at]
    assert root.mean() < 0.004
    assert distance.mean() < 0.012


@pytest.mark.parametrize("kind", KINDS)
def test_from_results_to_a_store_whose_filled_frames_are_flagged(kind, tmp_path, mano, motion, video):
    tracker = ResultTracker(kind, results(kind, tmp_path / "r", motion[0]), mano=mano)
    config = AnnotationConfig(variants=1, cleaning=CleaningConfig(visible=0.3))
    annotate(video, tmp_path / "out.zarr", config, tracker=tracker)
    store = HiwStore.open(tmp_path / "out.zarr")
    (clip,) = store.clips()
    assert clip["attributes"]["tracker"] == kind
    assert clip["attributes"]["filled_hand_frames"] == 4
    assert clip["filled"].shape == clip["valid"].shape == (32, 2)
    assert np.flatnonzero(clip["filled"][:, 1]).tolist() == [10, 11]  # 20 and 22 of 30 frames a second
    assert not clip["filled"][:, 0].any()
    assert clip["valid"][10:12, 1].all()
    assert not clip["valid"][21:27, 1].any()
    assert clip["camera"]["camera_guessed"] is (kind != "hawor")
    if kind == "hawor":
        assert clip["camera"]["focal_px"] == FOCAL


def test_a_swapped_label_in_some_frames_is_outvoted(tmp_path, mano, motion, video):
    m, _ = motion
    (tmp_path / "r").mkdir()
    write_crops(tmp_path / "r", m)
    path = tmp_path / "r" / "kitchen.npz"
    rows = dict(np.load(path))
    wrong = (rows["frame"] >= 5) & (rows["frame"] < 9)
    rest = np.array([hand.rest(np.zeros(10))[0] for hand in hands_of(mano)])
    was = rows["is_right"][wrong]
    rows["cam_t"][wrong] += rest[was] - rest[1 - was]  # the wrist stays where it is
    rows["is_right"] = np.where(wrong, 1 - rows["is_right"], rows["is_right"])
    np.savez(path, **rows)
    hands = two_hands(ResultTracker("hamer", path.parent, mano=mano).for_video(video).track(VideoReader(video)))
    assert hands.counts["relabelled"] == 8
    middle = hands.landmarks[:10, :, 0, 0]
    assert (np.abs(np.diff(middle, axis=0)) < 5).all()  # nobody jumped to the other side


def test_a_part_of_a_video_takes_its_own_frames():
    np.testing.assert_array_equal(frame_numbers([1.0, 1 + 1 / 30, 1 + 2 / 30], 30.0), [30, 31, 32])
    np.testing.assert_array_equal(frame_numbers([1.0, 1 + 1 / 25, 1 + 2 / 25], None), [25, 26, 27])
    np.testing.assert_array_equal(frame_numbers([0.0, 0.04, 0.2], None), [0, 1, 2])
    np.testing.assert_array_equal(frame_numbers([0.0, 1 / 60, 2 / 60], 30.0), [0, 0, 1])


def test_other_results_are_not_taken_from_the_work_folder(tmp_path, mano, motion, video):
    m, _ = motion
    folder = results("hamer", tmp_path / "r", m)
    first = ResultTracker("hamer", folder, mano=mano).for_video(video).options
    write_crops(folder, {**m, "place": m["place"] + 0.01})
    assert ResultTracker("hamer", folder, mano=mano).for_video(video).options != first


def test_what_is_not_there_or_broken_says_so(tmp_path, mano, motion, video):
    folder = results("hamer", tmp_path / "r", motion[0])
    tracker = ResultTracker("hamer", folder, mano=mano)
    with pytest.raises(ClipError, match=r"one hamer result of other.mp4"):
        tracker.for_video(video.with_name("other.mp4"))
    (folder / "kitchen.npz").write_bytes(b"PK broken")
    with pytest.raises(ClipError, match=r"whole results of hamer at kitchen.npz"):
        tracker.for_video(video).track(VideoReader(video))
    with pytest.raises(OptionError, match="results of hawor"):
        ResultTracker("other", folder, mano=mano)
    with pytest.raises(SourceError, match="a folder of hamer results"):
        ResultTracker("hamer", tmp_path / "none", mano=mano)
    with pytest.raises(SourceError, match="the MANO files of hamer"):
        ResultTracker("hamer", folder, mano=tmp_path)


def test_the_command_reads_results(tmp_path, mano, motion, video, capsys):
    from hiw_data.cli import main

    folder = results("wilor", tmp_path / "r", motion[0])
    command = ["annotate", str(video), "--out", str(tmp_path / "o.zarr"), "--tracker", "wilor", "--visible", "0.3"]
    assert main(command) == 1
    assert "--results" in capsys.readouterr().err
    assert main([*command, "--results", str(folder), "--mano", str(mano), "--timings"]) == 0
    said = capsys.readouterr().out
    assert "1 clips of 1 videos" in said
    assert "seconds for a minute of video (0.03 minutes, 60 frames were measured)" in said
