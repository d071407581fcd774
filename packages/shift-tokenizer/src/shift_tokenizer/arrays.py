"""Clips and tokens in plain NumPy files, for the command line; nothing is ever unpickled."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FileFormatError
from .files import write_atomic
from .layout import FEATURES, HANDS
from .windows import Clip

SUFFIXES = (".npy", ".npz")


def find_files(paths: list[Path]) -> list[Path]:
    """The .npy and .npz files among paths, and those in folders among them, sorted.

    Raises:
        FileFormatError: there are none.
    """
    found = [p for path in paths for p in (sorted(path.iterdir()) if path.is_dir() else [path])]
    files = [p for p in found if p.suffix in SUFFIXES]
    if not files:
        names = ", ".join(map(str, paths))
        raise FileFormatError(f"Expected .npy or .npz files in {names}, got none. Check the paths.")
    return files


def read_clip(path: Path, step: int) -> Clip:
    """Reads a clip, and repeats its last frame, as not valid, until its length is a multiple of `step`.

    Args:
        path: .npy with features (T, 198); or .npz with "features", and optionally "valid" (T, 2) and "source".
        step: frames per latent.

    Raises:
        FileFormatError: the file is missing, corrupt, pickled, or holds something else.
    """
    arrays = _load(path, "features")
    features = np.asarray(arrays["features"])
    if features.ndim != 2 or features.shape[1] != FEATURES or not len(features) or features.dtype.kind != "f":
        raise FileFormatError(
            f"{path}: expected features (T, {FEATURES}) of floats, got {features.shape} {features.dtype}. Convert it."
        )
    valid = np.asarray(arrays.get("valid", np.ones((len(features), HANDS), bool))).astype(bool)
    if valid.shape != (len(features), HANDS):
        raise FileFormatError(f"{path}: expected valid {(len(features), HANDS)}, got {valid.shape}. One flag per hand.")
    return {"clip_id": path.stem, "source": str(arrays.get("source", "")), **fill_step(features, valid, step)}


def fill_step(features: np.ndarray, valid: np.ndarray, step: int) -> dict[str, np.ndarray]:
    """Repeats the last frame, as not valid, until the length is a multiple of `step`: "features" and "valid"."""
    missing = -len(features) % step
    return {
        "features": np.concatenate([features, np.repeat(features[-1:], missing, 0)]).astype(np.float32),
        "valid": np.concatenate([valid, np.zeros((missing, HANDS), bool)]),
    }


def read_tokens(path: Path) -> np.ndarray:
    """Reads tokens (L, n_slots) from .npy, or from "tokens" in .npz.

    Raises:
        FileFormatError: the file is missing, corrupt, or holds no integers.
    """
    tokens = np.asarray(_load(path, "tokens")["tokens"])
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
        raise FileFormatError(
            f"{path}: expected tokens (L, n_slots) of integers, got {tokens.shape} of {tokens.dtype}. Convert it."
        )
    return tokens.astype(np.int64)


def write_array(path: Path, name: str, array: np.ndarray) -> None:
    """Writes one array to .npy, or under its name to .npz, whole or not at all."""
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {name: array}
        np.savez_compressed(buffer, **arrays)
    else:
        np.save(buffer, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())


def _load(path: Path, name: str) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {name: loaded}
        with loaded:
            arrays = {key: loaded[key] for key in loaded.files if key in (name, "valid", "source")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(
            f"{path}: expected a NumPy file without pickles, got: {error}. Check the file."
        ) from error
    if name not in arrays:
        raise FileFormatError(f"{path}: expected an array named {name!r}, got none. Save it under that name.")
    return arrays
