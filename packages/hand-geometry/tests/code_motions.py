"""Motions that the tests of the motion codes are about: a hand as joints, moved along paths given by hand."""

from __future__ import annotations

import numpy as np
from hand_geometry import HandModel, load_pose, relaxed_hand
from numpy.typing import NDArray

FPS = 15.0
Array = NDArray[np.float64]
MIRROR = np.array([-1.0, 1.0, 1.0])


def hand(pose: str | Array = "flat", side: str = "right", frames: int = 1) -> Array:
    """Joints (T, 21, 3) with the wrist at the origin, fingers forward, palm down."""
    model = HandModel.load("default", side=side)
    orient = relaxed_hand(side)["global_orient"][None]
    named = load_pose(pose, side).numpy() if isinstance(pose, str) else pose
    import torch

    poses = torch.tensor(np.broadcast_to(named, (frames, 15, 3)).copy(), dtype=torch.float32)
    joints = model(orient.expand(frames, 3), poses, vertices=False).joints.numpy().astype(float)
    return joints - joints[:, :1]


def two_hands(right: Array, left: Array | None = None) -> Array:
    """Joints (T, 2, 21, 3) of a right hand (T, 21, 3) 13 cm to the right, and a resting left hand 13 cm to the left."""
    still = np.repeat(hand(side="left"), len(right), 0) if left is None else left
    return np.stack([still + np.array([-0.13, 0, 0]), right + np.array([0.13, 0, 0])], 1)


def moved(path: Array, pose: str = "flat") -> Array:
    """A right hand (T, 21, 3) whose wrist follows a path (T, 3)."""
    return np.repeat(hand(pose), len(path), 0) + path[:, None]


def bumps(count: int, frames: int = 64, start: int = 8, stop: int = 56) -> Array:
    """(T,) from 0 to 1 and back, `count` times between two frames."""
    phase = np.clip((np.arange(frames) - start) / (stop - start), 0, 1) * count
    return 0.5 - 0.5 * np.cos(2 * np.pi * phase)


def along(axis: tuple[float, float, float], amount: Array) -> Array:
    """A path (T, 3)."""
    return np.multiply.outer(amount, np.array(axis))


def mirrored(joints: Array) -> Array:
    """The motion in a mirror: x reflected, hands exchanged."""
    return joints[..., ::-1, :, :] * MIRROR


def random_motion(seed: int, frames: int = 48) -> Array:
    """A smooth motion of both hands, (T, 2, 21, 3): wrists, turns and fingers go their own ways."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    t = np.arange(frames) / FPS
    out = []
    for side, sign in (("left", -1.0), ("right", 1.0)):
        waves = np.sin(2 * np.pi * np.multiply.outer(t, rng.uniform(0.2, 1.2, 8)) + rng.uniform(0, 6, 8))
        curl = 0.5 + 0.5 * waves[:, 0]
        joints = hand(np.multiply.outer(curl, load_pose("fist", side).numpy()), side, frames)
        turn = Rotation.from_rotvec(waves[:, 1:4] * rng.uniform(0.1, 0.9)).as_matrix()
        joints = np.einsum("tij,tkj->tki", turn, joints)
        out.append(joints + (waves[:, 4:7] * rng.uniform(0.01, 0.12) + [sign * 0.11, 0, 0])[:, None])
    return np.stack(out, 1)
