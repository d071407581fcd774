"""Writing a motion as BVH, the motion-capture text format: skeletons and curves, without a mesh.

Convention:
    Centimetres and degrees, y up, z backward (this package's axes turned by half a turn about x). A joint ``hands``
    that never moves carries ``left_wrist`` and ``right_wrist``, which have three position and three rotation channels;
    all other joints have three rotation channels, ``Zrotation Xrotation Yrotation``: R = Rz Rx Ry, or, where a joint's
    curve comes near the pole of that order, another order that its CHANNELS name. Of the two triples of angles that
    make a rotation, the one nearer to the frame before is written. Bone offsets are those of the hand's own shape, from
    which reading finds ``betas`` again; the wrists' are where they are first seen, so that the hands
    stand beside each other at rest, and their position channels replace them, as everywhere in BVH.

    A joint ``clock_30fps`` (of a clip at 30 frames a second) turns about y by a tenth of a degree a frame and moves
    nothing. Blender plays a frame of the file as a frame of its scene, 24 a second unless told otherwise, and writes
    what its scene has: with the clock ``load_bvh`` finds the true rate, and the frames that are none of the clip.

    Lost are the mesh, captions, and which hand was seen when.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import PARENTS, Array
from hand_geometry.atomic import write_bytes
from hand_geometry.exporting.rig import JOINT_NAMES, TIP_PARENTS, HandRig, build_clip

CM = 100.0
"""Units of a BVH in one metre."""

FLIP = np.array([1.0, -1.0, -1.0])
"""This package's axes (y down, z forward) to BVH's (y up), for vectors and for rotation vectors."""

CLOCK_STEP = 0.1
"""Degrees by which the clock turns in a frame."""

_UP = np.array([0.0, 0.1, 0.0])  # metres, y down: against it the bone of "hands" stands

POSITIONS = ("Xposition", "Yposition", "Zposition")
_ROTATIONS = ("Zrotation", "Xrotation", "Yrotation")
_ORDERS = ("ZXY", "ZYX", "XYZ", "XZY", "YXZ", "YZX")
_NEAR_POLE = np.radians(70)
_LOCKED = 1e-6  # cosine of the middle angle, below which the outer two are one


def save_bvh(
    path: str | os.PathLike[str],
    motion: Any,
    *,
    fps: float | None = None,
    valid: Any = None,
    model: str | os.PathLike[str] = "default",
) -> Path:
    """Write a motion as BVH.

    Args:
        path: Ends in .bvh. Missing folders are made.
        motion: Parameters or features of T frames, see ``build_clip``.
        fps: Frames per second; None takes the motion's own, or 15.
        valid: Which hands were seen, shape (T, 2) bool. A hand that never was is left out.
        model: "default", a MANO file or a folder of both sides.

    Returns:
        The path.

    Raises:
        InputError: If the motion is not finite or has no frames, no hand was ever seen, or the suffix is another.
        ShapeError: If a shape does not fit.
    """
    clip = build_clip(motion, fps=fps, valid=valid, model=model)
    lines = ["HIERARCHY", "ROOT hands", "{", "  OFFSET 0 0 0", "  CHANNELS 3 " + " ".join(_ROTATIONS)]
    columns = [np.zeros((clip.frames, 3))]
    places = [rig.wrist[int(clip.valid[:, int(rig.side == "right")].argmax())] for rig in clip.rigs]
    for rig, place in zip(clip.rigs, places, strict=True):
        vectors = np.moveaxis(rotation_vectors(rig.rotations), 1, 0) * FLIP  # (16, T, 3)
        turns = [Rotation.from_rotvec(v) for v in vectors]
        curves = [(order, nearest_euler(turn, order)) for turn, order in ((turn, order_of(turn)) for turn in turns)]
        _joint(lines, columns, rig, curves, place, 0, "  ")
    # Blender draws the bone of "hands" to the mean of what it carries and measures rotations in its axes, which are
    # exact to float32 where it stands upright and to a thousandth of a degree or worse where it leans.
    upright = -(len(places) + 1) * _UP - np.sum(places, axis=0)
    lines += [f"  JOINT clock_{clip.fps:.9g}fps", "  {", f"    OFFSET {_offset(upright)}"]
    lines += ["    CHANNELS 3 " + " ".join(_ROTATIONS), "    End Site", "    {", "      OFFSET 0 1 0", "    }", "  }"]
    columns.append(np.arange(clip.frames)[:, None] * np.array([0.0, 0.0, CLOCK_STEP]))
    lines += ["}", "MOTION", f"Frames: {clip.frames}", f"Frame Time: {1 / clip.fps:.9f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in np.concatenate(columns, 1)]
    return write_bytes(path, ("\n".join(lines) + "\n").encode(), ".bvh")


def rotation_vectors(quaternions: Array) -> Array:
    """Rotation vectors (..., 3) of quaternions (..., 4), x, y, z, w."""
    vectors: Array = Rotation.from_quat(quaternions.reshape(-1, 4)).as_rotvec().reshape(*quaternions.shape[:-1], 3)
    return vectors


def _joint(
    lines: list[str],
    columns: list[Array],
    rig: HandRig,
    curves: list[tuple[str, Array]],
    offset: Array,
    joint: int,
    indent: str,
) -> None:
    """Append a joint, its channels' values, and all below it."""
    order, angles = curves[joint]
    channels = (*(POSITIONS if joint == 0 else ()), *(f"{axis}rotation" for axis in order))
    lines += [f"{indent}JOINT {rig.side}_{JOINT_NAMES[joint]}", f"{indent}{{"]
    lines.append(f"{indent}  OFFSET {_offset(offset)}")
    lines.append(f"{indent}  CHANNELS {len(channels)} {' '.join(channels)}")
    if joint == 0:
        columns.append(rig.wrist * FLIP * CM)
    columns.append(angles)
    for child in range(1, 16):
        if PARENTS[child] == joint:
            _joint(lines, columns, rig, curves, rig.bones[child], child, indent + "  ")
    for tip, parent in enumerate(TIP_PARENTS):
        if parent == joint:
            end = _offset(rig.tips[tip] - rig.joints[joint])
            lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {end}", f"{indent}  }}"]
    lines.append(f"{indent}}}")


def _offset(metres: Array) -> str:
    return " ".join(f"{value:.6f}" for value in metres * FLIP * CM)


def order_of(rotation: Rotation) -> str:
    """The order of channels in which a curve stays away from the pole, where its outer angles turn fast or lock.

    Args:
        rotation: T rotations.

    Returns:
        ``ZXY``, or, if its middle angle comes within 20 degrees of a right one, the order that stays farthest from it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scipy's, where angles lock
        middles = {order: np.abs(rotation.as_euler(order)[:, 1]).max() for order in _ORDERS}
    return _ORDERS[0] if middles[_ORDERS[0]] < _NEAR_POLE else min(_ORDERS, key=lambda order: middles[order])


def nearest_euler(rotation: Rotation, order: str = "ZXY") -> Array:
    """Angles of a curve of rotations, each frame's as near to the one before as can be.

    A rotation has two triples, (a, b, c) and (a + 180, 180 - b, c + 180), each up to whole turns. Where b is a right
    angle the outer two turn about one axis and only their sum or difference counts: a is kept from the frame before.

    Args:
        rotation: T rotations.
        order: Of the axes; R = Rz Rx Ry for "ZXY".

    Returns:
        Degrees, shape (T, 3), in that order.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scipy's, where angles lock
        angles = rotation.as_euler(order)
    locked = np.abs(np.cos(angles[:, 1])) < _LOCKED
    out = np.empty_like(angles)
    before = np.zeros(3)
    for t, (a, b, c) in enumerate(angles):
        choices = np.array([[a, b, c], [a + np.pi, np.pi - b, c + np.pi]])
        if locked[t]:
            rest = np.array([[before[0], b, c + (a - before[0])], [before[0], b, c - (a - before[0])]])
            off = (Rotation.from_euler(order, rest) * rotation[t].inv()).magnitude()
            choices = np.concatenate([choices, rest[[off.argmin()]]])
        choices += 2 * np.pi * np.round((before - choices) / (2 * np.pi))
        before = out[t] = angles[0] if t == 0 else choices[np.abs(choices - before).sum(1).argmin()]
    return np.degrees(out)
