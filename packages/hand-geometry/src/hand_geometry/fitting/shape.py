"""Hand shape from bone lengths, which do not depend on the pose."""

from __future__ import annotations

import numpy as np

from hand_geometry.assets import Array, HandAsset
from hand_geometry.fitting.chain import HandChain, HandState, pose

BONE_START = (0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""Keypoint at which each of the 20 bones starts; bone k ends at keypoint k + 1."""

_SIGMA = 0.004  # metres of a bone length
_STEP = 1e-3
_ITERATIONS = 8


def bone_lengths(keypoints: Array) -> Array:
    """Lengths of the 20 bones of keypoints (..., 21, 3); shape (..., 20)."""
    return np.linalg.norm(keypoints[..., 1:, :] - keypoints[..., BONE_START, :], axis=-1)


def fit_betas(asset: HandAsset, offsets: Array, keypoints: Array) -> Array:
    """Shape whose flat hand has the median bone lengths of the keypoints.

    Args:
        asset: Hand model.
        offsets: Landmark offsets, shape (21, 3), metres.
        keypoints: Valid frames, shape (T, 21, 3), metres.

    Returns:
        Betas, shape (B,), within -3..3.
    """
    target = np.median(bone_lengths(keypoints), axis=0)
    count = asset.shapedirs.shape[-1]
    flat = HandState(np.eye(3)[None], np.zeros((1, 45)), np.zeros((1, 3)))

    def lengths(betas: Array) -> Array:
        return bone_lengths(pose(HandChain.build(asset, betas, offsets), flat).keypoints[0])

    betas = np.zeros(count)
    for _ in range(_ITERATIONS):
        now = lengths(betas)
        change = [(lengths(betas + _STEP * unit) - now) / _STEP for unit in np.eye(count)]
        slope = np.stack(change, 1) / _SIGMA
        gradient = slope.T @ ((target - now) / _SIGMA) - betas  # prior: each beta is standard normal
        betas = betas + np.linalg.solve(slope.T @ slope + np.eye(count), gradient)
    return np.clip(betas, -3.0, 3.0)
