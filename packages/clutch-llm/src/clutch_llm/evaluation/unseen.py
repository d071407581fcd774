"""Frames of a hand that is not seen are replaced before anything looks at them: what stood there changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clutch_llm.evaluation.grouping import Clip

PER_HAND = 99  # features of one hand: the left hand's, then the right hand's
NOTHING = np.zeros(2 * PER_HAND, np.float32)
"""What `filled` puts for a hand that is never seen, where nothing reads it."""


def fill_unseen(features: ArrayLike, valid: ArrayLike, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace the frames in which a hand is not seen.

    Args:
        features: (T, 198); whatever stands in unseen hand-frames (zeros, NaN) is not read.
        valid: (T, 2) bool: in which frames the left and the right hand are seen.
        mean: (198,) what stands for a hand that is never seen, such as the mean of training.

    Returns:
        (T, 198) float32: each unseen hand-frame is the nearest seen frame of that hand (the earlier of two equally
        near ones), or ``mean`` where the hand is never seen.
    """
    out = np.array(features, dtype=np.float32)
    seen = np.asarray(valid, dtype=bool)
    frames = np.arange(len(out))
    for hand in (0, 1):
        part = slice(hand * PER_HAND, (hand + 1) * PER_HAND)
        known = np.flatnonzero(seen[:, hand])
        if len(known) == len(out):
            continue
        if len(known):
            nearest = known[np.abs(frames[:, None] - known[None]).argmin(1)]
            out[:, part] = out[nearest, part]
        else:
            out[:, part] = mean[part]
    return out


def seen_mean(clips: Sequence[Clip]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation (198,) of the clips' features, each hand over the frames in which it is seen.

    A hand that no clip sees has mean 0 and deviation 1.
    """
    mean, std = np.zeros(2 * PER_HAND, np.float32), np.ones(2 * PER_HAND, np.float32)
    for hand in (0, 1):
        part = slice(hand * PER_HAND, (hand + 1) * PER_HAND)
        frames = np.concatenate(
            [np.asarray(c["features"], np.float32)[np.asarray(c["valid"], bool)[:, hand], part] for c in clips]
        )
        if len(frames):
            mean[part], std[part] = frames.mean(0, dtype=np.float64), frames.std(0, dtype=np.float64)
    return mean, std


def filled(clips: Sequence[Clip], mean: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The features (T_i, 198) of each clip with its unseen hand-frames replaced (``fill_unseen``)."""
    return [fill_unseen(c["features"], c["valid"], mean) for c in clips]
