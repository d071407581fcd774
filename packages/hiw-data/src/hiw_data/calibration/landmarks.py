"""Landmarks of a known motion without a tracker: the true ones, and those that the tracker's table expects."""

from __future__ import annotations

import numpy as np
from hand_geometry import LandmarkTable
from hand_geometry.assets import Side, load_asset
from hand_geometry.fitting.chain import HandChain, HandState, Posed, pose
from hand_geometry.fitting.observed import Observed
from hand_geometry.fitting.tracked import TrackedImage
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hiw_data.calibration.scenes import SIDES, Motion

Array = NDArray[np.float64]


def perfect_table() -> LandmarkTable:
    """A table of a tracker that sees the joints themselves, each as well as any other, 4 mm off."""
    return LandmarkTable(np.zeros((21, 3)), np.zeros((21, 3)), 0.004**2 * np.eye(63))


def expected_landmarks(motion: Motion, camera: Array, table: LandmarkTable) -> Array:
    """What a tracker whose mean errors are a table's would see of a motion, without noise.

    Args:
        motion: In the camera's axes.
        camera: Pinhole matrix, (3, 3).
        table: Of the tracker; `perfect_table()` for the true joints.

    Returns:
        (T, 2, 21, 3): pixels and depths, hand 0 left, 1 right.
    """
    return np.stack([_of_hand(motion, hand, side, camera, table) for hand, side in enumerate(SIDES)], 1)


def _of_hand(motion: Motion, hand: int, side: Side, camera: Array, table: LandmarkTable) -> Array:
    asset = load_asset("default", side)
    chain = HandChain.build(asset, np.zeros(asset.shapedirs.shape[-1]), table.offsets_of(side))
    frames = len(motion["transl"])
    angles = np.einsum("jka,tja->tjk", chain.axes, motion["hand_pose"][:, hand]).reshape(frames, 45)
    orient = Rotation.from_rotvec(motion["global_orient"][:, hand]).as_matrix()
    points = pose(chain, HandState(orient, angles, motion["transl"][:, hand].astype(np.float64))).keypoints
    return _seen(points, side, camera, table)


def _seen(points: Array, side: Side, camera: Array, table: LandmarkTable) -> Array:
    """Pixels and depths (T, 21, 3) whose error against points (T, 21, 3) is the table's mean."""
    nothing = np.zeros(0)
    seen = np.zeros_like(points)
    posed = Posed(points, nothing, nothing, nothing)
    flat = points[..., :2] / points[..., 2:] * camera[[0, 1], [0, 1]] + camera[:2, 2]
    seen[..., :2] = flat
    for _ in range(8):  # the mean error is told in a frame that turns with what is seen: a fixed point
        observed = Observed.check(None, None, seen, camera)
        image = TrackedImage.build(table, side, observed, points[..., 2].mean(1))
        error = (image.error(posed) - table.bias) * image.scale[:, None, None]
        error[..., :2] = error[..., :2] @ image.frames
        seen += error
    return seen
