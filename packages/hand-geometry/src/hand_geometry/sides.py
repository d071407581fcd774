"""Left and right among hand model files: which hand a file holds, and shape components that were not mirrored.

The official MANO_LEFT file ships shape components whose x has the sign of the right hand's (smplx, issue 48), so one
``betas`` makes the left hand wide where it makes the right hand narrow. Some datasets were annotated with the file as
it is (ARCTIC, H2O, DexYCB, TACO), some with x mirrored (HaWoR, HOT3D, InterHand2.6M): with whose ``betas`` a hand is
posed decides which it must be.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np

from hand_geometry.assets import PARENTS, HandAsset, Side, load_asset, mirror_asset
from hand_geometry.errors import AssetError, InputError

LeftShapedirs = Literal["auto", "as-shipped", "mirrored"]

_LOG = logging.getLogger(__name__)
_LIKE_A_HAND = 0.03  # metres between bones of two people's hands; of a left and a right hand it is 0.1 and more
_NEARER = 0.5  # of one distance to the other, below which it is the clearly smaller one


def load_sided(path: str, side: Side, left_shapedirs: LeftShapedirs = "as-shipped") -> HandAsset:
    """A hand model that is of the side asked for, whatever the file holds.

    Args:
        path: As for ``load_asset``.
        side: "left" or "right".
        left_shapedirs: Of a left hand whose right one lies in the same folder: "as-shipped" takes its shape components
            as they are, "mirrored" makes sure that their x mirrors the right hand's, "auto" does so where they are
            clearly those of the right hand. Both say in a warning, once a file and process, when they change
            something.

    Returns:
        The hand. A file of the other hand is mirrored, which a warning says, once a file and process.

    Raises:
        AssetError: As ``load_asset``, or if "mirrored" is asked for and there is no right hand to compare with, or the
            components are neither mirrored nor the same.
        InputError: If an option is unknown.
    """
    if left_shapedirs not in ("auto", "as-shipped", "mirrored"):
        raise InputError(f"left_shapedirs: Expected auto, as-shipped or mirrored, got {left_shapedirs!r}.")
    asset = load_asset(path, side)
    if path == "default":
        return asset
    if side_of(asset) not in (None, side):
        _warn_once(f"{path} holds a {_other(side)} hand: it is mirrored to make the {side} one.")
        return mirror_asset(replace(asset, side=_other(side), joint_axes=_axes(asset, side)))
    if side == "right" or left_shapedirs == "as-shipped":
        return asset
    try:
        right = load_asset(path, "right")
    except AssetError:
        right = asset
    mirrored = None if side_of(right) == "left" else shapedirs_mirror(asset, right)
    if mirrored is False:
        _warn_once(
            f"{path}: the left hand's shape components are not mirrored (as MANO ships them): x is mirrored. "
            "For betas made with the file as it is pass left_shapedirs='as-shipped'."
        )
        return replace(asset, shapedirs=asset.shapedirs * np.array([-1.0, 1.0, 1.0])[:, None])
    if mirrored is None and left_shapedirs == "mirrored":
        raise AssetError(
            f"{path}: Expected a folder of both hands with shape components that are each other's mirror image or the "
            "same, got others, so what to mirror is not known. Pass left_shapedirs='as-shipped'."
        )
    return asset


@lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    """Warn; the same message again says nothing: a file is loaded for each motion that is drawn or converted."""
    _LOG.warning("%s", message)


def side_of(asset: HandAsset) -> Side | None:
    """Which hand the rest joints are, or None if they are not clearly one's.

    Args:
        asset: A hand, whose ``side`` is not looked at.
    """
    own = asset.rest_joints
    parents = list(PARENTS[1:])
    sides: tuple[Side, Side] = ("left", "right")
    off = {}
    for side in sides:
        known = load_asset("default", side).rest_joints
        off[side] = np.linalg.norm(own[1:] - own[parents] - known[1:] + known[parents], axis=1).max()
    near, far = sorted(off, key=lambda side: off[side])
    return near if off[near] < min(_LIKE_A_HAND, _NEARER * off[far]) else None


def shapedirs_mirror(left: HandAsset, right: HandAsset) -> bool | None:
    """Whether the left hand's shape components are the right's mirrored in x; False if the same; None if neither."""
    if left.shapedirs.shape != right.shapedirs.shape:
        return None
    a, b = left.shapedirs[:, 0], right.shapedirs[:, 0]
    same, mirrored = np.linalg.norm(a - b), np.linalg.norm(a + b)
    if mirrored < _NEARER * same:
        return True
    return False if same < _NEARER * mirrored else None


def _other(side: Side) -> Side:
    return "left" if side == "right" else "right"


def _axes(asset: HandAsset, side: Side) -> np.ndarray:
    """Joint axes of the hand that the file holds: the open hand's, where the file had none of its own."""
    ours = load_asset("default", side).joint_axes
    return (
        load_asset("default", _other(side)).joint_axes if np.array_equal(asset.joint_axes, ours) else asset.joint_axes
    )
