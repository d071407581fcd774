"""What is known of a tracker's image landmarks: where they sit on the hand, how far they are off, and which errors go
together.

A tracker that gives each image landmark a depth (MediaPipe does) errs in ways that repeat: the depth of the wrist is
poor, a whole hand is tilted, the joints of a finger that is out of sight are guessed together. A table of such errors,
learned from known motions by ``calibrate_table``, says which differences to believe. Errors are measured at the hand,
in metres, in a frame that turns with the hand in the image: x across it, y from wrist to knuckles, z along the ray.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hand_geometry.assets import ASSETS, Array
from hand_geometry.atomic import write_npz
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.plain_npz import read_npz

_KNUCKLES = [5, 9, 13, 17]
_MIRROR = np.array([-1.0, 1.0, 1.0])
_SHAPES = {"offsets": (21, 3), "bias": (21, 3), "covariance": (63, 63)}


@dataclass(frozen=True)
class LandmarkTable:
    """A tracker's landmarks on a right hand; a left hand is its mirror image.

    Attributes:
        offsets: Where the landmarks sit, shape (21, 3), metres, in the frame of the carrying joint.
        bias: Mean error of the landmarks so placed, predicted less seen, shape (21, 3), metres, in the image's frame.
        covariance: Of the errors about it, shape (63, 63), square metres, landmark by landmark.
    """

    offsets: Array
    bias: Array
    covariance: Array

    def __post_init__(self) -> None:
        for name, shape in _SHAPES.items():
            array = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise ShapeError(f"landmark table: {name}", f"{shape}, finite", array.shape, "Calibrate it again.")
        try:
            np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError as error:
            raise InputError("landmark table: Expected a positive definite covariance. Calibrate it again.") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LandmarkTable:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is something else.
            ShapeError: If an array in it has another shape.
        """
        try:
            stored = read_npz(path)
            arrays = {name: stored[name].astype(np.float64) for name in _SHAPES}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{os.fspath(path)}: Expected a table of 'hand-geometry calibrate', got another file ({error})."
            ) from error
        return cls(**arrays)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz of float32, all at once.

        Raises:
            InputError: If the suffix is not .npz.
        """
        write_npz(path, {name: getattr(self, name).astype(np.float32) for name in _SHAPES})

    def offsets_of(self, side: str) -> Array:
        """``offsets`` of a left or a right hand."""
        return self.offsets if side == "right" else self.offsets * _MIRROR

    def whitening(self, visible: Array) -> Array:
        """A matrix (63, 63) that makes errors of the visible landmarks (21,) white and leaves the others out."""
        flags = np.repeat(np.asarray(visible) > 0, 3)
        out = np.zeros((63, 63))
        if flags.any():
            inside = np.linalg.inv(self.covariance[np.ix_(flags, flags)])
            out[np.ix_(flags, flags)] = np.linalg.cholesky(inside).T
        return out


@lru_cache(maxsize=1)
def mediapipe_table() -> LandmarkTable:
    """The table of MediaPipe's hand landmarker that ships with the package."""
    return LandmarkTable.load(ASSETS / "mediapipe_landmarks.npz")


def table_of(landmark_offsets: Any, depths: Any) -> LandmarkTable | None:
    """The table that a fit goes by: none unless the image landmarks have depths.

    Raises:
        InputError: If there are depths without a table, or a table without depths.
    """
    if depths is not None and isinstance(landmark_offsets, str) and landmark_offsets == "mediapipe":
        return mediapipe_table()
    given = isinstance(landmark_offsets, LandmarkTable)
    if depths is None and not given:
        return None
    if depths is None or not given:
        found = "no depths" if depths is None else "depths and no table"
        raise InputError(
            f"keypoints_2d: Expected landmarks with depths (T, 21, 3) and a landmark table together, got {found}. "
            "Pass landmark_offsets='mediapipe' or a LandmarkTable, or x and y alone."
        )
    table: LandmarkTable = landmark_offsets
    return table


def hand_frames(pixels: Array, weight: Array, side: str) -> Array:
    """Rotations (T, 2, 2) from the image to the frame of the hand in it, mirrored for a left hand.

    Args:
        pixels: Shape (T, 21, 2).
        weight: Shape (T, 21). Where the wrist or all knuckles are hidden the image's own frame stands in.
        side: "left" or "right".
    """
    share = weight[:, _KNUCKLES, None]
    knuckles = (pixels[:, _KNUCKLES] * share).sum(1) / np.maximum(share.sum(1), 1e-9)
    up = np.where((share.sum(1) > 0) & (weight[:, :1] > 0), knuckles - pixels[:, 0], [0.0, -1.0])
    length = np.linalg.norm(up, axis=1, keepdims=True)
    up = np.where(length > 1e-6, up / np.maximum(length, 1e-6), [0.0, -1.0])
    across = np.stack([-up[:, 1], up[:, 0]], 1) * (1.0 if side == "right" else -1.0)
    return np.stack([across, up], 1)
