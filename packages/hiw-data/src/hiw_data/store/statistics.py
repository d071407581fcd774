"""Figures of a store, computed as its clips stream by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiw_data.clips import FEATURES
from hiw_data.errors import StoreError
from hiw_data.store.reader import HiwStore

_HAND = FEATURES // 2


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of the features of what was seen.

    Attributes:
        mean: (198,) float64.
        std: (198,) float64, of the population.
        frames: (2,) int64, frames in which the left and the right hand were seen; each hand's figures are over its own.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    frames: NDArray[np.int64]


def feature_statistics(store: HiwStore, split: str | None = "train", source: str | None = None) -> FeatureStatistics:
    """Mean and standard deviation over a split, in one pass and constant memory (Chan et al. 1983, pairwise update).

    Args:
        store: open.
        split: "train", "val", "test" or None for all.
        source: one source, or None for all.

    Raises:
        OptionError: no such split or source.
        StoreError: a hand is seen in no frame of them, or a shard cannot be read.
    """
    count = np.zeros(2, np.int64)
    mean, squares = np.zeros(FEATURES), np.zeros(FEATURES)
    for index in store.select(split, source):
        features, valid = store.read_frames(index)
        for hand in range(2):
            columns = slice(hand * _HAND, (hand + 1) * _HAND)
            own = features[valid[:, hand], columns].astype(np.float64)
            if not len(own):
                continue
            total = count[hand] + len(own)
            own_mean = own.mean(0)
            step = own_mean - mean[columns]
            mean[columns] += step * len(own) / total
            squares[columns] += ((own - own_mean) ** 2).sum(0) + step**2 * count[hand] * len(own) / total
            count[hand] = total
    if not count.all():
        raise StoreError(f"Expected frames of both hands in {store.path}, split {split}, got {count.tolist()}.")
    return FeatureStatistics(mean, np.sqrt(squares / np.repeat(count, _HAND)), count)
