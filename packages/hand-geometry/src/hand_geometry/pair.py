"""Left and right hand as one model: what a clip of two hands needs, in one call."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from hand_geometry.errors import InputError, ShapeError
from hand_geometry.model import HandModel, HandOutput
from hand_geometry.pose_inputs import PoseInputs, check_floating
from hand_geometry.sides import LeftShapedirs


class HandPair(nn.Module):
    """Two hands; every input and output has a hand axis of length 2, left then right. Build it with ``HandPair.load``.

    Example:
        >>> pair = HandPair.load()
        >>> pair(torch.zeros(8, 2, 3), torch.zeros(8, 2, 15, 3), vertices=False).joints.shape
        torch.Size([8, 2, 21, 3])
    """

    def __init__(self, left: HandModel, right: HandModel) -> None:
        """Join two models.

        Args:
            left: The left hand.
            right: The right hand, with as many vertices and shape components.

        Raises:
            InputError: If a side is wrong, or the two do not match.
        """
        super().__init__()
        if (left.side, right.side) != ("left", "right"):
            raise InputError(f"HandPair: Expected a left and a right hand, got {left.side}, {right.side}. Swap them.")
        sizes = [tuple(model.shapedirs.shape) for model in (left, right)]
        if sizes[0] != sizes[1]:
            raise InputError(f"HandPair: Expected hands of one kind, got shapedirs of {sizes[0]} and {sizes[1]}.")
        self.left, self.right = left, right

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] = "default",
        dtype: torch.dtype = torch.float32,
        *,
        left_shapedirs: LeftShapedirs = "auto",
    ) -> HandPair:
        """Read both hands.

        Args:
            path: "default" for the open hand, a folder that holds both MANO files, or one file, whose hand is mirrored
                to make the other; a warning says so.
            dtype: float32 or float64.
            left_shapedirs: What to do about the left file's shape components, whose x is not mirrored in the official
                pair: "auto" mirrors it where it is clearly not, and says so; "mirrored" does the same and raises where
                that cannot be told; "as-shipped" leaves it, for ``betas`` that were made so. See
                ``hand_geometry.sides``.

        Returns:
            The pair, on the CPU.

        Raises:
            AssetError: If a file is missing or is no MANO hand, or what to mirror is not known.
        """
        left = HandModel.load(path, "left", dtype, left_shapedirs=left_shapedirs)
        return cls(left, HandModel.load(path, "right", dtype))

    def forward(
        self,
        global_orient: Tensor,
        hand_pose: Tensor,
        betas: Tensor | None = None,
        transl: Tensor | None = None,
        vertices: bool = True,
    ) -> HandOutput:
        """Pose both hands.

        Args:
            global_orient: Wrist rotations: axis-angle (..., 2, 3), matrices (..., 2, 3, 3) or 6D (..., 2, 6).
            hand_pose: Finger rotations: (..., 2, 15, 3), (..., 2, 15, 3, 3) or (..., 2, 15, 6).
            betas: Shapes, (2, B) or (..., 2, B); None is the mean shape of both.
            transl: Translations, (..., 2, 3), metres; None is zero.
            vertices: Whether to skin the meshes.

        Returns:
            ``HandOutput`` with joints (..., 2, 21, 3) and vertices (..., 2, V, 3) or None.

        Raises:
            ShapeError: If a shape does not fit.
        """
        check_floating("hand_pose", hand_pose)
        axis = max(hand_pose.ndim - (4 if tuple(hand_pose.shape[-3:]) == (15, 3, 3) else 3), 0)
        _check_hands("hand_pose", hand_pose, axis)
        _check_hands("global_orient", global_orient, axis)
        _check_hands("betas", betas, -2)
        _check_hands("transl", transl, -2)
        models = (self.left, self.right)
        inputs = [
            PoseInputs.check(
                global_orient.select(axis, hand),
                hand_pose.select(axis, hand),
                None if betas is None else betas.select(-2, hand),
                None if transl is None else transl.select(-2, hand),
                model.n_betas,
            )
            for hand, model in enumerate(models)
        ]
        batch = inputs[0].batch
        mesh: Tensor | None
        if any(one.requires_grad() for one in inputs):
            posed = [model._pose(one, vertices) for model, one in zip(models, inputs, strict=True)]
            joints = torch.stack([hand[0] for hand in posed], 1)
            meshes = [hand[1] for hand in posed if hand[1] is not None]
            mesh = torch.stack(meshes, 1) if meshes else None
        else:
            joints, mesh = self.left._empty((batch.numel(), 2), vertices)
            for hand, (model, one) in enumerate(zip(models, inputs, strict=True)):
                model._pose_into(joints[:, hand], None if mesh is None else mesh[:, hand], one)
        return HandOutput(
            joints.reshape(*batch, 2, 21, 3), None if mesh is None else mesh.reshape(*batch, *mesh.shape[1:])
        )


def _check_hands(name: str, value: Tensor | None, axis: int) -> None:
    if value is None:
        return
    if not -2 <= axis < value.ndim or value.ndim < 2 or value.shape[axis] != 2:
        raise ShapeError(name, "with a hand axis of length 2", tuple(value.shape), "Stack left and right.")
