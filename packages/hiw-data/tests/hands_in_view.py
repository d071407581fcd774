"""A made-up hand as a tracker would see it, and a tracker that sees what it is told: for the tests of tracking."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from hiw_data.errors import ClipError
from hiw_data.tracking import Detection, Detections

# A flat right hand seen from the back, fingers up: (x, y) in hand sizes, wrist first; OpenPose/MediaPipe order.
_X = "50 32 18 08 00 34 30 28 27 50 49 49 49 64 67 68 69 76 83 87 90"
_Y = "100 90 76 64 54 48 30 18 07 45 24 11 00 48 28 16 05 54 40 30 22"
SHAPE = np.array([[int(x) / 100, int(y) / 100] for x, y in zip(_X.split(), _Y.split(), strict=True)])


def hand(side=1, x=100.0, y=100.0, size=80.0, label=None, score=0.95):
    """A hand of a side whose box's left upper corner is at x, y; `label` is what the tracker says it is."""
    points = SHAPE if side else SHAPE * [-1, 1] + [0.9, 0]
    landmarks = np.concatenate([points * size + [x, y], np.zeros((21, 1))], 1)
    return Detection(side if label is None else label, score, landmarks)


def seen(frames, fps=30.0, size=(640, 480)):
    """Detections of frames at an even rate."""
    return Detections(np.arange(len(frames)) / fps, tuple(tuple(row) for row in frames), *size)


class ScriptedTracker:
    """Sees what a function of the time says; needs a picture in each frame, as any tracker."""

    name, version = "scripted", "1"

    def __init__(self, see, note=""):
        self.see, self.note, self.frames = see, note, 0

    @property
    def options(self):
        return {"note": self.note}

    def track(self, frames):
        times, found, size = [], [], None
        for frame in frames:
            times.append(frame.time)
            found.append(tuple(self.see(frame.time)))
            size = frame.image.shape[1], frame.image.shape[0]
            self.frames += 1
        if size is None:
            raise ClipError("Expected a video with pictures in it, got none.")
        return Detections(np.array(times), tuple(found), *size)


def write_video(path: Path, frames=30, fps=30, size=(64, 48), times=None, rotate=None, codec="libx264"):
    """A tiny video whose upper half is red and whose lower half is blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        image = np.zeros((size[1], size[0], 3), np.uint8)
        image[: size[1] // 2, :, 0] = image[size[1] // 2 :, :, 2] = 255
        for k in range(frames):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts = k if times is None else round(times[k] * fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    if rotate is not None:
        _rotate(path, rotate)
    return path


def _rotate(path: Path, degrees: int) -> None:
    """Sets the rotation in the matrix of an mp4's track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, reserved and layer
    turn = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    for k, value in zip((0, 1, 3, 4), turn, strict=True):
        data[at + 4 * k : at + 4 * k + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(data))
