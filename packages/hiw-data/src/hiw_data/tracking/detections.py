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
    """

    side: int
    score: float
    landmarks: NDArray[np.float64]
    second_look: bool = False

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
    """

    times: NDArray[np.float64]
    frames: tuple[tuple[Detection, ...], ...]
    width: int
    height: int

    def __post_init__(self) -> None:
        if len(self.times) != len(self.frames):
            raise ValueError(f"Expected as many times as frames, got {len(self.times)} and {len(self.frames)}.")

    def to_arrays(self) -> dict[str, NDArray]:
        """Plain arrays for a file; `from_arrays` gives the same back."""
        flat = [(k, hand) for k, hands in enumerate(self.frames) for hand in hands]
        return {
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
        for frame, side, score, landmarks, second in zip(*columns, strict=True):
            frames[int(frame)].append(Detection(int(side), float(score), landmarks, bool(second)))
        width, height = (int(n) for n in arrays["size"])
        return cls(arrays["times"], tuple(tuple(hands) for hands in frames), width, height)
