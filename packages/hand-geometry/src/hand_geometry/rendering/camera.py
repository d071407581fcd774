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
    joints: Any,
    size: tuple[int, int] = (320, 240),
    *,
    view: str | tuple[float, float] = "egocentric",
    margin: float = 0.12,
) -> Camera:
    """Place a camera that sees all joints.

    Args:
        joints: Points, shape (..., 3), metres; NaN are ignored. A list of arrays frames several motions
            alike.
        size: Width and height of the picture, pixels.
        view: "egocentric", "three-quarter", "front", "above", or yaw and pitch in radians: yaw turns the camera
            to its right, pitch looks down.
        margin: Share of the picture to leave free on each side.

    Returns:
        The camera.

    Raises:
        InputError: If the view is unknown or no point is finite.
    """
    if isinstance(view, str) and view not in VIEWS:
        raise InputError(f"view: Expected one of {', '.join(VIEWS)}, or yaw and pitch, got {view!r}.")
    yaw, pitch = VIEWS[view] if isinstance(view, str) else view
    if not np.isfinite([yaw, pitch]).all():
        raise InputError(f"view: Expected finite angles, got {view!r}. Pass radians.")
    parts = joints if isinstance(joints, list | tuple) else [joints]
    points = np.concatenate([as_numpy(part).astype(np.float64).reshape(-1, 3) for part in parts])
    points = points[np.isfinite(points).all(1)]
    if len(points) == 0:
        raise InputError("joints: Expected at least one finite point to look at, got none.")
    rotation = _looking(yaw, pitch)
    focal = 0.5 / np.tan(_FIELD_OF_VIEW / 2)
    width, height = size
    half = np.array([width, height]) / min(width, height) * (0.5 - margin) / focal  # tangents of the half angles
    return Camera(rotation, _position(points @ rotation.T, half) @ rotation, focal)


def look_at(position: Any, target: Any, *, field_of_view: float = _FIELD_OF_VIEW) -> Camera:
    """A camera at a place, looking at another.

    Args:
        position: Where it stands, shape (3,), metres, y down.
        target: What is in the middle of the picture, shape (3,).
        field_of_view: Angle across the picture's shorter side, radians, between 0 and pi.

    Returns:
        The camera, upright: the world's y points down in the picture. Looking straight up or down, the world's z
        points up.

    Raises:
        InputError: If the places are the same or not finite, or the angle is out of its range.
    """
    start, end = as_numpy(position).astype(np.float64).ravel(), as_numpy(target).astype(np.float64).ravel()
    forward = end - start
    if forward.shape != (3,) or not 1e-9 < np.linalg.norm(forward) < np.inf:
        raise InputError(f"target: Expected a finite place other than the camera's, got {position!r} to {target!r}.")
    if not 0 < field_of_view < np.pi:
        raise InputError(f"field_of_view: Expected radians between 0 and pi, got {field_of_view}.")
    forward /= np.linalg.norm(forward)
    level = float(np.hypot(forward[0], forward[2]))
    yaw = float(np.arctan2(forward[0], forward[2])) if level > 1e-9 else 0.0
    rotation = _looking(yaw, float(np.arctan2(forward[1], level)))
    return Camera(rotation, start, float(0.5 / np.tan(field_of_view / 2)))


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
