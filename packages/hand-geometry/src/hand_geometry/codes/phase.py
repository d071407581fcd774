"""The phase of a movement: one signal that rises and falls once a repetition, and its turning points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float32]

_FLUTTERS = 2.8
_UNISON = 0.75
_BURST_S = 0.12


def flutters(flex: Floats, share: float) -> bool:
    """Whether the fingers go up and down one by one, several times each, as in typing.

    Args:
        flex: Flexing of thumb to pinky in spans, shape (5, L).
        share: Of a finger's range that makes a turning point.
    """
    ranges = np.ptp(flex, axis=1)
    if flex.shape[1] < 8 or np.median(ranges) < 0.3:
        return False
    times = [len(turning_points(finger, share * spread)[0]) for finger, spread in zip(flex, ranges, strict=True)]
    if float(np.mean(times)) < _FLUTTERS:
        return False
    step = np.diff(flex, axis=1)
    parts = np.linalg.eigvalsh(step @ step.T)
    return bool(parts[-1] < _UNISON * max(float(parts.sum()), 1e-9))  # all of it: the fingers move as one


def flutter_rate(flex: Floats, fps: float) -> float:
    """How often each finger goes up a second: the median over the fingers, between their first and last top."""
    rates = []
    for finger in flex:
        tops = turning_points(finger, 0.3 * float(np.ptp(finger)))[0]
        steps = np.diff(tops)
        if len(steps):
            steps = steps[steps < 2.0 * np.median(steps)]  # a pause between bursts is no period
            rates.append(fps / float(steps.mean()))
    return float(np.median(rates)) if rates else 0.0


def burst_phase(flex: Floats, fps: float) -> Floats:
    """How much the fingers flutter, 0 to 1, shape (L,)."""
    pace = np.abs(np.gradient(flex, axis=1)).mean(0)
    smooth = gaussian_filter1d(pace, _BURST_S * fps, mode="constant")
    return np.asarray(smooth / max(float(smooth.max()), 1e-9), np.float32)


def phase_of(channels: Floats) -> Floats:
    """Scores on the first principal component of channels (K, L), positive where it goes farthest from its start."""
    centred = channels - channels.mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    score = vectors[:, -1] @ centred
    away = score - score[:2].mean()
    return np.asarray(score if away.max() >= -away.min() else -score)


def turning_points(phase: Floats, least: float) -> tuple[list[int], list[int]]:
    """Frames of maxima and of minima that the phase rises and falls by `least` on both sides of.

    Args:
        phase: Shape (L,).
        least: In the phase's unit.

    Returns:
        Maxima, minima.
    """
    points: tuple[list[int], list[int]] = ([], [])
    low = high = 0
    values = phase.tolist()
    rising = 0  # unknown until the first excursion
    for i, x in enumerate(values):
        if x > values[high]:
            high = i
        if x < values[low]:
            low = i
        if rising >= 0 and values[high] - x >= least:
            if rising == 1:
                points[0].append(high)
            rising, low = -1, i
        elif rising <= 0 and x - values[low] >= least:
            if rising == -1:
                points[1].append(low)
            rising, high = 1, i
    return points
