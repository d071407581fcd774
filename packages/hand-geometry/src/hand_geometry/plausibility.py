"""What a hand cannot do: bend beyond its limits, pass through itself, pass through the other hand.

Limits are those of ``hand_geometry.fitting.limits``: ranges of flexion, abduction and twist about each joint's axes.

Penetration is measured between capsules: each of the 20 bones is a segment with a radius that lies within its flesh,
taken from the mesh (``bone_radii``). Two capsules penetrate by ``r1 + r2 - distance`` where that is positive. Bones
that meet in a joint and the five of the palm are never compared with each other, and a pair that is closer than that in
the flat hand counts from there. So the measure is a lower bound for the mesh (fingers that touch give 0), exact for the
capsules; it needs the 21 joints alone and is differentiable.

Convention:
    Joints are ``(..., T, H, 21, 3)`` in metres, masks ``valid (..., T, H)`` bool; results are scalars, the mean over
    what is valid, and NaN if nothing is. NumPy arrays are taken as well.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hand_geometry.assets import KEYPOINT_SOURCE, Array, load_asset
from hand_geometry.errors import ShapeError
from hand_geometry.features import as_tensor
from hand_geometry.fitting.limits import angle_priors
from hand_geometry.fitting.shape import BONE_START

_FRAMES = 1024  # taken at once
_PALM = (0, 4, 8, 12, 16)  # bones from the wrist


class LimitViolation(NamedTuple):
    """How far finger joints are bent beyond what they can.

    Attributes:
        excess: Mean angle beyond a limit over all 45 angles, radians; 0 for an angle within its limits.
        share: Share of the angles beyond a limit, 0..1.
    """

    excess: Tensor
    share: Tensor


def limit_violation(hand_pose: Any, valid: Any = None, tolerance: float = 1e-3) -> LimitViolation:
    """Bending beyond the limits of the joints.

    Args:
        hand_pose: Both hands, axis-angle, shape (..., T, 2, 15, 3), left then right.
        valid: Which hands count, shape (..., T, 2) bool; None for all.
        tolerance: Angles beyond a limit by less than this do not enter ``share``, radians.

    Returns:
        Mean excess and share of angles.

    Raises:
        ShapeError: If a shape does not fit.
    """
    pose = as_tensor(hand_pose)
    if pose.ndim < 3 or pose.shape[-3:] != (2, 15, 3):
        raise ShapeError("hand_pose", "(..., T, 2, 15, 3)", tuple(pose.shape), "Left then right.")
    mask = _mask(valid, pose.shape[:-2], pose.device)
    excess = limit_excess(pose)[mask]
    if not bool(mask.any()):
        return LimitViolation(pose.new_tensor(float("nan")), pose.new_tensor(float("nan")))
    return LimitViolation(excess.mean(), (excess > tolerance).to(pose.dtype).mean())


def limit_excess(pose: Tensor) -> Tensor:
    """How far each angle is beyond its limit: hands (..., 2, 15, 3), left then right -> (..., 2, 45) radians.

    The angles are flexion, abduction and twist of each joint; one within its limits has 0.
    """
    axes = np.stack([load_asset("default", side).joint_axes[1:] for side in ("left", "right")])
    angles = torch.einsum("hjka,...hja->...hjk", torch.tensor(axes).to(pose), pose).flatten(-2)
    low, high = (torch.tensor(bound).to(pose) for bound in angle_priors()[2:])
    return (low - angles).clamp(min=0) + (angles - high).clamp(min=0)


def self_penetration(joints: Any, valid: Any = None) -> Tensor:
    """Mean over hands and frames of the deepest penetration of a hand into itself.

    Args:
        joints: Shape (..., T, H, 21, 3), metres, of either side, near the size of the open hand.
        valid: Which hands count, shape (..., T, H) bool; None for all.

    Returns:
        Metres.

    Raises:
        ShapeError: If a shape does not fit.
    """
    points = _points(joints)
    mask = _mask(valid, points.shape[:-2], points.device)
    return _mean(self_depths(points[mask]))


def hand_penetration(joints: Any, valid: Any = None) -> Tensor:
    """Mean over frames of the deepest penetration of one hand into the other.

    Args:
        joints: Shape (..., T, 2, 21, 3), metres.
        valid: Which hands count, shape (..., T, 2) bool; a frame counts where both do. None for all.

    Returns:
        Metres.

    Raises:
        ShapeError: If a shape does not fit.
    """
    points = _points(joints)
    if points.shape[-3] != 2:
        raise ShapeError("joints", "(..., T, 2, 21, 3)", tuple(points.shape), "Left then right.")
    mask = _mask(valid, points.shape[:-2], points.device).all(-1)
    return _mean(hand_depths(points[mask]))


def self_depths(hands: Tensor) -> Tensor:
    """The deepest penetration of each hand into itself: joints (N, 21, 3) -> (N,), metres."""
    return _depths(hands, hands, *_own_pairs())


def hand_depths(both: Tensor) -> Tensor:
    """The deepest penetration of one hand into the other: joints of left and right (N, 2, 21, 3) -> (N,), metres."""
    pairs = np.array(list(product(range(20), repeat=2)))
    return _depths(both[:, 0], both[:, 1], pairs, bone_radii()[pairs].sum(1))


def segment_distance(p0: Tensor, p1: Tensor, q0: Tensor, q1: Tensor) -> Tensor:
    """Distance between two segments (Ericson, Real-Time Collision Detection, 2005, section 5.1.9).

    Args:
        p0: Start of the first, shape (..., 3).
        p1: Its end.
        q0: Start of the second.
        q1: Its end.

    Returns:
        Shape (...). Segments may be points. The gradient at distance 0 is 0.
    """
    u, v, w = p1 - p0, q1 - q0, p0 - q0
    a, b, e = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    c, f = (u * w).sum(-1), (v * w).sum(-1)
    a_safe, e_safe = torch.where(a > 0, a, 1.0), torch.where(e > 0, e, 1.0)
    cross = a * e - b * b
    parallel = cross <= 1e-9 * a * e
    s = torch.where(parallel, 0.0, (b * f - c * e) / torch.where(parallel, 1.0, cross)).clamp(0, 1)
    t = ((b * s + f) / e_safe).clamp(0, 1)
    s = ((b * t - c) / a_safe).clamp(0, 1)
    squared = (w + s[..., None] * u - t[..., None] * v).square().sum(-1)
    touching = squared == 0
    return torch.where(touching, 0.0, torch.where(touching, 1.0, squared).sqrt())


@lru_cache(maxsize=1)
def bone_radii() -> Array:
    """Radius of the flesh around each of the 20 bones of the open hand, shape (20,), metres.

    Nineteen of twenty vertices that the bone carries (in the palm: that are nearest to it) lie farther out, so that the
    capsule lies inside the flesh and a penetration is never made up.
    """
    asset = load_asset()
    points = _flat_hand()
    carrier = [KEYPOINT_SOURCE[start] for start in BONE_START]
    owner = asset.weights.argmax(1)
    vertices = torch.tensor(asset.v_template)[:, None]
    start, end = torch.tensor(points[list(BONE_START)]), torch.tensor(points[1:])
    distance = segment_distance(vertices, vertices, start, end).numpy()  # (V, 20)
    inside_palm = (owner == 0) & (np.abs(asset.v_template[:, 0]) > 0.02)  # the cut at the wrist is no flesh
    nearest = np.array(_PALM)[distance[:, _PALM].argmin(1)]
    radii = np.empty(20)
    for bone in range(20):
        own = inside_palm & (nearest == bone) if bone in _PALM else owner == carrier[bone]
        radii[bone] = np.percentile(distance[own, bone], 5)
    return radii


def _flat_hand() -> Array:
    asset = load_asset()
    points = np.concatenate([asset.rest_joints, asset.v_template[asset.tip_ids]])
    return np.asarray(points[list(KEYPOINT_SOURCE)])


@lru_cache(maxsize=1)
def _own_pairs() -> tuple[np.ndarray, Array]:
    """Pairs of bones of one hand that can meet, (P, 2), and the distance below which they penetrate, (P,)."""
    ends = [{start, bone + 1} for bone, start in enumerate(BONE_START)]
    pairs = np.array([(a, b) for a, b in combinations(range(20), 2) if not ends[a] & ends[b]])
    points = torch.tensor(_flat_hand())
    start, end = points[list(BONE_START)], points[1:]
    a, b = pairs.T
    flat = segment_distance(start[a], end[a], start[b], end[b]).numpy()
    return pairs, np.minimum(bone_radii()[pairs].sum(1), flat)


def _mean(depths: Tensor) -> Tensor:
    return depths.mean() if len(depths) else depths.new_tensor(float("nan"))


def _depths(first: Tensor, second: Tensor, pairs: np.ndarray, reach: Array) -> Tensor:
    """The deepest penetration (N,) of hands (N, 21, 3), over pairs (P, 2) of bones of the first and the second."""
    starts, within = np.array(BONE_START), torch.tensor(reach).to(first)
    (a, b), (a0, b0) = pairs.T, starts[pairs].T
    found = [first.new_zeros(0)]
    for p, q in zip(first.split(_FRAMES), second.split(_FRAMES), strict=True):
        if len(p):
            distance = segment_distance(p[:, a0], p[:, a + 1], q[:, b0], q[:, b + 1])
            found.append((within - distance).clamp(min=0).amax(-1))
    return torch.cat(found)


def _points(joints: Any) -> Tensor:
    points = as_tensor(joints)
    if points.ndim < 4 or points.shape[-2:] != (21, 3):
        raise ShapeError("joints", "(..., T, H, 21, 3)", tuple(points.shape), "Frames, hands, joints, xyz.")
    return points


def _mask(valid: Any, shape: torch.Size, device: torch.device) -> Tensor:
    if valid is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    mask = as_tensor(valid, keep_dtype=True).bool().to(device)
    if mask.shape != shape:
        raise ShapeError("valid", str(tuple(shape)), tuple(mask.shape), "One flag a frame and hand.")
    return mask
