"""What a baseline is: it learns from clips within a budget, and makes motions of captions."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Motion = NDArray[np.float32]
"""Features (T, 198)."""

Clips = Sequence[Any]
"""Clips as `hiw_data.Clip` says."""

Train = Callable[[int, Callable[[], None]], Any]
"""A training of so many steps that calls the second argument at each of them."""

TIMED_STEPS = 24
"""Steps that a training is timed for: enough of each task and length for a mean within a few percent."""


def clock() -> float:
    """Seconds that were spent: of processor time, all threads together; on an accelerator, by the clock."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Budget:
    """Time for the training of one baseline, told in steps.

    A few steps are timed first, and the number of steps follows; it is kept with the results. Timing is not charged.

    Args:
        seconds: by `clock`.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.timing = 0.0
        self.charged = 0.0

    def steps(self, share: float, train: Train) -> int:
        """How many steps of a training take a share of the budget; at least 1."""
        began = clock()
        stamps: list[float] = []
        train(TIMED_STEPS + 1, lambda: stamps.append(clock()))
        taken = [last - first for first, last in pairwise(stamps)]
        self.timing += clock() - began
        return max(1, round(share * self.seconds / max(float(np.mean(taken)), 1e-6)))

    def charge(self, seconds: float) -> None:
        """Count what another baseline has trained already and this one shares."""
        self.charged += seconds


class Baseline(ABC):
    """One way to make motion of two hands from a caption.

    Attributes:
        parameters: numbers that were learnt, those of its tokenizer included.
        steps: of each part of its training.
    """

    def __init__(self) -> None:
        self.parameters = 0
        self.steps: dict[str, int] = {}

    @property
    @abstractmethod
    def made_of(self) -> dict[str, Any]:
        """Its settings as plain values: what a kept result is known by."""

    @abstractmethod
    def fit(self, clips: Clips, budget: Budget, seed: int) -> None:
        """Learn from clips of the train split.

        Args:
            clips: with features (T, 198), valid (T, 2), captions, and paraphrases where they have any.
            budget: says how many steps to take.
            seed: of weights, batches and noise.
        """

    @abstractmethod
    def generate(self, texts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion]:
        """Motions (T, 198), one for each text, in their order and of exactly so many frames; the seed decides them."""

    def caption(self, clips: Clips) -> list[str] | None:
        """What it says of each clip's motion; None of a baseline that has no words."""
        return None

    def reconstruct(self, clips: Clips) -> list[Motion] | None:
        """What its tokenizer keeps of each clip's motion; None of a baseline without."""
        return None
