"""Fitting by gradient descent: slower than ``fit_keypoints``, but on any device and with any differentiable term added.

The terms are those of ``fit_keypoints`` in torch; what a caller adds (contact, penetration, another camera, a network)
is a function of the posed hand. Clips are fitted together. For keypoints alone prefer ``fit_keypoints``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hand_geometry.assets import check_side
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.fitting.keypoints import KeypointFit
from hand_geometry.fitting.limits import LIMIT_SOFTNESS, angle_priors
from hand_geometry.fitting.objective import HUBER
from hand_geometry.fitting.observed import check_camera
from hand_geometry.model import HandModel
from hand_geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_rotation_6d


class PosedHand(NamedTuple):
    """A hand during and after ``fit_by_gradient``; leading axes as in the input.

    Attributes:
        global_orient: Shape (..., T, 3), axis-angle.
        hand_pose: Shape (..., T, 15, 3), axis-angle.
        transl: Shape (..., T, 3), metres.
        joints: Shape (..., T, 21, 3), metres.
    """

    global_orient: Tensor
    hand_pose: Tensor
    transl: Tensor
    joints: Tensor


def fit_by_gradient(
    start: KeypointFit,
    *,
    side: str,
    keypoints: Tensor | None = None,
    keypoints_2d: Tensor | None = None,
    camera: Any = None,
    valid: Tensor | None = None,
    model: HandModel | None = None,
    extra: Callable[[PosedHand], Tensor] | None = None,
    sigma_3d: float = 0.008,
    sigma_2d: float = 4.0,
    smoothness: tuple[float, float, float] | None = (0.15, 0.20, 0.05),
    iterations: int = 200,
    learning_rate: float = 0.02,
) -> PosedHand:
    """Refine a fit by Adam.

    Args:
        start: What ``fit_keypoints`` found, of one clip or of a batch. It may be of other keypoints, or rough.
        side: "left" or "right".
        keypoints: Shape (..., T, 21, 3), metres; None leaves the term out. What is not finite counts as not seen.
        keypoints_2d: Shape (..., T, 21, 2), pixels; None leaves the term out.
        camera: Pinhole matrix, shape (3, 3); needed with ``keypoints_2d``.
        valid: Keypoints to trust, shape (..., T) or (..., T, 21) bool; None for all that are finite.
        model: The hand; None for the open hand. Its device and dtype are used.
        extra: Cost to add, a scalar: a function of the posed hand, in the same unit as the terms (a squared error of
            one standard deviation is 1).
        sigma_3d: Standard deviation of the 3D keypoints, metres.
        sigma_2d: Standard deviation of the image points, pixels.
        smoothness: Expected change per frame of wrist rotation (rad), finger angles (rad) and translation (m), or None.
        iterations: Steps.
        learning_rate: Of the angles, radians a step at first; translations move a tenth of it in metres.

    Returns:
        The hand with the lowest cost on the way, detached.

    Raises:
        ShapeError: If a shape does not fit.
        InputError: If there is nothing to fit, or an option is senseless.
    """
    if keypoints is None and keypoints_2d is None and extra is None:
        raise InputError("keypoints: Expected keypoints, keypoints_2d or extra, got none. Pass one.")
    if iterations < 1 or not learning_rate > 0:
        raise InputError(f"iterations: Expected at least 1 and a positive rate, got {iterations}, {learning_rate}.")
    hand = HandModel.load("default", check_side(side)) if model is None else model
    like = hand.v_template

    def put(value: Any) -> Tensor:
        return torch.as_tensor(value).to(device=like.device, dtype=like.dtype)

    transl = put(start.transl)
    points, trust_3d = _target("keypoints", keypoints, valid, (*transl.shape[:-1], 21, 3), put)
    pixels, trust_2d = _target("keypoints_2d", keypoints_2d, valid, (*transl.shape[:-1], 21, 2), put)
    pinhole = None if pixels is None else put(check_camera(camera))
    mean, deviation, low, high = (put(prior) for prior in angle_priors())
    axes, betas = hand.joint_axes[1:], put(start.betas)[..., None, :]
    base = axis_angle_to_matrix(put(start.global_orient))
    turn = torch.zeros_like(transl, requires_grad=True)
    angles = torch.einsum("jka,...ja->...jk", axes, put(start.hand_pose)).flatten(-2).requires_grad_()
    moved = transl.clone().requires_grad_()

    def posed() -> tuple[PosedHand, Tensor]:
        orient = axis_angle_to_matrix(turn) @ base
        pose = torch.einsum("jka,...jk->...ja", axes, angles.unflatten(-1, (15, 3)))
        joints = hand(matrix_to_rotation_6d(orient), pose, betas, moved, vertices=False).joints
        return PosedHand(matrix_to_axis_angle(orient), pose, moved, joints), orient

    def cost(state: PosedHand, orient: Tensor) -> Tensor:
        total = ((angles - mean) / deviation).square().sum()
        excess = (low - angles).clamp(min=0) + (angles - high).clamp(min=0)
        total = total + (excess / LIMIT_SOFTNESS).square().sum()
        if points is not None:
            error = state.joints - points
            if pixels is not None:
                share = trust_3d / trust_3d.sum(-1, keepdim=True).clamp(min=1)
                error = error - (error * share[..., None]).sum(-2, keepdim=True)
            total = total + _robust(error / sigma_3d, trust_3d)
        if pixels is not None and pinhole is not None:
            flat = state.joints[..., :2] / state.joints[..., 2:].clamp(min=0.02)
            flat = flat * pinhole[[0, 1], [0, 1]] + pinhole[:2, 2]
            total = total + _robust((flat - pixels) / sigma_2d, trust_2d)
        if smoothness is not None:
            apart = (orient[..., 1:, :, :] - orient[..., :-1, :, :]).square().sum() / 2  # about the squared angle
            total = total + apart / smoothness[0] ** 2
            total = total + angles.diff(dim=-2).square().sum() / smoothness[1] ** 2
            total = total + moved.diff(dim=-2).square().sum() / smoothness[2] ** 2
        return total if extra is None else total + extra(state)

    groups = [{"params": [turn, angles]}, {"params": [moved], "lr": 0.1 * learning_rate}]
    optimizer = torch.optim.Adam(groups, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, eta_min=0.02 * learning_rate)
    best, lowest = posed()[0], float("inf")
    for step in range(iterations + 1):
        state, orient = posed()
        value = cost(state, orient)
        if not value.isfinite():
            raise InputError(
                f"cost: Expected finite numbers, got {value.item()} at step {step}. Check extra and start."
            )
        if value.item() < lowest:
            best, lowest = PosedHand(*(part.detach().clone() for part in state)), value.item()
        if step < iterations:
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    return best


def _target(
    name: str, value: Any, valid: Any, shape: tuple[int, ...], put: Callable[[Any], Tensor]
) -> tuple[Tensor | None, Tensor]:
    """The target with zeros where nothing is, and its weights (..., T, 21)."""
    if value is None:
        return None, torch.zeros(())
    target = put(value)
    if tuple(target.shape) != shape:
        raise ShapeError(name, str(shape), tuple(target.shape), "As many clips and frames as in start.")
    seen = target.isfinite().all(-1) & (target != target[..., :1, :]).any((-1, -2), keepdim=True)[..., 0]
    if valid is not None:
        flags = torch.as_tensor(valid).to(target.device).bool()
        if tuple(flags.shape) not in (shape[:-2], shape[:-1]):
            raise ShapeError("valid", f"{shape[:-2]} or {shape[:-1]}", tuple(flags.shape))
        seen = seen & (flags if flags.ndim == seen.ndim else flags[..., None])
    return torch.where(seen[..., None], target, torch.zeros_like(target)), seen.to(target.dtype)


def _robust(error: Tensor, weight: Tensor) -> Tensor:
    """Sum of Huber costs of errors (..., K, D), in standard deviations."""
    squared = error.square().sum(-1)
    far = squared > HUBER**2
    length = torch.where(far, squared, torch.ones_like(squared)).sqrt()
    return (weight * torch.where(far, 2 * HUBER * length - HUBER**2, squared)).sum()
