"""BVH, the motion-capture text format, both ways: skeletons and curves, without a mesh.

Convention:
    Centimetres and degrees, y up, z backward (this package's axes turned by half a turn about x). A joint ``hands``
    that never moves carries ``left_wrist`` and ``right_wrist``, which have three position and three rotation channels;
    all other joints have three rotation channels, ``Zrotation Xrotation Yrotation``: R = Rz Rx Ry. Bone offsets are
    those of the hand's own shape, from which reading finds ``betas`` again.

    Lost are the mesh, captions, and which hand was seen when.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import PARENTS, Array, Side, load_asset
from hand_geometry.errors import MotionFileError
from hand_geometry.exporting.rig import JOINT_NAMES, SIDES, TIP_PARENTS, HandRig, build_clip
from hand_geometry.files import write_bytes
from hand_geometry.poses import relaxed_hand

_CM = 100.0
_FLIP = np.array([1.0, -1.0, -1.0])
_POSITIONS = ("Xposition", "Yposition", "Zposition")
_ROTATIONS = ("Zrotation", "Xrotation", "Yrotation")
_LARGEST = 1e9  # centimetres or degrees: beyond them float32 holds nothing
_SAME_BONES = 1e-3  # metres between a file's bones and the hand model's


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
        _joint(lines, columns, rig, 0, "  ")
    lines += ["}", "MOTION", f"Frames: {clip.frames}", f"Frame Time: {1 / clip.fps:.9f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in np.concatenate(columns, 1)]
    return write_bytes(path, ("\n".join(lines) + "\n").encode(), ".bvh")


def _joint(lines: list[str], columns: list[Array], rig: HandRig, joint: int, indent: str) -> None:
    """Append a joint, its channels' values, and all below it."""
    offset = np.zeros(3) if joint == 0 else rig.bones[joint]
    channels = (*(_POSITIONS if joint == 0 else ()), *_ROTATIONS)
    lines += [f"{indent}JOINT {rig.side}_{JOINT_NAMES[joint]}", f"{indent}{{", f"{indent}  OFFSET {_offset(offset)}"]
    lines.append(f"{indent}  CHANNELS {len(channels)} {' '.join(channels)}")
    if joint == 0:
        columns.append(rig.wrist * _FLIP * _CM)
    vectors = Rotation.from_quat(rig.rotations[:, joint]).as_rotvec() * _FLIP
    columns.append(_euler(Rotation.from_rotvec(vectors)))
    for child in range(1, 16):
        if PARENTS[child] == joint:
            _joint(lines, columns, rig, child, indent + "  ")
    for tip, parent in enumerate(TIP_PARENTS):
        if parent == joint:
            end = _offset(rig.tips[tip] - rig.joints[joint])
            lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {end}", f"{indent}  }}"]
    lines.append(f"{indent}}}")


def _offset(metres: Array) -> str:
    return " ".join(f"{value:.6f}" for value in metres * _FLIP * _CM)


def _euler(rotation: Rotation) -> Array:
    """Degrees of R = Rz Rx Ry, (T, 3), unwrapped so that curves do not jump."""
    x, y, z = np.moveaxis(rotation.as_matrix(), 0, -1)  # rows of the matrices, each (3, T)
    middle = np.arcsin(np.clip(z[1], -1, 1))
    locked = np.abs(z[1]) > 1 - 1e-12  # the outer axes coincide: only their sum counts
    first = np.where(locked, np.arctan2(y[0], x[0]), np.arctan2(-x[1], y[1]))
    last = np.where(locked, 0.0, np.arctan2(-z[0], z[2]))
    return np.degrees(np.unwrap(np.stack([first, middle, last], 1), axis=0))


def load_bvh(path: str | os.PathLike[str], *, model: str | os.PathLike[str] = "default") -> dict[str, Any]:
    """Read a motion from a BVH file with this package's joint names, in any order of channels.

    Args:
        path: The file; centimetres, y up.
        model: The hand whose ``betas`` are found from the bones' offsets.

    Returns:
        As ``load_motion``. ``betas`` are zero where no shape of the model has the file's bones. A hand that is not in
        the file is a relaxed hand, marked unseen.

    Raises:
        MotionFileError: If the file is missing, broken, or of another skeleton.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8", errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        raise MotionFileError(f"{file}: Expected a BVH file, got none that can be read ({error}).") from error
    try:
        offsets, layout, rows, fps = _parsed(text)
        return _motion(offsets, layout, rows, fps, model)
    except (ValueError, IndexError, KeyError) as error:
        raise MotionFileError(f"{file}: {error} Write it again with save_bvh.") from error


def _parsed(text: str) -> tuple[dict[str, Array], list[tuple[str, str]], Array, float]:
    """Offset of each joint, (joint, channel) of each column, the rows, and the rate."""
    head, found, tail = text.partition("MOTION")
    words = tail.split()
    if not found or words[:1] != ["Frames:"] or words[2:4] != ["Frame", "Time:"]:
        raise ValueError("Expected HIERARCHY, then MOTION with Frames and Frame Time, got a file without.")
    offsets: dict[str, Array] = {}
    layout: list[tuple[str, str]] = []
    name = ""
    for line in head.splitlines():
        part = line.split()
        if not part:
            continue
        if part[0] in ("ROOT", "JOINT"):
            name = part[1]
        elif part[0] == "End":
            name = ""
        elif part[0] == "OFFSET" and name:
            offsets[name] = np.array([float(value) for value in part[1:4]])
        elif part[0] == "CHANNELS":
            layout += [(name, channel) for channel in part[2 : 2 + int(part[1])]]
    frames, seconds = int(words[1]), float(words[4])
    if frames < 1 or not 1e-5 < seconds < 1e5:
        raise ValueError(f"Expected at least one frame and a positive frame time, got {frames} and {seconds}.")
    if len(words) - 5 != frames * len(layout):
        raise ValueError(f"Expected {frames} rows of {len(layout)} numbers, got {len(words) - 5} numbers.")
    rows = np.array(words[5:], np.float64).reshape(frames, len(layout))
    if any(offset.shape != (3,) for offset in offsets.values()):
        raise ValueError("Expected three numbers in each OFFSET, got fewer.")
    values = np.concatenate([rows.ravel(), *offsets.values()])
    if not (np.abs(values) < _LARGEST).all():
        raise ValueError(f"Expected finite numbers below {_LARGEST:.0e}, got others.")
    return offsets, layout, rows, round(1 / seconds, 6)


def _motion(
    offsets: dict[str, Array],
    layout: list[tuple[str, str]],
    rows: Array,
    fps: float,
    model: str | os.PathLike[str],
) -> dict[str, Any]:
    column = {key: k for k, key in enumerate(layout)}
    orders: dict[str, list[str]] = {name: [] for name in offsets}
    for joint, channel in layout:
        if joint in orders and "rot" in channel:
            orders[joint].append(channel)
    if not any(f"{side}_wrist" in offsets for side in SIDES):
        raise ValueError("Expected joints named left_wrist or right_wrist, got none.")
    hands = []
    for side in SIDES:
        if f"{side}_wrist" not in offsets:
            rest = {name: np.tile(value.numpy(), (len(rows), *[1] * value.ndim))
                    for name, value in relaxed_hand(side).items()}  # fmt: skip
            hands.append((rest["global_orient"], rest["hand_pose"], rest["transl"], np.zeros(10), False))
            continue
        rotations = []
        for name in (f"{side}_{joint}" for joint in JOINT_NAMES):
            degrees = np.stack([rows[:, column[name, channel]] for channel in orders[name]], 1)
            axes = "".join(channel[0].upper() for channel in orders[name])
            rotations.append(Rotation.from_euler(axes, degrees, degrees=True).as_rotvec() * _FLIP)
        wrist = np.stack([rows[:, column[f"{side}_wrist", channel]] for channel in _POSITIONS], 1) * _FLIP / _CM
        bones = np.stack([offsets[f"{side}_{joint}"] for joint in JOINT_NAMES[1:]]) * _FLIP / _CM
        betas, rest_wrist = shape_of_bones(side, bones, model)
        hands.append((rotations[0], np.stack(rotations[1:], 1), wrist - rest_wrist, betas, True))
    orient, pose, transl, betas, seen = zip(*hands, strict=True)
    return {
        "global_orient": np.stack(orient, 1).astype(np.float32),
        "hand_pose": np.stack(pose, 1).astype(np.float32),
        "transl": np.stack(transl, 1).astype(np.float32),
        "betas": np.stack(betas).astype(np.float32),
        "valid": np.tile(np.array(seen), (len(rows), 1)),
        "fps": fps,
        "captions": [],
    }


def shape_of_bones(side: Side, bones: Array, model: str | os.PathLike[str]) -> tuple[Array, Array]:
    """``betas`` (10,) whose bones are nearest, and the rest wrist of that shape; zeros if none is near."""
    asset = load_asset(os.fspath(model), side)
    parents = list(PARENTS[1:])
    per_beta = np.einsum("jv,vcb->jcb", asset.joint_regressor, asset.shapedirs[..., :10])
    rest = asset.rest_joints
    system = (per_beta[1:] - per_beta[parents]).reshape(45, -1)
    betas = np.linalg.lstsq(system, (bones - rest[1:] + rest[parents]).ravel(), rcond=1e-6)[0]
    shaped = rest + per_beta @ betas
    if np.linalg.norm(shaped[1:] - shaped[parents] - bones, axis=1).max() > _SAME_BONES:
        betas, shaped = np.zeros_like(betas), rest
    out = np.zeros(10)
    out[: len(betas)] = betas
    return out, shaped[0]
