"""Runs in many rows at once: of equal labels, and of change in one direction. Vectorised over rows and time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
_BROKEN = 2


class Runs(NamedTuple):
    """Runs of R rows: ``row``, ``start`` and ``stop`` (exclusive) in frames, and ``value``; each shape (K,)."""

    row: Ints
    start: Ints
    stop: Ints
    value: NDArray[np.integer]


class Changes(NamedTuple):
    """Changes in one direction: frames ``start`` to ``stop`` (exclusive), signed ``amount``, ``speed`` at its peak."""

    row: Ints
    start: Ints
    stop: Ints
    first: Floats
    amount: Floats
    speed: Floats


def runs_of(labels: NDArray[np.integer]) -> Runs:
    """Run-length encoding of every row.

    Args:
        labels: Shape (R, T), T >= 1.

    Returns:
        Runs that cover every row, row after row.
    """
    rows, frames = labels.shape
    change = np.empty((rows, frames), bool)
    change[:, 0] = True
    np.not_equal(labels[:, 1:], labels[:, :-1], out=change[:, 1:])
    first = np.flatnonzero(change)
    row, start = np.divmod(first, frames)
    length = np.diff(np.append(first, rows * frames))
    return Runs(row, start, start + length, labels.ravel()[first])


def changes_of(
    signals: Floats, valid: NDArray[np.bool_], fps: float, *, still: Floats, least: Floats, seconds: float, gap: float
) -> Changes:
    """Runs in which a signal moves one way.

    A run ends where the signal turns, where it stands still (below ``still`` a second) for longer than ``gap``
    seconds, and at a frame that was not seen. Played backwards a signal has the same runs with the opposite sign.

    Args:
        signals: Shape (R, T).
        valid: Shape (R, T) bool.
        fps: Frames a second.
        still: Speed of each row, in its unit a second, shape (R,).
        least: Least change of each row from start to end, shape (R,).
        seconds: Least duration.
        gap: Longest standstill inside a run, seconds.

    Returns:
        The changes, row after row.
    """
    if signals.shape[1] < 2:
        none, zero = np.zeros(0, np.intp), np.zeros(0, np.float32)
        return Changes(none, none, none, zero, zero, zero)
    step = np.diff(signals, axis=1)
    slow = (still / np.float32(fps))[:, None]
    sign = (step > slow).view(np.int8) - (step < -slow).view(np.int8)
    sign[~(valid[:, 1:] & valid[:, :-1])] = _BROKEN
    _bridge(sign, int(gap * fps))
    found = runs_of(sign)
    speed = np.maximum.reduceat(np.abs(step).ravel(), found.row * step.shape[1] + found.start) * np.float32(fps)
    first = signals[found.row, found.start]
    amount = signals[found.row, found.stop] - first
    keep = (
        (found.value * amount >= least[found.row])
        & (found.stop - found.start >= seconds * fps)
        & (np.abs(found.value) == 1)
    )
    kept = [array[keep] for array in (found.row, found.start, found.stop + 1, first, amount, speed)]
    return Changes(*kept)


def _bridge(sign: NDArray[np.integer], longest: int) -> None:
    """Gives a short standstill the sign of its two neighbours where they agree; in place."""
    found = runs_of(sign)
    short = (found.value == 0) & (found.stop - found.start <= longest)
    inner = np.flatnonzero(short & (found.start > 0) & (found.stop < sign.shape[1]))
    before, after = found.value[inner - 1], found.value[np.minimum(inner + 1, len(found.value) - 1)]
    inner = inner[(before == after) & (np.abs(before) == 1)]
    row, start, length = found.row[inner], found.start[inner], found.stop[inner] - found.start[inner]
    offsets = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    sign[np.repeat(row, length), np.repeat(start, length) + offsets] = np.repeat(found.value[inner - 1], length)


def close_gaps(mask: NDArray[np.bool_], longest: int) -> NDArray[np.bool_]:
    """Fills gaps of at most `longest` frames between two True ones, shape (R, T)."""
    found = runs_of(mask.view(np.int8))
    last = mask.shape[1]
    fill = (found.value == 0) & (found.stop - found.start <= longest) & (found.start > 0) & (found.stop < last)
    out = mask.copy()
    for row, start, stop in zip(found.row[fill], found.start[fill], found.stop[fill], strict=True):
        out[row, start:stop] = True
    return out
