"""What a fit is given: keypoints and image points of one clip, checked, with the weight of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.assets import Array, as_numpy
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.units import refuse_other_hand_sizes

_ONE_POINT = 1e-6
"""Extent of a frame's points, as a share of their largest coordinate, up to which they are one point in float32."""

MIN_VISIBLE = 6
"""A frame with fewer visible keypoints does not hold a hand's pose and counts as not seen."""


@dataclass(frozen=True)
class Observed:
    """Keypoints of one hand over one clip; finite everywhere, with weight 0 where there is nothing.

    Attributes:
        points: Shape (T, 21, 3), metres.
        weight_3d: Shape (T, 21), 0 or 1.
        pixels: Shape (T, 21, 2), or None.
        depths: Depth of each keypoint within the hand, shape (T, 21), in pixels as ``pixels`` are, or None.
        weight_2d: Shape (T, 21), 0 or 1; zeros without pixels.
        camera: Pinhole matrix, shape (3, 3), or None.
        seen: Frames that hold enough, shape (T,) bool.
    """

    points: Array
    weight_3d: Array
    pixels: Array | None
    weight_2d: Array
    camera: Array | None
    seen: NDArray[np.bool_]
    depths: Array | None = None

    @classmethod
    def check(cls, keypoints: Any, valid: Any, keypoints_2d: Any, camera: Any) -> Observed:
        """Check what ``fit_keypoints`` was called with; see there.

        Raises:
            ShapeError: If a shape does not fit.
            InputError: If a value is senseless. A clip in which nothing is seen is no error here.
        """
        points = None if keypoints is None else _array("keypoints", keypoints, (3,))
        pixels = None if keypoints_2d is None else _array("keypoints_2d", keypoints_2d, (2, 3))
        if points is None and pixels is None:
            raise InputError("keypoints: Expected 3D keypoints, keypoints_2d or both, got neither. Pass one.")
        frames = len(points if points is not None else pixels)  # type: ignore[arg-type]
        if points is not None and pixels is not None and len(pixels) != frames:
            raise ShapeError("keypoints_2d", f"({frames}, 21, 2)", pixels.shape, "One image point a keypoint.")
        trusted, strict = _trusted(valid, frames)
        weights = [_visible(name, v, trusted, strict) for name, v in (("keypoints", points), ("keypoints_2d", pixels))]
        seen = np.ones(frames, np.bool_)
        for array, weight in ((points, weights[0]), (pixels, weights[1])):
            if array is not None and weight is not None:
                seen &= (weight.sum(1) >= MIN_VISIBLE) & ~_coincide(array, weight)
        if points is not None and seen.any():
            refuse_other_hand_sizes(_extents(points[seen], weights[0][seen]))  # type: ignore[index]
        kept = [np.zeros((frames, 21)) if w is None else (w & seen[:, None]).astype(np.float64) for w in weights]
        return cls(
            points=np.zeros((frames, 21, 3)) if points is None else np.where(kept[0][..., None] > 0, points, 0.0),
            weight_3d=kept[0],
            pixels=None if pixels is None else np.where(kept[1][..., None] > 0, pixels[..., :2], 0.0),
            weight_2d=kept[1],
            camera=None if pixels is None else check_camera(camera),
            seen=seen,
            depths=None if pixels is None or pixels.shape[-1] == 2 else np.where(kept[1] > 0, pixels[..., 2], 0.0),
        )

    @property
    def in_3d(self) -> bool:
        """Whether there are 3D keypoints."""
        return bool(self.weight_3d.any())


def check_camera(camera: Any) -> Array:
    """A pinhole matrix, shape (3, 3).

    Raises:
        InputError: If there is none, or its focal length is absurd.
        ShapeError: If it has another shape.
    """
    if camera is None:
        raise InputError("camera: Expected a pinhole matrix with keypoints_2d, got None. Pass a (3, 3) array.")
    pinhole = as_numpy(camera).astype(np.float64)
    if pinhole.shape != (3, 3):
        raise ShapeError("camera", "(3, 3)", pinhole.shape, "Pass [[f, 0, cx], [0, f, cy], [0, 0, 1]].")
    focal = pinhole[[0, 1], [0, 1]]
    if not np.isfinite(pinhole).all() or focal.min() < 10 or focal.max() > 1e5:
        raise InputError(f"camera: Expected a focal length of 10 to 100,000 pixels, got {focal}. Check units.")
    return pinhole


def _array(name: str, value: Any, widths: tuple[int, ...]) -> Array:
    array = as_numpy(value).astype(np.float64)
    if array.ndim != 3 or array.shape[1] != 21 or array.shape[2] not in widths or len(array) == 0:
        expected = f"(T, 21, {' or '.join(map(str, widths))}) with T >= 1"
        raise ShapeError(name, expected, array.shape, "Pass one hand of one clip.")
    return array


def _trusted(valid: Any, frames: int) -> tuple[NDArray[np.bool_], bool]:
    """Which keypoints to trust, (T, 21), and whether that was said frame by frame (then a NaN is a mistake)."""
    if valid is None:
        return np.ones((frames, 21), np.bool_), False
    flags = as_numpy(valid).astype(np.bool_)
    if flags.shape == (frames,):
        return np.repeat(flags[:, None], 21, 1), True
    if flags.shape == (frames, 21):
        return flags, False
    raise ShapeError("valid", f"({frames},) or ({frames}, 21)", flags.shape, "Pass one flag a frame, or a keypoint.")


def _visible(name: str, array: Array | None, trusted: NDArray[np.bool_], strict: bool) -> NDArray[np.bool_] | None:
    if array is None:
        return None
    finite = np.isfinite(array).all(-1)
    bad = np.flatnonzero((trusted & ~finite).any(1))
    if strict and len(bad):
        raise InputError(
            f"{name}: Expected finite numbers in valid frames, got NaN or infinity in frame {bad[0]} "
            f"({len(bad)} in all). Set valid to False there, or pass valid of shape (T, 21)."
        )
    return np.asarray(trusted & finite, np.bool_)


def hands_in(name: str, keypoints: Any) -> NDArray[np.bool_]:
    """Frames of keypoints that hold a hand: at least 6 finite points that are not one point.

    Args:
        name: What to call them in an error.
        keypoints: Shape (T, 21, 3) or (T, 21, 2).

    Returns:
        Shape (T,).

    Raises:
        ShapeError: If the shape is another.
    """
    points = _array(name, keypoints, (2, 3))
    visible = np.asarray(np.isfinite(points).all(-1), np.bool_)
    return np.asarray((visible.sum(1) >= MIN_VISIBLE) & ~_coincide(points, visible))


def _extents(points: Array, visible: NDArray[np.bool_]) -> Array:
    """Longest side of the box around the visible points of each frame, (T,); 0 where there are none."""
    low = np.where(visible[..., None], points, np.inf).min(1)
    high = np.where(visible[..., None], points, -np.inf).max(1)
    extents: Array = np.maximum((high - low).max(1), 0.0)
    return extents


def _coincide(points: Array, visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames whose visible points are one point, all zeros for one: what trackers and stores put where no hand is."""
    largest = np.where(visible[..., None], np.abs(points), 0.0).max((1, 2))
    return np.asarray(_extents(points, visible) <= _ONE_POINT * largest)
