"""What a tracker sees: hands frame by frame, before anybody has decided which hand is which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Detection:
    """One hand in one frame.

    Attributes:
        side: what the tracker takes it for, 0 left or 1 right.
        score: of that, 0.5 to 1.
        landmarks: (21, 3): x and y in pixels of the frame, and the depth relative to the wrist in the same unit, in
            OpenPose/MediaPipe order.
        second_look: True if a closer look at a part of the frame found it.
        points: (21, 3), metres in the camera's axes (x right, y down, z forward), of a tracker that knows them; they
            count relative to their mean. A tracker gives them for all hands, or for none.
    """

    side: int
    score: float
    landmarks: NDArray[np.float64]
    second_look: bool = False
    points: NDArray[np.float64] | None = None

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of the landmarks' box, (2,), pixels."""
        points = self.landmarks[:, :2]
        return np.asarray((points.min(0) + points.max(0)) / 2)

    @property
    def size(self) -> float:
        """Longer side of the landmarks' box, pixels; at least 1."""
        points = self.landmarks[:, :2]
        return max(float((points.max(0) - points.min(0)).max()), 1.0)

    def distance(self, other: Detection) -> float:
        """Mean distance of the landmarks in the image, in sizes of the smaller hand."""
        apart = np.linalg.norm(self.landmarks[:, :2] - other.landmarks[:, :2], axis=-1).mean()
        return float(apart) / min(self.size, other.size)


@dataclass(frozen=True)
class Detections:
    """All hands that a tracker saw in one video, and where it looked.

    Attributes:
        times: (T,), seconds from the start of the file, increasing.
        frames: for each frame the hands in it.
        width, height: of the picture, pixels.
        focal: length in pixels of the picture that the tracker went by and believes to be true, or None.
        along_ray: whether `points` are oriented to the ray through the hand, not to the camera's axis, as those of a
            network are that sees a crop.
    """

    times: NDArray[np.float64]
    frames: tuple[tuple[Detection, ...], ...]
    width: int
    height: int
    focal: float | None = None
    along_ray: bool = False

    def __post_init__(self) -> None:
        if len(self.times) != len(self.frames):
            raise ValueError(f"Expected as many times as frames, got {len(self.times)} and {len(self.frames)}.")

    def to_arrays(self) -> dict[str, NDArray]:
        """Plain arrays for a file; `from_arrays` gives the same back."""
        flat = [(k, hand) for k, hands in enumerate(self.frames) for hand in hands]
        known = [hand.points for _, hand in flat if hand.points is not None]
        if known and len(known) < len(flat):
            raise ValueError(f"Expected points in metres of all {len(flat)} hands or of none, got {len(known)}.")
        return {
            "points": np.array(known, np.float64).reshape(-1, 21, 3),
            "camera": np.array([np.nan if self.focal is None else self.focal, float(self.along_ray)]),
            "times": self.times,
            "size": np.array([self.width, self.height]),
            "frame": np.array([k for k, _ in flat], np.int64),
            "side": np.array([hand.side for _, hand in flat], np.int64),
            "score": np.array([hand.score for _, hand in flat], np.float64),
            "second_look": np.array([hand.second_look for _, hand in flat], bool),
            "landmarks": np.array([hand.landmarks for _, hand in flat], np.float64).reshape(-1, 21, 3),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Detections:
        """What `to_arrays` gave."""
        frames: list[list[Detection]] = [[] for _ in arrays["times"]]
        columns = [arrays[name] for name in ("frame", "side", "score", "landmarks", "second_look")]
        points = list(arrays["points"]) or [None] * len(arrays["frame"])
        for frame, side, score, landmarks, second, own in zip(*columns, points, strict=True):
            frames[int(frame)].append(Detection(int(side), float(score), landmarks, bool(second), own))
        width, height = (int(n) for n in arrays["size"])
        focal, along_ray = arrays["camera"].tolist()
        known = None if np.isnan(focal) else focal
        return cls(arrays["times"], tuple(map(tuple, frames)), width, height, known, bool(along_ray))
