"""Files of keypoints, in space and in images, good and bad; their motion comes back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hand_geometry import HandModel, load_pose
from hiw_data import build
from hiw_data.annotation import AnnotationConfig, cut_fitted
from hiw_data.cleaning import CleaningConfig
from hiw_data.clips import SkippedClip
from hiw_data.errors import ClipError
from hiw_data.motion import FittedMotion
from hiw_data.sources.keypoints import KeypointSource, read_keypoints

FRAMES = 40


@pytest.fixture(scope="module")
def joints():
    """A right hand that closes and goes to the right by 10 cm, half a metre before the camera: (T, 21, 3)."""
    share = np.linspace(0, 1, FRAMES)[:, None, None]
    pose = (1 - share) * load_pose("flat", "right").numpy() + share * load_pose("fist", "right").numpy()
    transl = np.stack([0.1 * share[:, 0, 0], 0 * share[:, 0, 0], 0.5 + 0 * share[:, 0, 0]], 1)
    model = HandModel.load("default", side="right")
    import torch

    orient = torch.tensor([[-1.2, 0.0, 0.0]]).repeat(FRAMES, 1)
    pose, transl = torch.tensor(pose, dtype=torch.float32), torch.tensor(transl, dtype=torch.float32)
    return model(orient, pose, transl=transl, vertices=False).joints.numpy()


def clips_of(path, **options):
    config = AnnotationConfig(cleaning=CleaningConfig(duplicate=0.0), savgol_seconds=0, gaussian_seconds=0)
    items = list(KeypointSource(path, config=config, **options).stream(15.0))
    return [i for i in items if not isinstance(i, SkippedClip)], [i for i in items if isinstance(i, SkippedClip)]


def wrist_moves(clip):
    wrist = clip["features"][:, 99 + 96 :]
    return wrist[-1] - wrist[0]


def test_points_in_space_come_back_whatever_the_container(tmp_path, joints):
    np.save(tmp_path / "a.npy", joints)
    both = np.full((FRAMES, 2, 21, 3), np.nan)
    both[:, 1] = joints
    np.savez(tmp_path / "b.npz", keypoints=both, fps=30, captions=np.array(["a hand closes"]))
    (tmp_path / "c.json").write_text(json.dumps({"keypoints": joints.tolist(), "fps": 30, "side": "right"}))
    clips, skipped = clips_of(tmp_path)
    assert not skipped
    assert [clip["clip_id"] for clip in clips] == ["keypoints/a", "keypoints/b", "keypoints/c"]
    assert [len(clip["features"]) for clip in clips] == [40, 20, 20]  # a does not say its rate: 15
    for clip in clips:
        np.testing.assert_allclose(wrist_moves(clip), [0.1, 0, 0], atol=0.006)
        assert clip["valid"].sum(0).tolist() == [0, len(clip["features"])]
    assert clips[1]["captions"][0] == "a hand closes"


def test_image_points_with_a_camera_come_back(tmp_path, joints):
    camera = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    pixels = joints[..., :2] / joints[..., 2:] * 600 + [320, 240]
    np.savez(tmp_path / "a.npz", keypoints_2d=pixels, fps=15, camera=camera, width=640, height=480)
    (clip,), _ = clips_of(tmp_path)
    assert wrist_moves(clip)[0] == pytest.approx(0.1, abs=0.015)
    assert clip["attributes"]["camera_guessed"] is False
    read = read_keypoints(tmp_path / "a.npz")
    assert (read.image, read.depths, read.size) == (True, False, (640, 480))


def test_short_gaps_are_filled_and_counted_and_hidden_frames_are_invalid(tmp_path, joints):
    points = joints.copy()
    points[5:7] = np.nan
    points[20:27] = np.nan
    np.savez(tmp_path / "a.npz", keypoints=points, fps=15)
    (clip,), _ = clips_of(tmp_path)
    assert np.flatnonzero(~clip["valid"][:, 1]).tolist() == list(range(20, 27))
    assert clip["attributes"]["filled_hand_frames"] == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npz", b"no zip", "a.npz"),
        ("a.npy", b"\x93NUMPY", "a.npy"),
        ("a.json", b"[[1, 2", "a.json"),
        ("a.json", b'{"points": []}', "keypoints"),
        ("a.json", b'{"keypoints": [[[1, 2, "x"]]]}', "numbers"),
        ("a.json", b"[" * 100_000, "a.json"),
        ("a.json", json.dumps({"keypoints": np.zeros((4, 20, 3)).tolist()}).encode(), "shape"),
        ("a.json", json.dumps({"keypoints": np.ones((4, 21, 3)).tolist(), "fps": 0}).encode(), "fps"),
        ("a.json", json.dumps({"keypoints": np.ones((4, 21, 3)).tolist(), "side": "up"}).encode(), "side"),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ClipError, match=says):
        read_keypoints(path)


def test_a_pickle_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ClipError, match=r"a\.npy"):
        read_keypoints(tmp_path / "a.npy")


def test_bad_files_are_listed_and_good_ones_are_built(tmp_path, joints):
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "good.npz", keypoints=joints, fps=30)
    np.savez(tmp_path / "in" / "millimetres.npz", keypoints=joints * 1000, fps=30)
    np.savez(tmp_path / "in" / "empty.npz", keypoints=joints * np.nan, fps=30)
    store = build([KeypointSource(tmp_path / "in")], tmp_path / "out.zarr")
    assert [row["clip_id"] for row in store.metadata] == ["keypoints/good"]
    reasons = {row["clip_id"]: row["reason"] for row in store.summary()["skipped"]["clips"]}
    assert sorted(reasons) == ["keypoints/empty", "keypoints/millimetres"]
    assert "metres" in reasons["keypoints/millimetres"]


def test_pieces_begin_at_the_seconds_of_the_first_frame_in_which_a_hand_is_seen():
    """Counted at the rate of the pictures, not at that of the clips."""
    motion = FittedMotion.empty(60, 30.0)
    motion.valid[6:, 1] = True
    fitted = cut_fitted(motion, AnnotationConfig(savgol_seconds=0, gaussian_seconds=0), fps=15.0, notes={})
    assert fitted.start == pytest.approx(6 / 30)
