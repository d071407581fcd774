"""Fitting from images alone, with parts hidden, over batches, by gradient; calibration of landmarks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_geometry import (
    HandModel,
    KnownMotion,
    calibrate_landmarks,
    features_to_joints,
    fit_by_gradient,
    fit_keypoints,
    hand_penetration,
    params_to_features,
)
from hand_geometry.assets import load_asset
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.fitting.chain import CARRIER, HandChain, HandState, pose
from hand_geometry.fitting.limits import angle_priors
from hand_geometry.fitting.observed import hands_in
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

CAMERA = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


@pytest.fixture
def known(make_motion):
    """A known motion half a metre before a camera, and its joints (T, 2, 21, 3)."""
    params = make_motion(16, seed=1)
    params["transl"] = params["transl"] + np.float32([0, 0, 0.5])
    return params, features_to_joints(params_to_features(params))


def image(points):
    return points[..., :2] / points[..., 2:] * 600 + [320, 240]


def apart(a, b):
    return np.linalg.norm(a - b, axis=-1).mean()


@given(st.integers(0, 2**31), st.sampled_from(["left", "right"]))
@settings(max_examples=8, deadline=None)
def test_a_pose_within_the_limits_comes_back_from_its_keypoints(seed, side):
    rng = np.random.default_rng(seed)
    mean, deviation, low, high = angle_priors()
    angles = np.clip(mean + 0.7 * deviation * rng.normal(size=45), low, high)[None]
    state = HandState(Rotation.random(rng=rng).as_matrix()[None], angles, rng.normal(0, 0.3, (1, 3)))
    chain = HandChain.build(load_asset("default", side), np.zeros(10), np.zeros((21, 3)))
    keypoints = pose(chain, state).keypoints
    fit = fit_keypoints(keypoints, side=side, sigma_3d=0.001)
    assert apart(fit.keypoints, keypoints) < 1e-3
    found = np.einsum("jka,tja->tjk", chain.axes, fit.hand_pose)
    # Twist about a bone moves the keypoints least; flexion, which matters most, comes back.
    assert np.abs(found[..., 0] - angles.reshape(1, 15, 3)[..., 0]).mean() < 0.1


@pytest.mark.parametrize("hand", [0, 1])
def test_an_image_alone_gives_the_pose_and_from_the_known_size_the_depth(hand, known):
    target = known[1][:, hand]
    fit = fit_keypoints(
        side=("left", "right")[hand], keypoints_2d=image(target), camera=CAMERA, sigma_2d=0.5, max_iterations=60
    )
    assert fit.reprojection.mean() < 1.0
    assert np.isnan(fit.residual).all()
    relative = fit.keypoints - fit.keypoints[:, :1]
    assert apart(relative, target - target[:, :1]) < 0.02
    assert apart(fit.keypoints, target) < 0.04


def test_hidden_keypoints_are_filled_in_and_do_not_matter(known):
    target = known[1][:, 1]
    seen = np.ones((16, 21), bool)
    seen[4:10, 5:9] = False  # the index finger is hidden for six frames
    wild = np.where(seen[..., None], target, 9.0)
    fit = fit_keypoints(wild, side="right", valid=seen)
    hidden = np.where(seen[..., None], target, np.nan)
    again = fit_keypoints(hidden, side="right")
    np.testing.assert_array_equal(fit.hand_pose, again.hand_pose)
    assert fit.valid.all()
    assert apart(fit.keypoints, target) < 6e-3
    both = fit_keypoints(hidden, side="right", keypoints_2d=image(hidden), camera=CAMERA)
    assert apart(both.keypoints, target) < 1e-2
    assert np.isfinite(both.residual).all()
    assert np.isfinite(both.reprojection).all()


def test_a_frame_with_one_visible_keypoint_is_marked_not_fitted(known):
    target = known[1][:, 1].copy()
    target[3, 1:] = np.nan
    fit = fit_keypoints(target, side="right")
    assert fit.valid.tolist() == [t != 3 for t in range(16)]
    assert np.isnan(fit.residual[3])
    only = np.full((2, 21, 3), np.nan)
    only[:, 0] = 0.1
    with pytest.raises(InputError, match="at least one frame to fit"):
        fit_keypoints(only, side="right")


def test_six_visible_keypoints_hold_a_hand_and_five_do_not(known):
    target = known[1][:, 1].copy()
    target[3, 6:] = target[5, 5:] = np.nan
    fit = fit_keypoints(target, side="right")
    assert fit.valid.tolist() == [t != 5 for t in range(16)]
    assert hands_in("keypoints", target).tolist() == [t != 5 for t in range(16)]


def test_a_batch_is_its_clips_and_a_clip_without_a_hand_is_marked(known):
    clips = np.stack([known[1][:, 1], known[1][::-1, 1], np.full_like(known[1][:, 1], np.nan)])
    batch = fit_keypoints(torch.tensor(clips), side="right")
    for k in range(2):
        alone = fit_keypoints(clips[k], side="right")
        np.testing.assert_array_equal(batch.hand_pose[k], alone.hand_pose)
        np.testing.assert_array_equal(batch.valid[k], alone.valid)
    assert not batch.valid[2].any()
    assert np.isnan(batch.residual[2]).all()
    assert np.isfinite(batch.hand_pose).all()
    shaped = fit_keypoints(clips[:2], side="right", betas=np.zeros((2, 10)), valid=np.ones((2, 16), bool))
    np.testing.assert_array_equal(shaped.hand_pose, batch.hand_pose[:2])
    with pytest.raises(ShapeError, match="as many clips"):
        fit_keypoints(clips, side="right", valid=np.ones((2, 16), bool))
    with pytest.raises(ShapeError, match="betas"):
        fit_keypoints(clips, side="right", betas=np.zeros((2, 10)))


def test_the_slower_fit_agrees_and_takes_further_terms(known):
    target = known[1][:, 1]
    noisy = target + np.random.default_rng(0).normal(0, 0.004, target.shape)
    fast = fit_keypoints(noisy, side="right")
    rough = fit_keypoints(noisy, side="right", max_iterations=2)
    slow = fit_by_gradient(rough, side="right", keypoints=torch.tensor(noisy), iterations=50)
    assert apart(slow.joints.numpy(), fast.keypoints) < 2e-3
    pixels = torch.tensor(image(target))
    both = fit_by_gradient(
        rough, side="right", keypoints=torch.tensor(noisy), keypoints_2d=pixels, camera=CAMERA, iterations=30
    )
    assert apart(both.joints.numpy(), target) < apart(noisy, target)

    other = torch.tensor(target) + torch.tensor([0.01, 0.0, 0.0])  # a second hand, pushed into this one

    def push(hand):
        return 1e7 * hand_penetration(torch.stack([other.float(), hand.joints], 1)).square()

    def depth(joints):
        return hand_penetration(torch.stack([other.float(), joints], 1)).item()

    parted = fit_by_gradient(fast, side="right", keypoints=torch.tensor(noisy), extra=push, iterations=20)
    assert depth(parted.joints) < depth(torch.tensor(fast.keypoints))


def test_the_slower_fit_takes_batches_and_refuses_what_is_senseless(known):
    target = torch.tensor(np.stack([known[1][:4, 0], known[1][4:8, 0]]))
    start = fit_keypoints(target, side="left")
    valid = torch.ones(2, 4, dtype=torch.bool)
    valid[0, 1] = False
    fit = fit_by_gradient(start, side="left", keypoints=target, valid=valid, iterations=5)
    assert fit.joints.shape == (2, 4, 21, 3)
    with pytest.raises(InputError, match="got none"):
        fit_by_gradient(start, side="left")
    with pytest.raises(ShapeError, match="keypoints"):
        fit_by_gradient(start, side="left", keypoints=target[0])
    with pytest.raises(ShapeError, match="valid"):
        fit_by_gradient(start, side="left", keypoints=target, valid=valid[0])
    with pytest.raises(InputError, match="cost: Expected finite"):
        fit_by_gradient(start, side="left", extra=lambda hand: hand.joints.sum() * float("nan"))
    with pytest.raises(InputError, match="iterations"):
        fit_by_gradient(start, side="left", keypoints=target, iterations=0)


def tracked(known, offsets, rng):
    """What a tracker with these landmark offsets would see of both hands, wrongly turned and centred."""
    params, _ = known
    out = []
    for hand, side in enumerate(("left", "right")):
        local = offsets * ([-1, 1, 1] if side == "left" else [1, 1, 1])
        chain = HandChain.build(load_asset("default", side), np.zeros(10), np.zeros((21, 3)))
        angles = np.einsum("jka,tja->tjk", chain.axes, params["hand_pose"][:, hand]).reshape(-1, 45)
        orient = Rotation.from_rotvec(params["global_orient"][:, hand]).as_matrix()
        posed = pose(chain, HandState(orient, angles, params["transl"][:, hand]))
        landmarks = posed.keypoints + (posed.world[:, CARRIER] @ local[..., None])[..., 0]
        tilt = Rotation.from_rotvec(rng.normal(0, 0.3, (len(landmarks), 3))).as_matrix()
        turned = (landmarks - landmarks.mean(1, keepdims=True)) @ tilt
        out.append((side, turned, image(landmarks)))
    return out


def test_calibration_finds_the_offsets_that_the_landmarks_have(known):
    params, joints = known
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, 0.006, (21, 3))
    offsets[0] = [-0.018, 0.002, 0.003]
    motions = [
        KnownMotion(
            side, *(params[name][:, hand] for name in ("global_orient", "hand_pose", "transl")), points, pixels, CAMERA
        )
        for hand, (side, points, pixels) in enumerate(tracked(known, offsets, rng))
    ]
    found = calibrate_landmarks(motions)
    assert np.abs(found - offsets).max() < 1.5e-3
    side, points, pixels = tracked(known, offsets, rng)[0]
    table = found * [-1, 1, 1]
    better = fit_keypoints(points, side=side, keypoints_2d=pixels, camera=CAMERA, landmark_offsets=table)
    plain = fit_keypoints(points, side=side, keypoints_2d=pixels, camera=CAMERA)
    hand = HandModel.load("default", side)

    def error(fit):
        values = [torch.tensor(v) for v in (fit.global_orient, fit.hand_pose)]
        found = hand(*values, vertices=False).joints.numpy()
        return apart(found - found[:, :1], joints[:, 0] - joints[:, 0, :1])

    assert error(better) < error(plain)


def test_calibration_leaves_out_outliers_and_names_what_is_missing(known):
    params, joints = known
    values = [params[name][:, 1] for name in ("global_orient", "hand_pose", "transl")]
    points = joints[:, 1].copy()
    points[::5] += np.random.default_rng(0).normal(0, 0.1, points[::5].shape)
    points[3] = np.nan
    found = calibrate_landmarks([KnownMotion("right", *values, points)])
    assert np.abs(found).max() < 2e-3
    with pytest.raises(InputError, match="at least one frame with landmarks"):
        calibrate_landmarks([KnownMotion("right", *values, np.full_like(points, np.nan))])
    with pytest.raises(ShapeError, match="As many frames"):
        calibrate_landmarks([KnownMotion("right", *values, points[:4])])
    with pytest.raises(ShapeError, match="hand_pose"):
        calibrate_landmarks([KnownMotion("right", values[0], values[1][:, :14], values[2], points)])
