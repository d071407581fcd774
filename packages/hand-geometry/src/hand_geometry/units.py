"""Whether numbers can be what they are said to be: metres, radians, frames per second. Errors name the likely unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import InputError

DEFAULT_FPS = 15.0
"""Rate of files that have none; whoever takes it says so."""

LOWEST_FPS, HIGHEST_FPS = 1.0, 1000.0

_HAND = (0.05, 0.4)  # metres: extents of hands' keypoints, from a child's fist to a large spread hand, with margin
_USUAL_HAND = 0.15  # metres
_FARTHEST = 100.0  # metres from the origin at which hands are believed to be
_ARMS = 4.0  # metres between a person's hands, with margin
_FULL_TURNS = 2 * np.pi
_MOST_DEGREES = 1080.0  # three turns: longer vectors are no degrees either
_UNITS = {"millimetres": 1e3, "centimetres": 1e2, "inches": 1 / 0.0254, "kilometres": 1e-3}


def fps_of(value: Any) -> float:
    """A frame rate from what people store: a number, or an array that holds one.

    Args:
        value: Of any numeric type, shape () or (1,).

    Returns:
        Frames per second.

    Raises:
        InputError: If it is no number from 1 to 1000.
    """
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        got = repr(array.item()) if array.size == 1 and array.dtype.kind in "US" else f"{array.shape} {array.dtype}"
        raise InputError(f"fps: Expected one number of frames per second, got {got}. Store a number, such as 30.0.")
    fps = float(array.item())
    if not LOWEST_FPS <= fps <= HIGHEST_FPS:
        hint = f" Are these seconds per frame? Store {1 / fps:.4g}." if LOWEST_FPS <= 1 / max(fps, 1e-9) <= 1e3 else ""
        raise InputError(
            f"fps: Expected {LOWEST_FPS:g} to {HIGHEST_FPS:g} frames per second, got {fps:g}."
            + (hint or " Store the rate of the motion.")
        )
    return fps


def refuse_other_units(global_orient: Any, hand_pose: Any, transl: Any, valid: NDArray[np.bool_]) -> None:
    """Refuse parameters that no pair of hands has in metres and radians.

    Args:
        global_orient: Shape (T, 2, 3).
        hand_pose: Shape (T, 2, 15, 3).
        transl: Shape (T, 2, 3).
        valid: Which hands count, shape (T, 2).

    Raises:
        InputError: If half of the angles of some joint are beyond a full turn, or half of the places are 100 m away or
            half of the distances between the hands over 4 m.
    """
    if not valid.any():
        return
    for name, value in (("global_orient", global_orient), ("hand_pose", hand_pose)):
        angles = np.median(_lengths(value[valid]), axis=0).max()
        if angles > _FULL_TURNS:
            hint = "Are they in degrees? Multiply by pi / 180." if angles <= _MOST_DEGREES else "Store radians."
            raise InputError(f"{name}: Expected radians, got rotation vectors of {angles:.4g} in the median. {hint}")
    far = float(np.median(_lengths(transl[valid])))
    both = valid.all(1)
    left, right = (np.asarray(transl[both, hand], np.float64) for hand in (0, 1))
    apart = float(np.median(_lengths(left - right))) if both.any() else 0.0
    if far > _FARTHEST or apart > _ARMS:
        got = f"hands {apart:.4g} apart" if apart > _ARMS else f"hands {far:.4g} from the origin"
        unit = "millimetres" if max(apart, far / 10) > 60 else "centimetres"
        believable = far / _UNITS[unit] <= _FARTHEST and apart / _UNITS[unit] <= _ARMS
        hint = f"Are they in {unit}? Divide by {_UNITS[unit]:g}." if believable else "Store metres."
        raise InputError(f"transl: Expected metres, got {got} in the median. {hint}")


def _lengths(vectors: Any) -> NDArray[np.float64]:
    """Lengths of vectors (..., 3), of any finite numbers: infinite, without a warning, where float64 has no square."""
    with np.errstate(over="ignore"):
        return np.asarray(np.linalg.norm(np.asarray(vectors, np.float64), axis=-1))


def refuse_other_hand_sizes(extents: NDArray[np.float64]) -> None:
    """Refuse 3D keypoints that are no hand's in metres.

    Args:
        extents: Of each frame, the longest side of the box around the keypoints, shape (T,).

    Raises:
        InputError: If the median is below 5 or above 40 cm.
    """
    size = float(np.median(extents))
    if _HAND[0] <= size <= _HAND[1]:
        return
    likely = [unit for unit, count in _UNITS.items() if _HAND[0] <= size / count <= _HAND[1]]
    likely.sort(key=lambda unit: abs(np.log(size / _UNITS[unit] / _USUAL_HAND)))
    hint = f"Are they in {likely[0]}? Divide by {_UNITS[likely[0]]:g}." if likely else "Scale them to metres."
    raise InputError(f"keypoints: Expected a hand in metres, 0.05 to 0.4 across, got {size:.4g} in the median. {hint}")
