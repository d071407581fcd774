"""How far two motions are apart, and how smooth one is: batched, masked, in metres and seconds.

Convention:
    Joints are ``(..., T, H, 21, 3)`` and vertices ``(..., T, H, V, 3)`` in metres (H hands), masks
    ``valid (..., T, H)`` bool; a mask counts hands and frames in, never single joints. Every function returns one
    scalar tensor, the mean over what is valid, and NaN if nothing is. NumPy arrays are taken as well.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from hand_geometry.errors import InputError, ShapeError
from hand_geometry.features import as_tensor


def mpjpe(pred: Any, target: Any, valid: Any = None, *, align: Literal["none", "root"] = "none") -> Tensor:
    """Mean per-joint position error.

    Args:
        pred: Joints, shape (..., T, H, 21, 3), metres.
        target: Joints, the same shape.
        valid: Which hands count, shape (..., T, H) bool; None for all.
        align: "none" compares positions in the world; "root" moves each wrist onto the other first.

    Returns:
        Metres.

    Raises:
        ShapeError: If the shapes differ.
        InputError: If ``align`` is unknown.
    """
    a, b, mask = _checked(pred, target, valid)
    if align == "root":
        a, b = a - a[..., :1, :], b - b[..., :1, :]
    elif align != "none":
        raise InputError(f"align: Expected 'none' or 'root', got {align!r}. For a full alignment use pa_mpjpe.")
    return _mean_length((a - b)[mask])


def pa_mpjpe(pred: Any, target: Any, valid: Any = None) -> Tensor:
    """MPJPE after the best similarity (rotation, translation, scale) of each hand and frame (Procrustes).

    Args:
        pred: Joints, shape (..., T, H, 21, 3), metres.
        target: Joints, the same shape.
        valid: Which hands count, shape (..., T, H) bool; None for all.

    Returns:
        Metres.

    Raises:
        ShapeError: If the shapes differ.
    """
    a, b, mask = _checked(pred, target, valid)
    if not bool(mask.any()):
        return a.new_tensor(float("nan"))
    a, b = a[mask], b[mask]  # before the alignment: what is not valid may be NaN
    return (procrustes_align(a, b) - b).norm(dim=-1).mean()


def mpvpe(pred: Any, target: Any, valid: Any = None, *, roots: tuple[Any, Any] | None = None) -> Tensor:
    """Mean per-vertex position error.

    Args:
        pred: Vertices, shape (..., T, H, V, 3), metres.
        target: Vertices, the same shape.
        valid: Which hands count, shape (..., T, H) bool; None for all.
        roots: The wrists of both, two arrays of shape (..., T, H, 3), to compare relative to them; None compares
            positions in the world.

    Returns:
        Metres.

    Raises:
        ShapeError: If the shapes differ.
    """
    a, b, mask = _checked(pred, target, valid)
    if roots is not None:
        wrists = [as_tensor(root) for root in roots]
        for root in wrists:
            if root.shape != (*a.shape[:-2], 3):
                raise ShapeError("roots", str((*a.shape[:-2], 3)), tuple(root.shape), "One wrist a frame and hand.")
        a, b = a - wrists[0][..., None, :], b - wrists[1][..., None, :]
    return _mean_length((a - b)[mask])


def pa_mpvpe(pred: Any, target: Any, valid: Any = None) -> Tensor:
    """MPVPE after the best similarity of each hand and frame (Procrustes over the vertices).

    Args:
        pred: Vertices, shape (..., T, H, V, 3), metres.
        target: Vertices, the same shape.
        valid: Which hands count, shape (..., T, H) bool; None for all.

    Returns:
        Metres.

    Raises:
        ShapeError: If the shapes differ.
    """
    return pa_mpjpe(pred, target, valid)


def procrustes_align(source: Tensor, target: Tensor) -> Tensor:
    """Move points by the similarity that brings them closest to others (Umeyama, PAMI 1991; no reflections).

    Args:
        source: Shape (..., K, 3).
        target: Shape (..., K, 3).

    Returns:
        Moved source, shape (..., K, 3).
    """
    target_mean = target.mean(-2, keepdim=True)
    a, b = source - source.mean(-2, keepdim=True), target - target_mean
    u, s, vh = torch.linalg.svd(a.transpose(-1, -2) @ b)
    one = torch.ones_like(s[..., 0])
    flip = torch.stack([one, one, torch.where(torch.linalg.det(u @ vh) < 0, -one, one)], -1)
    rotation = (u * flip[..., None, :]) @ vh
    scale = (s * flip).sum(-1) / a.square().sum((-1, -2)).clamp(min=1e-12)
    return scale[..., None, None] * (a @ rotation) + target_mean


def acceleration_error(pred: Any, target: Any, valid: Any, fps: float) -> Tensor:
    """Mean distance of the joints' accelerations (second differences; HMMR, CVPR 2019).

    Args:
        pred: Joints, shape (..., T, H, 21, 3), metres.
        target: Joints, the same shape.
        valid: Which hands count, shape (..., T, H) bool; an acceleration counts where its three frames do.
            None for all.
        fps: Frames per second of both. There is no default: at another rate the figure is another.

    Returns:
        Metres per second squared.

    Raises:
        ShapeError: If the shapes differ.
        InputError: If ``fps`` is not positive.
    """
    _check_fps(fps)
    a, b, mask = _checked(pred, target, valid)
    difference, mask = _difference(a - b, mask, 2)
    return _mean_length(difference[mask]) * fps**2


def jitter(joints: Any, valid: Any, fps: float) -> Tensor:
    """Mean length of the joints' jerk, their third difference by the third power of the time between frames.

    Args:
        joints: Shape (..., T, H, 21, 3), metres.
        valid: Which hands count, shape (..., T, H) bool; a difference counts where its four frames do. None for all.
        fps: Frames per second. There is no default: at another rate the figure is another.

    Returns:
        Metres per second cubed.

    Raises:
        InputError: If ``fps`` is not positive.
    """
    _check_fps(fps)
    a, _, mask = _checked(joints, joints, valid)
    difference, mask = _difference(a, mask, 3)
    return _mean_length(difference[mask]) * fps**3


def _difference(joints: Tensor, mask: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Finite difference over time and the mask of those that use valid frames alone."""
    for _ in range(order):
        joints = joints[..., 1:, :, :, :] - joints[..., :-1, :, :, :]
        mask = mask[..., 1:, :] & mask[..., :-1, :]
    return joints, mask


def _mean_length(vectors: Tensor) -> Tensor:
    """Mean length of vectors (N, K, 3); NaN without any.

    They are chosen by the mask before: were lengths chosen, a NaN that the mask leaves out would still reach gradients.
    """
    return vectors.norm(dim=-1).mean() if len(vectors) else vectors.new_tensor(float("nan"))


def _check_fps(fps: float) -> None:
    if not fps > 0:
        raise InputError(f"fps: Expected a positive rate, got {fps}. Pass frames per second.")


def _checked(pred: Any, target: Any, valid: Any) -> tuple[Tensor, Tensor, Tensor]:
    a, b = as_tensor(pred), as_tensor(target)
    if a.ndim < 4 or a.shape[-1] != 3:
        raise ShapeError("joints", "(..., T, H, 21, 3)", tuple(a.shape), "Frames, hands, joints, xyz.")
    if a.shape != b.shape:
        raise ShapeError("target", str(tuple(a.shape)), tuple(b.shape), "Compare motions of the same length.")
    if valid is None:
        return a, b, torch.ones(a.shape[:-2], dtype=torch.bool, device=a.device)
    mask = as_tensor(valid, keep_dtype=True).bool().to(a.device)
    if mask.shape != a.shape[:-2]:
        raise ShapeError("valid", str(tuple(a.shape[:-2])), tuple(mask.shape), "One flag a frame and hand.")
    return a, b, mask
