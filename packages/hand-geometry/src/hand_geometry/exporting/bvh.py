"""Writing a motion as BVH, the motion-capture text format: skeletons and curves, without a mesh.

Convention:
    Centimetres and degrees, y up, z backward (this package's axes turned by half a turn about x). A joint ``hands``
    that never moves carries ``left_wrist`` and ``right_wrist``, which have three position and three rotation channels;
    all other joints have three rotation channels, ``Zrotation Xrotation Yrotation``: R = Rz Rx Ry. Of the two triples
    of angles that make a rotation, the one nearer to the frame before is written. Bone offsets are those of the hand's
    own shape, from which reading finds ``betas`` again; the wrists' are where they lie at rest, and their position
    channels replace them, as everywhere in BVH.

    A joint ``clock_30fps`` (of a clip at 30 frames a second) turns about y by a tenth of a degree a frame and moves
    nothing. Blender plays a frame of the file as a frame of its scene, 24 a second unless told otherwise, and writes
    what its scene has: with the clock ``load_bvh`` finds the true rate, and the frames that are none of the clip.

    Lost are the mesh, captions, and which hand was seen when.
"""

from __future__ import annotations

import os
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

POSITIONS = ("Xposition", "Yposition", "Zposition")
_ROTATIONS = ("Zrotation", "Xrotation", "Yrotation")


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
    for rig in clip.rigs:
        vectors = np.moveaxis(rotation_vectors(rig.rotations), 1, 0) * FLIP  # (16, T, 3)
        _joint(lines, columns, rig, [nearest_euler(Rotation.from_rotvec(v)) for v in vectors], 0, "  ")
    lines += [f"  JOINT clock_{clip.fps:.9g}fps", "  {", "    OFFSET 0 1 0", "    CHANNELS 3 " + " ".join(_ROTATIONS)]
    lines += ["    End Site", "    {", "      OFFSET 0 1 0", "    }", "  }"]
    columns.append(np.arange(clip.frames)[:, None] * np.array([0.0, 0.0, CLOCK_STEP]))
    lines += ["}", "MOTION", f"Frames: {clip.frames}", f"Frame Time: {1 / clip.fps:.9f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in np.concatenate(columns, 1)]
    return write_bytes(path, ("\n".join(lines) + "\n").encode(), ".bvh")


def rotation_vectors(quaternions: Array) -> Array:
    """Rotation vectors (..., 3) of quaternions (..., 4), x, y, z, w."""
    vectors: Array = Rotation.from_quat(quaternions.reshape(-1, 4)).as_rotvec().reshape(*quaternions.shape[:-1], 3)
    return vectors


def _joint(lines: list[str], columns: list[Array], rig: HandRig, angles: list[Array], joint: int, indent: str) -> None:
    """Append a joint, its channels' values, and all below it."""
    channels = (*(POSITIONS if joint == 0 else ()), *_ROTATIONS)
    lines += [f"{indent}JOINT {rig.side}_{JOINT_NAMES[joint]}", f"{indent}{{"]
    lines.append(f"{indent}  OFFSET {_offset(rig.bones[joint])}")
    lines.append(f"{indent}  CHANNELS {len(channels)} {' '.join(channels)}")
    if joint == 0:
        columns.append(rig.wrist * FLIP * CM)
    columns.append(angles[joint])
    for child in range(1, 16):
        if PARENTS[child] == joint:
            _joint(lines, columns, rig, angles, child, indent + "  ")
    for tip, parent in enumerate(TIP_PARENTS):
        if parent == joint:
            end = _offset(rig.tips[tip] - rig.joints[joint])
            lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {end}", f"{indent}  }}"]
    lines.append(f"{indent}}}")


def _offset(metres: Array) -> str:
    return " ".join(f"{value:.6f}" for value in metres * FLIP * CM)


def nearest_euler(rotation: Rotation) -> Array:
    """Degrees of R = Rz Rx Ry, shape (T, 3): z, x, y, each frame's as near to the one before as can be.

    A rotation has two triples, (z, x, y) and (z + 180, 180 - x, y + 180), each up to whole turns. Where x is 90 degrees
    z and y turn about one axis and only their sum or difference counts: z is kept from the frame before.

    Args:
        rotation: T rotations.

    Returns:
        The angles.
    """
    matrix = rotation.as_matrix()
    first = np.arctan2(-matrix[:, 0, 1], matrix[:, 1, 1])
    middle = np.arcsin(np.clip(matrix[:, 2, 1], -1, 1))
    last = np.arctan2(-matrix[:, 2, 0], matrix[:, 2, 2])
    locked = np.abs(matrix[:, 2, 1]) > 1 - 1e-12
    both = np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])  # z + y where x is 90, z - y where it is -90
    out = np.empty((len(matrix), 3))
    before = np.zeros(3)
    for t in range(len(matrix)):
        z, x, y = first[t], middle[t], last[t]
        if locked[t]:
            z, y = before[0], (both[t] - before[0]) * np.sign(x)
            choices = np.array([[z, x, y]])
        else:
            choices = np.array([[z, x, y], [z + np.pi, np.pi - x, y + np.pi]])
        choices += 2 * np.pi * np.round((before - choices) / (2 * np.pi))
        before = out[t] = choices[0] if t == 0 else choices[np.abs(choices - before).sum(1).argmin()]
    return np.degrees(out)
