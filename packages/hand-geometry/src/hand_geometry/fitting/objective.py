"""What a fit minimises: robust keypoint errors, priors and limits of the angles, smoothness over time.

Every term is a sum of squares; one pass gives the gradient and the Gauss-Newton matrix of each frame, to
which smoothness adds a constant diagonal on and beside the block diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import Array
from hand_geometry.fitting.chain import ANGLES, PARAMETERS, HandChain, HandState, Posed, jacobian, pose
from hand_geometry.fitting.limits import LIMIT_SOFTNESS, angle_priors
from hand_geometry.fitting.observed import Observed
from hand_geometry.fitting.tracked import NEAREST, TrackedImage

HUBER = 3.0
"""Errors beyond this many standard deviations count linearly."""


@dataclass
class Objective:
    """The terms of one clip.

    Attributes:
        chain: The hand.
        observed: Keypoints and image points. With image points the keypoints count relative to their mean.
        sigma_3d: Standard deviation of the keypoints, metres.
        sigma_2d: Standard deviation of the image points, pixels.
        smoothness: Expected change per frame of the wrist rotation (rad), the angles (rad), the translation
            (m), or None to treat every frame alone.
        image: How to weigh image points with depths; None for plain image points.
    """

    chain: HandChain
    observed: Observed
    sigma_3d: float
    sigma_2d: float
    smoothness: tuple[float, float, float] | None
    image: TrackedImage | None = None
    coupling: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._mean, self._deviation, self._low, self._high = angle_priors()
        observed = self.observed
        self.points, self.pixels, self.camera = observed.points, observed.pixels, observed.camera
        self._in_camera = observed.weight_2d.any(1)
        weight = observed.weight_3d
        self._share = (weight / np.maximum(weight.sum(1, keepdims=True), 1.0))[..., None]
        if self.pixels is not None:
            self.points = self.points - (self.points * self._share).sum(1, keepdims=True)
        if self.smoothness is not None and len(self.points) > 1:
            turn, bend, move = self.smoothness
            self.coupling = np.repeat([turn, bend, move], [3, 45, 3]) ** -2.0

    def cost(self, state: HandState) -> float:
        """Value at a state; infinite if a keypoint falls behind the camera."""
        total = self.frame_costs(state).sum()
        if self.coupling is not None:
            total += (self._change(state) ** 2 @ self.coupling).sum()
        return float(total)

    def frame_costs(self, state: HandState) -> Array:
        """Value of each frame without smoothness, shape (T,)."""
        posed, observed = pose(self.chain, state), self.observed
        total = (observed.weight_3d * _huber(np.linalg.norm(self.error_3d(posed), axis=-1))).sum(-1)
        if self.image is not None:
            total += self.image.costs(posed)
        elif self.pixels is not None:
            total += (observed.weight_2d * _huber(np.linalg.norm(self._error_2d(posed), axis=-1))).sum(-1)
        if self.pixels is not None:
            total[self._in_camera & (posed.keypoints[..., 2] < NEAREST).any(1)] = np.inf
        total += (((state.angles - self._mean) / self._deviation) ** 2).sum(-1)
        total += (self._excess(state.angles) ** 2).sum(-1) / LIMIT_SOFTNESS**2
        return np.asarray(total)

    def normal_equations(self, state: HandState) -> tuple[Array, Array]:
        """Gauss-Newton matrices (T, 51, 51), temporal off-diagonals left out, and half gradients (T, 51)."""
        posed = pose(self.chain, state)
        slope = jacobian(self.chain, posed.single())  # (T, 51, 21, 3) float32: a step need not be exact, the cost is
        hessian, gradient = np.zeros((len(slope), PARAMETERS, PARAMETERS)), np.zeros((len(slope), PARAMETERS))
        terms = [self._add_points] if self.observed.in_3d else []
        if self.pixels is not None:
            terms.append(self._add_pixels if self.image is None else self.image.normal_equations)
        for term in terms:
            more_hessian, more_gradient = term(posed, slope)
            hessian += more_hessian
            gradient += more_gradient
        excess = self._excess(state.angles)
        stiffness = self._deviation**-2.0 + (excess != 0) / LIMIT_SOFTNESS**2
        gradient[:, ANGLES] += (state.angles - self._mean) / self._deviation**2 + excess / LIMIT_SOFTNESS**2
        hessian[:, _ANGLE_INDEX, _ANGLE_INDEX] += stiffness
        if self.coupling is not None:
            pull = self._change(state) * self.coupling
            gradient[1:] += pull
            gradient[:-1] -= pull
            hessian[1:, _DIAGONAL, _DIAGONAL] += self.coupling
            hessian[:-1, _DIAGONAL, _DIAGONAL] += self.coupling
        return hessian, gradient

    def _add_points(self, posed: Posed, slope: Array) -> tuple[Array, Array]:
        if self.pixels is not None:
            share = self._share[:, None, :, 0].astype(slope.dtype)  # (T, 1, 21)
            slope = slope - share[:, :, None] @ slope
        return _gauss_newton(slope / slope.dtype.type(self.sigma_3d), self.error_3d(posed), self.observed.weight_3d)

    def _add_pixels(self, posed: Posed, slope: Array) -> tuple[Array, Array]:
        assert self.camera is not None
        focal = (self.camera[[0, 1], [0, 1]] / self.sigma_2d).astype(slope.dtype)
        posed_as = posed.keypoints[:, None].astype(slope.dtype)
        scale = focal / np.maximum(posed_as[..., 2:], NEAREST)
        ratio = posed_as[..., :2] / np.maximum(posed_as[..., 2:], NEAREST)
        flat = scale * (slope[..., :2] - ratio * slope[..., 2:])
        return _gauss_newton(flat, self._error_2d(posed), self.observed.weight_2d)

    def error_3d(self, posed: Posed) -> Array:
        """Distances to the observed keypoints in standard deviations, shape (T, 21, 3)."""
        found = posed.keypoints
        if self.pixels is not None:
            found = found - (found * self._share).sum(1, keepdims=True)
        return (found - self.points) / self.sigma_3d

    def _error_2d(self, posed: Posed) -> Array:
        assert self.camera is not None
        assert self.pixels is not None
        return (project(posed.keypoints, self.camera) - self.pixels) / self.sigma_2d

    def _excess(self, angles: Array) -> Array:
        return np.minimum(angles - self._low, 0) + np.maximum(angles - self._high, 0)

    def _change(self, state: HandState) -> Array:
        turn = Rotation.from_matrix(state.orient[1:] @ state.orient[:-1].swapaxes(1, 2)).as_rotvec()
        return np.concatenate([turn, np.diff(state.angles, axis=0), np.diff(state.transl, axis=0)], 1)


_DIAGONAL = np.arange(PARAMETERS)
_ANGLE_INDEX = _DIAGONAL[ANGLES]


def project(points: Array, camera: Array) -> Array:
    """Pinhole projection of points (..., 3), z forward, to pixels (..., 2)."""
    depth = np.maximum(points[..., 2:], NEAREST)
    return points[..., :2] / depth * camera[[0, 1], [0, 1]] + camera[:2, 2]


def _huber(error: Array) -> Array:
    return np.where(error < HUBER, error**2, 2 * HUBER * error - HUBER**2)


def _gauss_newton(slope: Array, error: Array, weight: Array) -> tuple[Array, Array]:
    """Matrices (T, 51, 51) and half gradients (T, 51) of slopes (T, 51, K, D), errors (T, K, D), weights (T, K)."""
    frames = len(error)
    norm = np.linalg.norm(error, axis=-1, keepdims=True)
    trust = weight[..., None] * np.minimum(1.0, HUBER / np.maximum(norm, HUBER))
    weighted = (slope * trust[:, None].astype(slope.dtype)).reshape(frames, PARAMETERS, -1)
    hessian = weighted @ slope.reshape(frames, PARAMETERS, -1).swapaxes(1, 2)
    return hessian, (weighted @ error.reshape(frames, -1, 1).astype(slope.dtype))[..., 0]
