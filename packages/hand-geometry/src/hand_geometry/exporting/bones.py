"""What the bones of a file tell: the shape of the hand, and the unit and the axes that another program gave it.

A skeleton's rest offsets are a ruler and a compass: the hand that wrote them is known, so a file in metres instead of
centimetres, or with z up instead of y, is recognised and turned back; one whose bones fit no hand is refused.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import PARENTS, Array, Side
from hand_geometry.sides import load_sided

SAME_BONES = 1e-3
"""Metres between a file's bones and those of a hand in some shape, below which they are that hand's."""

_LIKE_A_HAND = 0.015  # metres, in the mean: other hands differ by less; mirrored by 0.018, wrongly turned by 0.025
_CLEARLY = 0.7  # of the second best orientation's distance
_UNITS = {"centimetres": 0.01, "metres": 1.0, "millimetres": 0.001}
_TOTAL_BEYOND = 2.0  # how much longer or shorter than the model's the bones of a hand may be in all


class BoneShape(NamedTuple):
    """The hand whose bones a file holds.

    Attributes:
        betas: Shape (10,), zeros where no shape of the model has these bones.
        wrist: Rest wrist of that shape, shape (3,), metres.
        found: Whether the bones are the model's in that shape.
    """

    betas: Array
    wrist: Array
    found: bool


def shape_of_bones(side: Side, bones: Array, model: str | os.PathLike[str]) -> BoneShape:
    """The shape coefficients whose bones are nearest.

    Args:
        side: "left" or "right".
        bones: Offsets of joints 1 to 15 from their parents at rest, shape (15, 3), metres, in this package's axes.
        model: The hand whose shape space is searched.

    Returns:
        The shape; zeros and the mean hand's wrist if none is within ``SAME_BONES``.
    """
    asset = load_sided(os.fspath(model), side, "auto")
    parents = list(PARENTS[1:])
    per_beta = np.einsum("jv,vcb->jcb", asset.joint_regressor, asset.shapedirs[..., :10])
    rest = asset.rest_joints
    system = (per_beta[1:] - per_beta[parents]).reshape(45, -1)
    betas = np.linalg.lstsq(system, (bones - rest[1:] + rest[parents]).ravel(), rcond=1e-6)[0]
    shaped = rest + per_beta @ betas
    off = np.linalg.norm(shaped[1:] - shaped[parents] - bones, axis=1).max()
    found = bool(off <= SAME_BONES)
    if not found:
        betas, shaped = np.zeros_like(betas), rest
    out = np.zeros(10)
    out[: len(betas)] = betas
    return BoneShape(out, shaped[0], found)


def unit_of_bones(bones: dict[Side, Array], model: str | os.PathLike[str]) -> float:
    """Metres in one unit of a file.

    Args:
        bones: Of each hand of the file, as for ``shape_of_bones`` but in the file's unit and axes.
        model: A hand of about that size.

    Returns:
        0.01 for centimetres, 1 for metres, 0.001 for millimetres.

    Raises:
        ValueError: If the hand would be less than half or more than twice the model's in each unit.
    """
    long = sum(np.linalg.norm(value, axis=1).sum() for value in bones.values())
    known = sum(np.linalg.norm(_model_bones(side, model), axis=1).sum() for side in bones)
    best = min(_UNITS.values(), key=lambda unit: abs(np.log(max(long * unit, 1e-12) / known)))
    ratio = long * best / known
    if not 1 / _TOTAL_BEYOND < ratio < _TOTAL_BEYOND:
        raise ValueError(
            f"Expected bones of a hand in {', '.join(_UNITS)}, got bones whose lengths add up to {long:.4g} "
            f"({known:.3f} m in the hand model). Scale the skeleton."
        )
    return best


def axes_of_bones(bones: dict[Side, Array], model: str | os.PathLike[str]) -> Rotation:
    """The rotation by whole quarter turns that takes a file's axes to this package's.

    Args:
        bones: Of each hand of the file, as for ``shape_of_bones`` but in the file's axes; metres.
        model: A hand of about that shape.

    Returns:
        The rotation.

    Raises:
        ValueError: If the bones are no hand's in any of the 24 orientations, a mirrored hand for one.
    """
    known = np.concatenate([_model_bones(side, model) for side in bones])
    given = np.concatenate(list(bones.values()))
    scale = np.linalg.norm(known, axis=1).sum() / max(np.linalg.norm(given, axis=1).sum(), 1e-12)
    turns = Rotation.create_group("O")
    errors = np.array([np.linalg.norm(turn.apply(given) * scale - known, axis=1).mean() for turn in turns])
    order = np.argsort(errors)
    for k in order:  # a hand in some shape is sure; one of another model is told by its distance
        if all(shape_of_bones(side, turns[int(k)].apply(own), model).found for side, own in bones.items()):
            return turns[int(k)]
    best, second = errors[order[:2]]
    if not (best < _LIKE_A_HAND and best < _CLEARLY * second):
        raise ValueError(
            f"Expected the bones of a {' and a '.join(bones)} hand along some axes, got bones that are off by at least "
            f"{best * 1e3:.0f} mm in the mean. Is the skeleton mirrored, posed at rest, or another hand's?"
        )
    return turns[int(order[0])]


def _model_bones(side: Side, model: str | os.PathLike[str]) -> Array:
    rest = load_sided(os.fspath(model), side).rest_joints
    offsets: Array = rest[1:] - rest[list(PARENTS[1:])]
    return offsets
