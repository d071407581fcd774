"""Reading back the motions that ``save_usd`` wrote. Needs the extra ``hand-geometry[usd]`` (usd-core).

The file's own layer is read and nothing else: references, payloads and sublayers are not followed. What is read are the
skeletons ``/motion/left_hand/skeleton`` and ``/motion/right_hand/skeleton``, their animation and the hands' visibility.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import PARENTS, Array, Side
from hand_geometry.errors import MissingDependencyError, MotionFileError
from hand_geometry.exporting.bones import shape_of_bones
from hand_geometry.exporting.rig import JOINT_NAMES, SIDES
from hand_geometry.poses import relaxed_hand


def load_usd(path: str | os.PathLike[str], *, model: str | os.PathLike[str] = "default") -> dict[str, Any]:
    """Read a motion from a ``.usd``, ``.usda`` or ``.usdc`` of ``save_usd``.

    Args:
        path: The file.
        model: The hand whose ``betas`` are found from the bones.

    Returns:
        As ``load_motion``, without captions. ``betas`` are zero where no shape of the model has the file's bones. A
        hand that is not in the file is a relaxed hand, marked unseen.

    Raises:
        MissingDependencyError: If usd-core is not installed.
        MotionFileError: If the file is missing or broken, or is not a motion of this package.
    """
    try:
        from pxr import Sdf
    except ImportError as error:
        raise MissingDependencyError("usd-core", "Reading USD", "usd") from error
    file = Path(path)
    if not file.is_file():
        raise MotionFileError(f"{file}: Expected a USD file, got no such file. Check the path.")
    try:
        layer = Sdf.Layer.OpenAsAnonymous(str(file))
        if layer is None:
            raise ValueError("Expected a USD file, got one that cannot be read.")
        return _motion(layer, model)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:300]
        raise MotionFileError(f"{file}: {reason} Only USD that save_usd wrote is read; write it again.") from error


def _motion(layer: Any, model: str | os.PathLike[str]) -> dict[str, Any]:
    hands = [side for side in SIDES if layer.GetPrimAtPath(f"/motion/{side}_hand/skeleton")]
    if not hands:
        raise ValueError("Expected /motion/left_hand/skeleton or /motion/right_hand/skeleton, got neither.")
    turn = _value(layer, "/motion.xformOp:rotateX")
    if list(_value(layer, "/motion.xformOpOrder")) != ["xformOp:rotateX"] or turn != 180.0:
        raise ValueError("Expected /motion turned by 180 degrees about x and nothing else, got another transform.")
    clips = {side: _hand(layer, side, model) for side in hands}
    frames = len(next(iter(clips.values()))["transl"])
    if any(len(clip["transl"]) != frames for clip in clips.values()):
        raise ValueError("Expected as many frames of both hands, got different numbers.")
    for side in set(SIDES) - set(hands):
        rest = {name: value.numpy() for name, value in relaxed_hand(side).items()}
        rest = {name: np.tile(value, (frames, *[1] * value.ndim)) for name, value in rest.items()}
        clips[side] = rest | {"betas": np.zeros(10), "valid": np.zeros(frames, np.bool_)}
    axis = {"global_orient": 1, "hand_pose": 1, "transl": 1, "valid": 1, "betas": 0}
    out: dict[str, Any] = {name: np.stack([clips[side][name] for side in SIDES], k) for name, k in axis.items()}
    out = {name: value if name == "valid" else value.astype(np.float32) for name, value in out.items()}
    fps = float(layer.timeCodesPerSecond)
    if not (0 < fps < 1e5 and all(np.isfinite(value).all() for value in out.values())):
        raise ValueError(f"Expected finite curves at a positive rate, got others, at {fps} frames per second.")
    return out | {"fps": fps, "captions": []}


def _hand(layer: Any, side: Side, model: str | os.PathLike[str]) -> dict[str, Array]:
    home = f"/motion/{side}_hand"
    wanted = [f"{side}_{name}" for name in JOINT_NAMES]
    rest = _ordered(layer, f"{home}/skeleton", wanted)
    bind = np.array([np.array(m) for m in _value(layer, f"{home}/skeleton.bindTransforms")])[rest][:, 3, :3]
    shape = shape_of_bones(side, bind[1:] - bind[list(PARENTS[1:])], model)
    moving = _ordered(layer, f"{home}/skeleton/motion", wanted)
    shifts = _curve(layer, f"{home}/skeleton/motion.translations", 3)[:, moving[0]]
    turns = _curve(layer, f"{home}/skeleton/motion.rotations", 4)[:, moving]  # x, y, z, w
    if len(shifts) != len(turns):
        raise ValueError(f"Expected as many rotations as translations, got {len(turns)} and {len(shifts)}.")
    vectors = Rotation.from_quat(turns.reshape(-1, 4)).as_rotvec().reshape(-1, 16, 3)
    return {
        "global_orient": vectors[:, 0],
        "hand_pose": vectors[:, 1:],
        "transl": shifts - bind[0],
        "betas": shape.betas,
        "valid": _seen(layer, f"{home}.visibility", len(shifts)),
    }


def _ordered(layer: Any, prim: str, wanted: list[str]) -> list[int]:
    """Where this package's joints stand among a prim's ``joints``."""
    names = [str(name).rpartition("/")[2] for name in _value(layer, f"{prim}.joints")]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(f"Expected the joints of this package's hand in {prim}, got no {missing[0]}.")
    return [names.index(name) for name in wanted]


def _curve(layer: Any, path: str, width: int) -> Array:
    """A value on each frame from 0, shape (T, joints, width)."""
    times = layer.ListTimeSamplesForPath(path)
    if not times or list(times) != [float(t) for t in range(len(times))]:
        raise ValueError(f"Expected {path} on each frame from 0, got {len(times)} keys elsewhere.")
    values = np.stack([np.array(layer.QueryTimeSample(path, t), np.float64) for t in times])
    if values.ndim != 3 or values.shape[2] != width:
        raise ValueError(f"Expected {path} of {width} numbers a joint, got shape {values.shape}.")
    return values


def _seen(layer: Any, path: str, frames: int) -> Any:
    """In which frames a hand is visible: each key holds until the next."""
    seen = np.ones(frames, np.bool_)
    for time in layer.ListTimeSamplesForPath(path):
        seen[max(0, int(np.ceil(time))) :] = str(layer.QueryTimeSample(path, time)) != "invisible"
    return seen


def _value(layer: Any, path: str) -> Any:
    attribute = layer.GetAttributeAtPath(path)
    if attribute is None or attribute.default is None:
        raise ValueError(f"Expected {path}, got none.")
    return attribute.default
