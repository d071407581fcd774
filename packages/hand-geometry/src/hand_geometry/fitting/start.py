"""Where a fit starts: rotation by Procrustes or from the palm's image, translation from the keypoints or the camera."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hand_geometry.assets import Array
from hand_geometry.fitting.chain import HandChain, HandState, pose
from hand_geometry.fitting.limits import angle_priors
from hand_geometry.fitting.observed import Observed

_PALM = [0, 1, 5, 9, 13, 17]  # keypoints that move little against each other
_BESIDE = 0.05  # weight of the other keypoints, which tell something where the palm is hidden


def initial_states(chain: HandChain, observed: Observed) -> list[HandState]:
    """First guesses; frames that were not seen copy the nearest that was.

    Args:
        chain: The hand.
        observed: At least one frame is seen.

    Returns:
        One state; from image points alone four, for a flat thing looks the same turned towards and away, and a finger
        that points at the camera may be straight or curled.
    """
    frames = len(observed.seen)
    mean, _, _, high = angle_priors()
    rest = pose(chain, HandState(np.eye(3)[None], mean[None], np.zeros((1, 3)))).keypoints[0]
    share = np.full(21, _BESIDE)
    share[_PALM] = 1.0
    if observed.pixels is not None and observed.camera is not None and observed.depths is not None:
        lifted = np.concatenate([observed.pixels, observed.depths[..., None]], -1)
        lifted = rotate_to_ray(lifted, observed.pixels, observed.camera, observed.weight_2d)
        turns, curls = [procrustes(rest, lifted, observed.weight_2d * share)], [mean]
    elif observed.in_3d:
        turns, curls = [procrustes(rest, observed.points, observed.weight_3d * share)], [mean]
    else:
        turns, curls = _turns_of_image(rest, observed, share), [mean, _curled(mean, high)]
    nearest = _nearest(observed.seen)
    states = []
    for turn, angles in product(turns, curls):
        state = HandState(turn[nearest], np.tile(angles, (frames, 1)), np.zeros((frames, 3)))
        keypoints = pose(chain, state).keypoints
        if observed.pixels is None or observed.camera is None:
            weight = observed.weight_3d[..., None]
            move = ((observed.points - keypoints) * weight).sum(1) / np.maximum(weight.sum(1), 1e-9)
        else:
            move = _pinhole_translation(keypoints, observed.pixels, observed.camera, observed.weight_2d)
        state.transl = move[nearest]
        states.append(state)
    return states


def rotate_to_ray(points: Array, pixels: Array, camera: Array, weight: Array | None = None) -> Array:
    """Turn keypoints from the frame of the ray through the hand into the camera's frame.

    Args:
        points: Shape (T, 21, 3), metres.
        pixels: Shape (T, 21, 2).
        camera: Pinhole matrix, shape (3, 3).
        weight: Of the pixels, shape (T, 21); None for ones.

    Returns:
        Shape (T, 21, 3).
    """
    ray = ray_of(pixels, camera, np.ones(pixels.shape[:2]) if weight is None else weight)
    axis = np.cross([0.0, 0.0, 1.0], ray)
    sine = np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12)
    turn = Rotation.from_rotvec(axis / sine * np.arccos(np.clip(ray[:, 2:], -1, 1))).as_matrix()
    return points @ turn.swapaxes(1, 2)


def ray_of(pixels: Array, camera: Array, weight: Array) -> Array:
    """Unit vectors (T, 3) from the camera through the mean of image points (T, 21, 2), weights (T, 21)."""
    middle = (pixels * weight[..., None]).sum(1) / np.maximum(weight.sum(1), 1e-9)[:, None]
    flat = (middle - camera[:2, 2]) / camera[[0, 1], [0, 1]]
    ray = np.concatenate([flat, np.ones((len(pixels), 1))], 1)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    return ray


def _curled(mean: Array, high: Array) -> Array:
    """Angles (45,) of a hand with all fingers but the thumb bent three quarters of the way."""
    angles = mean.reshape(5, 3, 3).copy()
    angles[:4, :, 0] = 0.75 * high.reshape(5, 3, 3)[:4, :, 0]
    return np.asarray(angles.ravel())


def _nearest(seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    index = np.flatnonzero(seen)
    frames = np.arange(len(seen))
    right = np.clip(np.searchsorted(index, frames), 0, len(index) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(index[right] - frames) <= np.abs(index[left] - frames), index[right], index[left])


def procrustes(source: Array, target: Array, weight: Array) -> Array:
    """Rotations (T, 3, 3) that best turn points (K, 3) into (T, K, 3) about their means, weights (T, K) (Kabsch)."""
    share = (weight / np.maximum(weight.sum(1, keepdims=True), 1e-9))[..., None]
    a = source - (source * share).sum(1, keepdims=True)
    b = target - (target * share).sum(1, keepdims=True)
    u, _, vt = np.linalg.svd((b * share).swapaxes(1, 2) @ a)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _turns_of_image(rest: Array, observed: Observed, share: Array) -> list[Array]:
    """Both rotations under which the palm's plane, seen from far, has this image (two of shape (T, 3, 3))."""
    assert observed.pixels is not None
    assert observed.camera is not None
    weight = observed.weight_2d * share
    weight = (weight / np.maximum(weight.sum(1, keepdims=True), 1e-9))[..., None]
    plane = np.linalg.svd(rest[_PALM] - rest[_PALM].mean(0))[2]
    plane[2] *= np.sign(np.linalg.det(plane))  # rows: two axes in the palm, its normal
    image = (observed.pixels - observed.camera[:2, 2]) / observed.camera[[0, 1], [0, 1]]
    flat = rest @ plane[:2].T
    a = flat - (flat * weight).sum(1, keepdims=True)  # (T, 21, 2)
    b = image - (image * weight).sum(1, keepdims=True)
    gram = (a * weight).swapaxes(1, 2) @ a + 1e-12 * np.eye(2)
    p, q = np.moveaxis(np.linalg.solve(gram, (a * weight).swapaxes(1, 2) @ b), 1, 0)  # images of the axes, (T, 2)
    # The axes are p and q in the image and x and y in depth, scaled alike: |p|^2 + x^2 = |q|^2 + y^2, p.q + x y = 0.
    more, across = (q**2).sum(-1) - (p**2).sum(-1), (p * q).sum(-1)
    root = np.hypot(more, 2 * across)
    x, y = np.sqrt(np.maximum(root + more, 0) / 2), np.sqrt(np.maximum(root - more, 0) / 2)
    y = np.where(across > 0, -y, y)
    turns = []
    for sign in (1.0, -1.0):
        first = np.concatenate([p, sign * x[:, None]], 1)
        second = np.concatenate([q, sign * y[:, None]], 1)
        first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
        second /= np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-12)
        columns = np.stack([first, second, np.cross(first, second)], -1) @ plane
        u, _, vt = np.linalg.svd(columns)
        u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
        turns.append(u @ vt)
    return turns


def _pinhole_translation(keypoints: Array, pixels: Array, camera: Array, weight: Array) -> Array:
    """Translations (T, 3) that best bring keypoints onto image points (weighted linear least squares)."""
    ray = (pixels - camera[:2, 2]) / camera[[0, 1], [0, 1]]  # (T, 21, 2)
    equations = np.zeros((len(pixels), 21, 2, 3))
    equations[:, :, 0, 0] = equations[:, :, 1, 1] = 1
    equations[..., 2] = -ray
    rows = equations.reshape(len(pixels), 42, 3)
    right = (ray * keypoints[..., 2:] - keypoints[..., :2]).reshape(len(pixels), 42, 1)
    normal = (rows * np.repeat(weight, 2, 1)[..., None]).swapaxes(1, 2)
    solved = np.linalg.solve(normal @ rows + 1e-9 * np.eye(3), normal @ right)
    transl = np.asarray(solved[..., 0], np.float64)
    nearest = 0.1 - keypoints[..., 2].min(1)  # keep the whole hand before the camera
    transl[:, 2] = np.maximum(transl[:, 2], nearest)
    return transl
