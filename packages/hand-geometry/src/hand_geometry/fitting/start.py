"""Where a fit starts: the palm's rotation by Procrustes, the translation from the keypoints or the camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hand_geometry.assets import Array
from hand_geometry.fitting.chain import HandChain, HandState, pose
from hand_geometry.fitting.limits import angle_priors

_PALM = [0, 1, 5, 9, 13, 17]  # keypoints that move little against each other


def initial_state(
    chain: HandChain,
    points: Array,
    seen: NDArray[np.bool_],
    pixels: Array | None,
    camera: Array | None,
) -> HandState:
    """A first guess; frames that were not seen copy the nearest that was.

    Args:
        chain: The hand.
        points: Keypoints, shape (T, 21, 3), metres.
        seen: Frames to use, shape (T,) bool.
        pixels: Image points, shape (T, 21, 2), or None.
        camera: Pinhole matrix, or None.

    Returns:
        The state.
    """
    frames = len(points)
    mean = angle_priors()[0]
    state = HandState(np.tile(np.eye(3), (frames, 1, 1)), np.tile(mean, (frames, 1)), np.zeros((frames, 3)))
    rest = pose(chain, HandState(np.eye(3)[None], mean[None], np.zeros((1, 3)))).keypoints[0]
    nearest = _nearest(seen)
    state.orient = _procrustes(rest[_PALM], points[:, _PALM])[nearest]
    keypoints = pose(chain, state).keypoints
    if pixels is None or camera is None:
        transl = points.mean(1) - keypoints.mean(1)
    else:
        transl = _pinhole_translation(keypoints, pixels[nearest], camera)
    state.transl = transl[nearest]
    return state


def rotate_to_ray(points: Array, pixels: Array, camera: Array) -> Array:
    """Turn keypoints from the frame of the ray through the hand into the camera's frame.

    Args:
        points: Shape (T, 21, 3), metres.
        pixels: Shape (T, 21, 2).
        camera: Pinhole matrix, shape (3, 3).

    Returns:
        Shape (T, 21, 3).
    """
    flat = (pixels.mean(1) - camera[:2, 2]) / camera[[0, 1], [0, 1]]
    ray = np.concatenate([flat, np.ones((len(pixels), 1))], 1)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12)
    turn = Rotation.from_rotvec(axis / sine * np.arccos(np.clip(ray[:, 2:], -1, 1))).as_matrix()
    return points @ turn.swapaxes(1, 2)


def _nearest(seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    index = np.flatnonzero(seen)
    frames = np.arange(len(seen))
    right = np.clip(np.searchsorted(index, frames), 0, len(index) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(index[right] - frames) <= np.abs(index[left] - frames), index[right], index[left])


def _procrustes(source: Array, target: Array) -> Array:
    """Rotations (T, 3, 3) that best turn points (K, 3) into (T, K, 3) about their means (Kabsch)."""
    a = source - source.mean(0)
    b = target - target.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(b.swapaxes(1, 2) @ a)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _pinhole_translation(keypoints: Array, pixels: Array, camera: Array) -> Array:
    """Translations (T, 3) that best bring keypoints onto image points (linear least squares)."""
    ray = (pixels - camera[:2, 2]) / camera[[0, 1], [0, 1]]  # (T, 21, 2)
    equations = np.zeros((len(pixels), 21, 2, 3))
    equations[:, :, 0, 0] = equations[:, :, 1, 1] = 1
    equations[..., 2] = -ray
    rows = equations.reshape(len(pixels), 42, 3)
    right = (ray * keypoints[..., 2:] - keypoints[..., :2]).reshape(len(pixels), 42, 1)
    normal = rows.swapaxes(1, 2)
    solved = np.linalg.solve(normal @ rows + 1e-9 * np.eye(3), normal @ right)
    transl = np.asarray(solved[..., 0], np.float64)
    nearest = 0.1 - keypoints[..., 2].min(1)  # keep the whole hand before the camera
    transl[:, 2] = np.maximum(transl[:, 2], nearest)
    return transl
