"""Limits and penetration on cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hand_geometry import hand_penetration, limit_violation, load_pose, self_penetration
from hand_geometry.assets import load_asset
from hand_geometry.errors import ShapeError
from hand_geometry.fitting.limits import angle_priors
from hand_geometry.fitting.shape import BONE_START
from hand_geometry.plausibility import bone_radii, segment_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize


def bent(finger, angle, axis=0):
    """Both hands flat but for the first joint of one finger (0 index ... 4 thumb), bent about one axis."""
    pose = torch.zeros(1, 2, 15, 3, dtype=torch.float64)
    for hand, side in enumerate(("left", "right")):
        pose[0, hand, 3 * finger] = torch.tensor(load_asset("default", side).joint_axes[1 + 3 * finger, axis]) * angle
    return pose


def test_an_angle_beyond_its_limit_counts_by_its_excess():
    high = angle_priors()[3][0]
    found = limit_violation(bent(0, high + 0.45))
    assert found.excess.item() == pytest.approx(0.45 / 45)
    assert found.share.item() == pytest.approx(1 / 45)
    low = angle_priors()[2][1]
    found = limit_violation(bent(0, low - 0.9, axis=1))
    assert found.excess.item() == pytest.approx(0.9 / 45)


@pytest.mark.parametrize("pose", ["flat", "fist", "pinch"])
def test_named_poses_stay_within_the_limits(pose):
    both = torch.stack([load_pose(pose, "left"), load_pose(pose, "right")])
    assert limit_violation(both[None]).share == 0


def test_masks_leave_out_hands_even_if_they_are_nan():
    pose = torch.cat([bent(0, 9.0), bent(0, 0.0)])
    pose[0, 0] = float("nan")
    valid = np.array([[False, False], [True, True]])
    assert limit_violation(pose, valid).excess == 0
    assert math.isnan(limit_violation(pose, np.zeros((2, 2), bool)).share)


def hand_of_points(offset=0.0):
    """A hand whose bones lie far apart: finger f along x at y = f decimetres, all beside the wrist."""
    joints = torch.zeros(21, 3, dtype=torch.float64)
    for finger in range(5):
        for k in range(4):
            joints[1 + 4 * finger + k] = torch.tensor([1.0 + 0.1 * k, 0.1 * finger, 0.0])
    return joints + torch.tensor([0.0, 0.0, offset])


def test_a_hand_that_is_spread_out_does_not_penetrate_itself_and_two_crossing_bones_do():
    joints = hand_of_points()
    assert self_penetration(joints[None, None]) == 0
    crossed = joints.clone()
    crossed[8] = joints[10] * 0.5 + joints[11] * 0.5  # the index fingertip on the middle finger's second bone
    radii = bone_radii()
    # Bone 7 (index, last) meets bone 10 (middle, from keypoint 10 to 11) at distance 0; no other pair is nearer.
    assert self_penetration(crossed[None, None]).item() == pytest.approx(radii[7] + radii[10])


def test_hands_penetrate_by_what_their_capsules_overlap_and_the_mask_counts_both():
    radii = bone_radii()
    left = hand_of_points()
    for gap in (0.0, 0.003, 1.0):
        right = hand_of_points(gap)
        both = torch.stack([left, right])[None]
        expected = max(0.0, 2 * radii.max() - gap)
        assert hand_penetration(both).item() == pytest.approx(expected)
        assert hand_penetration(both.repeat(3, 1, 1, 1), np.array([[1, 1], [0, 1], [1, 0]])).item() == pytest.approx(
            expected
        )
    assert math.isnan(hand_penetration(both, np.array([[True, False]])))


def test_a_flat_hand_is_free_and_pressing_the_thumb_through_the_palm_is_not(hands):
    flat = hands["right"](torch.zeros(3), load_pose("flat")).joints
    pinch = hands["right"](torch.zeros(3), load_pose("pinch")).joints
    assert self_penetration(flat[None, None]) < 1e-6
    assert self_penetration(pinch[None, None]) < 1e-3  # fingertips that touch
    pressed = flat.clone()
    pressed[4] = flat[[0, 9]].mean(0)
    assert self_penetration(pressed[None, None]) > 5e-3


def test_penetration_has_a_gradient_that_parts_the_hands():
    both = torch.stack([hand_of_points(), hand_of_points(0.004)])[None].requires_grad_()
    hand_penetration(both).backward()
    assert both.grad.isfinite().all()
    assert both.grad[0, 1, :, 2].sum() < 0  # moving the right hand away lessens it


vectors = st.tuples(*[st.floats(-1, 1)] * 3)


@given(vectors, vectors, vectors, vectors)
@settings(max_examples=40, deadline=None)
def test_the_distance_of_segments_is_the_least_over_their_points(p0, p1, q0, q1):
    points = [torch.tensor(v, dtype=torch.float64) for v in (p0, p1, q0, q1)]
    found = segment_distance(*points).item()
    a, b, c, d = (v.numpy() for v in points)

    def between(x):
        return np.linalg.norm(a + x[0] * (b - a) - c - x[1] * (d - c))

    best = min(minimize(between, start, bounds=[(0, 1)] * 2).fun for start in ([0.5, 0.5], [0, 0], [1, 1], [0, 1]))
    assert found <= best + 1e-6
    grid = np.linspace(0, 1, 21)
    assert found >= best - 1e-3 * (1 + best)
    assert found <= min(between((s, t)) for s in grid for t in grid) + 1e-9


def test_segments_may_be_points_or_parallel():
    o, x, y = torch.zeros(3), torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    assert segment_distance(o, o, x, x) == 1
    assert segment_distance(o, x, y, x + y) == 1
    assert segment_distance(o, x, 3 * x, 4 * x) == 2
    assert segment_distance(o, x, o, y) == 0


def test_bones_run_from_the_wrist_outwards():
    assert sorted(set(range(20)) - set(BONE_START)) == [4, 8, 12, 16]


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeError, match="hand_pose"):
        limit_violation(torch.zeros(4, 15, 3))
    with pytest.raises(ShapeError, match="joints"):
        self_penetration(torch.zeros(4, 2, 20, 3))
    with pytest.raises(ShapeError, match="Left then right"):
        hand_penetration(torch.zeros(4, 1, 21, 3))
    with pytest.raises(ShapeError, match="valid"):
        self_penetration(torch.zeros(4, 2, 21, 3), np.ones(4, bool))
