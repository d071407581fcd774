"""Where the fitted hands of a clip lie in the picture of its video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEAREST = 0.01
"""Metres; what is nearer to the camera, or behind it, is in no picture."""


def picture_points(clip: Mapping[str, Any], joints: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The joints of a clip as its camera sees them.

    Convention:
        Shares of the picture's width and height, from its left upper corner: a point in the middle is (0.5, 0.5).

    Args:
        clip: Of a store. Its camera holds ``pinhole`` (fx, fy, cx, cy, width, height; pixels) and ``view``, its
            attributes ``frame_origin``, as `hiw annotate` writes them.
        joints: Of its features, (T, 2, 21, 3), metres.

    Returns:
        (T, 2, 21, 2), NaN where a point is in no picture; None if the clip does not tell its camera or its place.
    """
    camera = clip.get("camera") or {}
    pinhole, origin = camera.get("pinhole"), clip["attributes"].get("frame_origin")
    if pinhole is None or origin is None:
        return None
    focal, center, size = (
        np.array([pinhole[x], pinhole[y]]) for x, y in (("fx", "fy"), ("cx", "cy"), ("width", "height"))
    )
    points = joints + np.asarray(origin, np.float32)
    if camera.get("view") == "facing":
        points = points * np.array([-1, 1, -1], np.float32)  # half a turn about the vertical, back to the camera's axes
    depth = np.where(points[..., 2:] > _NEAREST, points[..., 2:], np.nan)
    return ((points[..., :2] / depth * focal + center) / size).astype(np.float32)
