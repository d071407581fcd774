"""One .npz file of motion and its captions, read with care: every fault of it is a ClipError with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hand_geometry.plain_npz import read_npz

from hiw_data.errors import ClipError
from hiw_data.motion import FittedMotion

DEFAULT_FPS = 15.0
"""Frames a second of files that do not say; the same everywhere in the project."""

_NEEDED = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "transl": (2, 3)}
FPS_RANGE = (1.0, 1000.0)
"""Frames a second that a recording may have."""

_MOST_APART, _FASTEST, _FARTHEST = 5.0, 30.0, 1000.0
"""Median distance of the two hands (m), median speed of a hand (m/s), distance from the origin (m): what is more is no
human motion in metres. In millimetres two hands are hundreds apart."""
_MOST_TURNED = 4 * np.pi
"""Radians in one axis-angle vector; more is degrees, or no rotation."""


@dataclass(frozen=True)
class Recording:
    """One file: motion, captions from general to fine-grained, group or None, and whether the file gave its rate."""

    motion: FittedMotion
    captions: list[str]
    group: str | None
    has_fps: bool


def read_recording(path: Path, *, default_fps: float = DEFAULT_FPS) -> Recording:
    """Reads one file and its captions. No more is allocated than the file holds, and nothing is unpickled.

    Arrays: `global_orient (T, 2, 3)`, `hand_pose (T, 2, 15, 3)` (axis-angle, radians), `transl (T, 2, 3)` (metres);
    hand 0 left, 1 right. Optional: `valid (T, 2)` bool or 0 and 1, `fps ()`, `group ()` text, `captions` texts. Where
    captions are missing or empty, NAME.txt beside NAME.npz (UTF-8) gives them, one a line, the high-level one first.
    Frames of a hand that are not finite are taken as not seen.

    Raises:
        ClipError: damaged, a missing array, a wrong shape or unit, no finite frame, or no caption.
    """
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise ClipError(f"Expected a readable .npz of plain arrays at {path.name}, got {error}.") from error
    for key, shape in _NEEDED.items():
        got = f"{arrays[key].dtype} {arrays[key].shape}" if key in arrays else f"only {sorted(arrays)}"
        if key not in arrays or arrays[key].shape[1:] != shape or arrays[key].dtype.kind not in "fiu":
            raise ClipError(
                f"Expected {key} as numbers of shape (T, {', '.join(map(str, shape))}) in {path.name}, got {got}."
            )
    frames = len(arrays["transl"])
    if lengths := {key: len(arrays[key]) for key in _NEEDED if len(arrays[key]) != frames}:
        raise ClipError(f"Expected arrays of one length in {path.name}, got {frames} frames of transl and {lengths}.")
    valid, fps = _valid(arrays, frames, path), _fps(arrays, default_fps, path)
    motion = FittedMotion.empty(frames, fps)
    for side in range(2):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and so unseen
            hand = [arrays[key][:, side].astype(np.float32) for key in _NEEDED]
        finite = np.all([np.isfinite(a).all(tuple(range(1, a.ndim))) for a in hand], axis=0)
        orient, pose, transl = (np.where(np.isfinite(a), a, np.float32(0)) for a in hand)
        motion.put(side, orient, pose, transl, valid[:, side] & finite)
    if valid.any() and not motion.valid.any():
        raise ClipError(f"Expected finite numbers in {path.name}, got NaN or infinity in every frame that is seen.")
    _check_units(motion, path)
    return Recording(motion, _captions(path, arrays), _group(arrays, path), "fps" in arrays)


def _valid(arrays: Mapping[str, np.ndarray], frames: int, path: Path) -> np.ndarray:
    valid = arrays.get("valid", np.ones((frames, 2), bool))
    if valid.shape != (frames, 2) or valid.dtype.kind not in "bfiu" or not np.isin(valid, (0, 1)).all():
        raise ClipError(
            f"Expected valid of shape ({frames}, 2), False or True, in {path.name}, got {valid.dtype} {valid.shape}."
        )
    return valid.astype(bool)


def _fps(arrays: Mapping[str, np.ndarray], default: float, path: Path) -> float:
    fps = arrays.get("fps", np.array(default))
    low, high = FPS_RANGE
    if fps.shape != () or fps.dtype.kind not in "fiu" or not low <= float(fps) <= high:
        raise ClipError(f"Expected fps as one number of {low:g} to {high:g} in {path.name}, got {fps.tolist()!r:.80}.")
    return float(fps)


def _group(arrays: Mapping[str, np.ndarray], path: Path) -> str | None:
    if "group" not in arrays:
        return None
    group = arrays["group"]
    if group.shape != () or group.dtype.kind not in "Uiu" or not str(group).strip():
        raise ClipError(f"Expected group as one text in {path.name}, got {group.tolist()!r:.80}.")
    return str(group).strip()


def _check_units(motion: FittedMotion, path: Path) -> None:
    if not motion.valid.any():
        return
    transl, both = motion.transl.astype(np.float64), motion.valid.all(1)
    step = np.linalg.norm(np.diff(transl, axis=0), axis=-1)[motion.valid[1:] & motion.valid[:-1]]
    found = {
        "hands {:.3g} apart": (_median(np.linalg.norm(transl[both, 0] - transl[both, 1], axis=-1)), _MOST_APART),
        "a hand that moves {:.3g} a second": (_median(step) * motion.fps, _FASTEST),
        "a hand {:.3g} from the origin": (float(np.abs(transl[motion.valid]).max()), _FARTHEST),
    }
    if absurd := [words.format(value) for words, (value, limit) in found.items() if value > limit]:
        raise ClipError(
            f"Expected transl in metres in {path.name}, got {' and '.join(absurd)}. If it is in millimetres, divide it "
            "by 1000."
        )
    turned = max(
        float(np.linalg.norm(rotations[motion.valid].astype(np.float64), axis=-1).max())
        for rotations in (motion.global_orient, motion.hand_pose)
    )
    if turned > _MOST_TURNED:
        raise ClipError(
            f"Expected rotations as axis-angle in radians in {path.name}, got a vector of length {turned:.3g}. If they "
            "are in degrees, convert them."
        )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _captions(path: Path, arrays: Mapping[str, np.ndarray]) -> list[str]:
    beside = path.with_suffix(".txt")
    inside = arrays.get("captions", np.array([], np.str_))
    if inside.size and inside.dtype.kind != "U":
        raise ClipError(
            f"Expected captions as texts in {path.name}, got {inside.dtype}. Write np.array(captions, dtype=str)."
        )
    captions = tidy([str(caption) for caption in inside.ravel()])
    if not captions and beside.is_file():
        captions = tidy(read_lines(beside))
    if not captions:
        raise ClipError(f"Expected captions in {path.name} or in {beside.name} beside it, got none.")
    return captions


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark.

    Raises:
        ClipError: it cannot be read, or is of another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise ClipError(f"Expected captions in UTF-8 in {path.name}, got {error}. Save it as UTF-8.") from error


def tidy(lines: list[str]) -> list[str]:
    """Lines without those that are blank, each with single spaces."""
    return [" ".join(line.split()) for line in lines if line.strip()]
