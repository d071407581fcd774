"""Motion features: 198 numbers a frame for two hands, and the way back to MANO parameters.

Convention:
    ``features (..., T, 198)`` = left hand's 99 numbers, then the right's. Each hand is
    ``[global_orient 6D (6) | hand_pose 15 x 6D (90) | transl (3)]``. 6D is the first two rows of the rotation
    matrix, row after row: no rotation is ``[1, 0, 0, 0, 1, 0]``; a quarter turn about z is ``[0, -1, 0, 1, 0,
    0]``. Parameters are a dict of ``global_orient (..., T, 2, 3)``, ``hand_pose (..., T, 2, 15, 3)``
    (axis-angle, absolute) and ``transl (..., T, 2, 3)`` (metres). Hands: index 0 left, 1 right.
    Canonical motion has its origin in the middle between the two wrists in the first frame in which both hands are
    seen: frame 0, if none is hidden. Where they are never seen together it is the wrist of the hand that is seen first,
    in the first frame in which it is; where no hand is ever seen the motion stays where it is.
    NumPy arrays in, NumPy arrays out; tensors in, tensors out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hand_geometry.assets import load_asset
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.rotations import axis_angle_to_rotation_6d, rotation_6d_to_axis_angle, slerp

HAND_FEATURES = 99
FEATURES = 198
PARAMETERS = ("global_orient", "hand_pose", "transl")
_TAILS = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "transl": (2, 3)}

ArrayLike = TypeVar("ArrayLike", np.ndarray, Tensor)
Function = TypeVar("Function", bound=Callable[..., Any])


def known_to_compilers(function: Function) -> Function:
    """`torch.compiler.assume_constant_result` without importing the compiler, which takes longer than torch itself."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def features_to_params(features: ArrayLike) -> dict[str, ArrayLike]:
    """MANO parameters of motion features.

    Args:
        features: Shape (..., T, 198).

    Returns:
        ``global_orient`` (..., T, 2, 3), ``hand_pose`` (..., T, 2, 15, 3), ``transl`` (..., T, 2, 3).

    Raises:
        ShapeError: If the last axis is not 198.
    """
    x = as_tensor(features)
    check_features(x)
    hands = x.unflatten(-1, (2, HAND_FEATURES))
    rotations = rotation_6d_to_axis_angle(hands[..., :96].unflatten(-1, (16, 6)))
    params = {
        "global_orient": rotations[..., 0, :],
        "hand_pose": rotations[..., 1:, :],
        "transl": hands[..., 96:],
    }
    return {name: like(value, features) for name, value in params.items()}


def params_to_features(params: Mapping[str, ArrayLike]) -> ArrayLike:
    """Motion features of MANO parameters; the inverse of ``features_to_params``.

    Args:
        params: ``global_orient`` (..., T, 2, 3), ``hand_pose`` (..., T, 2, 15, 3), ``transl`` (..., T, 2, 3).
            Other entries are ignored.

    Returns:
        Shape (..., T, 198).

    Raises:
        InputError: If an entry is missing.
        ShapeError: If an entry has the wrong shape.
    """
    orient, pose, transl = check_params(params)
    rotations = torch.cat([orient[..., None, :], pose], -2)  # (..., 2, 16, 3)
    hands = torch.cat([axis_angle_to_rotation_6d(rotations).flatten(-2), transl], -1)
    return like(hands.flatten(-2), params["transl"])


def canonicalize(params: Mapping[str, Any], valid: Any = None) -> dict[str, Any]:
    """Move both hands so that the canonical origin, see ``canonical_origin``, is the origin.

    Args:
        params: Parameters of the open hand in its mean shape; the time axis of ``transl`` is its third last.
        valid: Which hands were seen, shape (..., T, 2) bool; None takes the motion's own ``valid``, or all.

    Returns:
        A copy with the new ``transl``; every other entry is passed on.

    Raises:
        InputError: If an entry is missing or the motion has no frames.
        ShapeError: If ``valid`` does not fit.
    """
    transl = check_params(params)[2]
    origin = as_tensor(canonical_origin(params, valid))[..., None, None, :]
    return {**params, "transl": like(transl - origin, params["transl"])}


def canonical_origin(params: Mapping[str, Any], valid: Any = None) -> Any:
    """The origin of the canonical frame: what ``canonicalize`` subtracts and ``uncanonicalize`` adds.

    It is the middle between the wrists in the first frame in which both hands are seen; where they never are, the wrist
    of the hand that is seen first, in the first frame in which it is; where no hand ever is, zero. What stands in the
    frames of a hand that was not seen changes nothing.

    Args:
        params: Parameters of the open hand in its mean shape; the time axis of ``transl`` is its third last.
        valid: Which hands were seen, shape (..., T, 2) bool; None takes the motion's own ``valid``, or all.

    Returns:
        Shape (..., 3), metres.

    Raises:
        InputError: If an entry is missing or the motion has no frames.
        ShapeError: If ``valid`` does not fit.
    """
    transl = check_params(params)[2]
    if transl.ndim < 3 or transl.shape[-3] == 0:
        raise InputError(f"transl: Expected at least one frame, got shape {tuple(transl.shape)}. Pass (T, 2, 3).")
    flags = params.get("valid") if valid is None else valid
    if flags is None:
        seen = transl.new_ones(transl.shape[:-1], dtype=torch.bool)
    else:
        seen = as_tensor(flags, keep_dtype=True).bool().to(transl.device)
        if seen.shape != transl.shape[:-1]:
            raise ShapeError("valid", str(tuple(transl.shape[:-1])), tuple(seen.shape), "One flag a frame and hand.")
    both, one = seen.all(-1), seen.any(-1)
    wanted = torch.where(both.any(-1, keepdim=True), both, one)  # (..., T)
    frame = wanted.to(torch.uint8).argmax(-1)[..., None, None]  # the first of the largest
    counts = seen.gather(-2, frame.expand(*frame.shape[:-1], 2))[..., 0, :, None]  # (..., 2, 1)
    at = frame[..., None].expand(*frame.shape[:-2], 1, 2, 3)
    wrists = (transl + rest_wrists(transl)).gather(-3, at)[..., 0, :, :]
    total = torch.where(counts, wrists, torch.zeros_like(wrists)).sum(-2)
    return like(total / counts.sum(-2).clamp(min=1).to(total.dtype), params["transl"])


def uncanonicalize(params: Mapping[str, Any], origin: Any) -> dict[str, Any]:
    """Move a canonical motion back to where it came from; the inverse of ``canonicalize``.

    Args:
        params: Parameters with ``transl`` (..., T, 2, 3).
        origin: What ``canonical_origin`` gave before, shape (..., 3), metres.

    Returns:
        A copy with the new ``transl``; every other entry is passed on.

    Raises:
        InputError: If an entry is missing.
        ShapeError: If ``origin`` does not fit.
    """
    transl, place = check_params(params)[2], as_tensor(origin)
    if place.shape != (*transl.shape[:-3], 3):
        raise ShapeError("origin", str((*transl.shape[:-3], 3)), tuple(place.shape), "See canonical_origin.")
    return {**params, "transl": like(transl + place[..., None, None, :].to(transl), params["transl"])}


def mirror_features(features: ArrayLike) -> ArrayLike:
    """Reflect a motion in the plane x = 0: the left hand does what the right did, and the other way round.

    Args:
        features: Shape (..., 198).

    Returns:
        Shape (..., 198). Applied twice it is the identity.
    """
    x = as_tensor(features)
    check_features(x)
    signs = mirror_signs(x)
    return like((x.unflatten(-1, (2, HAND_FEATURES)).flip(-2) * signs).flatten(-2), features)


def mirror_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Reflect a motion in the plane x = 0, as parameters; hands, ``betas`` and ``valid`` change places.

    Args:
        params: ``global_orient`` (..., T, 2, 3), ``hand_pose`` (..., T, 2, 15, 3), ``transl`` (..., T, 2, 3),
            optionally ``betas`` (..., 2, B) and ``valid`` (..., T, 2). Other entries are passed on.

    Returns:
        A reflected copy. Applied twice it is the identity.

    Raises:
        InputError: If an entry is missing.
        ShapeError: If an entry has the wrong shape.
    """
    orient, pose, transl = check_params(params)
    axial, point = orient.new_tensor([1.0, -1.0, -1.0]), transl.new_tensor([-1.0, 1.0, 1.0])
    mirrored = {
        "global_orient": orient.flip(-2) * axial,
        "hand_pose": pose.flip(-3) * axial,
        "transl": transl.flip(-2) * point,
    }
    for name, axis in (("betas", -2), ("valid", -1)):
        if name in params:
            mirrored[name] = as_tensor(params[name], keep_dtype=True).flip(axis)
    return {**params, **{name: like(value, params[name]) for name, value in mirrored.items()}}


def mirror_signs(like_this: Tensor) -> Tensor:
    """Factor of each of one hand's 99 features under the reflection in x, shape (99,).

    A rotation R becomes S R S with S = diag(-1, 1, 1): of its first two rows, entries 01, 02 and 10 change
    sign.
    """
    rotation = like_this.new_tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0]).repeat(16)
    return torch.cat([rotation, like_this.new_tensor([-1.0, 1.0, 1.0])])


def resample_params(params: Mapping[str, Any], fps_from: float, fps_to: float) -> dict[str, Any]:
    """Change the frame rate: rotations along great arcs, translations along lines.

    Args:
        params: Parameters with the time axis first: ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3),
            ``transl`` (T, 2, 3), optionally ``valid`` (T, 2) bool. Other entries are passed on.
        fps_from: Frame rate of the input.
        fps_to: Frame rate wanted.

    Returns:
        Parameters of ``floor((T - 1) * fps_to / fps_from) + 1`` frames from the same first frame on. A new
        frame is valid where the frames that it was made from are. An entry ``fps`` is updated.

    Raises:
        InputError: If a rate is not positive or the motion has no frames.
    """
    if not (fps_from > 0 and fps_to > 0):
        raise InputError(f"fps: Expected positive rates, got {fps_from} and {fps_to}. Pass frames per second.")
    orient, pose, transl = check_params(params)
    frames = transl.shape[0]
    if transl.ndim != 3 or frames == 0:
        raise InputError(f"transl: Expected shape (T, 2, 3) with T >= 1, got {tuple(transl.shape)}. Pass one clip.")
    out = dict(params)
    if "fps" in out:
        out["fps"] = fps_to
    if fps_from == fps_to:
        return out
    count = int(np.floor((frames - 1) * fps_to / fps_from + 1e-6)) + 1
    times = np.minimum(np.arange(count) * (fps_from / fps_to), frames - 1)
    before = np.minimum(np.floor(times + 1e-9).astype(int), frames - 1)
    share = np.clip(times - before, 0.0, 1.0)
    after = np.minimum(before + (share > 1e-6), frames - 1)  # a frame that stays must not meet its neighbour's NaN
    weight = torch.tensor(share, dtype=transl.dtype)
    out["global_orient"] = like(slerp(orient[before], orient[after], weight[:, None]), params["global_orient"])
    out["hand_pose"] = like(slerp(pose[before], pose[after], weight[:, None, None]), params["hand_pose"])
    out["transl"] = like(torch.lerp(transl[before], transl[after], weight[:, None, None]), params["transl"])
    if "valid" in params:
        valid = as_tensor(params["valid"], keep_dtype=True).bool()
        out["valid"] = like(valid[before] & valid[after], params["valid"])
    return out


def as_tensor(value: np.ndarray | Tensor, keep_dtype: bool = False) -> Tensor:
    """``value`` as a tensor of float32 or float64; no copy if it is one."""
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    if keep_dtype or tensor.dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        return tensor
    return tensor.float()


def like(tensor: Tensor, example: np.ndarray | Tensor) -> Any:
    """``tensor`` as the kind of ``example``: a tensor or a NumPy array."""
    return tensor if isinstance(example, Tensor) else tensor.detach().cpu().numpy()


def check_features(features: Tensor) -> None:
    """Raise ``ShapeError`` unless the last axis holds 198 features."""
    if features.ndim < 1 or features.shape[-1] != FEATURES:
        raise ShapeError("features", "(..., 198)", tuple(features.shape), "Left 99 then right 99 (see the README).")


@lru_cache(maxsize=16)
def _rest_wrists(dtype: torch.dtype, device: torch.device) -> Tensor:
    wrists = np.stack([load_asset("default", "left").rest_joints[0], load_asset("default", "right").rest_joints[0]])
    return torch.tensor(wrists, dtype=dtype, device=device)


@known_to_compilers
def _constant_wrists(dtype: torch.dtype, device: torch.device) -> Tensor:
    return _rest_wrists(dtype, device)


def rest_wrists(like_this: Tensor) -> Tensor:
    """Rest wrist of the open left and right hand, shape (2, 3), of the tensor's dtype and device."""
    return _constant_wrists(like_this.dtype, like_this.device)


def check_params(params: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """``global_orient``, ``hand_pose`` and ``transl`` of a motion as tensors.

    Raises:
        InputError: If an entry is missing.
        ShapeError: If an entry has the wrong shape.
    """
    missing = [name for name in PARAMETERS if name not in params]
    if missing:
        raise InputError(f"params: Expected {', '.join(PARAMETERS)}, got no {', '.join(missing)}. Add them.")
    tensors = [as_tensor(params[name]) for name in PARAMETERS]
    lead = tensors[0].shape[:-2]
    for name, tensor in zip(PARAMETERS, tensors, strict=True):
        tail = _TAILS[name]
        if tuple(tensor.shape) != (*lead, *tail):
            expected = f"(..., T, {', '.join(map(str, tail))}) with leading axes {tuple(lead)}"
            raise ShapeError(f"params[{name!r}]", expected, tuple(tensor.shape))
    return tensors[0], tensors[1], tensors[2]
