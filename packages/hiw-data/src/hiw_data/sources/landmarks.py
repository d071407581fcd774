"""Hand landmarks from .pose files, and what is missing from them: the scale of depth and of size.

A tracker gives x and y in pixels and z in a unit of its own. Bones do not change length, so the factor that
makes their lengths most constant over a clip turns z into pixels; the length of the open hand's bones then
turns pixels into metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import HandModel, fit_keypoints
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hiw_data.errors import ClipError, SourceError

Array = NDArray[np.float64]

BONE_PARENTS = (0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""Of keypoints 1 to 20, in OpenPose order."""

_COMPONENTS = ("LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS")
_DEPTH_GRID = np.geomspace(100, 4000, 24)
_ENOUGH_FRAMES = 5


@dataclass(frozen=True)
class Landmarks:
    """Both hands of one recording.

    Attributes:
        keypoints: (T, 2, 21, 3), left then right; x and y in pixels, z in the tracker's unit.
        seen: (T, 2) bool.
        fps: frames a second.
    """

    keypoints: Array
    seen: NDArray[np.bool_]
    fps: float


def import_pose_format() -> Any:
    """The class `pose_format.Pose`.

    Raises:
        SourceError: the package is not installed.
    """
    try:
        from pose_format import Pose
    except ImportError as error:
        raise SourceError(
            "Expected the package pose-format to read .pose files, got none. "
            "Do `pip install 'hiw-data[fingerspelling]'`."
        ) from error
    return Pose


def read_landmarks(path: Path) -> Landmarks:
    """Reads both hands of the first person from a .pose file.

    Raises:
        ClipError: the file is missing, damaged, or holds no hands.
        SourceError: pose-format is not installed.
    """
    pose_class = import_pose_format()
    try:
        pose = pose_class.read(path.read_bytes())
        points = np.ma.getdata(pose.body.data)[:, 0].astype(float)  # (T, points, 3)
        confidence = np.asarray(pose.body.confidence)[:, 0]
        components = [(c.name, len(c.points)) for c in pose.header.components]
        fps = float(pose.body.fps)
    except Exception as error:  # a damaged file fails in many ways inside the reader
        raise ClipError(
            f"Expected a readable .pose file at {path.name}, got {type(error).__name__}: {error}"
        ) from error
    starts = np.cumsum([0, *(n for _, n in components)])
    spans = {name: slice(int(start), int(start) + n) for (name, n), start in zip(components, starts[:-1], strict=True)}
    missing = [name for name in _COMPONENTS if name not in spans or spans[name].stop - spans[name].start != 21]
    if missing or not fps > 0 or not len(points):
        raise ClipError(
            f"Expected frames, a frame rate and 21 points of each hand in {path.name}, got {len(points)} frames at "
            f"{fps} fps, without {missing or 'nothing'}."
        )
    keypoints = np.stack([points[:, spans[name]] for name in _COMPONENTS], 1)
    return Landmarks(keypoints, seen_hands(keypoints, np.stack([confidence[:, spans[n]] for n in _COMPONENTS], 1)), fps)


def seen_hands(keypoints: Array, confidence: Array) -> NDArray[np.bool_]:
    """Which hands a tracker saw: it is confident of some point, all are finite, and they are not all one point.

    Args:
        keypoints: (T, 2, 21, 3).
        confidence: (T, 2, 21).

    Returns:
        (T, 2).
    """
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(keypoints).all((2, 3)))
    apart = np.ptp(np.where(finite[..., None, None], keypoints, 0), axis=2).any(-1)
    return np.asarray((confidence.mean(2) > 0) & finite & apart)


def bone_vectors(keypoints: Array) -> Array:
    """From each keypoint's parent to it: (..., 21, 3) -> (..., 20, 3)."""
    return keypoints[..., 1:, :] - keypoints[..., BONE_PARENTS, :]


def depth_scale(recordings: Sequence[Landmarks]) -> float:
    """Pixels per unit of z that make bone lengths most constant within each recording's hands.

    Args:
        recordings: of one kind (the same tracker and camera format), such as one language's.

    Returns:
        The factor; 640 where no hand was seen long enough to tell.
    """
    squares = []  # per hand: squared lengths in the image and in depth, (T, 20) each
    for recording in recordings:
        for hand in range(2):
            seen = recording.seen[:, hand]
            if seen.sum() >= _ENOUGH_FRAMES:
                bones = bone_vectors(recording.keypoints[seen, hand])
                squares.append(((bones[..., :2] ** 2).sum(-1), bones[..., 2] ** 2))
    if not squares:
        return 640.0

    def variation(log_scale: float) -> float:
        lengths = [np.sqrt(image + np.exp(2 * log_scale) * depth) for image, depth in squares]
        shares = [bones / bones.sum(1, keepdims=True) for bones in lengths]
        return float(np.mean([(s.std(0) / s.mean(0)).mean() for s in shares]))

    best = int(np.argmin([variation(x) for x in np.log(_DEPTH_GRID)]))
    low, high = _DEPTH_GRID[max(0, best - 1)], _DEPTH_GRID[min(len(_DEPTH_GRID) - 1, best + 1)]
    found = minimize_scalar(variation, bounds=(np.log(low), np.log(high)), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


def in_metres(landmarks: Landmarks, depth: float, open_hand_bones: float) -> Array:
    """Keypoints in metres, axes x right, y down, z away from the camera; each hand's wrist has z = 0.

    Args:
        landmarks: of one recording.
        depth: see `depth_scale`.
        open_hand_bones: sum of the 20 bone lengths of the hand to be fitted, metres.

    Returns:
        (T, 2, 21, 3); both hands are scaled alike, by the median over the frames in which they were seen.

    Raises:
        ClipError: no hand was seen.
    """
    keypoints = landmarks.keypoints.copy()
    keypoints[..., 2] = (keypoints[..., 2] - keypoints[..., :1, 2]) * depth
    lengths = np.linalg.norm(bone_vectors(keypoints), axis=-1).sum(-1)[landmarks.seen]
    if not len(lengths) or not np.median(lengths) > 0:
        raise ClipError("Expected a hand in at least one frame, got none.")
    return np.asarray(keypoints * (open_hand_bones / np.median(lengths)))


@cache
def open_hand_bones() -> float:
    """Sum of the lengths between the landmarks that a tracker would put on the flat open hand, metres.

    MediaPipe's landmarks do not sit on the joints (its wrist lies 18 mm further out), so that the joints'
    own bones would be the wrong measure.
    """
    model = HandModel.load("default", side="right")
    joints = model(torch.zeros(1, 3), torch.zeros(1, 15, 3), vertices=False).joints
    flat = fit_keypoints(joints.double().numpy(), side="right", landmark_offsets="mediapipe").keypoints
    return float(np.linalg.norm(bone_vectors(flat.astype(float)), axis=-1).sum())
