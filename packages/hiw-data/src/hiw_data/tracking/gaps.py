"""Gaps of a tracked hand: short ones are filled and flagged, the others stay; and pictures at uneven times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import OptionError
from hiw_data.tracking.identity import TwoHands

_EVEN = 0.25
"""Times that differ from even ones by less than this share of a step are even."""


@dataclass(frozen=True)
class EvenHands:
    """Two hands at an even rate.

    Attributes:
        start: seconds of the first frame.
        fps: frames a second.
        landmarks: (T, 2, 21, 3), pixels and depths, NaN where there is nothing.
        valid: (T, 2) bool: seen, or filled.
        filled: (T, 2) bool: interpolated over a short gap.
        width, height: of the picture, pixels.
        points: (T, 2, 21, 3), metres, as the landmarks; or None.
        along_ray: as of `Detections`.
    """

    start: float
    fps: float
    landmarks: NDArray[np.float64]
    valid: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    width: int
    height: int
    points: NDArray[np.float64] | None = None
    along_ray: bool = False


def even_hands(hands: TwoHands, *, fill_seconds: float = 0.2, most_fps: float = 60.0) -> EvenHands:
    """Hands at an even rate, by the times of the pictures; gaps up to a length are filled.

    Between two pictures, and across a gap that is short enough, landmarks go in straight lines.

    Args:
        hands: as tracked; the times may be uneven.
        fill_seconds: gaps up to this length are filled and flagged; 0 fills none.
        most_fps: the rate is that of the pictures, but not more than this.

    Raises:
        OptionError: an option out of range.
    """
    if not 0 <= fill_seconds <= 10 or not most_fps >= 1:
        raise OptionError(f"Expected fill_seconds of 0 to 10 and most_fps >= 1, got {fill_seconds} and {most_fps}.")
    times = hands.times
    steps = np.diff(times)
    fps = min(1 / float(np.median(steps)), most_fps) if len(steps) else 15.0
    fps = float(round(fps)) if abs(fps - round(fps)) < 0.02 else fps
    count = round((times[-1] - times[0]) * fps) + 1
    grid = times[0] + np.arange(count) / fps
    even = count == len(times) and bool(np.abs(grid - times).max() < _EVEN / fps)
    given = [hands.landmarks] if hands.points is None else [hands.landmarks, hands.points]
    results = [np.full((count, 2, 21, 3), np.nan) for _ in given]
    valid, filled = np.zeros((count, 2), bool), np.zeros((count, 2), bool)
    longest = max(fill_seconds, 0.0)
    for side in range(2):
        known = np.flatnonzero(hands.seen[:, side])
        if not len(known):
            continue
        at = times[:count][known] if even else times[known]
        wanted = times if even else grid
        after = np.clip(np.searchsorted(at, wanted - 1e-9), 0, len(at) - 1)
        before = np.where(at[after] > wanted + 1e-9, np.maximum(after - 1, 0), after)
        span = np.maximum(at[after] - at[before], 1e-9)
        share = np.clip((wanted - at[before]) / span, 0, 1)
        adjacent = known[after] - known[before] <= 1  # no picture without the hand between them
        inside = (wanted >= at[0] - 0.5 / fps) & (wanted <= at[-1] + 0.5 / fps)
        missing = at[after] - at[before] - 1 / fps  # how long the hand was not seen
        fill = ~adjacent & (missing <= longest + 1e-6) & inside
        valid[:, side] = (inside & adjacent) | fill
        filled[:, side] = fill
        for array, result in zip(given, results, strict=True):
            values = array[known, side]
            between = values[before] + share[:, None, None] * (values[after] - values[before])
            result[valid[:, side], side] = between[valid[:, side]]
    points = results[1] if len(results) > 1 else None
    size = hands.width, hands.height
    return EvenHands(float(times[0]), fps, results[0], valid, filled, *size, points, hands.along_ray)
