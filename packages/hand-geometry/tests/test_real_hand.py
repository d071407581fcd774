"""One real hand that has no symmetry: which side it is and where its depth points must not be interchangeable.

The letter L of American Sign Language, signed by a person with the right hand, as MediaPipe tracked it in a recording
of the package spoken-to-signed (MIT); one frame, relative to the wrist, in metres, in the camera's axes (x right, y
down, z away). What is known of it does not come from this package: an L is a straight index finger
and a thumb stretched out to its side, the other three fingers folded into the palm, and the palm faces the camera.
"""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import features_to_joints, fit_keypoints, mirror_params, params_to_features
from hand_geometry.assets import load_asset

L = np.array([
    [0.000, 0.000, 0.000],
    [0.024, -0.015, -0.026], [0.045, -0.041, -0.039], [0.065, -0.058, -0.053], [0.083, -0.065, -0.068],
    [0.020, -0.070, -0.028], [0.023, -0.104, -0.052], [0.024, -0.124, -0.065], [0.025, -0.141, -0.074],
    [0.003, -0.065, -0.030], [-0.002, -0.079, -0.075], [0.004, -0.054, -0.085], [0.010, -0.036, -0.080],
    [-0.013, -0.056, -0.034], [-0.016, -0.062, -0.076], [-0.006, -0.041, -0.071], [0.000, -0.027, -0.055],
    [-0.028, -0.044, -0.041], [-0.030, -0.056, -0.067], [-0.021, -0.042, -0.060], [-0.015, -0.032, -0.047],
])  # fmt: skip
FLIPPED = L * [1.0, 1.0, -1.0]
MIRRORED = L * [-1.0, 1.0, 1.0]


def fitted(points, side):
    return fit_keypoints(points[None], side=side, landmark_offsets="mediapipe")


def bends(fit, side):
    """Sum of the three flexions of index, middle, pinky, ring and thumb, radians; positive curls in."""
    axes = load_asset("default", side).joint_axes[1:]
    return np.einsum("jka,ja->jk", axes, fit.hand_pose[0])[:, 0].reshape(5, 3).sum(1)


@pytest.mark.parametrize(("points", "side"), [(L, "right"), (MIRRORED, "left")])
def test_the_hand_fits_its_own_side_and_depth_alone(points, side):
    other = "left" if side == "right" else "right"
    own = fitted(points, side).residual[0]
    assert own < 0.010
    assert fitted(points, other).residual[0] > 1.8 * own
    assert fitted(points * [1, 1, -1], side).residual[0] > 1.8 * own
    assert fitted(points * [1, 1, -1], other).residual[0] == pytest.approx(own, rel=0.05)  # a mirror image


@pytest.mark.parametrize(("points", "side"), [(L, "right"), (MIRRORED, "left")])
def test_an_l_has_its_index_straight_and_three_fingers_folded(points, side):
    index, middle, pinky, ring, thumb = bends(fitted(points, side), side)
    assert abs(index) < 0.6
    assert min(middle, pinky, ring) > 1.5
    assert abs(thumb) < 0.8


def test_the_palm_faces_the_camera_and_the_folded_tips_lie_before_it():
    """Features carry the same: of a right hand the palm's normal, from index to little finger, points at the camera."""
    fit = fitted(L, "right")
    params = {name: np.stack([getattr(fit, name)] * 2, 1) for name in ("global_orient", "hand_pose", "transl")}
    joints = features_to_joints(params_to_features(params))[0, 1]
    normal = np.cross(joints[5] - joints[0], joints[17] - joints[0])
    assert normal[2] < 0 < np.linalg.norm(normal)
    palm = joints[[0, 5, 9, 13, 17]].mean(0)
    assert (joints[[12, 16, 20], 2] < palm[2] - 0.01).all()
    assert joints[4, 0] > joints[5, 0] + 0.03  # seen from the front, the thumb of a right hand is on the right
    assert joints[8, 1] < joints[5, 1] - 0.05  # the index points up: y is down


def test_the_mirrored_hand_is_a_left_one_with_its_thumb_on_the_left():
    fit = fitted(L, "right")
    params = {name: np.stack([getattr(fit, name)] * 2, 1) for name in ("global_orient", "hand_pose", "transl")}
    joints = features_to_joints(params_to_features(mirror_params(params)))[0, 0]
    assert joints[4, 0] < joints[5, 0] - 0.03
    assert (joints[[12, 16, 20], 2] < joints[[0, 5, 9, 13, 17], 2].mean() - 0.01).all()
