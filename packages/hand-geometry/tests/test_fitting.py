"""Fitting: known poses come back, invalid frames are bridged, senseless input is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, features_to_joints, fit_keypoints, params_to_features
from hand_geometry.assets import load_asset
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.fitting.chain import HandChain, HandState, jacobian, pose
from hand_geometry.fitting.limits import angle_priors

CAMERA = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


@pytest.fixture
def keypoints(make_motion):
    """Joints of a known motion half a metre before a camera, (T, 2, 21, 3)."""
    joints = features_to_joints(params_to_features(make_motion(20)))
    return joints + np.array([0.0, 0.0, 0.5])


def joints_of(fit, side, betas=None):
    model = HandModel.load("default", side=side)
    tensors = [torch.tensor(value) for value in (fit.global_orient, fit.hand_pose, fit.transl)]
    betas = None if betas is None else torch.tensor(betas)
    return model(tensors[0], tensors[1], betas, tensors[2], vertices=False).joints.numpy()


def mean_distance(a, b):
    return np.linalg.norm(a - b, axis=-1).mean()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("smoothness", [(0.15, 0.2, 0.05), None])
def test_known_poses_come_back(side, smoothness, keypoints):
    target = keypoints[:, int(side == "right")]
    fit = fit_keypoints(target, side=side, smoothness=smoothness)
    assert mean_distance(joints_of(fit, side), target) < 1.5e-3
    np.testing.assert_allclose(joints_of(fit, side), fit.keypoints, atol=1e-5)
    np.testing.assert_allclose(fit.residual.mean(), mean_distance(fit.keypoints, target), rtol=1e-3)
    assert fit.valid.all()
    assert fit.reprojection is None


def test_the_image_places_a_hand_whose_3d_keypoints_have_no_origin(keypoints):
    target = keypoints[:, 1]
    pixels = target[..., :2] / target[..., 2:] * 600 + [320, 240]
    centred = target - target.mean(1, keepdims=True)
    fit = fit_keypoints(centred, side="right", keypoints_2d=pixels, camera=CAMERA)
    assert mean_distance(joints_of(fit, "right"), target) < 4e-3
    assert fit.reprojection.mean() < 1.0


def test_invalid_frames_are_bridged_and_marked(keypoints):
    target = keypoints[:, 1]
    broken = target.copy()
    broken[7:10] = np.nan
    fit = fit_keypoints(broken, side="right")
    assert fit.valid.tolist() == [t not in (7, 8, 9) for t in range(20)]
    assert np.isnan(fit.residual[7:10]).all()
    assert np.isfinite(fit.residual[:7]).all()
    assert np.linalg.norm(joints_of(fit, "right")[8] - target[8], axis=-1).mean() < 0.02


def test_what_stands_in_invalid_frames_does_not_matter(keypoints):
    target = keypoints[:, 0]
    valid = np.arange(20) != 5
    wild = target.copy()
    wild[5] = 1e6
    a = fit_keypoints(target, side="left", valid=valid)
    b = fit_keypoints(wild, side="left", valid=valid)
    np.testing.assert_array_equal(a.hand_pose, b.hand_pose)


def test_outliers_do_not_drag_the_hand(keypoints):
    target = keypoints[:, 1]
    noisy = target.copy()
    noisy[::4, 8] += 0.2
    fit = fit_keypoints(noisy, side="right")
    others = [k for k in range(21) if k != 8]
    assert mean_distance(joints_of(fit, "right")[:, others], target[:, others]) < 5e-3


def test_shape_is_found_from_bone_lengths(make_motion):
    params = make_motion(10)
    betas = np.zeros(10, np.float32)
    betas[0] = 1.5
    tensors = [torch.tensor(params[name][:, 1]) for name in ("global_orient", "hand_pose", "transl")]
    model = HandModel.load("default", side="right")
    target = model(tensors[0], tensors[1], torch.tensor(betas), tensors[2], vertices=False).joints.numpy()
    mean_shape = fit_keypoints(target, side="right")
    fitted = fit_keypoints(target, side="right", betas="fit")
    assert fitted.residual.mean() < 0.7 * mean_shape.residual.mean()
    assert fitted.betas[0] > 0.5


def test_landmark_offsets_shift_the_landmarks_not_the_hand(keypoints):
    offsets = np.zeros((21, 3))
    offsets[0] = [-0.018, 0.0, 0.0]
    plain = fit_keypoints(keypoints[:, 1], side="right")
    moved = keypoints[:, 1] + (
        fit_keypoints(keypoints[:, 1], side="right", landmark_offsets=offsets).keypoints - plain.keypoints
    )
    again = fit_keypoints(moved, side="right", landmark_offsets=offsets)
    assert mean_distance(joints_of(again, "right"), joints_of(plain, "right")) < 4e-3


def test_mediapipe_offsets_of_the_left_mirror_those_of_the_right(make_motion):
    joints = features_to_joints(params_to_features(make_motion(6)))
    right = fit_keypoints(joints[:, 1], side="right", landmark_offsets="mediapipe")
    left = fit_keypoints(joints[:, 1] * [-1, 1, 1], side="left", landmark_offsets="mediapipe")
    np.testing.assert_allclose(left.hand_pose, right.hand_pose * [1, -1, -1], atol=1e-3)
    np.testing.assert_allclose(left.transl, right.transl * [-1, 1, 1], atol=1e-4)


def test_fingers_stay_within_their_limits(keypoints):
    target = keypoints[:, 1].copy()
    wrist = target[:, :1]
    target[:, 5:9] = 2 * target[:, 5:6] - target[:, 5:9]  # the index finger bent all the way back
    fit = fit_keypoints(target + 0 * wrist, side="right")
    axes = load_asset("default", "right").joint_axes[1:]
    angles = np.einsum("jka,tja->tjk", axes, fit.hand_pose).reshape(len(target), 45)
    _, _, low, high = angle_priors()
    assert (np.maximum(low - angles, angles - high)).max() < 0.35


def test_the_jacobian_is_the_derivative_of_the_keypoints():
    rng = np.random.default_rng(0)
    chain = HandChain.build(load_asset("default", "left"), rng.normal(size=10), 0.01 * rng.normal(size=(21, 3)))
    state = HandState(np.eye(3)[None], np.zeros((1, 45)), np.zeros((1, 3))).moved(rng.normal(0, 0.5, (1, 51)))
    analytic = jacobian(chain, pose(chain, state))[0]
    for k in range(51):
        step = np.zeros((1, 51))
        step[0, k] = 1e-6
        change = pose(chain, state.moved(step)).keypoints - pose(chain, state.moved(-step)).keypoints
        np.testing.assert_allclose(analytic[k], change[0] / 2e-6, atol=1e-7)


def test_torch_keypoints_and_a_model_are_taken(keypoints):
    model = HandModel.load("default", side="left")
    fit = fit_keypoints(torch.tensor(keypoints[:4, 0]), side="left", model=model)
    assert fit.hand_pose.shape == (4, 15, 3)
    assert fit.hand_pose.dtype == np.float32


def test_one_frame_is_enough(keypoints):
    fit = fit_keypoints(keypoints[:1, 1], side="right")
    assert fit.residual[0] < 2e-3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"keypoints": np.zeros((4, 20, 3))}, ShapeError, r"keypoints: Expected shape \(T, 21, 3\)"),
        ({"keypoints": np.full((4, 21, 3), np.nan)}, InputError, "at least one frame to fit, got none"),
        ({"keypoints": np.ones((4, 21, 3))}, InputError, "at least one frame to fit, got none"),
        ({"valid": np.ones(5, bool)}, ShapeError, "valid"),
        ({"valid": np.zeros(20, bool)}, InputError, "at least one frame to fit"),
        ({"side": "both"}, InputError, "'left' or 'right', got 'both'"),
        ({"keypoints_2d": np.zeros((20, 21, 2))}, InputError, "camera: Expected"),
        ({"keypoints_2d": np.zeros((20, 21, 2)), "camera": np.diag([0.001, 0.001, 1])}, InputError, "focal length"),
        ({"sigma_3d": 0.0}, InputError, "sigma_3d"),
        ({"smoothness": (1.0, 0.0, 1.0)}, InputError, "smoothness"),
        ({"landmark_offsets": "openpose"}, InputError, "landmark_offsets"),
        ({"betas": "guess"}, InputError, "betas"),
        ({"model": HandModel.load("default", side="left")}, InputError, "Expected a right hand, got a left"),
    ],
)
def test_senseless_input_is_refused(change, error, message, keypoints):
    arguments = {"keypoints": keypoints[:, 1], "side": "right"} | change
    with pytest.raises(error, match=message):
        fit_keypoints(arguments.pop("keypoints"), **arguments)


def test_nan_in_a_frame_called_valid_is_refused(keypoints):
    broken = keypoints[:, 1].copy()
    broken[3, 4] = np.nan
    with pytest.raises(InputError, match="frame 3"):
        fit_keypoints(broken, side="right", valid=np.ones(20, bool))
