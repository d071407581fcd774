"""Motions on disk: one ``.npz`` of plain arrays, never a pickle, written beside the target and then renamed.

Arrays: ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), ``betas`` (2, 10),
``valid`` (T, 2) bool, ``fps`` (), ``captions`` (N,) text. Hands: index 0 left, 1 right. Metres and radians.

``load_motion`` is the one reader of such files and ``save_motion`` the one writer. ``read_features`` is what other
packages find under the entry point ``shift_tokenizer.motion_readers``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.assets import as_numpy
from hand_geometry.atomic import write_npz
from hand_geometry.errors import HandGeometryError, InputError, MotionFileError, ShapeError
from hand_geometry.features import (
    HAND_FEATURES,
    PARAMETERS,
    as_tensor,
    canonicalize,
    features_to_params,
    params_to_features,
    resample_params,
)
from hand_geometry.plain_npz import read_npz
from hand_geometry.units import DEFAULT_FPS, fps_of, refuse_other_units
from hand_geometry.validity import Mask, fill_unseen, finite_hands, mask_of

_LOG = logging.getLogger(__name__)
_TAILS = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "transl": (2, 3)}


def save_motion(
    path: str | os.PathLike[str],
    motion: Any,
    *,
    fps: float,
    valid: Any = None,
    captions: Sequence[str] | None = None,
) -> Path:
    """Write a motion.

    Args:
        path: Ends in .npz. Missing folders are made.
        motion: Parameters (``global_orient``, ``hand_pose``, ``transl``, optionally ``betas`` (2, 10)) or features
            (T, 198); NumPy or torch. Numbers that are not finite in hands that were not seen are replaced, see
            ``hand_geometry.validity``.
        fps: Frames per second, 1 to 1000.
        valid: Which hands were seen, shape (T, 2), bool or zeros and ones; None takes the motion's own, or all.
        captions: What the motion shows; None takes the motion's own.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is not .npz, an array is missing, not finite where a hand was seen or of the wrong
            shape, lengths or angles are no hands' in metres and radians, or ``fps`` is out of range.
    """
    params = motion if isinstance(motion, Mapping) else features_to_params(as_tensor(motion))
    arrays = {name: _plain(params[name]) for name in (*PARAMETERS, "betas") if name in params}
    arrays["fps"] = np.array(float(fps))
    own = motion if isinstance(motion, Mapping) else {}
    words = own.get("captions") if captions is None else captions
    arrays["captions"] = np.array([] if words is None else list(words), dtype=np.str_)
    valid = own.get("valid") if valid is None else valid
    if valid is None and "transl" in arrays:
        valid = np.ones(arrays["transl"].shape[:2], np.bool_)
    try:
        return write_npz(path, _checked(arrays, valid))
    except ShapeError as error:
        raise InputError(f"motion: {error} Correct it before it is saved.") from error


def load_motion(path: str | os.PathLike[str], *, fps: float | None = None) -> dict[str, Any]:
    """Read a motion.

    Args:
        path: A file of ``save_motion``, or an .npz that holds the same arrays or ``features`` (T, 198), of any numeric
            type. ``betas`` (zeros), ``valid`` (all that is finite), ``fps`` (15, which a warning says) and ``captions``
            may be missing. ``valid`` may be bool, zeros and ones or zeros and 255s; a hand that was not seen may hold
            NaN.
        fps: Frames per second to take instead of what the file says.

    Returns:
        ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), ``betas`` (2, 10) float32,
        finite everywhere, ``valid`` (T, 2) bool, ``fps`` float, ``captions`` list of str.

    Raises:
        MotionFileError: If the file is missing, cannot be read, or its arrays are no motion in metres, radians and
            frames per second.
    """
    file = Path(path)
    if not file.is_file():
        raise MotionFileError(f"{file}: Expected a motion file, got no such file. Check the path.")
    try:
        arrays = read_npz(file)
    except (OSError, ValueError) as error:
        raise MotionFileError(
            f"{file}: Expected an .npz of plain arrays, got a file that cannot be read ({error}). Write it again."
        ) from error
    if fps is not None:
        arrays["fps"] = np.array(fps)
    elif "fps" not in arrays:
        _LOG.warning("%s: holds no fps; taken as %g frames per second.", file.name, DEFAULT_FPS)
        arrays["fps"] = np.array(DEFAULT_FPS)
    try:
        if "features" in arrays and "transl" not in arrays:
            arrays |= _params_of_features(arrays.pop("features"))
        motion = _checked(arrays, arrays.get("valid"))
    except (HandGeometryError, UnicodeDecodeError) as error:
        raise MotionFileError(f"{file}: {error} Write it again with save_motion.") from error
    return motion | {"fps": float(motion["fps"]), "captions": [str(caption) for caption in motion["captions"]]}


def read_features(path: str | os.PathLike[str], fps: float | None = None) -> dict[str, Any]:
    """Canonical motion features of a file of any format that this package reads.

    Args:
        path: ``.npz``, ``.glb``, ``.bvh``, ``.usd``, ``.npy`` or ``.pth``; see ``import_motion``.
        fps: Frames per second wanted; the motion is resampled where its own rate differs. None keeps its own.

    Returns:
        ``features`` (T, 198) float32, of open hands in the mean shape whose wrists lie where the file's do; ``valid``
        (T, 2) bool; ``fps`` float.

    Raises:
        MotionFileError: As ``import_motion``.
        InputError: If the suffix or the rate is none.
    """
    from hand_geometry.exporting import import_motion
    from hand_geometry.exporting.released import retarget_motion

    motion = import_motion(path)
    if motion["betas"].any():
        motion = retarget_motion(motion, "default")
    if fps is not None:
        motion = resample_params(motion, motion["fps"], fps_of(fps))
    features = params_to_features(canonicalize(motion))
    return {"features": features.astype(np.float32), "valid": motion["valid"], "fps": float(motion["fps"])}


def _params_of_features(features: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters; NaN where a hand's 99 numbers are all zero, which no rotation is and padding leaves behind."""
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise ShapeError("features", "(T, 198)", f"{features.shape} {features.dtype}", "Pass one clip's features.")
    params = features_to_params(features.astype(np.float32))
    empty = (features.reshape(-1, 2, HAND_FEATURES) == 0).all(-1)
    for value in params.values():
        value[empty] = np.nan
    return params


def _plain(value: Any) -> np.ndarray:
    return as_tensor(value).detach().cpu().float().numpy()


def _checked(arrays: Mapping[str, np.ndarray], valid: Any) -> dict[str, np.ndarray]:
    """The arrays of a file of this package, from arrays that people have.

    Raises:
        InputError: If they are no motion; a ``ShapeError`` where a shape is wrong.
    """
    missing = [name for name in PARAMETERS if name not in arrays]
    if missing:
        raise InputError(f"Expected the arrays {', '.join(PARAMETERS)}, got no {', '.join(missing)}.")
    frames = len(arrays["transl"]) if arrays["transl"].ndim else 0
    if frames == 0:
        raise InputError("Expected at least one frame, got none.")
    for name, tail in _TAILS.items():
        if arrays[name].shape != (frames, *tail):
            raise ShapeError(name, str((frames, *tail)), arrays[name].shape)
        if arrays[name].dtype.kind not in "fiu":
            raise InputError(f"{name}: Expected numbers, got {arrays[name].dtype}.")
    with np.errstate(over="ignore"):
        params = {name: arrays[name].astype(np.float32) for name in PARAMETERS}
    seen = _seen(params, valid, frames)
    refuse_other_units(params["global_orient"], params["hand_pose"], params["transl"], seen)
    params = fill_unseen(params, seen)
    return {**params, "betas": _betas(arrays), "valid": seen, "fps": np.array(fps_of(arrays["fps"])),
            "captions": _captions(arrays.get("captions"))}  # fmt: skip


def _seen(params: Mapping[str, np.ndarray], valid: Any, frames: int) -> Mask:
    finite = finite_hands(params)
    if valid is None:
        if not finite.any():
            raise InputError("Expected finite numbers of some hand in some frame, got none.")
        return finite
    seen = mask_of(as_numpy(valid), frames)
    wrong = np.argwhere(seen & ~finite)
    if len(wrong):
        frame, hand = wrong[0].tolist()
        names = [name for name in PARAMETERS if not np.isfinite(params[name][frame, hand]).all()]
        raise InputError(
            f"{', '.join(names)}: Expected finite numbers where valid is True, got others in {len(wrong)} hands, first "
            f"the {('left', 'right')[hand]} one of frame {frame}. Set valid to False there."
        )
    return seen


def _betas(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    betas = arrays.get("betas", np.zeros((2, 10), np.float32))
    if betas.ndim != 2 or len(betas) != 2 or betas.dtype.kind not in "fiu" or not np.isfinite(betas).all():
        raise ShapeError("betas", "(2, B), finite numbers", f"{betas.shape} {betas.dtype}", "One row a hand.")
    return betas.astype(np.float32)


def _captions(captions: np.ndarray | None) -> np.ndarray:
    """A row of texts, from texts or UTF-8 bytes, one or many."""
    if captions is None or captions.size == 0:
        return np.array([], np.str_)
    if captions.ndim > 1 or captions.dtype.kind not in "US":
        raise ShapeError("captions", "(N,) text", f"{captions.shape} {captions.dtype}", "A row of texts.")
    texts = [text.decode("utf-8") if isinstance(text, bytes) else text for text in captions.reshape(-1).tolist()]
    return np.array([text.removeprefix("\ufeff") for text in texts], np.str_)
