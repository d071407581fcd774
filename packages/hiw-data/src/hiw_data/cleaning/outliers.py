"""Clips that jerk more than the others: mean of the three largest accelerations, as in CLUTCH, by robust z-scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hand_geometry import features_to_params
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hiw_data.errors import OptionError

_LARGEST = 3
_FEWEST = 20
"""Fewer clips have no distribution that an outlier could lie outside of."""


def peak_accelerations(features: NDArray[np.float32], valid: NDArray[np.bool_], fps: float) -> tuple[float, float]:
    """The mean of the three largest accelerations of the wrists: metres and radians per second squared.

    Args:
        features: (T, 198).
        valid: (T, 2) bool; only runs of three valid frames count.
        fps: frames a second.

    Returns:
        Of translation and of rotation, of the hand that has more; 0 where nothing can be said.
    """
    params: dict[str, Any] = {name: np.asarray(value) for name, value in features_to_params(features).items()}
    place = turn = 0.0
    for side in range(2):
        runs = valid[2:, side] & valid[1:-1, side] & valid[:-2, side]
        if not runs.any():
            continue
        moved = np.linalg.norm(np.diff(params["transl"][:, side].astype(np.float64), n=2, axis=0), axis=-1)[runs]
        rotation = Rotation.from_rotvec(params["global_orient"][:, side].astype(np.float64))
        speed = (rotation[1:] * rotation[:-1].inv()).as_rotvec()
        turned = np.linalg.norm(np.diff(speed, axis=0), axis=-1)[runs]
        place = max(place, float(np.sort(moved)[-_LARGEST:].mean()) * fps**2)
        turn = max(turn, float(np.sort(turned)[-_LARGEST:].mean()) * fps**2)
    return place, turn


def outliers(peaks: Sequence[tuple[float, float]], *, most_z: float = 4.0) -> list[str | None]:
    """Why each clip is an outlier, or None.

    The logarithms of the peaks are compared with their median in units of 1.4826 median absolute deviations. Only what
    is too much is an outlier, not what is calm.

    Args:
        peaks: `peak_accelerations` of every clip of the data set.
        most_z: the robust z-score up to which a clip is kept.

    Raises:
        OptionError: an option out of range.
    """
    if not most_z > 0:
        raise OptionError(f"Expected most_z > 0, got {most_z}.")
    reasons: list[str | None] = [None] * len(peaks)
    z = jerk_scores(peaks)
    if z is None:
        return reasons
    for i, (row, peak) in enumerate(zip(z, peaks, strict=True)):
        column = int(row.argmax())
        if row[column] > most_z:
            what, unit = (("moves", "m/s^2"), ("turns", "rad/s^2"))[column]
            reasons[i] = (
                f"Expected accelerations like those of the other clips (z up to {most_z:g}), got a hand that {what} "
                f"with {peak[column]:.0f} {unit} at its peak (z {row[column]:.1f})."
            )
    return reasons


def jerk_scores(peaks: Sequence[tuple[float, float]]) -> NDArray[np.float64] | None:
    """Robust z-scores of the logarithms of peak accelerations, (N, 2), of translation and of rotation.

    Args:
        peaks: `peak_accelerations` of every clip of the data set.

    Returns:
        None where there are too few clips to say what is usual.
    """
    if len(peaks) < _FEWEST:
        return None
    logs = np.log(np.maximum(np.array(peaks, np.float64), 1e-3))
    middle = np.median(logs, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(logs - middle), axis=0), 0.05)
    return np.asarray((logs - middle) / spread)
