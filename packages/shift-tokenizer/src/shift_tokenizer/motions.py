"""Motion files as clips of one rate, for the command line: files of features, or what installed readers read.

A reader is an entry point of the group `shift_tokenizer.motion_readers`: a function of a path and a rate (frames a
second; None for the file's own) that gives a mapping with "features" (T, 198), "valid" (T, 2) bool and "fps", resampled
to that rate. hand-geometry has one for its motion files. So packages meet here that do not import each other.
"""

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import SUFFIXES, load_arrays, rate_of
from .errors import FileFormatError
from .layout import FEATURES, HANDS
from .rates import same_rate
from .windows import Clip

logger = logging.getLogger(__name__)

READERS = "shift_tokenizer.motion_readers"
Reader = Callable[[Path, float | None], Mapping[str, Any]]


def find_files(paths: list[Path]) -> list[Path]:
    """The files among paths, and the .npy and .npz files in folders among them, sorted.

    Raises:
        FileFormatError: there are none.
    """
    files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path])]
    if not files:
        names = ", ".join(map(str, paths))
        raise FileFormatError(f"Expected .npy or .npz files in {names}, got none. Check the paths.")
    return files


def read_clip(path: Path, frames_per_latent: int, fps: float) -> Clip:
    """Reads a clip at a rate, and repeats its last frame, as not valid, until it is of whole latent steps.

    Args:
        path: .npy with features (T, 198); .npz with "features", and optionally "valid" (T, 2), "fps" and "source"; or
            a motion file that an installed reader knows.
        frames_per_latent: of the tokenizer.
        fps: frames a second. Motion of another rate is resampled by a reader, and the log says so.

    Raises:
        FileFormatError: the file is missing, corrupt, pickled, holds something else, or needs a reader that is not
            installed.
    """
    arrays: Mapping[str, Any] = load_arrays(path, "features") if path.suffix in SUFFIXES else {}
    rate = rate_of(arrays, path) if "features" in arrays else None
    source = str(arrays.get("source", ""))
    if rate is None or not same_rate(rate, fps):
        arrays = _read_foreign(path, fps, rate)
    features, valid = _checked(arrays, path)
    return {"clip_id": path.stem, "source": source, "fps": fps, **fill_latent_step(features, valid, frames_per_latent)}


def fill_latent_step(features: np.ndarray, valid: np.ndarray, frames_per_latent: int) -> dict[str, np.ndarray]:
    """Repeats the last frame, as not valid, until there are whole latent steps: "features" and "valid"."""
    missing = -len(features) % frames_per_latent
    return {
        "features": np.concatenate([features, np.repeat(features[-1:], missing, 0)]).astype(np.float32),
        "valid": np.concatenate([valid, np.zeros((missing, HANDS), bool)]),
    }


def _in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def _checked(arrays: Mapping[str, Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (T, 198) and valid (T, 2) bool."""
    features = np.asarray(arrays["features"])
    if features.ndim != 2 or features.shape[1] != FEATURES or not len(features) or features.dtype.kind != "f":
        raise FileFormatError(
            f"{path}: expected features (T, {FEATURES}) of floats, got {features.shape} {features.dtype}. Convert it."
        )
    valid = np.asarray(arrays.get("valid", np.ones((len(features), HANDS), bool))).astype(bool)
    if valid.shape != (len(features), HANDS):
        raise FileFormatError(f"{path}: expected valid {(len(features), HANDS)}, got {valid.shape}. One flag per hand.")
    return features, valid


def _read_foreign(path: Path, fps: float, rate: float | None) -> Mapping[str, Any]:
    """What the first reader that knows the file makes of it, at `fps`; `rate` is the file's own, None if unknown."""
    if not path.is_file():
        raise FileFormatError(f"{path}: expected a motion file, got none. Check the path.")
    got = "other arrays" if rate is None else f"motion of {rate:g}"
    reasons = []
    for entry in sorted(entry_points(group=READERS), key=lambda entry: entry.name):
        try:
            reader: Reader = entry.load()
            motion = reader(path, None if rate is None else fps)
            rate = float(motion["fps"]) if rate is None else rate
            motion = motion if same_rate(float(motion["fps"]), fps) else reader(path, fps)
        except (ValueError, OSError, ImportError) as error:
            reasons.append(f"{entry.name}: {error}")
            continue
        if not same_rate(float(motion["fps"]), fps):
            raise FileFormatError(
                f"{path}: expected {fps:g} frames a second of the reader {entry.name}, got {motion['fps']}. Repair it."
            )
        if not same_rate(rate, fps):
            logger.info("%s: resampled from %g to %g frames a second", path, rate, fps)
        return motion
    if reasons:
        raise FileFormatError(
            f"{path}: expected features (T, {FEATURES}) or a motion that can be read, got: {'; '.join(reasons)}"
        )
    raise FileFormatError(
        f"{path}: expected features (T, {FEATURES}) under 'features', at {fps:g} frames a second, got {got}. Install "
        "hand-geometry, which reads and resamples motion files."
    )
