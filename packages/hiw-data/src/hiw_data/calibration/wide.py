"""Where a wide angle goes wrong: the fit is given true landmarks, those that the table expects, and the tracker's.

Each is fitted with the camera that drew the picture, and with the one that is guessed where nobody says anything; what
the table expects is also bent as a fisheye lens would and fitted as if there were none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hand_geometry import LandmarkTable, fit_keypoints
from hand_geometry.fitting.table import mediapipe_table
from numpy.typing import NDArray

from hiw_data.calibration.landmarks import expected_landmarks, perfect_table
from hiw_data.calibration.measures import HandErrors, hand_errors, joints_of, summary_of, turns_of
from hiw_data.calibration.scenes import FPS, SIDES, Scene, draw, in_camera, known_motion
from hiw_data.frames import Frame
from hiw_data.tracking.base import Tracker
from hiw_data.tracking.camera import CameraModel
from hiw_data.tracking.identity import two_hands

Array = NDArray[np.float64]

WIDE_SCENES: tuple[Scene, ...] = (
    Scene("usual lens, 65 degrees"),
    Scene("105 degrees, hands in the middle", fov=105.0),
    Scene("105 degrees, hands at the lower edge", fov=105.0, pitch=25.0),
    Scene("105 degrees, hands in a corner", fov=105.0, pitch=20.0, yaw=20.0),
    Scene("368 x 480, 90 degrees across, hands at the lower edge", size=(368, 480), fov=90.0, pitch=25.0),
)

_SMOOTHNESS = (0.05, 0.10, 0.01)


@dataclass(frozen=True)
class WideRow:
    """One way to be given landmarks, under one scene.

    Attributes:
        scene: name of it.
        off_axis: angle between the hands and the camera's axis in the mean, degrees.
        landmarks: "true", "expected", "fisheye" or "tracker".
        camera: "known" or "guessed".
        errors: one clip a motion.
        reprojection: mean image distance of the fit, pixels.
    """

    scene: str
    off_axis: float
    landmarks: str
    camera: str
    errors: tuple[HandErrors, ...]
    reprojection: float

    def figures(self) -> dict[str, float | str]:
        """For a table: see `summary_of`."""
        own: dict[str, float | str] = {
            "scene": self.scene,
            "off_axis_deg": self.off_axis,
            "landmarks": self.landmarks,
            "camera": self.camera,
        }
        return {**own, **summary_of(self.errors), "reprojection_px": self.reprojection}


def wide_angle(
    tracker: Tracker | None,
    *,
    scenes: Sequence[Scene] = WIDE_SCENES,
    seeds: Sequence[int] = (101, 102),
    frames: int = 45,
) -> list[WideRow]:
    """Fits every kind of landmarks under every scene.

    Args:
        tracker: None leaves the tracker's landmarks out, and draws nothing.
        scenes: the conditions.
        seeds: of the motions.
        frames: of each.
    """
    return [row for scene in scenes for row in _rows(tracker, scene, seeds, frames)]


def fisheye(landmarks: Array, camera: Array) -> Array:
    """Landmarks (..., 3) of a pinhole camera as an equidistant fisheye of the same focal length sees them."""
    flat = (landmarks[..., :2] - camera[:2, 2]) / camera[[0, 1], [0, 1]]
    radius = np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-9)
    bent = flat / radius * np.arctan(radius)
    return np.concatenate([bent * camera[[0, 1], [0, 1]] + camera[:2, 2], landmarks[..., 2:]], -1)


def _rows(tracker: Tracker | None, scene: Scene, seeds: Sequence[int], frames: int) -> list[WideRow]:
    tables = {"true": perfect_table(), "expected": mediapipe_table()}
    cameras = {"known": scene.matrix, "guessed": CameraModel().pinhole(*scene.size)}
    found: dict[tuple[str, str], list[tuple[HandErrors, Array]]] = {}
    angles = []
    for seed in seeds:
        motion = known_motion(frames, seed, scene.palms, scene.speed)
        truth = in_camera(motion, scene)
        middle = joints_of(truth)[:, :, 9]
        angles.append(np.degrees(np.arccos(middle[..., 2] / np.linalg.norm(middle, axis=-1))).mean())
        given = {name: expected_landmarks(truth, scene.matrix, table) for name, table in tables.items()}
        given["fisheye"] = fisheye(given["expected"], scene.matrix)
        if tracker is not None:
            pictures = (Frame(k / FPS, picture) for k, picture in enumerate(draw(motion, scene, seed=seed)))
            given["tracker"] = two_hands(tracker.track(pictures)).landmarks
        for name, landmarks in given.items():
            for known, camera in cameras.items():
                row = _fitted(landmarks, camera, tables.get(name, tables["expected"]), truth)
                found.setdefault((name, known), []).append(row)
    rows = []
    for (name, known), pairs in found.items():
        pixels = np.concatenate([np.ravel(distance) for _, distance in pairs])
        mean = float(pixels[np.isfinite(pixels)].mean()) if np.isfinite(pixels).any() else float("nan")
        errors = tuple(error for error, _ in pairs)
        rows.append(WideRow(scene.name, float(np.mean(angles)), name, known, errors, mean))
    return rows


def _fitted(landmarks: Array, camera: Array, table: LandmarkTable, truth: dict[str, Any]) -> tuple[HandErrors, Array]:
    """Errors of both hands, and the image distance (T, 2)."""
    got = {name: np.zeros_like(values) for name, values in truth.items()}
    valid = np.asarray(np.isfinite(landmarks).all((-1, -2)), np.bool_)
    distance = np.full(valid.shape, np.nan)
    for hand, side in enumerate(SIDES):
        if not valid[:, hand].any():
            continue
        fit = fit_keypoints(
            side=side,
            keypoints_2d=landmarks[:, hand],
            camera=camera,
            landmark_offsets=table,
            smoothness=_SMOOTHNESS,
        )
        for name in got:
            got[name][:, hand] = getattr(fit, name)
        assert fit.reprojection is not None
        distance[:, hand] = fit.reprojection
    turns = turns_of(got), turns_of(truth)
    return hand_errors(joints_of(got), joints_of(truth), valid, FPS, turns=turns), distance
