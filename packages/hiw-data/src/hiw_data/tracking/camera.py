"""The camera of a video: from a file, from the user, or guessed and marked as a guess."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import OptionError, SourceError

WIDE = 105.0
"""Degrees across the longer side of a wide-angle camera, such as people wear on the head."""

_KEYS = {"fx", "fy", "cx", "cy", "width", "height"}


@dataclass(frozen=True)
class CameraModel:
    """How a pinhole camera is known.

    At most one of `fov`, `focal` and `matrix` is given; with none, the focal length is guessed as the longer side of
    the picture (a horizontal view of 53 degrees, as of a phone or a webcam).

    Attributes:
        fov: horizontal field of view, degrees.
        focal: focal length in pixels of the video.
        matrix: fx, fy, cx, cy in pixels, and the picture's width and height that they are for.
    """

    fov: float | None = None
    focal: float | None = None
    matrix: tuple[float, float, float, float, int, int] | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.fov, self.focal, self.matrix) if value is not None]
        if len(given) > 1:
            raise OptionError("Expected one of a field of view, a focal length and a camera file, got more.")
        if self.fov is not None and not 5 <= self.fov <= 160:
            raise OptionError(f"Expected a horizontal field of view of 5 to 160 degrees, got {self.fov}.")
        if self.focal is not None and not 10 <= self.focal <= 1e5:
            raise OptionError(f"Expected a focal length of 10 to 100,000 pixels, got {self.focal}.")

    @classmethod
    def load(cls, path: str | Path) -> CameraModel:
        """From a JSON file: an object with fx, fy, cx, cy (pixels), width and height.

        Raises:
            SourceError: no such file, or not of this form.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            numbers = [float(values[key]) for key in ("fx", "fy", "cx", "cy")]
            size = int(values["width"]), int(values["height"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SourceError(
                f"Expected a JSON object with the numbers {', '.join(sorted(_KEYS))} in {path}, got: {error}."
            ) from error
        if not all(np.isfinite(numbers)) or min(numbers[:2]) < 10 or min(size) < 1:
            raise SourceError(f"Expected focal lengths over 10 pixels and a size in {path}, got {numbers} and {size}.")
        return cls(matrix=(*numbers, *size))  # type: ignore[arg-type]

    @property
    def guessed(self) -> bool:
        """Whether nobody said anything."""
        return self.fov is None and self.focal is None and self.matrix is None

    def pinhole(self, width: int, height: int, scale: float = 1.0) -> NDArray[np.float64]:
        """The matrix (3, 3) for a picture of this size.

        Args:
            width: of the picture that was tracked, pixels.
            height: of the same.
            scale: its size as a share of the video's.
        """
        if self.matrix is not None:
            fx, fy, cx, cy, full_width, full_height = self.matrix
            x, y = width / full_width, height / full_height
            return np.array([[fx * x, 0, cx * x], [0, fy * y, cy * y], [0, 0, 1]])
        if self.fov is not None:
            focal = width / 2 / np.tan(np.radians(self.fov) / 2)
        else:
            focal = self.focal * scale if self.focal is not None else float(max(width, height))
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def doubt_of_guess(landmarks: NDArray[np.float64], width: int, height: int) -> float:
    """How far a guessed camera may turn the hands: degrees between their rays under the guess and a wide angle.

    A fit orients a hand to the ray through it, so that an error of the focal length turns the hand by as much as its
    ray, and the further it is from the middle of the picture the more; the distance in the image does not tell.

    Args:
        landmarks: (..., 21, 3) of hands, pixels; NaN where there is nothing.
        width: of the picture, pixels.
        height: of the same.

    Returns:
        The mean over what is seen; NaN if nothing is.
    """
    points = landmarks[..., :2].reshape(-1, 21, 2)
    points = points[np.isfinite(points).all((1, 2))]
    if not len(points):
        return float("nan")
    off = np.linalg.norm(points.mean(1) - np.array([width, height]) / 2, axis=-1)
    guess = CameraModel().pinhole(width, height)[0, 0]
    wide = max(width, height) / 2 / np.tan(np.radians(WIDE) / 2)
    return float(np.degrees(np.arctan(off / wide) - np.arctan(off / guess)).mean())
