"""Smoothing of motions over time: rotations as rotations; frames in which a hand was not seen have no weight.

Each rotation is filtered in the tangent space of itself: the neighbours are expressed relative to it, their rotation
vectors are averaged with the filter's weights, and the mean is applied to it. For turns about one axis this is the
ordinary filter on the angle, with no jump at pi. Translations are filtered directly.

At the ends and beside invalid frames the window keeps the valid frames that it has, and the filter is fitted to these
(for Savitzky-Golay with a lower order where they are too few). Invalid frames stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hand_geometry.errors import InputError, ShapeError
from hand_geometry.features import as_tensor, check_params, like
from hand_geometry.rotations import (
    axis_angle_to_quaternion,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_axis_angle,
)


def smooth_savgol(params: Mapping[str, Any], window: int = 7, order: int = 2) -> dict[str, Any]:
    """Savitzky-Golay smoothing: a polynomial is fitted to the frames around each (Analytical Chemistry 1964).

    Args:
        params: ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), optionally ``valid``
            (T, 2) bool. Other entries are passed on.
        window: Frames around and with each, odd.
        order: Of the polynomial, below ``window``.

    Returns:
        A smoothed copy. A motion that is a polynomial of this order in time comes back as it was.

    Raises:
        InputError: If the window is even, or the order is not below it.
    """
    if window < 1 or window % 2 == 0:
        raise InputError(f"window: Expected an odd number of frames, got {window}. Try {abs(window) + 1}.")
    if not 0 <= order < window:
        raise InputError(f"order: Expected 0 to {window - 1} for a window of {window}, got {order}. Lower it.")
    return _smooth(params, window // 2, lambda seen: _savgol_weights(seen, order))


def smooth_gaussian(params: Mapping[str, Any], sigma: float = 1.0) -> dict[str, Any]:
    """Gaussian smoothing over time.

    Args:
        params: As for ``smooth_savgol``.
        sigma: Standard deviation of the weights, frames.

    Returns:
        A smoothed copy.

    Raises:
        InputError: If ``sigma`` is not positive and finite.
    """
    if not 0 < sigma < np.inf:
        raise InputError(f"sigma: Expected a positive number of frames, got {sigma}. Try 1.0.")
    return _smooth(params, int(np.ceil(4 * sigma)), lambda seen: _gaussian_weights(seen, sigma))


def _smooth(params: Mapping[str, Any], reach: int, weigh: Any) -> dict[str, Any]:
    orient, pose, transl = check_params(params)
    if transl.ndim != 3:
        raise ShapeError("transl", "(T, 2, 3)", tuple(transl.shape), "Pass one clip.")
    frames = len(transl)
    out = dict(params)
    if frames == 0:
        return out
    valid = np.ones((frames, 2), np.bool_)
    if "valid" in params:
        valid = as_tensor(params["valid"], keep_dtype=True).bool().cpu().numpy()
        if valid.shape != (frames, 2):
            raise ShapeError("valid", f"({frames}, 2)", valid.shape, "One flag a frame and hand.")
    reach = min(reach, frames - 1)
    wanted = np.arange(frames)[:, None] + np.arange(-reach, reach + 1)  # (T, W)
    index = np.clip(wanted, 0, frames - 1)
    seen = ((wanted == index)[..., None] & valid[index]).transpose(0, 2, 1)  # (T, 2, W)
    seen[~valid] = False
    weights = torch.tensor(weigh(seen), dtype=transl.dtype, device=transl.device)
    mask, neighbours = torch.tensor(seen, device=transl.device), torch.tensor(index, device=transl.device)
    rotations = torch.cat([orient[:, :, None], pose], 2)
    smooth = _filter_rotations(rotations, neighbours, mask, weights)
    out["global_orient"] = like(smooth[:, :, 0], params["global_orient"])
    out["hand_pose"] = like(smooth[:, :, 1:], params["hand_pose"])
    out["transl"] = like(_filter_points(transl, neighbours, mask, weights), params["transl"])
    return out


def _filter_rotations(rotations: Tensor, index: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """Rotation vectors (T, 2, 16, 3); neighbours (T, W); mask and weights (T, 2, W)."""
    own = axis_angle_to_quaternion(rotations)
    back = quaternion_conjugate(own)
    step = torch.zeros_like(rotations)
    for k in range(index.shape[1]):
        relative = quaternion_to_axis_angle(quaternion_multiply(back, own[index[:, k]]))
        use = mask[:, :, k, None, None]
        step = step + torch.where(use, relative, torch.zeros_like(relative)) * weights[:, :, k, None, None]
    turned = quaternion_to_axis_angle(quaternion_multiply(own, axis_angle_to_quaternion(step)))
    return torch.where(mask.any(-1)[..., None, None], turned, rotations)


def _filter_points(points: Tensor, index: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """Points (T, 2, 3)."""
    around = points[index].transpose(1, 2)  # (T, 2, W, 3)
    around = torch.where(mask[..., None], around, torch.zeros_like(around))
    return torch.where(mask.any(-1, keepdim=True), (around * weights[..., None]).sum(2), points)


def _savgol_weights(seen: np.ndarray, order: int) -> np.ndarray:
    """Weight of each frame of the window in the value at its middle, (T, 2, W), from who is seen, (T, 2, W)."""
    reach = seen.shape[-1] // 2
    scaled = np.arange(-reach, reach + 1) / max(reach, 1)
    count = seen.sum(-1)
    weights = np.zeros(seen.shape)
    for degree in range(order + 1):
        fits = count > degree if degree == order else count == degree + 1
        if fits.any():
            rows = (scaled[:, None] ** np.arange(degree + 1)) * seen[fits][..., None]  # (n, W, degree + 1)
            weights[fits] = np.linalg.pinv(rows)[:, 0]
    return weights


def _gaussian_weights(seen: np.ndarray, sigma: float) -> np.ndarray:
    reach = seen.shape[-1] // 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2) * seen
    total = weights.sum(-1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))
