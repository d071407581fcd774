"""The hand as a chain of joints with angles about anatomical axes: keypoints and their analytic Jacobian in
NumPy.

Parameters of one frame, 51 numbers: wrist rotation (3, a left perturbation), 15 x (flexion, abduction, twist)
in MANO joint order (45), translation (3).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import KEYPOINT_SOURCE, PARENTS, Array, HandAsset

PARAMETERS = 51
ANGLES = slice(3, 48)
TRANSL = slice(48, 51)

_LEVELS = ([1, 4, 7, 10, 13], [2, 5, 8, 11, 14], [3, 6, 9, 12, 15])
_DISTAL = (15, 3, 6, 12, 9)  # joint that carries each tip, thumb to pinky
CARRIER = np.array([source if source < 16 else _DISTAL[source - 16] for source in KEYPOINT_SOURCE])
"""Joint whose frame carries keypoint k."""


def _moves(joint: int, carrier: int) -> bool:
    while carrier > 0:
        if carrier == joint:
            return True
        carrier = PARENTS[carrier]
    return False


_PAIRS = np.array([(j, k) for j in range(1, 16) for k in range(21) if _moves(j, int(CARRIER[k]))])
_JOINT, _KEYPOINT = _PAIRS[:, 0], _PAIRS[:, 1]
_COLUMNS = 3 * _JOINT[:, None] + np.arange(3)  # (P, 3): the parameters of the pair's joint


@dataclass(frozen=True)
class HandChain:
    """A hand of one shape, ready to be posed.

    Attributes:
        rest: Rest joints, shape (16, 3).
        local: Each keypoint in the rest frame of the joint that carries it, shape (21, 3).
        axes: Unit axes (flexion, abduction, twist) of the 15 finger joints, shape (15, 3, 3).
    """

    rest: Array
    local: Array
    axes: Array

    @classmethod
    def build(cls, asset: HandAsset, betas: Array, offsets: Array) -> HandChain:
        """Chain of a shaped hand.

        Args:
            asset: Hand model.
            betas: Shape (B,).
            offsets: Where the observed landmarks sit relative to the model's keypoints, in the frame of the
                carrying joint, shape (21, 3), metres.

        Returns:
            The chain.
        """
        vertices = asset.v_template + asset.shapedirs @ betas
        rest = asset.joint_regressor @ vertices
        points = np.concatenate([rest, vertices[asset.tip_ids]])[list(KEYPOINT_SOURCE)]
        return cls(rest, points - rest[CARRIER] + offsets, asset.joint_axes[1:])


@dataclass
class HandState:
    """Parameters of a clip: ``orient`` (T, 3, 3) matrices, ``angles`` (T, 45) rad, ``transl`` (T, 3) m."""

    orient: Array
    angles: Array
    transl: Array

    def moved(self, step: Array) -> HandState:
        """The state after a step of shape (T, 51)."""
        turn = Rotation.from_rotvec(step[:, :3]).as_matrix()
        return HandState(turn @ self.orient, self.angles + step[:, ANGLES], self.transl + step[:, TRANSL])


@dataclass
class Posed:
    """A posed clip: ``keypoints`` (T, 21, 3), 16 world rotations and joints, ``axis_angle`` (T, 15, 3)."""

    keypoints: Array
    world: Array
    joints: Array
    axis_angle: Array

    def single(self) -> Posed:
        """The same in float32."""
        parts: list[Any] = [np.asarray(getattr(self, field.name), np.float32) for field in fields(self)]
        return Posed(*parts)


def pose(chain: HandChain, state: HandState) -> Posed:
    """Keypoints of every frame."""
    frames = len(state.transl)
    axis_angle = np.einsum("jka,tjk->tja", chain.axes, state.angles.reshape(frames, 15, 3))
    local = _rodrigues(axis_angle)
    world, joints = np.empty((frames, 16, 3, 3)), np.empty((frames, 16, 3))
    world[:, 0], joints[:, 0] = state.orient, chain.rest[0] + state.transl
    for level in _LEVELS:
        parents = [PARENTS[j] for j in level]
        bone = chain.rest[level] - chain.rest[parents]
        joints[:, level] = joints[:, parents] + (world[:, parents] @ bone[..., None])[..., 0]
        world[:, level] = world[:, parents] @ local[:, [j - 1 for j in level]]
    keypoints = joints[:, CARRIER] + (world[:, CARRIER] @ chain.local[..., None])[..., 0]
    return Posed(keypoints, world, joints, axis_angle)


def jacobian(chain: HandChain, posed: Posed) -> Array:
    """Derivative of the keypoints by the 51 parameters, transposed: shape (T, 51, 21, 3)."""
    frames, dtype = len(posed.keypoints), posed.keypoints.dtype
    out = np.zeros((frames, PARAMETERS, 21, 3), dtype)
    lever = posed.keypoints - posed.joints[:, :1]  # (T, 21, 3)
    out[:, :3] = np.cross(np.eye(3, dtype=dtype)[:, None], lever[:, None])
    parents = [PARENTS[j] for j in range(1, 16)]
    # Angular velocity per unit of each angle, in the world: parent @ left Jacobian @ axis. (T, 15, angle, 3)
    spin = chain.axes.astype(dtype) @ (posed.world[:, parents] @ _left_jacobian(posed.axis_angle)).swapaxes(-1, -2)
    arm = posed.keypoints[:, _KEYPOINT] - posed.joints[:, _JOINT]  # (T, P, 3)
    out[:, _COLUMNS, _KEYPOINT[:, None]] = _cross(spin[:, _JOINT - 1], arm[:, :, None])
    out[:, TRANSL] = np.eye(3)[:, None]
    return out


def _cross(a: Array, b: Array) -> Array:
    x, y, z = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([a[..., 1] * z - a[..., 2] * y, a[..., 2] * x - a[..., 0] * z, a[..., 0] * y - a[..., 1] * x], -1)


def _skew(v: Array) -> Array:
    out = np.zeros((*v.shape[:-1], 3, 3), v.dtype)
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def _rodrigues(v: Array) -> Array:
    angle = np.maximum(np.linalg.norm(v, axis=-1), 1e-8)[..., None, None]
    k = _skew(v)
    return np.eye(3) + np.sin(angle) / angle * k + (1 - np.cos(angle)) / angle**2 * (k @ k)


def _left_jacobian(v: Array) -> Array:
    """Derivative of the exponential map: d exp(v) = skew(J dv) exp(v)."""
    angle = np.maximum(np.linalg.norm(v, axis=-1), 1e-4 if v.dtype == np.float64 else 2e-2)[..., None, None]
    k = _skew(v)
    return np.eye(3, dtype=v.dtype) + (1 - np.cos(angle)) / angle**2 * k + (angle - np.sin(angle)) / angle**3 * (k @ k)
