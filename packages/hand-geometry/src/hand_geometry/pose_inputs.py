"""What a hand model is fed, brought to one form: rotation matrices with the batch as the last axis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hand_geometry.errors import InputError, ShapeError
from hand_geometry.rotations import axis_angle_to_matrix, check_rotations, rodrigues, rotation_6d_to_matrix

_LOOSE = 0.02  # half precision and the drift of products pass; a scale, a reflection or a raw output does not
_HALVES = (torch.float16, torch.bfloat16)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype to compute in: half precision would be millimetres off, so it becomes float32."""
    return torch.float32 if dtype in _HALVES else dtype


def check_floating(name: str, value: Tensor | None) -> None:
    """Raise ``InputError`` unless ``value`` is None or a tensor of floating point numbers."""
    if value is not None and not (isinstance(value, Tensor) and value.is_floating_point()):
        got = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{name}: Expected a tensor of floating point numbers, got {got}. Convert it.")


@dataclass(frozen=True)
class PoseInputs:
    """Checked inputs of N hands, in any floating dtype; ``batch`` is the shape that was flattened to N.

    Attributes:
        global_orient: Axis-angle (N, 3), matrices (N, 3, 3) or 6D (N, 6).
        hand_pose: Axis-angle (N, 15, 3), matrices (N, 15, 3, 3) or 6D (N, 15, 6).
        betas: Shape (N, B), (1, B) if shared, or None.
        transl: Shape (N, 3), (1, 3) if shared, or None.
        batch: Leading axes of the result.
    """

    global_orient: Tensor
    hand_pose: Tensor
    betas: Tensor | None
    transl: Tensor | None
    batch: torch.Size

    @classmethod
    def check(
        cls, global_orient: Tensor, hand_pose: Tensor, betas: Tensor | None, transl: Tensor | None, n_betas: int
    ) -> PoseInputs:
        """Flatten the batch of what ``HandModel`` is called with.

        Raises:
            ShapeError: If a shape does not fit.
            InputError: If an input is no tensor of floating point numbers.
        """
        named = {"global_orient": global_orient, "hand_pose": hand_pose, "betas": betas, "transl": transl}
        for name, value in named.items():
            check_floating(name, value)
        tail = tuple(hand_pose.shape[-2:])
        if tail in ((15, 3), (15, 6)):
            batch = hand_pose.shape[:-2]
        elif tuple(hand_pose.shape[-3:]) == (15, 3, 3):
            batch = hand_pose.shape[:-3]
        else:
            expected = "(..., 15, 3) axis-angle, (..., 15, 3, 3) matrices or (..., 15, 6) 6D"
            raise ShapeError("hand_pose", expected, tuple(hand_pose.shape), "For PCA see HandModel.pca_to_pose.")
        shape = tuple(global_orient.shape)
        if shape not in ((*batch, 3), (*batch, 6), (*batch, 3, 3)):
            expected = f"{(*batch, 3)}, {(*batch, 3, 3)} or {(*batch, 6)}, the batch of hand_pose"
            raise ShapeError("global_orient", expected, shape)
        for name, value, ndim in (("global_orient", global_orient, 2), ("hand_pose", hand_pose, 3)):
            if value.ndim == len(batch) + ndim and value.shape[-1] == 3 and value.device.type == "cpu":
                check_rotations(value, name, _LOOSE)  # not on a GPU: it would have to wait for the answer
        return cls(
            global_orient.reshape(batch.numel(), *shape[len(batch) :]),
            hand_pose.reshape(batch.numel(), *hand_pose.shape[len(batch) :]),
            _flat("betas", betas, batch, n_betas),
            _flat("transl", transl, batch, 3),
            batch,
        )

    def rows(self, rows: slice) -> PoseInputs:
        """Some of the hands."""
        some = [None if v is None else v if len(v) == 1 else v[rows] for v in (self.betas, self.transl)]
        return PoseInputs(self.global_orient[rows], self.hand_pose[rows], some[0], some[1], self.batch)

    def to(self, dtype: torch.dtype) -> PoseInputs:
        """The same in another dtype; gradients come back in their own."""
        some = [None if v is None else v.to(dtype) for v in (self.betas, self.transl)]
        return PoseInputs(self.global_orient.to(dtype), self.hand_pose.to(dtype), some[0], some[1], self.batch)

    def requires_grad(self) -> bool:
        """Whether a gradient is asked for."""
        values = (self.global_orient, self.hand_pose, self.betas, self.transl)
        return torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in values)

    def rotations(self) -> Tensor:
        """Local rotation matrices, wrist first, batch last: shape (16, 3, 3, N)."""
        orient, pose = self.global_orient, self.hand_pose
        if orient.shape[1:] == (3,) and pose.shape[1:] == (15, 3):  # the common case: never a batch of small matrices
            vectors = torch.cat([orient[:, None], pose], 1)
            x, y, z = vectors.permute(2, 1, 0).contiguous().unbind(0)  # each (16, N)
            return torch.stack(rodrigues(x, y, z), 1).unflatten(1, (3, 3))
        matrices = torch.cat([_matrices(orient, 1)[:, None], _matrices(pose, 2)], 1)
        return matrices.permute(1, 2, 3, 0).contiguous()


def _matrices(value: Tensor, lead: int) -> Tensor:
    if value.ndim == lead + 2:
        return value
    return axis_angle_to_matrix(value) if value.shape[-1] == 3 else rotation_6d_to_matrix(value)


def _flat(name: str, value: Tensor | None, batch: torch.Size, count: int) -> Tensor | None:
    """``value`` (..., count) with its leading axes broadcast to the batch and flattened; one row if it is shared."""
    if value is None:
        return None
    if value.shape[-1:] != (count,):
        raise ShapeError(name, f"(..., {count})", tuple(value.shape), "Pass this model's components.")
    if value.shape[:-1].numel() == 1 and value.ndim <= len(batch) + 1:
        return value.reshape(1, count)
    try:
        return value.expand(*batch, count).reshape(-1, count)
    except RuntimeError:
        expected = f"one that broadcasts to {(*batch, count)}, the batch of hand_pose"
        raise ShapeError(name, expected, tuple(value.shape)) from None
