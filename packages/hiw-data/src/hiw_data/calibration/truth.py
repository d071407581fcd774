"""A truth of one's own: joints or MANO motion against the annotated clips of a store, matched by name and time.

Only what the store says is compared: its clips are canonical, so hands are compared about their wrists. A truth in
other axes than the camera's is turned by the one rotation a clip that fits best, if asked (`align="clip"`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry import load_motion
from hand_geometry.errors import HandGeometryError
from hand_geometry.plain_npz import read_npz
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hiw_data.calibration.measures import HandErrors, hand_errors, joints_of, summary_of
from hiw_data.clips import Clip
from hiw_data.errors import ClipError, NoClipsError, OptionError, SourceError
from hiw_data.sources.recordings import clip_joints
from hiw_data.store.reader import HiwStore

Array = NDArray[np.float64]

ALIGN = ("none", "clip")


@dataclass(frozen=True)
class Truth:
    """What is known of one recording.

    Attributes:
        joints: (T, 2, 21, 3), metres, hand 0 left, 1 right.
        valid: (T, 2) bool.
        times: (T,), seconds in the recording, increasing.
    """

    joints: Array
    valid: NDArray[np.bool_]
    times: Array

    def at(self, times: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Joints and validity at other times, in straight lines between two valid frames."""
        after = np.clip(np.searchsorted(self.times, times - 1e-6), 0, len(self.times) - 1)
        before = np.where(self.times[after] > times + 1e-6, np.maximum(after - 1, 0), after)
        span = self.times[after] - self.times[before]
        share = np.clip((times - self.times[before]) / np.maximum(span, 1e-9), 0, 1)[:, None, None, None]
        joints = self.joints[before] * (1 - share) + self.joints[after] * share
        inside = (times >= self.times[0] - 1e-3) & (times <= self.times[-1] + 1e-3)
        return joints, self.valid[before] & self.valid[after] & inside[:, None]


@dataclass(frozen=True)
class ClipErrors:
    """One annotated clip against the truth.

    Attributes:
        clip_id: of the annotated clip.
        errors: where both have the hand; `absolute` says nothing here.
        known: (T, 2) bool, where the truth has a hand.
        found: (T, 2) bool, where the clip has it, too.
        swapped: (T,), of frames in which both have both hands: 1 where they are the other way round, NaN elsewhere.
    """

    clip_id: str
    errors: HandErrors
    known: NDArray[np.bool_]
    found: NDArray[np.bool_]
    swapped: Array


def truth_figures(clips: list[ClipErrors]) -> dict[str, float]:
    """Pooled over clips: see `summary_of`; shares of 0 to 1: `found` of known hands, `swapped` of frames with both."""
    summary = summary_of([clip.errors for clip in clips])
    del summary["absolute_mm"]
    known = sum(int(clip.known.sum()) for clip in clips)
    found = sum(int(clip.found.sum()) for clip in clips)
    swapped = np.concatenate([clip.swapped for clip in clips])
    swapped = swapped[np.isfinite(swapped)]
    return {
        **summary,
        "found": found / known if known else float("nan"),
        "swapped": float(swapped.mean()) if len(swapped) else float("nan"),
    }


def compare_with_truth(
    store: str | Path, truth: str | Path, *, align: str = "none", mano: str | Path | None = None
) -> tuple[list[ClipErrors], list[tuple[str, str]]]:
    """Compares every clip of a store that the truth has.

    A truth file is named after the clip (without the source's name), or after its video without suffix. An .npz holds
    `joints` (T, 2, 21, 3) in metres or a MANO motion (`hand_geometry.load_motion`), `fps`, and optionally `valid`
    (T, 2) and `start_seconds`, the time of its first frame in the video. A truth that is a store is matched by the
    clips' names.

    Args:
        store: annotated.
        truth: a folder of .npz files, or a store.
        align: "none": the truth is in the camera's axes; "clip": it is turned by one rotation a clip.
        mano: folder of the MANO files, for clips of MANO hands, which need it.

    Returns:
        The clips that were compared, and (name, reason) of those that were not.

    Raises:
        OptionError: an unknown alignment, or clips of MANO hands and no `mano`.
        SourceError: there is no truth.
        NoClipsError: no clip could be compared.
    """
    if align not in ALIGN:
        raise OptionError(f"Expected align of {ALIGN}, got {align!r}.")
    known = _truths(Path(truth), mano)
    compared: list[ClipErrors] = []
    left_out: list[tuple[str, str]] = []
    for clip in HiwStore.open(store).clips():
        name = clip["clip_id"].removeprefix(f"{clip['source']}/")
        path = next((known[key] for key in (name, name.rpartition("#")[0] or name) if key in known), None)
        if path is None:
            left_out.append((clip["clip_id"], f"no truth of the name {name}"))
            continue
        try:
            found = read_truth(path) if isinstance(path, Path) else path
            compared.append(_compared(clip, found, align, mano))
        except (ClipError, HandGeometryError) as error:
            left_out.append((clip["clip_id"], str(error)))
    if not compared:
        raise NoClipsError(store, left_out)
    return compared, left_out


def read_truth(path: Path) -> Truth:
    """Reads one file; nothing is unpickled.

    Raises:
        ClipError: it holds no joints in metres and no motion, or says no frame rate.
        MotionFileError: it holds a motion that cannot be read.
    """
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise ClipError(f"Expected joints or a MANO motion in {path.name}, got: {error}.") from error
    try:
        fps, start = float(arrays["fps"].item()), float(arrays.get("start_seconds", np.array(0.0)).item())
    except (KeyError, ValueError) as error:
        raise ClipError(f"Expected one number as fps (and start_seconds) in {path.name}, got: {error}.") from error
    if not 1 <= fps <= 1000 or not np.isfinite(start):
        raise ClipError(f"Expected fps of 1 to 1000 in {path.name}, got {fps} (and a start of {start}).")
    if "joints" not in arrays:
        motion = load_motion(path)
        joints, valid = joints_of(motion), np.asarray(motion["valid"], bool)
    else:
        joints, valid = _joints(arrays, path)
    return Truth(joints, valid, start + np.arange(len(joints)) / fps)


def _joints(arrays: Mapping[str, Any], path: Path) -> tuple[Array, NDArray[np.bool_]]:
    joints = np.asarray(arrays["joints"])
    if joints.ndim != 4 or joints.shape[1:] != (2, 21, 3) or not len(joints) or joints.dtype.kind not in "fiu":
        raise ClipError(f"Expected joints of shape (T, 2, 21, 3) in {path.name}, got {joints.shape} {joints.dtype}.")
    joints = joints.astype(np.float64)
    valid = np.isfinite(joints).all((-1, -2))
    if "valid" in arrays:
        given = np.asarray(arrays["valid"])
        if given.shape != valid.shape:
            raise ClipError(f"Expected valid of shape {valid.shape} in {path.name}, got {given.shape}.")
        valid &= given.astype(bool)
    lengths = np.linalg.norm(joints[..., 9, :] - joints[..., 0, :], axis=-1)[valid]
    if len(lengths) and not 0.03 < np.median(lengths) < 0.3:
        raise ClipError(
            f"Expected joints in metres in {path.name}, got a palm of {np.median(lengths):.3g}. Is it in millimetres?"
        )
    return np.where(valid[..., None, None], joints, 0.0), np.asarray(valid, bool)


def _truths(path: Path, mano: str | Path | None) -> dict[str, Path | Truth]:
    """Truths by name."""
    if (path / "zarr.json").is_file():
        return dict(_of_store(path, mano))
    files = {file.relative_to(path).with_suffix("").as_posix(): file for file in sorted(path.rglob("*.npz"))}
    if not files:
        raise SourceError(f"Expected a store or .npz files of truth in {path}, got none.")
    return dict(files)


def _of_store(path: Path, mano: str | Path | None) -> Iterator[tuple[str, Truth]]:
    for clip in HiwStore.open(path).clips():
        valid = np.asarray(clip["valid"], bool)
        yield clip["clip_id"].removeprefix(f"{clip['source']}/"), Truth(_clip_joints(clip, mano), valid, _times(clip))


def _clip_joints(clip: Clip, mano: str | Path | None) -> Array:
    return np.asarray(clip_joints(clip, mano), np.float64)


def _times(clip: Clip) -> Array:
    if "timestamps" in clip:
        return np.asarray(clip["timestamps"], np.float64)
    start = float(clip["attributes"].get("start_seconds", 0.0))
    return start + np.arange(len(clip["features"])) / clip["fps"]


def _compared(clip: Clip, truth: Truth, align: str, mano: str | Path | None) -> ClipErrors:
    joints, seen = _clip_joints(clip, mano), np.asarray(clip["valid"], bool)
    known_joints, known = truth.at(_times(clip))
    both = seen & known
    if not both.any():
        raise ClipError("Expected a hand that clip and truth have at the same time, got none.")
    if align == "clip":
        known_joints = known_joints @ _turn(known_joints, joints, both).T
    errors = hand_errors(joints, known_joints, both, clip["fps"])
    all_four = both.all(1)
    across = [points[:, 1, 0] - points[:, 0, 0] for points in (joints, known_joints)]
    swapped = np.where(all_four, (across[0] * across[1]).sum(-1) < 0, np.nan)
    return ClipErrors(clip["clip_id"], errors, known, both, np.asarray(swapped, np.float64))


def _turn(source: Array, target: Array, both: NDArray[np.bool_]) -> Array:
    """The rotation (3, 3) that best turns hands (about their wrists) onto others, over a whole clip (Kabsch)."""
    one, other = ((points - points[..., :1, :])[both].reshape(-1, 3) for points in (source, target))
    return np.asarray(Rotation.align_vectors(other, one)[0].as_matrix())
