"""Motions on disk: one ``.npz`` of plain arrays, never a pickle, written beside the target and then renamed.

Arrays: ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), ``betas`` (2, 10),
``valid`` (T, 2) bool, ``fps`` (), ``captions`` (N,) text. Hands: index 0 left, 1 right. Metres and radians.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.assets import as_numpy
from hand_geometry.errors import InputError, MotionFileError
from hand_geometry.features import PARAMETERS, as_tensor, features_to_params
from hand_geometry.files import write_npz
from hand_geometry.plain_npz import read_npz

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
            (T, 198); NumPy or torch.
        fps: Frames per second.
        valid: Which hands were seen, shape (T, 2) bool; None for all.
        captions: What the motion shows.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is not .npz, an array is missing, not finite or of the wrong shape, or ``fps`` is
            not positive.
    """
    params = motion if isinstance(motion, Mapping) else features_to_params(as_tensor(motion))
    arrays = {name: _plain(params[name]) for name in PARAMETERS if name in params}
    arrays["betas"] = _plain(params["betas"]) if "betas" in params else np.zeros((2, 10), np.float32)
    frames = len(arrays["transl"]) if "transl" in arrays else 0
    arrays["valid"] = np.ones((frames, 2), np.bool_) if valid is None else as_numpy(valid).astype(np.bool_)
    arrays["fps"] = np.array(float(fps))
    arrays["captions"] = np.array(list(captions or []), dtype=np.str_)
    problem = _problem(arrays)
    if problem:
        raise InputError(f"motion: {problem} Correct it before it is saved.")
    return write_npz(path, arrays)


def load_motion(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a motion.

    Args:
        path: A file of ``save_motion``, or an .npz that holds the same arrays or ``features`` (T, 198). ``betas``,
            ``valid``, ``fps`` (15) and ``captions`` may be missing.

    Returns:
        ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), ``betas`` (2, 10) float32,
        ``valid`` (T, 2) bool, ``fps`` float, ``captions`` list of str.

    Raises:
        MotionFileError: If the file is missing, cannot be read, or its arrays are no motion.
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
    if "features" in arrays and "transl" not in arrays:
        try:
            arrays |= features_to_params(arrays["features"].astype(np.float32, casting="same_kind"))
        except (TypeError, ValueError) as error:
            raise MotionFileError(f"{file}: {error} Write it again with save_motion.") from error
    frames = len(arrays["transl"]) if arrays.get("transl", np.array(0)).ndim else 0
    arrays.setdefault("betas", np.zeros((2, 10), np.float32))
    arrays.setdefault("valid", np.ones((frames, 2), np.bool_))
    arrays.setdefault("fps", np.array(15.0))
    captions = arrays.get("captions", np.array([], np.str_))
    problem = _problem(arrays)
    if problem:
        raise MotionFileError(f"{file}: {problem} Write it again with save_motion.")
    return {
        **{name: arrays[name].astype(np.float32) for name in (*PARAMETERS, "betas")},
        "valid": arrays["valid"].astype(np.bool_),
        "fps": float(arrays["fps"]),
        "captions": [str(caption) for caption in captions],
    }


def _plain(value: Any) -> np.ndarray:
    return as_tensor(value).detach().cpu().float().numpy()


def _problem(arrays: Mapping[str, np.ndarray]) -> str | None:
    """What keeps the arrays from being a motion, in the form "Expected ..., got ...", or None."""
    missing = [name for name in PARAMETERS if name not in arrays]
    if missing:
        return f"Expected the arrays {', '.join(PARAMETERS)}, got no {', '.join(missing)}."
    frames = len(arrays["transl"]) if arrays["transl"].ndim else 0
    if frames == 0:
        return "Expected at least one frame, got none."
    shapes = {name: (frames, *tail) for name, tail in _TAILS.items()} | {"valid": (frames, 2)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            return f"{name}: Expected shape {shape}, got {arrays[name].shape}."
        if arrays[name].dtype.kind not in "fb" or not np.isfinite(arrays[name]).all():
            return f"{name}: Expected finite numbers, got something else."
    betas, fps = arrays["betas"], arrays["fps"]
    if betas.ndim != 2 or len(betas) != 2 or betas.dtype.kind not in "fiu" or not np.isfinite(betas).all():
        return f"betas: Expected shape (2, B), finite numbers, got {betas.shape} {betas.dtype}."
    if fps.shape != () or fps.dtype.kind not in "fiu" or not 0 < float(fps) < np.inf:
        return f"fps: Expected one positive number, got {arrays['fps']}."
    captions = arrays.get("captions", np.array([], np.str_))
    if captions.ndim != 1 or (captions.dtype.kind not in "US" and captions.size):
        return f"captions: Expected a row of texts, got {captions.shape} {captions.dtype}."
    return None
