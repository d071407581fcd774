"""Plain NumPy files: features and tokens with their rate; nothing is ever unpickled."""

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import write_beside
from .errors import ConfigError, FileFormatError
from .rates import DEFAULT_FPS, same_rate

logger = logging.getLogger(__name__)

SUFFIXES = (".npy", ".npz")
_READ = ("features", "valid", "source", "fps", "tokens")  # of .npz files; other arrays are left alone


def load_arrays(path: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of a .npy file, as one of that name, or of a .npz file, those that this package knows.

    Raises:
        FileFormatError: the file is missing, corrupt or pickled.
    """
    try:
        loaded = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {name: loaded}
        with loaded:
            return {key: loaded[key] for key in loaded.files if key in _READ}
    except Exception as error:  # the text of a broken header raises nearly anything
        raise FileFormatError(
            f"{path}: expected a NumPy file without pickles, got: {error}. Check the file."
        ) from error


def rate_of(arrays: Mapping[str, np.ndarray], path: Path) -> float:
    """Frames a second that the arrays of a file tell; DEFAULT_FPS, with a warning, where they tell none.

    Raises:
        FileFormatError: "fps" is not one positive number.
    """
    if "fps" not in arrays:
        logger.warning("%s tells no rate: taken as %g frames a second", path, DEFAULT_FPS)
        return DEFAULT_FPS
    fps = np.asarray(arrays["fps"])
    if fps.size != 1 or fps.dtype.kind not in "fiu" or not 0 < float(fps.reshape(())) < np.inf:
        raise FileFormatError(f"{path}: expected fps as one positive number, got {fps!r}. Correct it.")
    return float(fps.reshape(()))


def read_tokens(path: Path) -> tuple[np.ndarray, float]:
    """Reads tokens (L, n_slots) from .npy, or from "tokens" in .npz, and the rate of the motion that they stand for.

    Raises:
        FileFormatError: the file is missing, corrupt, or holds no integers.
    """
    arrays = load_arrays(path, "tokens")
    if "tokens" not in arrays:
        raise FileFormatError(f"{path}: expected an array named 'tokens', got none. Save it under that name.")
    tokens = np.asarray(arrays["tokens"])
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
        raise FileFormatError(
            f"{path}: expected tokens (L, n_slots) of integers, got {tokens.shape} of {tokens.dtype}. Convert it."
        )
    return tokens.astype(np.int64), rate_of(arrays, path)


def check_out(path: Path, fps: float) -> None:
    """Raises ConfigError unless arrays of this rate can be written to the path: .npz, or .npy at the default rate."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends in .npz or .npy, got {path.suffix!r}. Rename it.")
    if path.suffix == ".npy" and not same_rate(fps, DEFAULT_FPS):
        raise ConfigError(
            f"{path}: expected .npz, which tells the rate of {fps:g} frames a second, got .npy, which is read as "
            f"{DEFAULT_FPS:g}. Rename it."
        )


def write_array(path: Path, name: str, array: np.ndarray, fps: float) -> None:
    """Writes an array to .npy, or under its name, with "fps", to .npz; whole or not at all.

    Raises:
        ConfigError: see `check_out`.
        ShiftTokenizerError: the disk refuses.
    """
    check_out(path, fps)
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {name: array, "fps": np.array(float(fps))}
        np.savez_compressed(buffer, **arrays)
    else:
        np.save(buffer, array, allow_pickle=False)
    with write_beside(path) as part:
        part.write_bytes(buffer.getvalue())
