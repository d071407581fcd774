"""Which slots are given when a model practises completion: what users give, in all its kinds.

A mask is the crossing, or now and then the union, of when something is given and what of the hands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: When: the beginning, the end, both with a gap between, single steps.
TIMES = ("future", "past", "between", "keyframes")

#: What: one hand, the first half of each hand's slots (the wrist's path, in SHIFT) or the other (the pose), or one of
#: these of one hand.
PARTS = ("hand", "path", "pose", "hand's path", "hand's pose")

#: Shares of masks by time alone, by part alone (at all times), and of both together; the rest is their union.
TIME_SHARE, PART_SHARE, CROSSED_SHARE = 0.55, 0.3, 0.1

#: Most steps that stand as keyframes.
MOST_KEYFRAMES = 4


def draw_given(steps: int, slot_codebook: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Draw which slots are given.

    Args:
        steps: latent steps of the motion, at least 1.
        slot_codebook: of `TokenLayout`; slots are ordered by part, then modality, then residual level.
        rng: the source of randomness.

    Returns:
        (steps, n_slots) bool; something is hidden, and something is given wherever the motion has two steps.
    """
    times = given_times(TIMES[rng.integers(len(TIMES))], steps, rng)[:, None]
    parts = given_parts(PARTS[rng.integers(len(PARTS))], slot_codebook, rng)[None]
    which = rng.random()
    if which < TIME_SHARE:
        return np.repeat(times, len(slot_codebook), axis=1)
    if which < TIME_SHARE + PART_SHARE:
        return np.repeat(parts, steps, axis=0)
    return times & parts if which < TIME_SHARE + PART_SHARE + CROSSED_SHARE else times | parts


def given_times(kind: str, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Which steps (steps,) are given; never all of them, and at least one where there are two."""
    given = np.zeros(steps, dtype=bool)
    if steps < 2:
        return given
    count = int(rng.integers(1, steps))
    if kind == "future":
        given[:count] = True
    elif kind == "past":
        given[steps - count :] = True
    elif kind == "between":
        start = int(rng.integers(0, count + 1))
        given[:start] = True
        given[steps - (count - start) :] = start < count
    else:
        given[rng.choice(steps, size=min(count, MOST_KEYFRAMES), replace=False)] = True
    return given


def given_parts(kind: str, slot_codebook: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Which slots (n_slots,) are given: never all, never none where there are two."""
    books = max(slot_codebook) + 1
    hands = len(slot_codebook) // books
    slots = np.arange(len(slot_codebook))
    path = slots % books < max(1, books // 2)
    one = slots // books == rng.integers(hands)
    given = np.ones(len(slots), dtype=bool)
    if kind.startswith("hand") and hands > 1:
        given &= one
    if kind.endswith(("path", "pose")) and books > 1:
        given &= path if kind.endswith("path") else ~path
    return given if not given.all() else np.zeros_like(given)
