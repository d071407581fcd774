"""Image landmarks with depths: the table of a tracker's errors, the fit that heeds it, and how it is learned."""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import (
    KnownMotion,
    LandmarkTable,
    calibrate_landmarks,
    calibrate_table,
    features_to_joints,
    fit_keypoints,
    params_to_features,
    save_motion,
)
from hand_geometry.assets import load_asset
from hand_geometry.cli import main
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.fitting.chain import HandChain, HandState, jacobian, pose
from hand_geometry.fitting.observed import Observed
from hand_geometry.fitting.start import rotate_to_ray
from hand_geometry.fitting.table import mediapipe_table
from hand_geometry.fitting.tracked import TrackedImage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

CAMERA = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
FINE = LandmarkTable(np.zeros((21, 3)), np.zeros((21, 3)), np.eye(63) * 0.001**2)


def seen_of(joints):
    """Pixels and depths along the ray through the middle of the hand, of joints (..., 21, 3)."""
    pixels = joints[..., :2] / joints[..., 2:] * 600 + [320, 240]
    middle = (pixels.mean(-2) - [320, 240]) / 600
    ray = np.concatenate([middle, np.ones_like(middle[..., :1])], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    centre = joints.mean(-2, keepdims=True)
    depths = ((joints - centre) @ ray[..., None])[..., 0] * 600 / centre[..., 2]
    return np.concatenate([pixels, depths[..., None] + 7.0], -1)  # what the depths are measured from does not matter


@pytest.fixture
def known(make_motion):
    """A known motion half a metre before a camera, and its joints (T, 2, 21, 3)."""
    params = make_motion(80, seed=1)
    params["transl"] = params["transl"] + np.float32([0, 0, 0.5])
    return params, np.asarray(features_to_joints(params_to_features(params)), np.float64)


def root_error(fit, side, joints):
    hand = int(side == "right")
    params = {name: np.stack([getattr(fit, name)] * 2, 1) for name in ("global_orient", "hand_pose", "transl")}
    found = np.asarray(features_to_joints(params_to_features(params)), np.float64)[:, hand]
    return np.linalg.norm((found - found[:, :1]) - (joints - joints[:, :1]), axis=-1).mean()


@pytest.mark.parametrize("side", ["left", "right"])
def test_exact_landmarks_with_depths_give_the_hand_back(known, side):
    joints = known[1][:, int(side == "right")]
    fit = fit_keypoints(side=side, keypoints_2d=seen_of(joints), camera=CAMERA, landmark_offsets=FINE)
    assert root_error(fit, side, joints) < 3e-3
    assert fit.reprojection.mean() < 1.0
    assert fit.valid.all()


def test_left_and_right_are_mirror_images(known):
    seen = seen_of(known[1][:20, 1])
    mirrored = seen * [-1, 1, 1] + [640, 0, 0]
    right = fit_keypoints(side="right", keypoints_2d=seen, camera=CAMERA, landmark_offsets="mediapipe")
    left = fit_keypoints(side="left", keypoints_2d=mirrored, camera=CAMERA, landmark_offsets="mediapipe")
    np.testing.assert_allclose(left.hand_pose, right.hand_pose * [1, -1, -1], atol=2e-3)
    np.testing.assert_allclose(left.keypoints, right.keypoints * [-1, 1, 1], atol=2e-3)


def test_errors_that_the_table_knows_do_no_harm(known):
    """Fingertips that the tracker puts too near, all by one amount, and a hand that it tilts."""
    joints, rng = known[1][:, 1], np.random.default_rng(0)
    seen = seen_of(joints)
    scale = 600 / joints[..., 2].mean(1)[:, None]
    near, mode = np.zeros(21), np.linspace(-1, 1, 21)
    near[[4, 8, 12, 16, 20]] = 0.02
    seen[..., 2] += (rng.normal(0, 0.03, (80, 1)) * mode - near) * scale
    bias, tilt = np.zeros((21, 3)), np.zeros((21, 3))
    bias[:, 2], tilt[:, 2] = near - near.mean(), mode
    spread = FINE.covariance + 0.03**2 * np.outer(tilt, tilt)
    tables = [FINE, LandmarkTable(FINE.offsets, bias, FINE.covariance), LandmarkTable(FINE.offsets, bias, spread)]
    options = {"side": "right", "keypoints_2d": seen, "camera": CAMERA, "smoothness": None}
    errors = [root_error(fit_keypoints(landmark_offsets=table, **options), "right", joints) for table in tables]
    assert errors[1] < errors[0]
    assert errors[2] < 0.4 * errors[1]


@given(st.integers(0, 2**31), st.sampled_from(["left", "right"]))
@settings(max_examples=10, deadline=None)
def test_the_slope_is_the_derivative_of_the_error(seed, side):
    rng = np.random.default_rng(seed)
    chain = HandChain.build(load_asset("default", side), np.zeros(10), np.zeros((21, 3)))
    state = HandState(
        Rotation.random(2, rng=rng).as_matrix(), rng.normal(0.2, 0.2, (2, 45)), rng.normal([0, 0, 0.6], 0.03, (2, 3))
    )
    posed = pose(chain, state)
    seen = seen_of(posed.keypoints) + rng.normal(0, 5, (2, 21, 3))
    observed = Observed.check(None, None, seen, CAMERA)
    image = TrackedImage.build(mediapipe_table(), side, observed, posed.keypoints[..., 2].mean(1))
    slope = jacobian(chain, posed).reshape(2, 51, 63) @ image.to_white(posed)
    direction, step = rng.normal(size=(2, 51)), 1e-6
    ahead, behind = (image.error(pose(chain, state.moved(sign * step * direction))) for sign in (1, -1))
    expected = ((ahead - behind) / (2 * step)).reshape(2, 63) @ image.white[0].T
    found = np.einsum("tp,tpe->te", direction, slope)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_hidden_landmarks_and_frames_do_not_speak(known):
    joints, rng = known[1][:30, 0], np.random.default_rng(0)
    seen = seen_of(joints)
    hidden = rng.random((30, 21)) < 0.15
    hidden[12:15] = True
    gone, wild = seen.copy(), seen.copy()
    gone[hidden], wild[hidden] = np.nan, 1e4
    options = {"side": "left", "camera": CAMERA, "landmark_offsets": FINE}
    a = fit_keypoints(keypoints_2d=gone, **options)
    b = fit_keypoints(keypoints_2d=wild, valid=~hidden, **options)
    np.testing.assert_array_equal(a.hand_pose, b.hand_pose)
    assert a.valid.tolist() == [not 12 <= t < 15 for t in range(30)]
    assert np.isnan(a.reprojection[12:15]).all()
    assert root_error(a, "left", joints) < 8e-3


def test_a_batch_is_as_its_clips(known):
    seen = np.stack([seen_of(known[1][:10, 1]), seen_of(known[1][20:30, 1])])
    options = {"side": "right", "camera": CAMERA, "landmark_offsets": "mediapipe"}
    batch = fit_keypoints(keypoints_2d=seen, **options)
    for k in range(2):
        np.testing.assert_array_equal(batch.hand_pose[k], fit_keypoints(keypoints_2d=seen[k], **options).hand_pose)


def test_calibration_finds_offsets_bias_and_spread(known):
    params, joints = known
    rng = np.random.default_rng(0)
    motions = []
    for hand, side in enumerate(("left", "right")):
        seen = seen_of(joints[:, hand])
        seen[:, 9, 2] -= 12.0  # the middle knuckle, too near
        seen[..., 2] += rng.normal(0, 3, (80, 21)) + rng.normal(0, 1, (80, 1)) * np.arange(-10, 11)
        seen[..., :2] += rng.normal(0, 0.5, (80, 21, 2))
        values = [params[name][:, hand] for name in ("global_orient", "hand_pose", "transl")]
        motions.append(KnownMotion(side, *values, keypoints_2d=seen, camera=CAMERA))
    table = calibrate_table(motions)
    scale = joints[..., 2].mean() / 600  # metres a pixel
    assert np.abs(table.offsets).max() < 2e-3
    assert abs(table.bias[9, 2] - 12.0 * 20 / 21 * scale) < 2e-3
    assert np.abs(np.delete(table.bias, 9, 0)).max() < 2e-3
    depths = table.covariance[2::3, 2::3]
    assert depths[0, 20] < -0.5 * np.sqrt(depths[0, 0] * depths[20, 20])  # the tilt moves both ends against each other


def test_a_table_survives_its_file_and_bad_ones_are_named(tmp_path):
    table = mediapipe_table()
    table.save(tmp_path / "a.npz")
    again = LandmarkTable.load(tmp_path / "a.npz")
    np.testing.assert_allclose(again.covariance, table.covariance, rtol=1e-6)
    with pytest.raises(InputError, match=r"missing\.npz"):
        LandmarkTable.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "b.npz", offsets=np.zeros((21, 3)))
    with pytest.raises(InputError, match=r"b\.npz"):
        LandmarkTable.load(tmp_path / "b.npz")
    with pytest.raises(ShapeError, match="bias"):
        LandmarkTable(np.zeros((21, 3)), np.zeros((21, 2)), np.eye(63))
    with pytest.raises(InputError, match="positive definite"):
        LandmarkTable(np.zeros((21, 3)), np.zeros((21, 3)), -np.eye(63))


def test_what_does_not_go_together_is_named(known):
    seen = seen_of(known[1][:6, 1])
    for points, table in ((seen, None), (seen, np.zeros((21, 3))), (seen[..., :2], FINE)):
        with pytest.raises(InputError, match="table together"):
            fit_keypoints(side="right", keypoints_2d=points, camera=CAMERA, landmark_offsets=table)
    with pytest.raises(ShapeError, match="2 or 3"):
        fit_keypoints(side="right", keypoints_2d=np.zeros((6, 21, 4)), camera=CAMERA)
    values = [known[0][name][:6, 1] for name in ("global_orient", "hand_pose", "transl")]
    with pytest.raises(InputError, match="no depths"):
        calibrate_table([KnownMotion("right", *values, keypoints_2d=seen[..., :2], camera=CAMERA)])
    with pytest.raises(InputError, match="126 frames"):
        calibrate_table([KnownMotion("right", *values, keypoints_2d=seen, camera=CAMERA)])
    assert np.isfinite(
        calibrate_landmarks([KnownMotion("right", *values, keypoints_2d=seen, camera=CAMERA)])
    ).all()  # offsets alone need no depths and no such many frames


def test_the_command_learns_a_table_and_fits_with_it(known, tmp_path, capsys):
    params, joints = known
    save_motion(tmp_path / "known.npz", params, fps=15)
    both = {"left_2d": seen_of(joints[:, 0]), "right_2d": seen_of(joints[:, 1])}
    np.savez(tmp_path / "tracked.npz", camera=CAMERA, **both)
    tracked, known_file, table = (str(tmp_path / name) for name in ("tracked.npz", "known.npz", "table.npz"))
    assert main(["calibrate", tracked, known_file, "--out", table]) == 0
    for offsets in (table, "mediapipe"):
        assert main(["fit", tracked, "--out", str(tmp_path / "fit.npz"), "--offsets", offsets]) == 0
        assert "px" in capsys.readouterr().out


def test_a_point_on_the_ray_is_turned_to_where_the_hand_is_seen():
    """Half a right angle to the right of the middle."""
    camera = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    turned = rotate_to_ray(np.tile([0.0, 0, 2], (1, 21, 1)), np.tile([820.0, 240], (1, 21, 1)), camera)
    np.testing.assert_allclose(turned[0, 0], [2**0.5, 0, 2**0.5], atol=1e-9)
