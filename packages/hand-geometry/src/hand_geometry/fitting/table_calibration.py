"""Learn a ``LandmarkTable`` from known motions: offsets, then the mean and the covariance of the errors that remain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hand_geometry.assets import Array
from hand_geometry.errors import InputError
from hand_geometry.fitting.calibration import KnownMotion, Scene, calibrate_landmarks, scene_of
from hand_geometry.fitting.chain import Posed
from hand_geometry.fitting.table import LandmarkTable
from hand_geometry.fitting.tracked import TrackedImage

_ROUNDS = 10
_SHRINK = 0.1  # of the covariance to its diagonal
_FLOOR = 0.003  # metres: no error is known to be smaller
_IMAGE = 0.003  # metres: what the image itself is trusted at least
_TRUST = 1.5  # the usual error is so many times smaller than the covariance says; chosen on motions kept apart
_FEWEST = 126  # frames: twice as many as numbers in one


def calibrate_table(motions: list[KnownMotion], *, sigma_2d: float = 4.0) -> LandmarkTable:
    """Table of a tracker whose image landmarks have depths.

    Args:
        motions: Known motions with ``keypoints_2d`` of shape (T, 21, 3), ``camera`` and no need of ``keypoints``; left
            hands are mirrored. A thousand frames with the poses and views that are to be fitted later.
        sigma_2d: Standard deviation of the image points for the offsets, pixels.

    Returns:
        The table. Its covariance is robust (of Student's t), shrunk, and sharpened to what fits best.

    Raises:
        InputError: If a motion has no depths, or fewer than 126 frames show all 21 landmarks.
        ShapeError: If a shape does not fit.
    """
    scenes = [(motion.side, scene_of(motion)) for motion in motions]
    if any(scene.observed.depths is None for _, scene in scenes):
        raise InputError("motions: Expected keypoints_2d of shape (T, 21, 3), got no depths. Use calibrate_landmarks.")
    offsets = calibrate_landmarks([_flat(motion) for motion in motions], sigma_2d=sigma_2d)
    placed = LandmarkTable(offsets, np.zeros((21, 3)), np.eye(63))
    errors = np.concatenate([_errors(placed, side, scene) for side, scene in scenes])
    if len(errors) < _FEWEST:
        raise InputError(
            f"motions: Expected {_FEWEST} frames or more with all 21 landmarks, got {len(errors)}. Show more."
        )
    bias, covariance = _mean_and_covariance(errors)
    precision = np.linalg.inv(covariance) + np.diag(np.tile([(_TRUST * _IMAGE) ** -2.0] * 2 + [0.0], 21))
    return LandmarkTable(offsets, bias.reshape(21, 3), np.linalg.inv(precision) / _TRUST**2)


def _flat(motion: KnownMotion) -> KnownMotion:
    return replace(motion, keypoints=None, keypoints_2d=np.asarray(motion.keypoints_2d)[..., :2])


def _errors(table: LandmarkTable, side: str, scene: Scene) -> Array:
    """Predicted less seen of the frames with all landmarks, shape (N, 63), metres."""
    points = (scene.keypoints + (scene.turns @ table.offsets[..., None])[..., 0]) * scene.mirror
    image = TrackedImage.build(table, side, scene.observed, points[..., 2].mean(1))
    whole = scene.observed.weight_2d.all(1)
    nothing = np.zeros(0)
    error = image.error(Posed(points, nothing, nothing, nothing))
    return np.asarray(error.reshape(-1, 63)[whole])


def _mean_and_covariance(errors: Array) -> tuple[Array, Array]:
    mean = np.median(errors, axis=0)
    trust = np.ones(len(errors))
    for _ in range(_ROUNDS):
        apart = errors - mean
        covariance = (apart * trust[:, None]).T @ apart / trust.sum()
        covariance = (1 - _SHRINK) * covariance + _SHRINK * np.diag(np.diag(covariance)) + _FLOOR**2 * np.eye(63)
        squared = np.einsum("ti,ij,tj->t", apart, np.linalg.inv(covariance), apart)
        trust = 1 / (1 + squared / 63)
        mean = mean + (trust[:, None] * apart).sum(0) / trust.sum()
    return mean, covariance
