"""The MANO hand: linear blend skinning, with a path that computes 21 joints and never touches the mesh.

Design:
    * All joints of one depth of the tree are transformed at once: three batched products instead of fifteen.
    * Joints are regressed once from the template (and are linear in betas), so joints alone need no vertices.
    * With one shape for the whole batch and no pose blend shapes, skinning is a single matrix product of a
      (V, 64) constant with the (64, 3) stack of bone transforms of each hand.

Convention:
    ``vertex = R (v - J_0) + J_0 + transl`` with ``J_0`` the rest wrist (smplx's convention). Metres, radians.
    Source: Romero, Tzionas, Black, "Embodied Hands", SIGGRAPH Asia 2017.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hand_geometry.assets import KEYPOINT_SOURCE, HandAsset, Side, check_side, load_asset
from hand_geometry.errors import ShapeError
from hand_geometry.rotations import axis_angle_to_matrix

_DEPTHS = ((1, 4, 7, 10, 13), (2, 5, 8, 11, 14), (3, 6, 9, 12, 15))


class HandOutput(NamedTuple):
    """What a hand model returns.

    Attributes:
        joints: 21 keypoints in OpenPose/MediaPipe order, shape (..., 21, 3), metres.
        vertices: Mesh, shape (..., V, 3), metres, or None if it was not asked for.
    """

    joints: Tensor
    vertices: Tensor | None


class HandModel(nn.Module):
    """One hand of the MANO family; build it with ``HandModel.load``.

    Example:
        >>> model = HandModel.load("default", side="right")
        >>> out = model(torch.zeros(8, 3), torch.zeros(8, 15, 3))
        >>> out.joints.shape
        torch.Size([8, 21, 3])
    """

    v_template: Tensor
    weights: Tensor
    shapedirs: Tensor
    posedirs: Tensor | None
    faces: Tensor
    tip_ids: Tensor
    joint_axes: Tensor
    hands_mean: Tensor
    hands_components: Tensor

    def __init__(self, asset: HandAsset, dtype: torch.dtype = torch.float32) -> None:
        """Build the model from checked arrays.

        Args:
            asset: Arrays, from ``hand_geometry.assets.load_asset``.
            dtype: Of all buffers: float32 or float64.
        """
        super().__init__()
        self.asset = asset
        self.side: Side = asset.side

        def put(name: str, value: object) -> None:
            self.register_buffer(name, torch.as_tensor(value).to(dtype, copy=True), persistent=False)

        put("v_template", asset.v_template)
        put("weights", asset.weights)
        put("shapedirs", asset.shapedirs)
        put("joint_axes", asset.joint_axes)
        put("hands_mean", asset.hands_mean)
        put("hands_components", asset.hands_components)
        self.register_buffer("posedirs", None, persistent=False)
        if asset.posedirs is not None:
            put("posedirs", asset.posedirs)
        put("_rest_joints", asset.rest_joints)
        put("_joint_shapedirs", torch.einsum(
            "jv,vcb->jcb", torch.tensor(asset.joint_regressor), torch.tensor(asset.shapedirs)))  # fmt: skip
        self.register_buffer("faces", torch.tensor(asset.faces), persistent=False)
        self.register_buffer("tip_ids", torch.tensor(asset.tip_ids), persistent=False)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str] = "default", side: str = "right", dtype: torch.dtype = torch.float32
    ) -> HandModel:
        """Read a hand model.

        Args:
            path: "default" for the open hand that ships with the package, a MANO ``.npz``, or a folder of
                both sides.
            side: "left" or "right".
            dtype: float32 or float64.

        Returns:
            The model, on the CPU.

        Raises:
            AssetError: If the file is missing or is no MANO hand.
        """
        return cls(load_asset(os.fspath(path), check_side(side)), dtype)

    @property
    def n_betas(self) -> int:
        """Number of shape components."""
        return int(self.shapedirs.shape[-1])

    def forward(
        self,
        global_orient: Tensor,
        hand_pose: Tensor,
        betas: Tensor | None = None,
        transl: Tensor | None = None,
        vertices: bool = True,
    ) -> HandOutput:
        """Pose the hand.

        Args:
            global_orient: Wrist rotation, axis-angle (..., 3) or matrices (..., 3, 3).
            hand_pose: Finger rotations in MANO order, absolute (flat hand = zeros), axis-angle (..., 15, 3)
                or matrices (..., 15, 3, 3).
            betas: Shape, (..., B) or (B,); None is the mean shape.
            transl: Translation, (..., 3), metres; None is zero.
            vertices: Whether to skin the mesh. Joints alone are many times faster.

        Returns:
            ``HandOutput`` with joints (..., 21, 3) and vertices (..., V, 3) or None.

        Raises:
            ShapeError: If a shape does not fit.
        """
        rotations = self._rotations(global_orient, hand_pose)
        if betas is not None and betas.shape[-1] != self.n_betas:
            raise ShapeError("betas", f"(..., {self.n_betas})", tuple(betas.shape), "Pass this model's components.")
        if transl is not None and transl.shape[-1] != 3:
            raise ShapeError("transl", "(..., 3)", tuple(transl.shape))
        rest = self._rest_joints
        if betas is not None:
            rest = rest + torch.einsum("jcb,...b->...jc", self._joint_shapedirs, betas)
        world, positions = forward_kinematics(rotations, rest)  # (..., 16, 3, 3), (..., 16, 3)
        if transl is not None:
            positions = positions + transl[..., None, :]
        offsets = positions - (world @ rest[..., None])[..., 0]  # bone transform: x -> world x + offset
        transforms = torch.cat([world, offsets[..., None]], -1)  # (..., 16, 3, 4)
        mesh = self._skin(transforms, rotations, betas, None) if vertices else None
        tips = (
            mesh[..., self.tip_ids, :] if mesh is not None else self._skin(transforms, rotations, betas, self.tip_ids)
        )
        joints = torch.cat([positions.expand(*tips.shape[:-2], 16, 3), tips], -2)[..., list(KEYPOINT_SOURCE), :]
        return HandOutput(joints, mesh)

    @staticmethod
    def _rotations(global_orient: Tensor, hand_pose: Tensor) -> Tensor:
        """Both inputs as one stack of matrices, (..., 16, 3, 3)."""
        if tuple(hand_pose.shape[-2:]) == (15, 3):
            hand_pose = axis_angle_to_matrix(hand_pose)
        elif tuple(hand_pose.shape[-3:]) != (15, 3, 3):
            raise ShapeError("hand_pose", "(..., 15, 3) or (..., 15, 3, 3)", tuple(hand_pose.shape))
        batch = hand_pose.shape[:-3]
        if tuple(global_orient.shape) == (*batch, 3):
            global_orient = axis_angle_to_matrix(global_orient)
        elif tuple(global_orient.shape) != (*batch, 3, 3):
            expected = f"{(*batch, 3)} or {(*batch, 3, 3)}, the batch of hand_pose"
            raise ShapeError("global_orient", expected, tuple(global_orient.shape))
        return torch.cat([global_orient[..., None, :, :], hand_pose], -3)

    def _skin(self, transforms: Tensor, rotations: Tensor, betas: Tensor | None, rows: Tensor | None) -> Tensor:
        """Linear blend skinning of all vertices, or of the vertices ``rows``; (..., V, 3)."""
        if self.posedirs is None and (betas is None or betas.ndim == 1):
            basis = self._skin_basis(betas, rows)  # (V, 64)
            return basis @ transforms.transpose(-1, -2).flatten(-3, -2)  # (V, 64) @ (..., 16 * 4, 3)
        pick = slice(None) if rows is None else rows
        shaped = self.v_template[pick]
        if betas is not None:
            shaped = shaped + torch.einsum("vcb,...b->...vc", self.shapedirs[pick], betas)
        if self.posedirs is not None:
            eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            feature = (rotations[..., 1:, :, :] - eye).flatten(-3)  # (..., 135)
            shaped = shaped + torch.einsum("vck,...k->...vc", self.posedirs[pick], feature)
        blended = (self.weights[pick] @ transforms.flatten(-2)).unflatten(-1, (3, 4))  # (..., V, 3, 4)
        return (blended[..., :3] @ shaped[..., None])[..., 0] + blended[..., 3]

    def _skin_basis(self, betas: Tensor | None, rows: Tensor | None) -> Tensor:
        """Weights times homogeneous rest vertices, (V, 64): skinning is one product with the transforms."""
        pick = slice(None) if rows is None else rows
        shaped = self.v_template[pick]
        if betas is not None:
            shaped = shaped + self.shapedirs[pick] @ betas
        homogeneous = torch.cat([shaped, torch.ones_like(shaped[:, :1])], -1)
        return (self.weights[pick][:, :, None] * homogeneous[:, None, :]).flatten(1)


def forward_kinematics(rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """World rotations and positions of MANO's 16 joints.

    Args:
        rotations: Local rotation matrices, shape (..., 16, 3, 3).
        rest: Rest joints, shape (16, 3) or (..., 16, 3), metres.

    Returns:
        World rotations (..., 16, 3, 3) and joint positions (..., 16, 3), wrist at its rest position.
    """
    batch = rotations.shape[:-3]
    parent_rotation = rotations[..., :1, :, :]
    parent_position = rest[..., :1, :].expand(*batch, 1, 3)
    parent_rest = rest[..., :1, :]
    world, positions = [parent_rotation], [parent_position]
    for depth in _DEPTHS:
        joints = list(depth)
        bone = rest[..., joints, :] - parent_rest
        parent_position = parent_position + (parent_rotation @ bone[..., None])[..., 0]
        parent_rotation = parent_rotation @ rotations[..., joints, :, :]
        parent_rest = rest[..., joints, :]
        world.append(parent_rotation)
        positions.append(parent_position)
    return torch.cat(world, -3)[..., _BY_JOINT, :, :], torch.cat(positions, -2)[..., _BY_JOINT, :]


_BY_DEPTH = [0, *(joint for depth in _DEPTHS for joint in depth)]
_BY_JOINT = [_BY_DEPTH.index(joint) for joint in range(16)]
