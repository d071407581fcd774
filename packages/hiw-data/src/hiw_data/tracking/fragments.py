"""Fingers that a detector takes for a whole hand, told by their scale: too small for the hand that is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hiw_data.tracking.detections import Detection

_WITNESSES = 5
_PALM = [0, 1, 5, 9, 13, 17]


def without_fragments(
    frames: Sequence[Sequence[Detection]],
    times: NDArray[np.float64],
    *,
    seconds: float = 1.0,
    box: float = 0.6,
    palm: float = 0.72,
) -> tuple[list[list[Detection]], int]:
    """Frames without fragments of hands, and how many went.

    Args:
        frames: hands of each frame.
        times: (T,), seconds.
        seconds: how far in time other sightings of the same place count.
        box: a hand is a fragment if its box is less than this share of the median of those, and
        palm: its palm less than this share.
    """
    flat = [(k, hand) for k, hands in enumerate(frames) for hand in hands]
    if not flat:
        return [list(hands) for hands in frames], 0
    frame = np.array([k for k, _ in flat])
    centre = np.array([hand.centre for _, hand in flat])
    size = np.array([hand.size for _, hand in flat])
    breadth = np.array([palm_scale(hand.landmarks) for _, hand in flat])
    kept: list[list[Detection]] = [[] for _ in frames]
    dropped = 0
    first = np.searchsorted(times[frame], times[frame] - seconds)
    last = np.searchsorted(times[frame], times[frame] + seconds, side="right")
    for i, (k, hand) in enumerate(flat):
        near = slice(int(first[i]), int(last[i]))
        here = np.linalg.norm(centre[near] - centre[i], axis=-1) < 0.75 * size[near]
        here &= frame[near] != k
        small = here.sum() >= _WITNESSES and size[i] < box * np.median(size[near][here])
        if small and breadth[i] < palm * np.median(breadth[near][here]):
            dropped += 1
        else:
            kept[k].append(hand)
    return kept, dropped


def palm_scale(landmarks: NDArray[np.float64]) -> float:
    """The longest distance between two points of the palm, in the image."""
    points = landmarks[_PALM, :2]
    return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())
