"""Rules that turn a dataset's hand parameters into this project's: mean pose, translation, frame, mirrored left hands.

Convention:
    Here a hand is ``v = R (v_l - J0) + J0 + transl``, with absolute finger rotations (a flat hand is zeros) and ``J0``
    the rest wrist of that hand's shape. The position of the wrist, ``w = J0 + transl``, says the same as ``transl`` and
    does not depend on the hand model. Sources carry wrists.

    ====  ==============================================================  =============================
    rule  what a dataset stores                                           function
    ====  ==============================================================  =============================
    F+    finger rotations with the mean pose inside                      (nothing to do)
    F-    finger rotations relative to the mean pose                      ``add_mean``
    PCA   coefficients of the pose components                             ``from_pca``
    C1    ``v = R (v_l - J0) + J0 + t`` (smplx)                           ``wrist_of_transl``
    C2    ``t`` is the wrist (manopth and manotorch, ``center_idx=0``)    (nothing to do)
    C3    ``v = R v_l + t``, about the template's origin (EasyMocap)      ``wrist_of_origin_transl``
    C4    another frame ``x' = A x + b``                                  ``change_frame``
    M     a left hand as the mirror image of the right model              ``mirror_axis_angle``
    ====  ==============================================================  =============================

Pure functions of NumPy arrays, float64 inside.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from hand_geometry.assets import HandAsset, Side, load_asset
from hand_geometry.sides import LeftShapedirs, load_sided
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

SIDES: tuple[Side, Side] = ("left", "right")


def add_mean(pose: ArrayLike, mean: ArrayLike) -> Array:
    """F-: absolute finger rotations of those relative to the mean pose.

    Args:
        pose: (..., 45) or (..., 15, 3), axis-angle minus the mean.
        mean: (45,), the `hands_mean` of that side.

    Returns:
        (..., 15, 3).
    """
    flat = np.asarray(pose, np.float64)
    flat = flat.reshape(*flat.shape[:-2], 45) if flat.shape[-2:] == (15, 3) else flat
    return np.asarray(flat + np.asarray(mean)).reshape(*flat.shape[:-1], 15, 3)


def from_pca(coefficients: ArrayLike, components: ArrayLike, mean: ArrayLike | None = None) -> Array:
    """Finger rotations of coefficients of the first pose components.

    Args:
        coefficients: (..., n), n of 1 to 45.
        components: (45, 45), the `hands_components` of that side, one a row.
        mean: (45,) where zero coefficients are the mean pose (F-); None where they are the flat hand (F+).

    Returns:
        (..., 15, 3), absolute.
    """
    values = np.asarray(coefficients, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # of a damaged file: what is not finite is not seen
        pose = values @ np.asarray(components, np.float64)[: values.shape[-1]]
    return add_mean(pose, np.zeros(45) if mean is None else mean)


def wrist_of_transl(transl: ArrayLike, rest_wrist: ArrayLike) -> Array:
    """C1: the wrist of smplx's translation: (..., 3) and J0 (3,) or (..., 3) -> (..., 3)."""
    return np.asarray(transl, np.float64) + np.asarray(rest_wrist, np.float64)


def transl_of_wrist(wrist: ArrayLike, rest_wrist: ArrayLike) -> Array:
    """C2: smplx's translation that puts the wrist there: (..., 3) and J0 (3,) or (..., 3) -> (..., 3)."""
    return np.asarray(wrist, np.float64) - np.asarray(rest_wrist, np.float64)


def wrist_of_origin_transl(orient: ArrayLike, transl: ArrayLike, rest_wrist: ArrayLike) -> Array:
    """C3: the wrist of a hand that was turned about its template's origin: ``R J0 + t``.

    Args:
        orient: (..., 3), axis-angle.
        transl: (..., 3).
        rest_wrist: J0, (3,) or (..., 3).

    Returns:
        (..., 3).
    """
    turns = np.asarray(orient, np.float64)
    rest = np.array(np.broadcast_to(np.asarray(rest_wrist, np.float64), turns.shape))
    turned = Rotation.from_rotvec(turns.reshape(-1, 3)).apply(rest.reshape(-1, 3)).reshape(turns.shape)
    return np.asarray(turned + np.asarray(transl, np.float64))


def change_frame(orient: ArrayLike, wrist: ArrayLike, rotation: ArrayLike, offset: ArrayLike) -> tuple[Array, Array]:
    """C4: a hand in the frame ``x' = A x + b``.

    In terms of translations this is ``transl' = A (J0 + transl) + b - J0``: the term of J0 is in the wrist.

    Args:
        orient: (T, 3), axis-angle.
        wrist: (T, 3).
        rotation: A, (3, 3) or (T, 3, 3), a proper rotation.
        offset: b, (3,) or (T, 3).

    Returns:
        `orient` and `wrist` in the new frame.
    """
    turn = np.array(np.broadcast_to(np.asarray(rotation, np.float64), (len(np.asarray(orient)), 3, 3)))
    turned = (Rotation.from_matrix(turn) * Rotation.from_rotvec(np.asarray(orient, np.float64))).as_rotvec()
    moved = np.einsum("tij,tj->ti", turn, np.asarray(wrist, np.float64)) + np.asarray(offset, np.float64)
    return np.asarray(turned), np.asarray(moved)


_MOST_IN_A_ROTATION = 2.0
"""No entry of a rotation matrix is over 1; damaged files hold numbers whose products overflow."""


def mirror_axis_angle(axis_angle: ArrayLike) -> Array:
    """M: rotations of the right model, of which a left hand is the mirror image in x, as those of the left model.

    Args:
        axis_angle: (..., 3).

    Returns:
        (x, -y, -z), as a rotation S R S with S = diag(-1, 1, 1) has it.
    """
    return np.asarray(axis_angle, np.float64) * [1.0, -1.0, -1.0]


def axis_angle_of_matrices(matrices: ArrayLike) -> Array:
    """Axis-angle of rotation matrices: (..., 3, 3) -> (..., 3); NaN where a number cannot be a rotation's."""
    array = np.asarray(matrices, np.float64)
    flat = array.reshape(-1, 3, 3)
    sound = (np.abs(flat) <= _MOST_IN_A_ROTATION).all((1, 2))
    turns = np.full((len(flat), 3), np.nan)
    if sound.any():
        turns[sound] = Rotation.from_matrix(flat[sound]).as_rotvec()
    return turns.reshape(array.shape[:-1])


def axis_angle_of_quaternions(quaternions: ArrayLike) -> Array:
    """Axis-angle of quaternions w, x, y, z: (..., 4) -> (..., 3)."""
    array = np.asarray(quaternions, np.float64)
    turns = Rotation.from_quat(array.reshape(-1, 4), scalar_first=True)
    return np.asarray(turns.as_rotvec()).reshape(*array.shape[:-1], 3)


@dataclass(frozen=True)
class ManoHands:
    """The two hands that a dataset's parameters are for.

    Attributes:
        left, right: the models' arrays.
        path: where they were read from.
    """

    left: HandAsset
    right: HandAsset
    path: str

    @classmethod
    def load(cls, path: str | os.PathLike[str], left_shapedirs: LeftShapedirs = "as-shipped") -> ManoHands:
        """Reads both hands.

        Args:
            path: a folder of both MANO files, or "default" for the open hand.
            left_shapedirs: which shape components of the left hand the dataset's `betas` were made with, see
                `hand_geometry.sides`.

        Raises:
            AssetError: a file is missing or is no MANO hand.
        """
        name = os.fspath(path)
        left, right = (load_sided(name, side, left_shapedirs) for side in SIDES)
        return cls(left, right, name)

    def __getitem__(self, side: int) -> HandAsset:
        return (self.left, self.right)[side]

    def rest_wrist(self, side: int, betas: ArrayLike | None = None) -> Array:
        """J0 of a shape.

        Args:
            side: 0 left, 1 right.
            betas: (B,) or (..., B); None is the mean shape. More than the model has are an error.

        Returns:
            (3,) or (..., 3), metres.
        """
        asset = self[side]
        rest = np.asarray(asset.joint_regressor[0] @ asset.v_template)
        if betas is None:
            return rest
        shape = np.asarray(betas, np.float64)
        if shape.shape[-1] > asset.shapedirs.shape[-1]:
            raise ValueError(f"{shape.shape[-1]} betas for a hand model of {asset.shapedirs.shape[-1]}")
        directions = np.einsum("v,vab->ab", asset.joint_regressor[0], asset.shapedirs)[:, : shape.shape[-1]]
        return np.asarray(rest + shape @ directions.T)


def open_rest_wrists() -> Array:
    """J0 of the open hands, left then right: (2, 3), metres."""
    return np.stack([load_asset("default", side).rest_joints[0] for side in SIDES])


def rows(value: Any, frames: int, *tail: int) -> Array:
    """An array of one row a frame, from one that has a row a frame or one row for all.

    Args:
        value: (frames, *tail), (1, *tail) or `tail`.
        frames: how many.
        tail: the shape of a row.

    Returns:
        (frames, *tail) float64.

    Raises:
        ValueError: another shape.
    """
    array = np.asarray(value, np.float64)
    if array.shape not in ((frames, *tail), (1, *tail), tail):
        raise ValueError(f"an array of {array.shape} instead of {(frames, *tail)}")
    return np.array(np.broadcast_to(array, (frames, *tail)))
