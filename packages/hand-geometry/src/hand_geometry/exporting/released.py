"""HaWoR's and the released CLUTCH code's motion files, both ways.

Convention:
    * The released code's ``.npy`` holds a dict of tensors ``pred_trans`` (2, T, 3), ``pred_rot`` (2, T, 3) and
      ``pred_hand_pose`` (2, T, 15, 3). HaWoR's ``world_space_res.pth`` is a joblib list of translations (2, T, 3),
      rotations (2, T, 3), hand poses (2, T, 45), betas (2, T, 10) and validity (2, T). Hands: 0 left, 1 right; absolute
      axis-angle; ``transl`` as here (``v = R (v - J0) + J0 + transl``); no frame rate (HaWoR resamples to 30).
    * Both were made with the official MANO hand, so their ``transl`` and ``betas`` are that hand's. Its rest wrist lies
      0.1 m from the open hand's. Draw them with the MANO files as ``model``, or move them to the open hand with
      ``retarget_motion``; taken as they are, the open hands stand 0.2 m too near to each other.
    * HaWoR sets its validity to 1 where it filled in a gap; which frames were observed stands in other files of it.
    * HaWoR's left hand uses shape directions whose x was mirrored (smplx issue 48), which the official left file's are
      not: ``retarget_motion`` and ``HandPair.load`` mirror them (``left_shapedirs``).

Both are pickles. They are read through an allow-list of arrays and tensors; any other content is refused.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from hand_geometry.assets import Array, Side, as_numpy
from hand_geometry.atomic import write_bytes
from hand_geometry.errors import MotionFileError
from hand_geometry.exporting.plain_pickle import read_plain_pickle
from hand_geometry.exporting.rig import SIDES, build_clip
from hand_geometry.features import PARAMETERS, as_tensor, features_to_params
from hand_geometry.sides import LeftShapedirs, load_sided
from hand_geometry.units import fps_of
from hand_geometry.validity import fill_unseen, finite_hands

HAWOR_FPS = 30.0
"""Rate of HaWoR's files and of the released code's, which are made from them."""

_LOG = logging.getLogger(__name__)

_NAMES = {"transl": "pred_trans", "global_orient": "pred_rot", "hand_pose": "pred_hand_pose"}


def save_released(path: str | os.PathLike[str], motion: Any) -> Path:
    """Write the released code's dict: ``pred_trans``, ``pred_rot``, ``pred_hand_pose``, tensors in a ``.npy``.

    Args:
        path: Ends in .npy. Missing folders are made.
        motion: Parameters or features of T frames. The values are written as they are; the format has no place for the
            rate, betas, validity and captions.

    Returns:
        The path.

    Raises:
        InputError: If the motion is not finite, has no frames, or the suffix is another.
        ShapeError: If a shape does not fit.
    """
    params = _plain(motion)
    tree = {_NAMES[name]: torch.from_numpy(params[name].swapaxes(0, 1).copy()) for name in _NAMES}
    stream = io.BytesIO()
    np.save(stream, np.array(tree, dtype=object), allow_pickle=True)
    return write_bytes(path, stream.getvalue(), ".npy")


def save_hawor(path: str | os.PathLike[str], motion: Any) -> Path:
    """Write HaWoR's list, as ``joblib.load`` reads it: tensors of translations, rotations, poses, betas, validity.

    Args:
        path: Ends in .pth. Missing folders are made.
        motion: Parameters or features of T frames, with ``betas`` (2, B) and ``valid`` (T, 2) if it has them. The
            values are written as they are; the format has no place for the rate and captions.

    Returns:
        The path.

    Raises:
        InputError: If the motion is not finite, has no frames, or the suffix is another.
        ShapeError: If a shape does not fit.
    """
    params = _plain(motion)
    frames = len(params["transl"])
    own = motion if isinstance(motion, Mapping) else {}
    betas = as_numpy(own.get("betas", np.zeros((2, 10)))).astype(np.float32)
    valid = as_numpy(own.get("valid", np.ones((frames, 2)))).astype(np.float32)
    arrays = [
        params["transl"].swapaxes(0, 1),
        params["global_orient"].swapaxes(0, 1),
        params["hand_pose"].swapaxes(0, 1).reshape(2, frames, 45),
        np.repeat(betas[:, None], frames, 1),
        valid.T,
    ]
    return write_bytes(path, pickle.dumps([torch.from_numpy(array.copy()) for array in arrays]), ".pth")


def load_released(path: str | os.PathLike[str], *, fps: float | None = None) -> dict[str, Any]:
    """Read the released code's ``.npy`` or HaWoR's ``world_space_res.pth``; told apart by what they hold.

    Args:
        path: The file.
        fps: Frames per second, which neither file holds; None takes the 30 to which HaWoR resamples every video, and
            says so in a warning.

    Returns:
        As ``load_motion``; values as they stand in the file (see the module's convention). ``betas`` are the mean over
        the valid frames. Hands with a number that is not finite, their validity included, are marked unseen and hold
        the nearest frame in which they were seen.

    Raises:
        MotionFileError: If the file is missing, broken, of another layout, or a pickle of anything but arrays.
    """
    file = Path(path)
    if fps is None:
        fps = HAWOR_FPS
        _LOG.warning("%s: its format holds no rate; taken as HaWoR's %g fps.", file.name, fps)
    fps = fps_of(fps)
    try:
        with open(file, "rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                _skip_header(stream)
            else:
                stream.seek(0)
            content = read_plain_pickle(stream)
        content = content.item() if isinstance(content, np.ndarray) and content.shape == () else content
        return _motion(content, fps, file.stat().st_size)
    except (OSError, ValueError, TypeError) as error:
        raise MotionFileError(
            f"{file}: Expected HaWoR's list or a dict of pred_trans, pred_rot, pred_hand_pose; {error}. "
            "Save plain arrays or tensors, uncompressed."
        ) from error


def _skip_header(stream: BinaryIO) -> None:
    """Pass the header of a .npy after its magic string; what follows must be the pickle of one object."""
    version = stream.read(2)
    header = stream.read(int.from_bytes(stream.read(2 if version == b"\x01\x00" else 4), "little"))
    if b"'|O'" not in header or b"'shape': ()" not in header:
        raise ValueError("got an array of numbers, or a header that cannot be read")


def retarget_motion(
    motion: Mapping[str, Any],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] = "default",
    *,
    left_shapedirs: LeftShapedirs = "auto",
) -> dict[str, Any]:
    """Give a motion made with one hand model to another: rotations and wrist positions stay, the shape is dropped.

    Args:
        motion: Parameters with ``betas`` (2, B), as ``load_motion`` returns them.
        source: The hand model that it was made with: a MANO file or a folder of both sides.
        target: The hand model that it is for.
        left_shapedirs: Which shape components of the source's left hand ``betas`` were made with, see
            ``HandPair.load``: mirrored ones in HaWoR, HOT3D and InterHand2.6M, "as-shipped" ones in ARCTIC, H2O,
            DexYCB and TACO.

    Returns:
        A copy with the ``transl`` of the target and ``betas`` zero.

    Raises:
        AssetError: If a model cannot be read.
    """
    betas = as_numpy(motion.get("betas", np.zeros((2, 10)))).astype(np.float64)
    shift = np.stack([
        _rest_wrist(side, source, betas[hand], left_shapedirs) - _rest_wrist(side, target, np.zeros(0))
        for hand, side in enumerate(SIDES)
    ])  # fmt: skip
    transl = as_numpy(motion["transl"]) + shift
    return {**motion, "transl": transl.astype(np.float32), "betas": np.zeros((2, 10), np.float32)}


def _rest_wrist(
    side: Side, model: str | os.PathLike[str], betas: Array, left_shapedirs: LeftShapedirs = "as-shipped"
) -> Array:
    asset = load_sided(os.fspath(model), side, left_shapedirs)
    used = betas[: asset.shapedirs.shape[-1]]
    wrist: Array = asset.joint_regressor[0] @ (asset.v_template + asset.shapedirs[..., : len(used)] @ used)
    return wrist


def _plain(motion: Any) -> dict[str, np.ndarray]:
    """Checked parameters, (T, 2, ...) float32."""
    params = motion if isinstance(motion, Mapping) else features_to_params(as_tensor(motion).detach().cpu())
    own = {name: as_numpy(params[name]) for name in (*PARAMETERS, "valid") if name in params}
    valid = build_clip(own, fps=HAWOR_FPS).valid  # checks the arrays; these formats hold no rate
    return {name: own[name].astype(np.float32) for name in PARAMETERS} | fill_unseen(own, valid)


def _motion(content: Any, fps: float, room: int) -> dict[str, Any]:
    """The motion in a file's content; ``room`` is the file's size, which bounds what its arrays can hold."""
    if isinstance(content, dict) and set(_NAMES.values()) <= set(content):
        arrays = {name: as_numpy(content[key]) for name, key in _NAMES.items()}
    elif isinstance(content, list | tuple) and len(content) == 5:
        names = ("transl", "global_orient", "hand_pose", "betas", "valid")
        arrays = {name: as_numpy(value) for name, value in zip(names, content, strict=True)}
    else:
        got = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"got {got}")
    for name, value in arrays.items():
        if value.dtype.kind not in "fiub" or value.size > room:
            raise ValueError(f"got {name} of {value.size} {value.dtype} in a file of {room} bytes")
    transl = arrays["transl"]
    if transl.ndim != 3 or transl.shape[0] != 2 or transl.shape[2] != 3 or transl.shape[1] == 0:
        raise ValueError(f"got translations of shape {transl.shape} instead of (2, T, 3)")
    frames = transl.shape[1]
    arrays["hand_pose"] = arrays["hand_pose"].reshape(2, -1, 15, 3)
    tails: dict[str, tuple[int, ...]] = {"global_orient": (3,), "hand_pose": (15, 3), "valid": ()}
    tails["betas"] = arrays.get("betas", np.zeros(10)).shape[-1:]
    for name, tail in tails.items():
        if name in arrays and arrays[name].shape != (2, frames, *tail):
            raise ValueError(f"got {name} of shape {arrays[name].shape} instead of {(2, frames, *tail)}")
    with np.errstate(over="ignore"):
        out: dict[str, Any] = {name: arrays[name].swapaxes(0, 1).astype(np.float32) for name in PARAMETERS}
    flags = arrays.get("valid", np.ones((2, frames))).T
    valid = (flags != 0) & np.isfinite(flags) & finite_hands(out)
    out = fill_unseen(out, valid)
    out["betas"] = _mean_shape(arrays.get("betas", np.zeros((2, frames, 10))), valid.T)
    return out | {"valid": valid, "fps": float(fps), "captions": []}


def _mean_shape(betas: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(2, T, B) over valid frames to (2, B)."""
    share = (valid & np.isfinite(betas).all(-1)).astype(np.float64)
    total = np.einsum("htb,ht->hb", np.nan_to_num(betas.astype(np.float64), posinf=0, neginf=0), share)
    mean: np.ndarray = (total / np.maximum(share.sum(1), 1)[:, None]).astype(np.float32)
    return mean
