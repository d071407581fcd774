"""What is measured on the joints of two hands, every frame, before anything is called an event or a state.

Convention:
    Coordinates come first and time last: points are ``(3, ..., 2, N, T)``, so that every step runs along memory.
    World axes are those of a camera on the wearer's head: x right, y down, z forward. A palm's own axes ("body
    frame") are along its middle metacarpal (fingers), across towards the thumb (thumb), and out of the palm
    (palm). They are anatomical: a mirrored motion has the same body-frame numbers with the hands exchanged.
    ``twist`` > 0 turns the thumb outward (supination), ``swing`` > 0 moves the fingers to the thumb's side (radial
    deviation), ``bend`` > 0 moves them to the palm's side (flexion).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
BASES = np.array([5, 9, 13, 17])
TIPS = np.array([4, 8, 12, 16, 20])
_DEGREES, _HALF = np.float32(180 / np.pi), np.float32(0.5)


@dataclass(frozen=True)
class Measurements:
    """Signals of N clips of T frames; H = 2 hands, left then right. Metres and degrees.

    Attributes:
        valid: (2, N, T) bool.
        joints: (3, 21, 2, N, T), as measured; unseen frames hold the nearest seen one.
        wrist, center: (3, 2, N, T) world, smoothed; the center is the mean of wrist and knuckles.
        fingers, thumb, palm: (3, 2, N, T) the palm's axes in the world, as measured.
        body_path: (3, 2, N, T) the wrist's path summed in the palm's own axes (fingers, thumb, palm), smoothed.
        turn: (3, 2, N, T) twist, swing, bend, summed in the palm's own axes, smoothed.
        turn_world: (3, 2, N, T) the same about the world's axes.
        knuckle: (4, 2, N, T) flexion of index to pinky at the knuckle; ``outer``: of both outer joints together.
        flex: (5, 2, N, T) whole fingers, thumb to pinky, smoothed.
        spacing: (4, 2, N, T) angles between neighbouring proximal bones, thumb+index first.
        thumb_out: (2, N, T) how far the thumb's tip is beyond the index knuckle, metres.
    """

    valid: Bools
    joints: Floats
    wrist: Floats
    center: Floats
    fingers: Floats
    thumb: Floats
    palm: Floats
    body_path: Floats
    turn: Floats
    turn_world: Floats
    knuckle: Floats
    outer: Floats
    flex: Floats
    flex_raw: Floats
    spacing: Floats
    thumb_out: Floats


def measure(joints: Floats, valid: Bools, fps: float, smoothing_s: float) -> Measurements:
    """Measures N clips.

    Args:
        joints: Shape (N, T, 2, 21, 3), metres. Frames that are not valid may hold anything.
        valid: Shape (N, T, 2) bool.
        fps: Frames a second.
        smoothing_s: Standard deviation of the smoothing, seconds.
    """
    seen = np.ascontiguousarray(valid.transpose(2, 0, 1))
    x = np.ascontiguousarray(joints.transpose(4, 3, 2, 0, 1))  # (3, 21, 2, N, T)
    if not seen.all():
        x = _hold_last_seen(x, seen)
    sigma = smoothing_s * fps

    wrist, center = x[:, 0], x[:, [0, 5, 9, 13, 17]].mean(1)
    fingers = _unit(x[:, 9] - wrist)
    across = x[:, 5] - x[:, 17]
    thumb = _unit(across - _dot(across, fingers) * fingers)
    palm = _cross(thumb, fingers)
    palm[:, 0] *= -1  # the left hand is the right one's mirror image

    rotation, rotation_world = _turns(fingers, thumb, palm)
    step = np.diff(wrist, axis=-1)
    body_step = np.stack([_dot(step, (axis[..., 1:] + axis[..., :-1]) * _HALF) for axis in (fingers, thumb, palm)])

    knuckle, outer, thumb_flex, proximal = _flexion(x, fingers, palm)
    flex = np.concatenate([thumb_flex[None], knuckle + outer])
    spacing = np.stack([_angle(proximal[:, k], proximal[:, k + 1]) for k in range(4)])
    return Measurements(
        valid=seen,
        joints=x,
        wrist=_smooth(wrist, sigma),
        center=_smooth(center, sigma),
        fingers=fingers,
        thumb=thumb,
        palm=palm,
        body_path=_smooth(_summed(body_step), sigma),
        turn=_smooth(_summed(rotation), sigma),
        turn_world=_smooth(_summed(rotation_world), sigma),
        knuckle=knuckle,
        outer=outer,
        flex=_smooth(flex, sigma),
        flex_raw=flex,
        spacing=spacing,
        thumb_out=_dot(x[:, 4] - x[:, 5], thumb),
    )


def _hold_last_seen(x: Floats, seen: Bools) -> Floats:
    """Replaces unseen frames by the last seen one (the first seen one before it); never seen is zero."""
    frames = np.arange(seen.shape[-1])
    last = np.maximum.accumulate(np.where(seen, frames, -1), axis=-1)
    index = np.where(last < 0, seen.argmax(-1)[..., None], last)  # (2, N, T)
    held = np.take_along_axis(x, index[None, None], axis=-1)
    held[:, :, ~seen.any(-1)] = 0
    return held


def _flexion(x: Floats, fingers: Floats, palm: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Degrees: knuckles (4, ...), outer joints (4, ...), thumb (...); unit proximal bones (3, 5, ...)."""
    bones = [_unit(x[:, BASES + k + 1] - x[:, BASES + k]) for k in range(3)]  # (3, 4, 2, N, T)
    knuckle = np.arctan2(_dot(bones[0], palm[:, None]), _dot(bones[0], fingers[:, None])) * _DEGREES
    outer = _angle(bones[0], bones[1]) + _angle(bones[1], bones[2])
    thumb = [_unit(x[:, k + 1] - x[:, k]) for k in (1, 2, 3)]
    thumb_flex = _angle(thumb[0], thumb[1]) + _angle(thumb[1], thumb[2])
    return knuckle, outer, thumb_flex, np.concatenate([thumb[1][:, None], bones[0]], axis=1)


def _turns(fingers: Floats, thumb: Floats, palm: Floats) -> tuple[Floats, Floats]:
    """Rotation from each frame to the next, degrees: (3, 2, N, T-1) twist, swing, bend; and about world axes."""
    axes = (fingers, thumb, palm)
    crosses = [_cross(axis[..., :-1], axis[..., 1:]) for axis in axes]
    dots = [_dot(axis[..., :-1], axis[..., 1:]) for axis in axes]
    world = (crosses[0] + crosses[1] + crosses[2]) * _HALF
    cosine = (dots[0] + dots[1] + dots[2] - 1) * _HALF
    sine = np.sqrt(_dot(world, world))
    world = world * (np.arctan2(sine, cosine) * _DEGREES / np.maximum(sine, np.float32(1e-9)))
    local = np.stack([_dot(world, (axis[..., 1:] + axis[..., :-1]) * _HALF) for axis in axes])
    side = np.array([-1, 1], np.float32)[:, None, None]  # rotations of the left hand are mirrored
    # About the fingers: towards the thumb's outward side. About the palm's normal: towards the thumb. About the
    # thumb's axis: towards the palm.
    return np.stack([local[0], local[2], -local[1]]) * side, world


def _summed(steps: Floats) -> Floats:
    out = np.zeros((*steps.shape[:-1], steps.shape[-1] + 1), np.float32)
    np.cumsum(steps, axis=-1, out=out[..., 1:])
    return out


def _smooth(signal: Floats, sigma: float) -> Floats:
    return np.asarray(gaussian_filter1d(signal, sigma, axis=-1, mode="nearest", truncate=3.0), np.float32)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _cross(a: Floats, b: Floats) -> Floats:
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _unit(v: Floats) -> Floats:
    return np.asarray(v / np.sqrt(np.maximum(_dot(v, v), np.float32(1e-12))))


def _angle(a: Floats, b: Floats) -> Floats:
    """Degrees between unit vectors."""
    return np.arccos(np.clip(_dot(a, b), -1, 1)) * _DEGREES
