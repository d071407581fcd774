"""Training losses: masked means over what is seen, of normalised features and of joints by a caller's function.

Why by group: in one mean over 99 numbers the wrist's rotation has 6 % of the loss, though its error moves
every joint.

Each loss takes a function `total` for the weight that it is divided by: the sum over all processes where several
work on parts of a batch, so that the parts' losses add up to that of the whole batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .layout import POSE, ROTATION, TRANSLATION, split_hands

JointsFn = Callable[[Tensor], Tensor]
Total = Callable[[Tensor], Tensor]

_JOINT_UNIT = 0.05  # metres; an error of 5 cm counts like one of one standard deviation of a feature
_JOINT_BETA = 0.3  # in that unit, 15 mm: smaller errors count by their square
_MIN_WEIGHT = 1e-6  # of a batch in which nothing has a weight: the loss is 0 then, not 0 / 0


def _own_total(weight: Tensor) -> Tensor:
    return weight


@dataclass(frozen=True)
class GroupLosses:
    """Smooth-L1 of each group of features, each a mean over its own numbers (scalars)."""

    rotation: Tensor
    translation: Tensor
    pose: Tensor


def reconstruction_losses(
    prediction: Tensor, target: Tensor, weights: Tensor, total: Total = _own_total
) -> GroupLosses:
    """Smooth-L1 between normalised features.

    Args:
        prediction: (B, T, 198).
        target: (B, T, 198).
        weights: (B, T, 2), the weight of each hand in each frame.
        total: see the module.
    """
    error = F.smooth_l1_loss(split_hands(prediction), split_hands(target), reduction="none")  # (B, T, 2, 99)
    by_feature = torch.einsum("bthf,bth->f", error, weights) / total(weights.sum()).clamp(min=_MIN_WEIGHT)
    groups = [by_feature[group.start : group.stop].mean() for group in (ROTATION, TRANSLATION, POSE)]
    return GroupLosses(*groups)


def translation_velocity_loss(prediction: Tensor, target: Tensor, weights: Tensor, total: Total = _own_total) -> Tensor:
    """Smooth-L1 between the frame differences of the normalised translation; arguments as above."""
    moved = [split_hands(x)[..., TRANSLATION.start : TRANSLATION.stop].diff(dim=1) for x in (prediction, target)]
    error = F.smooth_l1_loss(*moved, reduction="none").mean(-1)  # (B, T - 1, 2)
    both = torch.minimum(weights[:, 1:], weights[:, :-1])
    return (error * both).sum() / total(both.sum()).clamp(min=_MIN_WEIGHT)


def joint_losses(
    prediction: Tensor, target: Tensor, weights: Tensor, joints_fn: JointsFn, total: Total = _own_total
) -> tuple[Tensor, Tensor]:
    """Smooth-L1 of joint positions, absolute and relative to each wrist.

    Args:
        prediction: (B, T, 198) features, not normalised.
        target: (B, T, 198).
        weights: (B, T, 2).
        joints_fn: features (B, T, 198) to joints (B, T, 2, J, 3) in metres, joint 0 the wrist;
            differentiable.
        total: see the module.

    Returns:
        the absolute and the wrist-relative loss, both scalars, in units of 5 cm.
    """
    with torch.no_grad():
        truth = joints_fn(target)
    error = (joints_fn(prediction) - truth) / _JOINT_UNIT  # (B, T, 2, J, 3)
    weight = total(weights.sum()).clamp(min=_MIN_WEIGHT)
    return _joint_mean(error, weights, weight), _joint_mean(error - error[..., :1, :], weights, weight)


def commitment_loss(sq_errors: tuple[Tensor, ...], own: Tensor, dim: int, total: Total = _own_total) -> Tensor:
    """Mean squared distance of latents to their codes, per number, summed over the streams.

    Args:
        sq_errors: per stream (N, L), summed over the numbers of a latent.
        own: (N, L) bool, the latents that are of a clip and not of its padding.
        dim: numbers in a latent.
        total: see the module.
    """
    summed = torch.stack([error[own].sum() for error in sq_errors]).sum()
    return summed / (dim * total(own.sum()).clamp(min=1))


def joint_error_mm(prediction: Tensor, target: Tensor, valid: Tensor, joints_fn: JointsFn) -> tuple[float, float]:
    """Mean joint error of valid hands in mm: absolute, and with the wrists put together (root-aligned).

    Arguments as in `joint_losses`; `valid` (B, T, 2) bool.
    """
    with torch.no_grad():
        error = joints_fn(prediction) - joints_fn(target)
        relative = error - error[..., :1, :]
        means = [e.norm(dim=-1).mean(-1)[valid].mean() for e in (error, relative)]
    return 1e3 * float(means[0]), 1e3 * float(means[1])


def _joint_mean(error: Tensor, weights: Tensor, weight: Tensor) -> Tensor:
    per_hand = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=_JOINT_BETA).mean((-1, -2))
    return (per_hand * weights).sum() / weight
