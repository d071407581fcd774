"""Span corruption, T5's denoising task, over text tokens or over whole latent steps of a motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Span = tuple[int, int]


def choose_spans(n: int, rng: np.random.Generator, *, density: float, mean_length: float, most: int) -> list[Span]:
    """Draw spans [start, stop) over n units, in order, never touching, covering about ``density`` of them.

    At least one unit is covered and, from two units on, at least one is left.
    """
    if n < 2:
        return [(0, n)]
    covered = int(np.clip(round(n * density), 1, n - 1))
    count = int(np.clip(round(covered / mean_length), 1, min(most, covered, n - covered + 1)))
    lengths = _composition(covered, count, rng, least=1)
    gaps = _composition(n - covered - (count - 1), count + 1, rng, least=0)
    spans, at = [], 0
    for k, (gap, length) in enumerate(zip(gaps, lengths, strict=False)):
        at += gap + (1 if k else 0)  # one kept unit between neighbours
        spans.append((at, at + length))
        at += length
    return spans


def _composition(total: int, parts: int, rng: np.random.Generator, *, least: int) -> list[int]:
    """A uniform way to write total as a sum of parts, each at least ``least``."""
    free = total - least * parts
    cuts = np.sort(rng.integers(0, free + 1, parts - 1))
    return [int(v) + least for v in np.diff(np.concatenate([[0], cuts, [free]]))]


def corrupt(ids: Sequence[int], spans: Sequence[Span], sentinels: Sequence[int]) -> tuple[list[int], list[int]]:
    """T5's form: each span becomes a sentinel in the source; the target is sentinel, span, sentinel, span, ….

    Returns:
        Source and target ids, without an end token.
    """
    source: list[int] = []
    target: list[int] = []
    at = 0
    for sentinel, (start, stop) in zip(sentinels, spans, strict=False):
        source += [*ids[at:start], sentinel]
        target += [sentinel, *ids[start:stop]]
        at = stop
    return source + list(ids[at:]), target
