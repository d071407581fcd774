"""A pinhole camera and how to place it so that a whole motion is in the picture.

Convention:
    World and camera axes: x right, y down, z forward. The default view is the wearer's of a head camera,
    raised a
    little: over the hands, looking forward and down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hand_geometry.assets import Array, as_numpy
from hand_geometry.errors import InputError

VIEWS = {"egocentric": (0.0, 0.62), "three-quarter": (0.55, 0.45), "front": (0.0, 0.0), "above": (0.0, 1.35)}
"""Yaw and pitch of the named views, radians: yaw turns the camera to its right, pitch looks down."""

_FIELD_OF_VIEW = 0.56  # radians across the shorter side: a longish lens, little distortion


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        rotation: World to camera, shape (3, 3).
        position: In the world, shape (3,), metres.
        focal: Focal length as a share of the picture's shorter side.
    """

    rotation: Array
    position: Array
    focal: float


def frame_camera(
    joints: Any, size: tuple[int, int] = (320, 240), *, view: str = "egocentric", margin: float = 0.12
) -> Camera:
    """Place a camera that sees all joints.

    Args:
        joints: Points, shape (..., 3), metres; NaN are ignored. A list of arrays frames several motions
            alike.
        size: Width and height of the picture, pixels.
        view: "egocentric", "three-quarter", "front" or "above".
        margin: Share of the picture to leave free on each side.

    Returns:
        The camera.

    Raises:
        InputError: If the view is unknown or no point is finite.
    """
    if view not in VIEWS:
        raise InputError(f"view: Expected one of {', '.join(VIEWS)}, got {view!r}.")
    parts = joints if isinstance(joints, list | tuple) else [joints]
    points = np.concatenate([as_numpy(part).astype(np.float64).reshape(-1, 3) for part in parts])
    points = points[np.isfinite(points).all(1)]
    if len(points) == 0:
        raise InputError("joints: Expected at least one finite point to look at, got none.")
    rotation = _looking(*VIEWS[view])
    focal = 0.5 / np.tan(_FIELD_OF_VIEW / 2)
    width, height = size
    half = np.array([width, height]) / min(width, height) * (0.5 - margin) / focal  # tangents of the half angles
    return Camera(rotation, _position(points @ rotation.T, half) @ rotation, focal)


def _looking(yaw: float, pitch: float) -> Array:
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    return np.stack([right, np.cross(forward, right), forward])


def _position(points: Array, half: Array) -> Array:
    """Nearest position (camera axes) from which points lie within the half angles, both axes centred."""
    depth = points[:, 2]
    out = np.zeros(3)
    distances = []
    for axis in (0, 1):
        # points[axis] - c <= half * (depth - p) and the mirror of it: the two tightest lines meet at (c, p).
        upper = (points[:, axis] - half[axis] * depth).max()
        lower = (points[:, axis] + half[axis] * depth).min()
        out[axis] = (upper + lower) / 2
        distances.append((lower - upper) / 2 / half[axis])
    out[2] = min(*distances, depth.min() - 0.15)
    return out
