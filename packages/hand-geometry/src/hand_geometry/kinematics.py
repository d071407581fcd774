"""From motion features to the joints of two hands: one batched pass, no mesh, cheap enough for a loss."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hand_geometry.assets import PARENTS, load_asset
from hand_geometry.features import HAND_FEATURES, ArrayLike, as_tensor, check_features, like
from hand_geometry.rotations import rotation_6d_to_matrix

# Depth by depth, fingers in MANO order (index, middle, pinky, ring, thumb); tips are thumb..pinky in the
# asset.
_LEVELS = ((1, 4, 7, 10, 13), (2, 5, 8, 11, 14), (3, 6, 9, 12, 15))
_TIP_OF_FINGER = (1, 2, 4, 3, 0)
# Position of keypoint k in [wrist, 5 x level 1, 5 x level 2, 5 x level 3, 5 x tip].
_FINGERS = (4, 0, 1, 3, 2)  # thumb, index, middle, ring, pinky as columns of a level
_ORDER = (0, *(1 + 5 * level + finger for finger in _FINGERS for level in range(4)))


def features_to_joints(features: ArrayLike, *, root_relative: bool = False) -> ArrayLike:
    """21 joints of both open hands (mean shape).

    Args:
        features: Shape (..., T, 198); NumPy or torch. Any leading axes.
        root_relative: Whether to subtract each hand's wrist.

    Returns:
        Shape (..., T, 2, 21, 3), metres, keypoints in OpenPose/MediaPipe order. Differentiable for tensors.

    Raises:
        ShapeError: If the last axis is not 198.
    """
    x = as_tensor(features)
    check_features(x)
    hands = x.unflatten(-1, (2, HAND_FEATURES))
    bones, wrist = _bones(x.dtype, x.device)
    rotations = rotation_6d_to_matrix(hands[..., :96].unflatten(-1, (16, 6)))  # (..., 2, 16, 3, 3)
    root = torch.zeros_like(hands[..., 96:]) if root_relative else hands[..., 96:] + wrist
    world = rotations[..., :1, :, :]
    position = root[..., None, :]
    positions = [position]
    for level, joints in enumerate(_LEVELS):
        position = position + (world @ bones[:, level])[..., 0]
        positions.append(position)
        world = world @ rotations[..., list(joints), :, :]
    positions.append(position + (world @ bones[:, 3])[..., 0])
    return like(torch.cat(positions, -2)[..., list(_ORDER), :], features)


@lru_cache(maxsize=16)
def _bones(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Bone vectors (2 hands, 4 levels, 5 fingers, 3, 1) and rest wrists (2, 3) of the open hands."""
    bones, wrists = np.zeros((2, 4, 5, 3, 1)), np.zeros((2, 3))
    for hand in (0, 1):
        asset = load_asset("default", "left" if hand == 0 else "right")
        rest = asset.rest_joints
        for level, joints in enumerate(_LEVELS):
            bones[hand, level, :, :, 0] = rest[list(joints)] - rest[[PARENTS[j] for j in joints]]
        tips = asset.v_template[asset.tip_ids[list(_TIP_OF_FINGER)]]
        bones[hand, 3, :, :, 0] = tips - rest[list(_LEVELS[2])]
        wrists[hand] = rest[0]
    return torch.tensor(bones, dtype=dtype, device=device), torch.tensor(wrists, dtype=dtype, device=device)
