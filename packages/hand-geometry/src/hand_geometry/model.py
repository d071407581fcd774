"""The MANO hand: linear blend skinning, with a path that computes 21 joints and never touches the mesh.

Design:
    * Joints are regressed once from the template (and are linear in betas), so joints alone need no vertices.
    * What costs time lives in ``hand_geometry.skinning``, with an analytic backward pass (differentiable once);
      ``hand_geometry.naive`` is the same in plain autograd.
    * Where no gradient is asked for, the batch is taken in chunks: memory beyond the result does not grow with it.

Convention:
    ``vertex = R (v - J_0) + J_0 + transl`` with ``J_0`` the rest wrist (smplx's convention). Metres, radians.
    Source: Romero, Tzionas, Black, "Embodied Hands", SIGGRAPH Asia 2017.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hand_geometry.assets import KEYPOINT_SOURCE, HandAsset, Side, check_side
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.pose_inputs import PoseInputs, check_floating, compute_dtype
from hand_geometry.sides import LeftShapedirs, load_sided
from hand_geometry.skinning import SkinConstants, bone_transforms, frames_per_chunk, skin_mesh, skin_tips


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
        self.register_buffer("faces", torch.tensor(asset.faces), persistent=False)
        self.register_buffer("tip_ids", torch.tensor(asset.tip_ids), persistent=False)
        self._constants: dict[tuple[torch.dtype, torch.device], SkinConstants] = {}

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] = "default",
        side: str = "right",
        dtype: torch.dtype = torch.float32,
        *,
        left_shapedirs: LeftShapedirs = "as-shipped",
    ) -> HandModel:
        """Read a hand model.

        Args:
            path: "default" for the open hand that ships with the package, a MANO file, or a folder of both sides. A
                file of the other hand is mirrored, which a warning says.
            side: "left" or "right".
            dtype: float32 or float64.
            left_shapedirs: Of a left hand: "as-shipped" takes its shape components as they are (smplx does), "auto"
                and "mirrored" correct those of the official file; see ``hand_geometry.sides``.

        Returns:
            The model, on the CPU.

        Raises:
            AssetError: If the file is missing or is no MANO hand, or what to mirror is not known.
        """
        return cls(load_sided(os.fspath(path), check_side(side), left_shapedirs), dtype)

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

        Inputs of another floating dtype are converted to the model's; a model in half precision computes and
        returns float32, for half precision would be millimetres off.

        Args:
            global_orient: Wrist rotation: axis-angle (..., 3), matrices (..., 3, 3) or 6D (..., 6).
            hand_pose: Finger rotations in MANO order, absolute (flat hand = zeros): axis-angle (..., 15, 3),
                matrices (..., 15, 3, 3) or 6D (..., 15, 6). For PCA coefficients see ``pca_to_pose``. On a CPU,
                matrices that are no rotations are refused (anywhere: ``rotations.check_rotations``).
            betas: Shape, (..., B) or (B,); None is the mean shape.
            transl: Translation, (..., 3), metres; None is zero.
            vertices: Whether to skin the mesh. Joints alone are many times faster.

        Returns:
            ``HandOutput`` with joints (..., 21, 3) and vertices (..., V, 3) or None, differentiable once.

        Raises:
            ShapeError: If a shape does not fit.
            InputError: If an input is no tensor of floating point numbers, or a matrix is no rotation.
        """
        inputs = PoseInputs.check(global_orient, hand_pose, betas, transl, self.n_betas)
        if inputs.requires_grad():
            joints, mesh = self._pose(inputs, vertices)
        else:
            joints, mesh = self._empty((len(inputs.hand_pose),), vertices)
            self._pose_into(joints, mesh, inputs)
        batch = inputs.batch
        return HandOutput(
            joints.reshape(*batch, 21, 3), None if mesh is None else mesh.reshape(*batch, *mesh.shape[1:])
        )

    def _empty(self, batch: tuple[int, ...], vertices: bool) -> tuple[Tensor, Tensor | None]:
        """Joints (*batch, 21, 3) and, if wanted, a mesh (*batch, V, 3) to be written."""
        dtype = compute_dtype(self.v_template.dtype)
        joints = self.v_template.new_empty(*batch, 21, 3, dtype=dtype)
        return joints, joints.new_empty(*batch, *self.v_template.shape) if vertices else None

    def pca_to_pose(self, coefficients: Tensor, flat_hand_mean: bool = False) -> Tensor:
        """Finger rotations of coefficients of the pose components, as MANO's files define them.

        Args:
            coefficients: Of the first components, shape (..., C) with C in 1..45.
            flat_hand_mean: Whether zero coefficients are the flat hand rather than the file's mean pose.

        Returns:
            ``hand_pose``, axis-angle, shape (..., 15, 3).

        Raises:
            ShapeError: If there are no coefficients, or more than 45.
        """
        check_floating("coefficients", coefficients)
        coefficients = coefficients.to(compute_dtype(self.v_template.dtype))
        count = coefficients.shape[-1] if coefficients.ndim else 0
        if not 1 <= count <= 45:
            raise ShapeError("coefficients", "(..., C) with C in 1..45", tuple(coefficients.shape))
        pose = coefficients @ self.hands_components[:count].to(coefficients.dtype)
        if not flat_hand_mean:
            pose = pose + self.hands_mean.to(pose.dtype)
        return pose.unflatten(-1, (15, 3))

    def pose_to_pca(self, hand_pose: Tensor, count: int = 45, flat_hand_mean: bool = False) -> Tensor:
        """Coefficients of the first ``count`` pose components: the inverse of ``pca_to_pose``, least squares if short.

        Args:
            hand_pose: Axis-angle, shape (..., 15, 3).
            count: Components to use, 1..45.
            flat_hand_mean: As in ``pca_to_pose``.

        Returns:
            Shape (..., count).

        Raises:
            ShapeError: If the pose has another shape.
            InputError: If ``count`` is out of range.
        """
        check_floating("hand_pose", hand_pose)
        if tuple(hand_pose.shape[-2:]) != (15, 3):
            raise ShapeError("hand_pose", "(..., 15, 3)", tuple(hand_pose.shape), "Axis-angle, MANO order.")
        if not 1 <= count <= 45:
            raise InputError(f"count: Expected 1 to 45 components, got {count}. Use fewer.")
        pose = hand_pose.to(compute_dtype(self.v_template.dtype)).flatten(-2)
        if not flat_hand_mean:
            pose = pose - self.hands_mean.to(pose.dtype)
        return pose @ torch.linalg.pinv(self.hands_components[:count].to(pose.dtype))

    def _pose_into(self, joints: Tensor, mesh: Tensor | None, inputs: PoseInputs) -> None:
        """Write joints (N, 21, 3) and, if wanted, the mesh (N, V, 3), in chunks and without a graph."""
        size = frames_per_chunk(joints.device)
        with torch.no_grad():
            for start in range(0, len(joints), size):
                rows = slice(start, start + size)
                out = None if mesh is None else mesh[rows]
                joints[rows] = self._pose(inputs.rows(rows), mesh is not None, out)[0]

    def _pose(self, inputs: PoseInputs, vertices: bool, out: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Joints (N, 21, 3) and mesh (N, V, 3)."""
        inputs = inputs.to(compute_dtype(self.v_template.dtype))
        betas, transl, rotations = inputs.betas, inputs.transl, inputs.rotations()
        constants = self._constants_for(rotations)
        rest = constants.rest
        if betas is not None:
            rest = torch.addmm(rest, constants.rest_dirs, betas.t())
        transforms, positions = bone_transforms(rotations, rest.view(16, 3, -1))
        if transl is not None:
            move = transl.t()
            transforms = torch.cat([transforms[:, :, :3], (transforms[:, :, 3] + move)[:, :, None]], 2)
            positions = positions + move
        coefficients = _coefficients(rotations, betas, constants)
        tips = skin_tips(transforms, coefficients, constants)
        joints = torch.cat([positions, tips])[list(KEYPOINT_SOURCE)].permute(2, 0, 1)
        return joints.contiguous(), skin_mesh(transforms, coefficients, constants, out) if vertices else None

    def _constants_for(self, like: Tensor) -> SkinConstants:
        key = (like.dtype, like.device)
        if key not in self._constants:
            self._constants[key] = SkinConstants.build(self.asset, *key)
        return self._constants[key]


def _coefficients(rotations: Tensor, betas: Tensor | None, constants: SkinConstants) -> Tensor | None:
    """What displaces the unposed vertices: betas, then the entries of R - I if the hand has pose blend shapes."""
    if not constants.posed:
        return betas
    eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)[..., None]
    feature = (rotations[1:] - eye).reshape(135, -1).t()
    if betas is None:
        betas = feature.new_zeros(1, len(constants.dirs) - 135)
    return torch.cat([betas.expand(len(feature), -1), feature], 1)
