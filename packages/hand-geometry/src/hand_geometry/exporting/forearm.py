"""A forearm for exported hands: rings behind the wrist, skinned between the wrist and a bone of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hand_geometry.assets import Array
from hand_geometry.exporting.rig import HandRig, continuous
from hand_geometry.rendering.arms import ARM_LENGTH, ARM_RINGS, arm_direction, ring_fade, wrist_loop


@dataclass(frozen=True)
class Forearm:
    """Geometry and movement of one forearm.

    Attributes:
        vertices: Rest position of the rings, shape (R, 3), to be appended to the hand's.
        faces: Triangles over the hand's and the rings' vertices, shape (F, 3).
        share: How much each ring vertex follows the forearm's bone rather than the wrist, shape (R,).
        opacity: Of each ring vertex, 0 at the elbow's end, shape (R,).
        loop: Vertices of the hand that the first ring is joined to.
        pivot: Where the bone starts, at rest, shape (3,).
        rotations: Of the bone relative to the wrist, quaternions, shape (T, 4).
    """

    vertices: Array
    faces: NDArray[np.int64]
    share: Array
    opacity: Array
    loop: NDArray[np.int64]
    pivot: Array
    rotations: Array


def build_forearm(rig: HandRig) -> Forearm | None:
    """The forearm of a rigged hand, or None if its mesh has no open wrist.

    Args:
        rig: A hand.

    Returns:
        The forearm. Its bone leans to a point below and behind the camera, as in rendered pictures.
    """
    loop = wrist_loop(rig.asset.faces)
    if len(loop) < 3:
        return None
    wrist = rig.vertices[loop]
    pivot = wrist.mean(0)
    outward = np.array([1.0 if rig.side == "right" else -1.0, 0.0, 0.0])
    pull = (np.arange(ARM_RINGS) + 1) / ARM_RINGS
    rings = [(wrist - pivot) * (1 + 0.22 * along) + pivot + ARM_LENGTH * along * outward for along in pull]
    share = np.minimum(1.0, (np.arange(ARM_RINGS) + 1) / 3)
    previous, faces = loop, []
    for k in range(ARM_RINGS):
        current = len(rig.vertices) + k * len(loop) + np.arange(len(loop))
        after, before = np.roll(current, -1), np.roll(previous, -1)
        faces += [np.stack([before, previous, current], 1), np.stack([before, current, after], 1)]
        previous = current
    return Forearm(
        vertices=np.concatenate(rings),
        faces=np.concatenate(faces),
        share=np.repeat(share, len(loop)),
        opacity=np.repeat(ring_fade(pull), len(loop)),
        loop=loop,
        pivot=pivot,
        rotations=_lean(rig, outward),
    )


def _lean(rig: HandRig, outward: Array) -> Array:
    """Shortest rotation, in the wrist's frame, that takes the hand's axis to the forearm's; (T, 4)."""
    orient = Rotation.from_quat(rig.rotations[:, 0])
    axis = orient.inv().apply(arm_direction(orient.apply(outward), outward[0]))
    quaternions = np.concatenate([np.cross(outward, axis), 1 + axis @ outward[:, None]], 1)
    return continuous(quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True))
