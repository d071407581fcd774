"""From motion features to the joints of two hands: one batched pass, no mesh, cheap enough for a loss.

Design:
    * The batch is the last axis, so every operation streams over contiguous numbers; 3 x 3 products are
    written out.
    * The backward pass is analytic. A rotation can only turn what hangs below it, so its gradient is the
    torque that
      the joint gradients exert about it; the torque is carried back through Gram-Schmidt in closed form.
      Nothing of the forward pass but rotations and positions is kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hand_geometry.assets import PARENTS, load_asset
from hand_geometry.features import HAND_FEATURES, ArrayLike, as_tensor, check_features, known_to_compilers, like

# Depth by depth, fingers in MANO order (index, middle, pinky, ring, thumb): joint 3 f + level.
_LEVELS = ((1, 4, 7, 10, 13), (2, 5, 8, 11, 14), (3, 6, 9, 12, 15))
_TIP_OF_FINGER = (1, 2, 4, 3, 0)  # the asset's tips run thumb to pinky
_FINGERS = (4, 0, 1, 3, 2)  # thumb, index, middle, ring, pinky as columns of a level
# Keypoint k within [wrist, 5 x level 1, 5 x level 2, 5 x level 3, 5 x tip], and the way back.
_ORDER = (0, *(1 + 5 * level + finger for finger in _FINGERS for level in range(4)))
_UNORDER = tuple(_ORDER.index(k) for k in range(21))
_TINY = 1e-16  # squared length of a row up to which it is no direction
_TINY_HALF = 1e-6  # of rows in half precision, whose gradients must stay below 65504


def features_to_joints(features: ArrayLike, *, root_relative: bool = False) -> ArrayLike:
    """21 joints of both open hands (mean shape).

    Args:
        features: Shape (..., T, 198); NumPy or torch. Any leading axes.
        root_relative: Whether to subtract each hand's wrist.

    Returns:
        Shape (..., T, 2, 21, 3), metres, keypoints in OpenPose/MediaPipe order. Differentiable (once) for
        tensors. Half precision computes in float32 and returns it: it would be millimetres off.

    Raises:
        ShapeError: If the last axis is not 198.
    """
    x = as_tensor(features)
    check_features(x)
    tiny = _TINY
    if x.dtype in (torch.float16, torch.bfloat16):
        x, tiny = x.float(), _TINY_HALF
    bones, wrists = _constants(x.dtype, x.device)
    hands = x.reshape(-1, 2 * HAND_FEATURES).t().reshape(2, HAND_FEATURES, -1)  # (2, 99, N)
    joints = _ForwardKinematics.apply(hands[:, :96].reshape(2, 16, 2, 3, -1), bones, tiny)  # (2, 21, 3, N)
    if not root_relative:
        joints = joints + (hands[:, 96:] + wrists[..., None])[:, None]
    return like(joints.permute(3, 0, 1, 2).unflatten(0, x.shape[:-1]), features)


class _ForwardKinematics(torch.autograd.Function):
    """Two raw rows per joint, (2, 16, 2, 3, N), to wrist-relative keypoints, (2, 21, 3, N)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, bones: Tensor, tiny: float) -> Tensor:
        frames, scales = _gram_schmidt(rows, tiny)
        world = frames[:, :1]  # (2, 1, 3, 3, N): the wrist carries all five fingers of the first level
        position = rows.new_zeros(2, 1, 3, rows.shape[-1])
        worlds, positions = [world], [position]
        for level in range(4):
            bone = bones[:, level, :, :, None, None]  # (2, 5, 3, 1, 1)
            position = position + _transform(world, bone)
            positions.append(position)
            if level < 3:
                world = _compose(world, frames[:, level + 1 :: 3])
                worlds.append(world)
        ctx.save_for_backward(rows, frames, scales, *worlds[:3], *positions[1:])
        return torch.cat(positions, 1)[:, list(_ORDER)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, frames, scales, *rest = ctx.saved_tensors
        worlds, positions = rest[:3], rest[3:]
        by_level = grad[:, list(_UNORDER)]
        forces = [by_level[:, 1 + 5 * level : 6 + 5 * level] for level in range(4)]  # 4 x (2, 5, 3, N)
        spin = torch.empty_like(rows[:, :, 0])  # torque about each joint in its parent's frame, (2, 16, 3, N)
        force, torque = forces[3], 0.0
        for level in (2, 1, 0):
            lever = positions[level + 1] - positions[level]
            torque = torque + torch.linalg.cross(lever, force, dim=2)
            spin[:, level + 1 :: 3] = _transform_back(worlds[level], torque)
            force = force + forces[level]
        torque = torque + torch.linalg.cross(positions[0], force, dim=2)
        spin[:, 0] = torque.sum(1)
        return _gram_schmidt_backward(spin, rows, frames, scales), None, None


def _gram_schmidt(rows: Tensor, tiny: float) -> tuple[Tensor, Tensor]:
    """Rotations (2, 16, 3, 3, N); per joint 1/|row 0|, 1/|rest of row 1|, row 0 . row 1 (2, 16, 3, N)."""
    first, second = rows[:, :, 0], rows[:, :, 1]
    frames = rows.new_empty(*rows.shape[:2], 3, *rows.shape[3:])
    scales = rows.new_empty(rows.shape[:2] + rows.shape[3:])
    scales[:, :, 0] = first.square().sum(2).clamp_min_(tiny).rsqrt_()
    frames[:, :, 0] = first * scales[:, :, :1]
    scales[:, :, 2] = (frames[:, :, 0] * second).sum(2)
    rest = torch.addcmul(second, frames[:, :, 0], scales[:, :, 2:], value=-1)
    scales[:, :, 1] = rest.square().sum(2).clamp_min_(tiny).rsqrt_()
    frames[:, :, 1] = rest * scales[:, :, 1:2]
    frames[:, :, 2] = torch.linalg.cross(frames[:, :, 0], frames[:, :, 1], dim=2)
    return frames, scales


def _gram_schmidt_backward(spin: Tensor, rows: Tensor, frames: Tensor, scales: Tensor) -> Tensor:
    """Gradient of the raw rows from the torque ``spin`` in the parent's frame."""
    grad = torch.empty_like(rows)
    x, y, z = spin[:, :, 0:1], spin[:, :, 1:2], spin[:, :, 2:3]
    tilt = x * scales[:, :, 1:2]
    grad[:, :, 1] = frames[:, :, 2] * -tilt
    along = torch.addcmul(y, tilt, scales[:, :, 2:])
    inner = torch.addcmul(frames[:, :, 2] * along, frames[:, :, 1], z, value=-1)
    grad[:, :, 0] = inner * scales[:, :, :1]
    return grad


def _transform(matrix: Tensor, vector: Tensor) -> Tensor:
    """(2, J, 3, 3, N) on vectors (2, 5, 3, 1, 1): (2, 5, 3, N)."""
    out = matrix[:, :, :, 0] * vector[:, :, 0]
    out = torch.addcmul(out, matrix[:, :, :, 1], vector[:, :, 1])
    return torch.addcmul(out, matrix[:, :, :, 2], vector[:, :, 2])


def _transform_back(matrix: Tensor, vector: Tensor) -> Tensor:
    """Transposed (2, J, 3, 3, N) on vectors (2, 5, 3, N): (2, 5, 3, N)."""
    out = matrix[:, :, 0] * vector[:, :, 0:1]
    out = torch.addcmul(out, matrix[:, :, 1], vector[:, :, 1:2])
    return torch.addcmul(out, matrix[:, :, 2], vector[:, :, 2:3])


def _compose(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of (2, J, 3, 3, N) and (2, 5, 3, 3, N)."""
    out = a[:, :, :, 0:1] * b[:, :, 0:1]
    out = torch.addcmul(out, a[:, :, :, 1:2], b[:, :, 1:2])
    return torch.addcmul(out, a[:, :, :, 2:3], b[:, :, 2:3])


@known_to_compilers
def _constants(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """``_bones``, which a compiler takes as it is: it could not trace the reading of a file."""
    return _bones(dtype, device)


@lru_cache(maxsize=16)
def _bones(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Bone vectors (2 hands, 4 levels, 5 fingers, 3) and rest wrists (2, 3) of the open hands."""
    bones, wrists = np.zeros((2, 4, 5, 3)), np.zeros((2, 3))
    for hand in (0, 1):
        asset = load_asset("default", "left" if hand == 0 else "right")
        rest = asset.rest_joints
        for level, joints in enumerate(_LEVELS):
            bones[hand, level] = rest[list(joints)] - rest[[PARENTS[j] for j in joints]]
        tips = asset.v_template[asset.tip_ids[list(_TIP_OF_FINGER)]]
        bones[hand, 3] = tips - rest[list(_LEVELS[2])]
        wrists[hand] = rest[0]
    return torch.tensor(bones, dtype=dtype, device=device), torch.tensor(wrists, dtype=dtype, device=device)
