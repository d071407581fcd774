"""A tracker that sees exactly what a landmark table expects of a known motion, and ways to make it err."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hand_geometry.fitting.table import mediapipe_table
from hiw_data.calibration.landmarks import expected_landmarks
from hiw_data.calibration.scenes import FPS, in_camera, known_motion
from hiw_data.tracking import Detection, Detections


def landmarks_of(scene, seed, frames):
    """What the table expects, (T, 2, 21, 3)."""
    truth = in_camera(known_motion(frames, seed, scene.palms, scene.speed), scene)
    return expected_landmarks(truth, scene.matrix, mediapipe_table())


class ExactTracker:
    """Sees the landmarks that it is given, hand 0 left, 1 right; `change` says what becomes of (frame, detections)."""

    name, version = "exact", "1"

    def __init__(self, landmarks, change=lambda frame, hands: hands):
        self.landmarks, self.change = landmarks, change

    @property
    def options(self):
        return {}

    def track(self, frames):
        times, found, size = [], [], (0, 0)
        for frame in frames:
            k = round(frame.time * FPS)
            hands = [Detection(side, 0.95, self.landmarks[k, side]) for side in range(2)]
            found.append(tuple(self.change(k, hands)))
            times.append(frame.time)
            size = frame.image.shape[1], frame.image.shape[0]
        return Detections(np.array(times), tuple(found), *size)


def mislabelled(frames):
    """Both sides are named wrongly in these frames."""
    return lambda k, hands: [replace(hand, side=1 - hand.side) if k in frames else hand for hand in hands]


def without_left(frames):
    """The left hand is not seen in these frames."""
    return lambda k, hands: [hand for hand in hands if hand.side or k not in frames]
