"""What is drawn of a hand: its mesh, a forearm that fades out, and colours that look like something alive."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hand_geometry.assets import Array, HandAsset, Side, load_asset

LEFT_COLOR = (0.50, 0.71, 0.78)
RIGHT_COLOR = (0.95, 0.72, 0.60)

ARM_RINGS = 9
ARM_LENGTH = 0.15  # metres of forearm


@dataclass(frozen=True)
class Arm:
    """Topology and colours of one drawn hand with its forearm.

    Attributes:
        faces: Shape (F, 3) int32.
        colors: Albedo and opacity of each vertex, shape (V, 4) float32, 0..1.
        loop: Vertices around the open wrist, in order.
        pull: How far along the forearm each ring lies, shape (rings,), 0..1.
    """

    faces: NDArray[np.int32]
    colors: NDArray[np.float32]
    loop: NDArray[np.int64]
    pull: Array


@lru_cache(maxsize=8)
def build_arm(side: Side, color: tuple[float, float, float]) -> Arm:
    """Topology and colours of the open hand of one side; cached.

    Args:
        side: "left" or "right".
        color: Albedo, 0..1.

    Returns:
        The arm, to be posed by ``posed_vertices``.
    """
    asset = load_asset("default", side)
    loop = wrist_loop(asset.faces)
    count, ring = len(asset.v_template), len(loop)
    faces = [asset.faces]
    previous = loop
    for k in range(ARM_RINGS):
        current = count + k * ring + np.arange(ring)
        after = np.roll(current, -1)
        before = np.roll(previous, -1)
        faces += [np.stack([before, previous, current], 1), np.stack([before, current, after], 1)]
        previous = current
    pull = (np.arange(ARM_RINGS) + 1) / ARM_RINGS
    skin = skin_colors(asset, color)
    fade = ring_fade(pull)
    forearm = np.repeat(skin[loop].mean(0)[None], ARM_RINGS * ring, 0)
    colors = np.concatenate(
        [np.concatenate([skin, forearm]), np.concatenate([np.ones(count), np.repeat(fade, ring)])[:, None]], 1
    )
    return Arm(np.concatenate(faces).astype(np.int32), colors.astype(np.float32), loop, pull)


def wrist_loop(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """The longest boundary loop of a mesh, as vertices in order; empty if the mesh is closed.

    Args:
        faces: Shape (F, 3).

    Returns:
        Vertices, shape (L,).
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    uses = Counter(map(tuple, np.sort(edges, 1).tolist()))
    follows = {a: b for a, b in edges.tolist() if uses[(min(a, b), max(a, b))] == 1}
    best: list[int] = []
    while follows:
        vertex = next(iter(follows))
        loop = []
        while vertex in follows:
            loop.append(vertex)
            vertex = follows.pop(vertex)
        best = max(best, loop, key=len)
    return np.array(best, np.int64)


def posed_vertices(vertices: Array, orient: Array, arm: Arm, side: Side) -> Array:
    """Append the forearm to posed meshes.

    Args:
        vertices: Shape (T, V, 3), metres.
        orient: Wrist rotations, shape (T, 3, 3).
        arm: From ``build_arm``.
        side: "left" or "right".

    Returns:
        Shape (T, V + rings x loop, 3).
    """
    wrist = vertices[:, arm.loop]  # (T, L, 3)
    center = wrist.mean(1, keepdims=True)
    outward = 1.0 if side == "right" else -1.0
    back = orient @ np.array([outward, 0.0, 0.0])  # fingers point along -x in the right hand's rest pose
    axis = arm_direction(back, outward)
    rings = []
    for k, along in enumerate(arm.pull):
        share = min(1.0, (k + 1) / 3)  # the first rings turn from the hand's axis to the forearm's
        direction = back * (1 - share) + axis * share
        grow = 1.0 + 0.22 * along
        rings.append((wrist - center) * grow + center + ARM_LENGTH * along * direction[:, None])
    return np.concatenate([vertices, *rings], 1)


def arm_direction(back: Array, outward: float) -> Array:
    """Where the forearm points: back from the hand, leaning to an elbow that is low, behind, and outside.

    Args:
        back: Unit vectors from the knuckles to the wrist, shape (T, 3), world axes (y down, z forward).
        outward: 1 for the right arm, -1 for the left.

    Returns:
        Unit vectors, shape (T, 3).
    """
    elbow = np.array([0.25 * outward, 0.75, -0.6])
    elbow /= np.linalg.norm(elbow)
    bend = np.clip(0.2 + back @ elbow, 0.0, 1.0)[:, None] * 0.5
    axis = back + bend * elbow
    unit: Array = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    return unit


def ring_fade(pull: Array) -> Array:
    """Opacity of the forearm at a share of its length, 0..1: it fades out towards the elbow."""
    fade: Array = np.clip(1.45 - 1.45 * pull, 0.0, 1.0)
    return fade


def linear_rgb(srgb: Array | tuple[float, float, float]) -> Array:
    """Colours of sRGB in linear light (IEC 61966-2-1), as glTF and USD take them; any shape, 0..1."""
    colors = np.asarray(srgb, np.float64)
    linear: Array = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return linear


def skin_colors(asset: HandAsset, color: tuple[float, float, float]) -> Array:
    """Albedo of each vertex: redder fingertips and knuckles, a lighter palm.

    Args:
        asset: A hand model.
        color: Its skin, sRGB, 0..1.

    Returns:
        Shape (V, 3), sRGB, 0..1.
    """
    template = asset.v_template
    tips = template[asset.tip_ids]
    knuckles = asset.rest_joints[[1, 4, 7, 10, 2, 5, 8, 11, 14]]
    out = np.tile(np.array(color), (len(template), 1))
    for points, radius, tint in ((tips, 0.010, (0.02, 0.13, 0.12)), (knuckles, 0.009, (0.03, 0.08, 0.08))):
        distance = ((template[:, None] - points) ** 2).sum(-1).min(1)
        out *= 1 - np.exp(-distance / (2 * radius**2))[:, None] * np.array(tint)
    return np.clip(out, 0.0, 1.0)
