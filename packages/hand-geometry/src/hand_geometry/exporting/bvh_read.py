"""Reading back the BVH files that ``save_bvh`` wrote, also after another program loaded and saved them.

Unit and axes are found from the bones, which are a known hand's (``hand_geometry.exporting.bones``), and the rate from
the joint ``clock_...fps`` (``hand_geometry.exporting.bvh``). What cannot be known is refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import Array, Side
from hand_geometry.errors import InputError, MotionFileError
from hand_geometry.exporting.bones import axes_of_bones, shape_of_bones, unit_of_bones
from hand_geometry.exporting.bvh import CLOCK_STEP, POSITIONS
from hand_geometry.exporting.rig import JOINT_NAMES, SIDES
from hand_geometry.poses import relaxed_hand

_LARGEST = 1e9  # units or degrees: beyond them float32 holds nothing
_CLOCK = re.compile(r"clock_([0-9.e+-]+)fps")
_EVEN = 0.02  # frames by which the clock's steps may differ: other programs write float32
_MOST_FPS = 1000.0
_TIME_DIGITS = 6e-7  # seconds: Blender writes a frame's time with six decimals


def load_bvh(
    path: str | os.PathLike[str], *, fps: float | None = None, model: str | os.PathLike[str] = "default"
) -> dict[str, Any]:
    """Read a motion from a BVH file with this package's joint names, in any order of channels.

    Args:
        path: The file. Its unit and axes are found from the bones: centimetres with y up as ``save_bvh`` writes them, z
            up as Blender does.
        fps: Frames per second; None takes the rate of the joint ``clock_...fps``, or, in a file without one whose axes
            are as they were written, that of the file.
        model: The hand whose ``betas`` are found from the bones' offsets.

    Returns:
        As ``load_motion``. ``betas`` are zero where no shape of the model has the file's bones. A hand that is not in
        the file is a relaxed hand, marked unseen. Frames before and after the clip, in which the clock stands still,
        are left out.

    Raises:
        MotionFileError: If the file is missing, broken, of another skeleton, or its unit, axes or rate cannot be known.
        InputError: If ``fps`` is not positive.
    """
    if fps is not None and not 0 < fps <= _MOST_FPS:
        raise InputError(f"fps: Expected a rate above 0 and up to {_MOST_FPS:g}, got {fps}. Pass frames per second.")
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8", errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        raise MotionFileError(f"{file}: Expected a BVH file, got none that can be read ({error}).") from error
    try:
        return _motion(_parsed(text), fps, model)
    except (ValueError, IndexError, KeyError) as error:
        reason = f"Expected the joint or channel {error}, got none." if isinstance(error, KeyError) else str(error)
        raise MotionFileError(f"{file}: {reason} Write it again with save_bvh.") from error


@dataclass(frozen=True)
class _File:
    """A BVH as it stands, in its own unit and axes."""

    offsets: dict[str, Array]
    parents: dict[str, str | None]
    columns: dict[tuple[str, str], int]
    orders: dict[str, str]  # of each joint's rotation channels: "ZXY"
    rows: Array
    fps: float

    def rotation(self, joint: str) -> Rotation:
        """Local rotations of a joint."""
        order = self.orders[joint]
        if not order:
            return Rotation.identity(len(self.rows))
        degrees = np.stack([self.rows[:, self.columns[joint, f"{axis}rotation"]] for axis in order], 1)
        return Rotation.from_euler(order, degrees, degrees=True)

    def position(self, joint: str) -> Array:
        """Local positions of a joint, (T, 3): its channels, or its offset."""
        out = np.tile(self.offsets[joint], (len(self.rows), 1))
        for k, channel in enumerate(POSITIONS):
            if (joint, channel) in self.columns:
                out[:, k] = self.rows[:, self.columns[joint, channel]]
        return out

    def above(self, joint: str) -> tuple[Rotation, Array]:
        """Rotation and position, (T, 3), of the frame that a joint hangs in."""
        turn, place = Rotation.identity(len(self.rows)), np.zeros((len(self.rows), 3))
        parent = self.parents[joint]
        while parent is not None:
            own = self.rotation(parent)
            turn, place = own * turn, own.apply(place) + self.position(parent)
            parent = self.parents[parent]
        return turn, place


def _parsed(text: str) -> _File:
    head, found, tail = text.partition("MOTION")
    words = tail.split()
    if not found or words[:1] != ["Frames:"] or words[2:4] != ["Frame", "Time:"]:
        raise ValueError("Expected HIERARCHY, then MOTION with Frames and Frame Time, got a file without.")
    offsets: dict[str, Array] = {}
    parents: dict[str, str | None] = {}
    orders: dict[str, str] = {}
    columns: dict[tuple[str, str], int] = {}
    open_joints: list[str] = []  # "" for an End Site
    for line in head.splitlines():
        part = line.split()
        if not part:
            continue
        if part[0] in ("ROOT", "JOINT"):
            if part[1] in parents:
                raise ValueError(f"Expected each joint once, got {part[1]!r} twice.")
            parents[part[1]] = open_joints[-1] if open_joints else None
            orders[part[1]] = ""
            open_joints.append(part[1])
        elif part[0] == "End":
            open_joints.append("")
        elif part[0] == "}":
            open_joints.pop()
        elif part[0] == "OFFSET" and open_joints[-1]:
            offsets[open_joints[-1]] = np.array([float(value) for value in part[1:4]])
        elif part[0] == "CHANNELS":
            for channel in part[2 : 2 + int(part[1])]:
                columns[open_joints[-1], channel] = len(columns)
                if channel.endswith("rotation"):
                    orders[open_joints[-1]] += channel[0].upper()
    frames, seconds = int(words[1]), float(words[4])
    if frames < 1 or not 1 / _MOST_FPS <= seconds < 1e5:
        raise ValueError(f"Expected at least one frame and a frame time from 1 ms on, got {frames} and {seconds}.")
    if len(words) - 5 != frames * len(columns):
        raise ValueError(f"Expected {frames} rows of {len(columns)} numbers, got {len(words) - 5} numbers.")
    rows = np.array(words[5:], np.float64).reshape(frames, len(columns))
    if any(offset.shape != (3,) for offset in offsets.values()):
        raise ValueError("Expected three numbers in each OFFSET, got fewer.")
    values = np.concatenate([rows.ravel(), *offsets.values()])
    if not (np.abs(values) < _LARGEST).all():
        raise ValueError(f"Expected finite numbers below {_LARGEST:.0e}, got others.")
    return _File(offsets, parents, columns, orders, rows, _rate(seconds))


def _rate(seconds: float) -> float:
    """The roundest rate whose frame lasts that long, to the digits that programs write."""
    for digits in range(4):
        fps = round(1 / seconds, digits)
        if fps > 0 and abs(1 / fps - seconds) < _TIME_DIGITS:
            return fps
    return round(1 / seconds, 6)


def _motion(file: _File, fps: float | None, model: str | os.PathLike[str]) -> dict[str, Any]:
    hands: list[Side] = [side for side in SIDES if f"{side}_wrist" in file.offsets]
    if not hands:
        raise ValueError("Expected joints named left_wrist or right_wrist, got none.")
    bones = {side: np.stack([file.offsets[f"{side}_{joint}"] for joint in JOINT_NAMES[1:]]) for side in hands}
    unit = unit_of_bones(bones, model)
    axes = axes_of_bones({side: value * unit for side, value in bones.items()}, model)
    rows, fps = _timed(file, axes, fps)
    file = _File(file.offsets, file.parents, file.columns, file.orders, rows, fps)
    parts = []
    for side in SIDES:
        if side not in hands:
            rest = {name: np.tile(value.numpy(), (len(rows), *[1] * value.ndim))
                    for name, value in relaxed_hand(side).items()}  # fmt: skip
            parts.append((rest["global_orient"], rest["hand_pose"], rest["transl"], np.zeros(10)))
            continue
        shape = shape_of_bones(side, axes.apply(bones[side] * unit), model)
        turn, place = file.above(f"{side}_wrist")
        wrist = turn.apply(file.position(f"{side}_wrist")) + place
        local = [file.rotation(f"{side}_{joint}") for joint in JOINT_NAMES]
        vectors = [axes.apply(rotation.as_rotvec()) for rotation in (turn * local[0], *local[1:])]
        parts.append((vectors[0], np.stack(vectors[1:], 1), axes.apply(wrist * unit) - shape.wrist, shape.betas))
    orient, pose, transl, betas = zip(*parts, strict=True)
    return {
        "global_orient": np.stack(orient, 1).astype(np.float32),
        "hand_pose": np.stack(pose, 1).astype(np.float32),
        "transl": np.stack(transl, 1).astype(np.float32),
        "betas": np.stack(betas).astype(np.float32),
        "valid": np.tile(np.array([side in hands for side in SIDES]), (len(rows), 1)),
        "fps": fps,
        "captions": [],
    }


def _timed(file: _File, axes: Rotation, fps: float | None) -> tuple[Array, float]:
    """The rows of the clip, and its rate."""
    advice = "Pass fps (hand-geometry export --fps) to say it."
    clocks = [name for name in file.offsets if _CLOCK.fullmatch(name)]
    if not clocks:
        as_written = np.allclose(axes.as_matrix(), np.diag([1.0, -1.0, -1.0]))
        if fps is None and not as_written:
            raise ValueError(
                "Expected the joint clock_...fps in a file whose axes another program turned, got none: its rate "
                f"({file.fps:g} fps) may be that program's. {advice}"
            )
        return file.rows, file.fps if fps is None else fps
    written = float(_CLOCK.fullmatch(clocks[0])[1])  # type: ignore[index]
    if not 0 < written <= _MOST_FPS:
        raise ValueError(f"Expected a positive rate in the joint {clocks[0]}, got {written}.")
    turn = axes * file.rotation(clocks[0]) * axes.inv()
    matrix = turn.as_matrix()
    angle = np.unwrap(np.arctan2(-matrix[:, 0, 2], matrix[:, 0, 0]))  # about -y, which is up
    steps = np.diff(np.degrees(angle) / CLOCK_STEP)
    moving = np.flatnonzero(np.abs(steps) > _EVEN)
    if not len(moving):
        if len(file.rows) > 1 and np.ptp(file.rows, axis=0).max() > 1e-3:
            raise ValueError(f"Expected the joint {clocks[0]} to turn, got one that stands still. {advice}")
        return file.rows[:1], written if fps is None else fps
    first, end = int(moving[0]), int(moving[-1]) + 1
    step = float(np.median(steps[first:end]))
    if end - first > 1 and steps[end - 1] < step - _EVEN:
        end -= 1  # the clip ends between two frames of the other program
    if step <= 0 or np.abs(steps[first:end] - step).max() > _EVEN:
        if fps is None:
            raise ValueError(f"Expected the joint {clocks[0]} to turn evenly, got a motion that was retimed. {advice}")
        return file.rows[first : end + 1], fps
    return file.rows[first : end + 1], fps if fps is not None else _rate_near(written / step)


def _rate_near(fps: float) -> float:
    """The rate to the digits that a clock of float32 tells."""
    rounded = round(fps, 2)
    return rounded if abs(rounded - fps) < 1e-3 * fps else fps
