"""The plain hand: joint by joint, vertex by vertex, as the paper writes it.

The reference that the fast path of ``hand_geometry.skinning`` is tested against. It is plain autograd through and
through, so it is also the one to use for derivatives of derivatives and inside ``torch.func``. Source: Romero, Tzionas,
Black, "Embodied Hands", SIGGRAPH Asia 2017, equations 2 to 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hand_geometry.assets import KEYPOINT_SOURCE, PARENTS, HandAsset


def pose_hand(
    asset: HandAsset, rotations: Tensor, betas: Tensor | None = None, transl: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Joints and mesh of posed hands.

    Args:
        asset: The hand.
        rotations: Local rotation matrices, wrist first, MANO order, shape (..., 16, 3, 3).
        betas: Shape, (..., B), or None for the mean.
        transl: Translation, (..., 3), metres, or None for zero.

    Returns:
        Keypoints (..., 21, 3), OpenPose/MediaPipe order, and vertices (..., V, 3), metres.
    """

    def constant(value: object) -> Tensor:
        return torch.as_tensor(value).to(rotations)

    shaped = constant(asset.v_template)  # (V, 3)
    if betas is not None:
        shaped = shaped + torch.einsum("vcb,...b->...vc", constant(asset.shapedirs), betas)
    rest = constant(asset.joint_regressor) @ shaped  # (..., 16, 3)
    if asset.posedirs is not None:
        feature = (rotations[..., 1:, :, :] - torch.eye(3).to(rotations)).flatten(-3)  # (..., 135)
        shaped = shaped + torch.einsum("vck,...k->...vc", constant(asset.posedirs), feature)

    world, positions = [rotations[..., 0, :, :]], [rest[..., 0, :].expand(*rotations.shape[:-3], 3)]
    for joint in range(1, 16):
        parent = PARENTS[joint]
        bone = rest[..., joint, :] - rest[..., parent, :]
        positions.append(positions[parent] + (world[parent] @ bone[..., None])[..., 0])
        world.append(world[parent] @ rotations[..., joint, :, :])
    turn, position = torch.stack(world, -3), torch.stack(positions, -2)

    weights = constant(asset.weights)  # (V, 16)
    offset = position - (turn @ rest[..., None])[..., 0]  # a bone takes x to turn x + offset
    blended = torch.einsum("vj,...jrc->...vrc", weights, turn)
    vertices = (blended @ shaped[..., None])[..., 0] + torch.einsum("vj,...jc->...vc", weights, offset)
    if transl is not None:
        vertices, position = vertices + transl[..., None, :], position + transl[..., None, :]
    tips = vertices[..., torch.as_tensor(asset.tip_ids), :]
    return torch.cat([position, tips], -2)[..., list(KEYPOINT_SOURCE), :], vertices
