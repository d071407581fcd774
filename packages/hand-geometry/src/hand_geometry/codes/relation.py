"""How two hands move with respect to each other: mirrored, parallel, in turn, opposed; who begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.movement import Movement, Span
from hand_geometry.codes.thresholds import CodeThresholds

Floats = NDArray[np.float32]

PATTERNS = ("mirrored", "parallel", "alternating", "opposed", "independent")
_MIRROR = np.array([-1] + [1] * 11, np.float32)[:, None]
_TOGETHER_S, _CLEARLY = 0.25, 0.2


@dataclass(frozen=True)
class Pairing:
    """Two hands at work at the same time.

    Attributes:
        start, end: Seconds in which both are at work.
        pattern: One of PATTERNS. "mirrored": the same as in a mirror between them. "parallel": the same way in the
            world. "alternating": the same in turn. "opposed": one against the other.
        mirrored, parallel: Correlations of the velocities, -1 to 1.
        first: "left", "right" or "together" (within a quarter of a second).
    """

    start: float
    end: float
    pattern: str
    mirrored: float
    parallel: float
    first: str


def pairings_of(movements: list[Movement], spans: list[Span], channels: Floats, t: CodeThresholds) -> list[Pairing]:
    """Pairs of a left and a right movement that overlap in time, in order.

    Args:
        movements: Of one clip.
        spans: Of the same.
        channels: (12, 2, T) of the clip, see ``channels_of``.
        t: Thresholds.
    """
    found = []
    for a, left in zip(spans, movements, strict=True):
        for b, right in zip(spans, movements, strict=True):
            if (
                left.hand == "left"
                and right.hand == "right"
                and min(left.end, right.end) > max(left.start, right.start)
            ):
                found.append(_pair(left, right, channels[:, :, min(a.first, b.first) : max(a.stop, b.stop)], t))
    return found


def _pair(left: Movement, right: Movement, channels: Floats, t: CodeThresholds) -> Pairing:
    step = np.diff(channels, axis=-1)
    mirrored = _correlation(step[:, 0] * _MIRROR, step[:, 1])
    parallel = _correlation(step[:3, 0], step[:3, 1])
    sideways = parallel > _correlation(step[:3, 0] * _MIRROR[:3], step[:3, 1]) + _CLEARLY
    if sideways and parallel > t.mirrored_share and "travel" in (left.channel, right.channel):
        pattern = "parallel"
    elif mirrored > t.mirrored_share:
        pattern = "mirrored"
    elif mirrored < t.alternating_share and not (left.fluttering or right.fluttering):
        in_turn = _same_way(left, right) and not (left.two_sided and right.two_sided)
        pattern = "alternating" if in_turn else "opposed"
    else:
        pattern = "independent"
    lead = right.start - left.start
    return Pairing(
        start=max(left.start, right.start),
        end=min(left.end, right.end),
        pattern=pattern,
        mirrored=round(mirrored, 4),
        parallel=round(parallel, 4),
        first="together" if abs(lead) < _TOGETHER_S else "left" if lead > 0 else "right",
    )


def _correlation(a: Floats, b: Floats) -> float:
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-9 else 0.0


def _same_way(left: Movement, right: Movement) -> bool:
    """Whether the hands' displacements from rest are mirror images, in spans."""

    def weighed(movement: Movement, sign: float) -> Floats:
        travel = np.array(movement.travel) * [sign, 1, 1] / 0.02
        return np.concatenate([travel, np.array(movement.turn) / 12, np.array(movement.flex) / 34])

    return float(weighed(left, -1) @ weighed(right, 1)) > 0
