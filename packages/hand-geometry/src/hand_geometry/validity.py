"""Which hands were seen: masks as people store them, and what stands in the frames of a hand that was not.

Convention:
    ``valid (T, 2)`` bool, left then right. What stands where it is False is of no meaning and changes no result; only
    what no format can hold, NaN and infinity, is replaced: by the nearest frame in which that hand was seen, or by a
    relaxed hand where it never was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.assets import as_numpy
from hand_geometry.errors import InputError, ShapeError

Mask = NDArray[np.bool_]

_PARAMETERS = ("global_orient", "hand_pose", "transl")


def mask_of(valid: Any, frames: int) -> Mask:
    """A mask from what people store: bool, zeros and ones of any type, or zeros and 255s.

    Args:
        valid: Shape (T, 2); None for all True.
        frames: T.

    Returns:
        Shape (T, 2) bool.

    Raises:
        ShapeError: If the shape is another.
        InputError: If it holds other numbers.
    """
    if valid is None:
        return np.ones((frames, 2), np.bool_)
    flags = as_numpy(valid)
    if flags.shape != (frames, 2):
        advice = "Transpose it." if flags.shape == (2, frames) else "One flag a frame and hand, left then right."
        raise ShapeError("valid", f"({frames}, 2)", flags.shape, advice)
    if flags.dtype.kind == "b":
        return np.array(flags, np.bool_)
    if flags.dtype.kind not in "iuf" or not (np.isin(flags, (0, 1)).all() or np.isin(flags, (0, 255)).all()):
        raise InputError(
            f"valid: Expected bool, or zeros and ones, got {flags.dtype} such as {flags.ravel()[:4].tolist()}. "
            "Compare confidences with a threshold first."
        )
    return np.asarray(flags != 0, np.bool_)


def finite_hands(params: Mapping[str, Any]) -> Mask:
    """Hands whose parameters are all finite, (T, 2), of arrays (T, 2, ...)."""
    return np.logical_and.reduce([
        np.isfinite(params[name]).reshape(*params[name].shape[:2], -1).all(-1) for name in _PARAMETERS
    ])  # fmt: skip


def fill_unseen(params: Mapping[str, Any], valid: Mask) -> dict[str, Any]:
    """Replace what is not finite in hands that were not seen; see the module's convention.

    Args:
        params: ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), NumPy. Other entries are
            passed on.
        valid: Shape (T, 2) bool.

    Returns:
        A copy; hands that were seen, or are finite, are as they were.
    """
    broken = ~finite_hands(params) & ~valid
    if not broken.any():
        return dict(params)
    from hand_geometry.poses import relaxed_hand

    out = {name: np.array(params[name]) for name in _PARAMETERS}
    frames = np.arange(len(valid))
    for hand, side in enumerate(("left", "right")):
        rows, seen = frames[broken[:, hand]], frames[valid[:, hand]]
        rest = None if len(seen) else relaxed_hand(side)
        for name in _PARAMETERS:
            if rest is None:
                nearest = seen[np.abs(rows[:, None] - seen).argmin(1)] if len(rows) else rows
                out[name][rows, hand] = out[name][nearest, hand]
            else:
                out[name][rows, hand] = rest[name].numpy()
    return {**params, **out}
