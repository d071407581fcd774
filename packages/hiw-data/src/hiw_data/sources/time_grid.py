"""Rows of an even grid in time for samples that come with stamps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_MOST_ROWS = 50
"""Rows a sample, at most: longer gaps are no recording."""

_DROPPED_SECONDS = 0.05
"""A gap between samples that is no longer counts as dropped samples of a hand that was seen."""


def time_grid(stamps: Sequence[float], a_second: float) -> tuple[np.ndarray, float]:
    """The row of each sample, in steps of the median interval, and the rate.

    Args:
        stamps: when each sample was taken, rising.
        a_second: units of a stamp in a second.

    Returns:
        Rows (N,) int64, rising from 0; no two samples share one. Frames a second.

    Raises:
        ValueError: fewer than two samples, stamps that do not rise, or gaps that are no recording.
    """
    times = np.asarray(stamps, np.float64)
    steps = np.diff(times)
    if not len(steps) or not np.isfinite(times).all() or not (steps > 0).all():
        raise ValueError(f"{len(times)} samples whose times do not rise")
    step = float(np.median(steps))
    rows = np.maximum(np.round(steps / step), 1).cumsum().astype(np.int64)
    if rows[-1] > _MOST_ROWS * len(times):
        raise ValueError(f"{len(times)} samples over {rows[-1]} steps of time")
    return np.concatenate([[0], rows]), a_second / step


def bridge_dropped(keypoints: np.ndarray, seen: np.ndarray, rows: np.ndarray, fps: float) -> None:
    """Fills rows without a sample, in place, by the straight line between the samples beside them.

    Args:
        keypoints: (T, 2, 21, 3).
        seen: (T, 2, 21) bool.
        rows: (N,), where samples are.
        fps: rows a second. Gaps of more than 0.05 s stay as they are.
    """
    for before, after in pairwise(rows.tolist()):
        if 1 < after - before <= _DROPPED_SECONDS * fps:
            both = seen[before] & seen[after]
            for row in range(before + 1, after):
                share = (row - before) / (after - before)
                keypoints[row] = (1 - share) * keypoints[before] + share * keypoints[after]
                seen[row] = both
