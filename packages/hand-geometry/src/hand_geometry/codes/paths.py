"""The shape of a wrist's path: line, arc, circle, zigzag."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.thresholds import CodeThresholds

Floats = NDArray[np.float32]

SENSES = {"x": ("back", "forward"), "y": ("clockwise", "counterclockwise"), "z": ("clockwise", "counterclockwise")}
"""Senses of a rotation about +axis and -axis."""
PATHS = ("none", "line", "arc", "circle", "zigzag", "curve")


class Path(NamedTuple):
    """A path's shape, full turns and turns a frame (0 unless it is a circle), sense, axis turned about, extent (m)."""

    shape: str
    turns: float
    turns_a_frame: float
    circling: str
    plane: str
    extent: float


def path_of(points: Floats, t: CodeThresholds) -> Path:
    """The shape of a path.

    Args:
        points: Shape (3, L), metres, smoothed.
        t: Thresholds.

    Returns:
        Its shape. A circle is clockwise if it turns so about the axis that the wearer looks along: ahead for one
        drawn on a wall, down for one on a table. One beside the wearer goes "forward" or "back" over its top: seen
        from the left and from the right it would turn differently, as a mirror shows it.
    """
    centred = points - points.mean(1, keepdims=True)
    _, vectors = np.linalg.eigh(centred @ centred.T)
    main, second = vectors[:, -1] @ centred, vectors[:, -2] @ centred
    extent, width = float(np.ptp(main)), float(np.ptp(second))
    if extent < t.move_m * 0.8:
        return Path("none", 0.0, 0.0, "", "", extent)
    if width > t.circle_share * extent:
        turns, pace = _winding(main, second)
        if abs(turns) >= t.circle_turns:
            normal = np.cross(vectors[:, -1], vectors[:, -2])
            axis = int(np.abs(normal).argmax())
            positive = int(turns * normal[axis] > 0)
            sense = SENSES["xyz"[axis]][1 - positive]
            return Path("circle", abs(turns), pace, sense, "xyz"[axis], extent)
    if width <= t.line_share * extent:
        return Path("line", 0.0, 0.0, "", "", extent)
    return Path(_open_shape(main, second, extent, width), 0.0, 0.0, "", "", extent)


def _winding(x: Floats, y: Floats) -> tuple[float, float]:
    """Signed turns about the middle of the path, counted where it is away from there, and turns a frame."""
    x, y = x - (x.max() + x.min()) / 2, y - (y.max() + y.min()) / 2
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x)
    step = np.diff(angle)
    step -= 2 * np.pi * np.round(step / (2 * np.pi))
    away = np.minimum(radius[1:], radius[:-1]) > 0.35 * radius.max()
    return float(step[away].sum() / (2 * np.pi)), float(np.median(np.abs(step[away])) / (2 * np.pi))


def _open_shape(main: Floats, second: Floats, extent: float, width: float) -> str:
    """An arc bends one way while it goes one way; a zigzag turns from side to side while it goes on."""
    progress = abs(float(main[-1] - main[0])) / extent
    if progress < 0.6:
        return "curve"
    order = np.argsort(main, kind="stable")
    level = second[order] - np.linspace(second[order[0]], second[order[-1]], len(second))
    reversals = _reversals(second, 0.5 * width)
    if reversals >= 2:
        return "zigzag"
    one_sided = max(level.max(), -level.min()) > 4 * min(level.max(), -level.min())
    return "arc" if one_sided else "curve"


def _reversals(signal: Floats, least: float) -> int:
    """Turning points with at least `least` on either side."""
    low = high = float(signal[0])
    direction = count = 0
    for x in signal.tolist():
        low, high = min(low, x), max(high, x)
        if direction >= 0 and high - x >= least:
            count += direction == 1
            direction, low = -1, x
        elif direction <= 0 and x - low >= least:
            count += direction == -1
            direction, high = 1, x
    return count
