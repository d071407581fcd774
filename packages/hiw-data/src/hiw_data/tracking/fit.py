"""From the landmarks of two hands to MANO parameters, in the camera's axes or in those of the person before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hand_geometry import fit_keypoints
from hand_geometry.assets import load_asset
from hand_geometry.errors import HandGeometryError
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hiw_data.errors import ClipError
from hiw_data.motion import FittedMotion
from hiw_data.tracking.gaps import EvenHands

SIDES = ("left", "right")
VIEWS = ("egocentric", "facing")
_PIECE, _MARGIN = 256, 16
"""A long video is fitted in pieces of so many frames, each with so many of its neighbours': memory stays bounded."""
_TURNED = Rotation.from_rotvec([0.0, np.pi, 0.0])


@dataclass(frozen=True)
class FittedHands:
    """Fitted motion and how well it fits.

    Attributes:
        motion: of both hands; its residual is the image distance at the hand's depth, metres.
        reprojection: (T, 2), mean distance in the image, pixels, NaN where a hand was not seen.
    """

    motion: FittedMotion
    reprojection: NDArray[np.float64]


def fit_hands(hands: EvenHands, camera: NDArray[np.float64], *, view: str = "egocentric") -> FittedHands:
    """Fits both hands.

    Args:
        hands: at an even rate.
        camera: pinhole matrix (3, 3) for the picture that was tracked.
        view: "egocentric": the camera sees what the person sees, and its axes are kept (x right, y down, z forward);
            "facing": it looks at the person, whose axes these are after half a turn about the vertical.

    Raises:
        ClipError: no hand was seen, or none could be fitted.
    """
    if not hands.valid.any():
        raise ClipError("Expected a hand in at least one frame, got none.")
    frames = len(hands.valid)
    motion = FittedMotion.empty(frames, hands.fps)
    reprojection = np.full((frames, 2), np.nan)
    per_frame = 30.0 / hands.fps
    smoothness = (0.05 * per_frame, 0.10 * per_frame, 0.01 * per_frame)
    for side, name in enumerate(SIDES):
        for start in range(0, frames, _PIECE):
            stop = min(start + _PIECE, frames)
            low, high = max(start - _MARGIN, 0), min(stop + _MARGIN, frames)
            if not hands.valid[low:high, side].any():
                continue
            landmarks = hands.landmarks[low:high, side]
            observed: dict[str, Any] = {"landmark_offsets": "mediapipe"}
            if hands.points is not None:  # joints of a hand model, in space: they need no table
                landmarks = landmarks[..., :2]
                observed = {"keypoints": hands.points[low:high, side], "along_ray": hands.along_ray}
            try:
                fit = fit_keypoints(side=name, keypoints_2d=landmarks, camera=camera, smoothness=smoothness, **observed)
            except HandGeometryError as error:
                raise ClipError(f"Expected landmarks that a hand can have, got: {error}") from error
            inner, outer = slice(start - low, stop - low), slice(start, stop)
            motion.global_orient[outer, side] = fit.global_orient[inner]
            motion.hand_pose[outer, side] = fit.hand_pose[inner]
            motion.transl[outer, side] = fit.transl[inner]
            motion.valid[outer, side] = fit.valid[inner]
            assert fit.reprojection is not None
            reprojection[outer, side] = fit.reprojection[inner]
            depth = fit.keypoints[inner, :, 2].mean(1)
            motion.residual[outer, side] = fit.reprojection[inner] * depth / camera[0, 0]
    motion.residual[~motion.valid] = np.nan
    if view == "facing":
        _turn(motion)
    return FittedHands(motion, reprojection)


def _turn(motion: FittedMotion) -> None:
    """Half a turn about the vertical, in place; the wrist, which MANO turns about, goes along."""
    for side, name in enumerate(SIDES):
        wrist = load_asset("default", name).rest_joints[0]
        turned = _TURNED * Rotation.from_rotvec(motion.global_orient[:, side])
        motion.global_orient[:, side] = turned.as_rotvec()
        motion.transl[:, side] = _TURNED.apply(motion.transl[:, side] + wrist) - wrist
