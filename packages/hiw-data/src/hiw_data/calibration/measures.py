"""Errors of fitted hands against known ones: frame by frame, so that clips can be pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hand_geometry import features_to_joints, params_to_features
from hand_geometry.metrics import procrustes_align
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HandErrors:
    """Errors of one clip; each array (T, 2), hand 0 left, 1 right, NaN where there is nothing to compare.

    Attributes:
        absolute: mean distance of the 21 joints, metres.
        root: the same with the wrists on each other.
        aligned: the same after the best similarity of each hand and frame (PA).
        wrist: angle between the wrist's rotations, or, where there are joints alone, between the palms, radians.
        acceleration: mean length of the difference of the joints' accelerations, m/s^2.
    """

    absolute: Array
    root: Array
    aligned: Array
    wrist: Array
    acceleration: Array


def joints_of(params: Mapping[str, Any]) -> Array:
    """Joints (T, 2, 21, 3) of `global_orient`, `hand_pose` and `transl`, of the open hands."""
    return np.asarray(features_to_joints(params_to_features(params)), np.float64)


def turns_of(params: Mapping[str, Any]) -> Array:
    """Wrist rotations (T, 2, 3, 3) of `global_orient` (T, 2, 3)."""
    orient = np.asarray(params["global_orient"], np.float64)
    return Rotation.from_rotvec(orient.reshape(-1, 3)).as_matrix().reshape(*orient.shape[:-1], 3, 3)


def palms_of(joints: ArrayLike) -> Array:
    """Palm frames of joints (..., 21, 3) as rotations (..., 3, 3): along the middle finger, and off the palm."""
    points = np.asarray(joints, np.float64)
    along = points[..., 9, :] - points[..., 0, :]
    normal = np.cross(along, points[..., 17, :] - points[..., 5, :])
    axes = [along, normal, np.cross(along, normal)]
    lengths = [np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-12) for axis in axes]
    return np.stack([axis / length for axis, length in zip(axes, lengths, strict=True)], -1)


def hand_errors(
    joints: ArrayLike,
    truth: ArrayLike,
    valid: ArrayLike,
    fps: float,
    *,
    turns: tuple[ArrayLike, ArrayLike] | None = None,
) -> HandErrors:
    """Compares joints with what is known.

    Args:
        joints: fitted, (T, 2, 21, 3), metres.
        truth: (T, 2, 21, 3), metres.
        valid: (T, 2), what is fitted and known; nothing is read elsewhere.
        fps: frames a second of both.
        turns: wrist rotations (T, 2, 3, 3) of both; None compares the palms.
    """
    seen = np.asarray(valid, bool)
    got, known = np.asarray(joints, np.float64), np.asarray(truth, np.float64)
    a, b = turns if turns is not None else (palms_of(got), palms_of(known))
    out = {name: np.full(seen.shape, np.nan) for name in HandErrors.__dataclass_fields__}
    one, other = got[seen], known[seen]
    if len(one):
        aligned = procrustes_align(torch.from_numpy(one), torch.from_numpy(other)).numpy()
        out["absolute"][seen] = _mean_distance(one, other)
        out["root"][seen] = _mean_distance(one - one[:, :1], other - other[:, :1])
        out["aligned"][seen] = _mean_distance(aligned, other)
        relative = np.asarray(a, np.float64)[seen] @ np.asarray(b, np.float64)[seen].swapaxes(-1, -2)
        out["wrist"][seen] = Rotation.from_matrix(relative).magnitude()
    if len(seen) > 2:
        three = seen[:-2] & seen[1:-1] & seen[2:]
        apart = np.where(seen[..., None, None], got - known, 0.0)
        second = (apart[:-2] - 2 * apart[1:-1] + apart[2:])[three] * fps**2
        out["acceleration"][1:-1][three] = np.linalg.norm(second, axis=-1).mean(-1)
    return HandErrors(**out)


def _mean_distance(one: Array, other: Array) -> Array:
    return np.asarray(np.linalg.norm(one - other, axis=-1).mean(-1))


def summary_of(errors: Sequence[HandErrors]) -> dict[str, float]:
    """Figures over all hands and frames of several clips; NaN where nothing was compared.

    Returns:
        `hand_frames`, `mpjpe_mm` (root-aligned), `absolute_mm`, `pa_mpjpe_mm`, `wrist_deg` (median), `wrist_90_deg`,
        `acceleration_m_s2`.
    """

    def pooled(name: str) -> Array:
        values = np.concatenate([np.ravel(getattr(clip, name)) for clip in errors]) if errors else np.zeros(0)
        return np.asarray(values[np.isfinite(values)])

    def mean(name: str, factor: float = 1.0) -> float:
        values = pooled(name)
        return float(factor * values.mean()) if len(values) else float("nan")

    wrist = np.degrees(pooled("wrist"))
    return {
        "hand_frames": len(pooled("root")),
        "mpjpe_mm": mean("root", 1e3),
        "absolute_mm": mean("absolute", 1e3),
        "pa_mpjpe_mm": mean("aligned", 1e3),
        "wrist_deg": float(np.median(wrist)) if len(wrist) else float("nan"),
        "wrist_90_deg": float(np.percentile(wrist, 90)) if len(wrist) else float("nan"),
        "acceleration_m_s2": mean("acceleration"),
    }
