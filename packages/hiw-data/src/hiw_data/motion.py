"""From raw parameters of two hands to features: gaps closed, smoothed, resampled, canonical, cut."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hand_geometry import (
    canonicalize,
    features_to_params,
    params_to_features,
    relaxed_hand,
    resample_params,
)
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from hiw_data.clips import FEATURES
from hiw_data.errors import ClipError

SMOOTHING_SECONDS = 0.045
"""Standard deviation of the Gaussian that smooths fitted motion."""

MIN_FRAMES = 4

Array = NDArray[np.float32]


@dataclass
class FittedMotion:
    """MANO parameters of both hands over T frames, with what is known of their quality.

    Attributes:
        global_orient: (T, 2, 3).
        hand_pose: (T, 2, 15, 3).
        transl: (T, 2, 3).
        valid: (T, 2) bool.
        residual: (T, 2) metres, NaN where unknown.
        fps: frames a second.
    """

    global_orient: Array
    hand_pose: Array
    transl: Array
    valid: NDArray[np.bool_]
    residual: Array
    fps: float

    @classmethod
    def empty(cls, frames: int, fps: float) -> FittedMotion:
        """No hand seen; `put` adds one."""
        zeros = np.zeros((frames, 2, 17, 3), np.float32)
        return cls(
            zeros[:, :, 0].copy(),
            zeros[:, :, 2:].copy(),
            zeros[:, :, 1].copy(),
            np.zeros((frames, 2), bool),
            np.full((frames, 2), np.nan, np.float32),
            fps,
        )

    def put(
        self,
        side: int,
        global_orient: Array,
        hand_pose: Array,
        transl: Array,
        valid: NDArray[np.bool_],
        residual: Array | None = None,
    ) -> None:
        """Sets one hand: (T, 3), (T, 15, 3), (T, 3), (T,) and (T,)."""
        self.global_orient[:, side], self.hand_pose[:, side] = global_orient, hand_pose
        self.transl[:, side], self.valid[:, side] = transl, valid
        if residual is not None:
            self.residual[:, side] = residual


@dataclass(frozen=True)
class MotionPiece:
    """A finished motion, or a piece of one.

    Attributes:
        features: (T, 198), canonical.
        valid: (T, 2) bool.
        residual: (T, 2) metres, NaN where unknown.
        number, of: piece `number` (from 1) of `of` pieces.
        start, end: first frame of the piece in the whole motion, and the frame after its last.
        place: metres: where the origin of the features lies in the axes that the motion came in.
    """

    features: Array
    valid: NDArray[np.bool_]
    residual: Array
    number: int = 1
    of: int = 1
    start: int = 0
    end: int = 0
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def suffix(self) -> str:
        """What a clip_id ends in: "" of a whole motion, "#0" of the first piece."""
        return f"#{self.number - 1}" if self.of > 1 else ""

    def attributes(self, fps: float) -> dict[str, Any]:
        """Which piece it is, for a clip's attributes; empty for a whole motion."""
        if self.of == 1:
            return {}
        seconds = {"start_seconds": round(self.start / fps, 3), "end_seconds": round(self.end / fps, 3)}
        return {"piece": self.number, "pieces": self.of, **seconds}


def finish_motion(motion: FittedMotion, *, fps: float, smoothing: float = SMOOTHING_SECONDS) -> MotionPiece:
    """Trims to where a hand is seen, fills gaps and unseen hands, smooths, and resamples.

    What fills is a stand-in and stays invalid: in a gap of a hand, the straight line (in features) between the frames
    beside it; before its first and after its last seen frame, that frame; for a hand that is never seen, a relaxed
    hand at rest beside the other.

    Args:
        motion: at any frame rate.
        fps: the frame rate wanted.
        smoothing: standard deviation of the Gaussian in seconds; 0 does not smooth.

    Raises:
        ClipError: no hand seen, or too short.
    """
    seen = np.flatnonzero(motion.valid.any(1))
    if not len(seen):
        raise ClipError("Expected a hand in at least one frame, got none.")
    span = slice(int(seen[0]), int(seen[-1]) + 1)
    valid, residual = motion.valid[span], motion.residual[span]
    params = {name: getattr(motion, name)[span] for name in ("global_orient", "hand_pose", "transl")}
    features = np.asarray(params_to_features(params)).reshape(-1, 2, FEATURES // 2)
    for side in range(2):
        if valid[:, side].any():
            features[:, side] = _fill_and_smooth(features[:, side], valid[:, side], smoothing * motion.fps)
    params = features_to_params(features.reshape(-1, FEATURES))
    params = {k: np.asarray(v) for k, v in resample_params({**params, "valid": valid}, motion.fps, fps).items()}
    frames = len(params["valid"])
    if frames < MIN_FRAMES:
        raise ClipError(f"Expected at least {MIN_FRAMES} frames at {fps:g} fps, got {frames}.")
    nearest = np.minimum(np.round(np.arange(frames) * motion.fps / fps).astype(int), len(residual) - 1)
    own = int(valid.any(0).argmax())  # a hand that is alone is moved
    wrist = params["transl"][0, own].copy()
    _fill_unseen(params)
    features = np.asarray(params_to_features(canonicalize(params)), np.float32)
    place = _difference(wrist, features[0, _transl(own)])
    return MotionPiece(features, params["valid"].astype(bool), residual[nearest], place=place)


def cut_motion(motion: MotionPiece, max_frames: int) -> list[MotionPiece]:
    """Cuts a motion into pieces of nearly equal length.

    Args:
        motion: finished.
        max_frames: the most frames of a piece.

    Returns:
        The pieces in order, each canonical (the mean of its wrists in its own first frame is the origin). Pieces in
        which no hand is seen are left out, and counted in `of`. A motion that is short enough is its only piece.
    """
    frames = len(motion.features)
    edges = [int(edge) for edge in np.linspace(0, frames, -(-frames // max_frames) + 1).round()]
    pieces = []
    for number, (start, stop) in enumerate(pairwise(edges), 1):
        if motion.valid[start:stop].any():
            params = canonicalize(features_to_params(motion.features[start:stop]))
            features = np.asarray(params_to_features(params), np.float32)
            valid, residual = motion.valid[start:stop], motion.residual[start:stop]
            place = _difference(motion.features[start, _transl(0)] + motion.place, features[0, _transl(0)])
            pieces.append(MotionPiece(features, valid, residual, number, len(edges) - 1, start, stop, place))
    return pieces


def _transl(side: int) -> slice:
    """Where a hand's translation stands in features."""
    return slice(side * 99 + 96, side * 99 + 99)


def _difference(before: NDArray[Any], after: NDArray[Any]) -> tuple[float, float, float]:
    x, y, z = (before - after).tolist()
    return x, y, z


def _fill_and_smooth(features: Array, valid: NDArray[np.bool_], sigma: float) -> Array:
    """Straight lines through gaps of one hand (T, 99), then a Gaussian; 6D rotations are made proper later."""
    frames, known = np.arange(len(features)), np.flatnonzero(valid)
    after = np.clip(np.searchsorted(known, frames), 0, len(known) - 1)
    before = np.maximum(after - (known[after] > frames), 0)
    left, right = known[before], known[after]
    share = np.clip((frames - left) / np.maximum(right - left, 1), 0, 1)[:, None]
    filled = features[left] * (1 - share) + features[right] * share
    return np.asarray(gaussian_filter1d(filled, sigma, axis=0, mode="nearest") if sigma > 0 else filled, np.float32)


def _fill_unseen(params: dict[str, NDArray[np.float32]]) -> None:
    """Puts a relaxed hand beside a hand that is alone; both begin as far from the middle as at rest."""
    for side, name in enumerate(("left", "right")):
        if params["valid"][:, side].any():
            continue
        rest = {key: value.numpy() for key, value in relaxed_hand(name).items()}
        other = {key: value.numpy() for key, value in relaxed_hand("right" if side == 0 else "left").items()}
        params["transl"][:, 1 - side] += other["transl"] - params["transl"][0, 1 - side]
        params["global_orient"][:, side] = rest["global_orient"]
        params["hand_pose"][:, side] = rest["hand_pose"]
        params["transl"][:, side] = rest["transl"]
