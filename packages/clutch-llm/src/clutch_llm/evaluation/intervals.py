"""Intervals of means by the bootstrap: over clips, and over clips and seeds of training."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DRAWS = 1000
LEVEL = 0.95


def _quantiles(values: Array, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: ArrayLike, weights: ArrayLike | None = None, *, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the weighted mean of per-clip ``values`` (N,), clips drawn with replacement."""
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(v), (draws, len(v)))
    means = (v[picks] * w[picks]).sum(1) / w[picks].sum(1)
    return _quantiles(means, level)


def with_interval(
    key: str, values: ArrayLike, weights: ArrayLike | None = None, *, seed: int = 0
) -> dict[str, float | None]:
    """The weighted mean of per-clip ``values`` (N,) as ``key``, its interval as ``key_ci95_low`` and ``key_ci95_high``.

    All are None where there is no clip; a value that is not finite is none.
    """
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    v, w = v[np.isfinite(v)], w[np.isfinite(v)]
    low, high = bootstrap_interval(v, w, seed=seed) if len(v) else (None, None)
    mean = float((v * w).sum() / w.sum()) if len(v) else None
    return {key: mean, f"{key}_ci95_low": low, f"{key}_ci95_high": high}


def interval_over_clips_and_seeds(
    values: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    baseline: ArrayLike | None = None,
    baseline_weights: ArrayLike | None = None,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Two-level bootstrap interval of a mean over clips and over seeds of training.

    Both are drawn with replacement and independently, since every seed was measured on the same clips (the "pigeonhole"
    bootstrap of crossed factors: Owen 2007, Annals of Applied Statistics 1(2)). Few seeds (three, say) give intervals
    that are somewhat too narrow; one seed gives the interval over clips alone.

    Args:
        values: (seeds, clips), for example the difference of two arms in each clip; NaN where there is none.
        weights: (seeds, clips) or (clips,), such as valid frames; None weighs all alike.
        baseline: (seeds, clips): the interval is then that of ``mean(values) / mean(baseline) - 1``, the same draws in
            both.
        baseline_weights: as ``weights``, of the baseline; None: ``weights``.
        draws: of the bootstrap.
        level: share of the draws inside.
        seed: of the draws.

    Returns:
        (low, high); None where nothing is known.

    Raises:
        ValueError: for another shape.
    """
    v, w = _weighted(values, weights, "values")
    parts = [(v, w)]
    if baseline is not None:
        parts.append(_weighted(baseline, weights if baseline_weights is None else baseline_weights, "baseline"))
        if parts[1][0].shape != v.shape:
            raise ValueError(f"Expected a baseline of shape {v.shape}, got {parts[1][0].shape}. Pair clips and seeds.")
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, v.shape[0], (draws, v.shape[0]))
    columns = rng.integers(0, v.shape[1], (draws, v.shape[1]))
    means = []
    for x, weight in parts:
        times = np.stack([np.bincount(r, minlength=v.shape[0]) for r in rows])  # (draws, seeds)
        often = np.stack([np.bincount(c, minlength=v.shape[1]) for c in columns])  # (draws, clips)
        total = np.einsum("ds,sc,dc->d", times, weight, often)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(np.einsum("ds,sc,dc->d", times, weight * x, often) / total)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = means[0] if len(means) == 1 else means[0] / means[1] - 1.0
    found = found[np.isfinite(found)]
    return _quantiles(found, level) if len(found) else None


def _weighted(values: ArrayLike, weights: ArrayLike | None, name: str) -> tuple[Array, Array]:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or 0 in v.shape:
        raise ValueError(f"Expected {name} of shape (seeds, clips), got {v.shape}. One row for each seed of training.")
    w = np.ones(v.shape) if weights is None else np.broadcast_to(np.asarray(weights, dtype=np.float64), v.shape)
    known = np.isfinite(v)
    return np.where(known, v, 0.0), np.where(known, w, 0.0)
