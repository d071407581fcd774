"""Where a tracker's landmarks sit on the hand: the offsets that ``fit_keypoints`` takes, learned from known motions.

Each landmark is taken to be fixed in the frame of the joint that carries it. Two things tell where: the tracker's image
points, which show the landmark from many sides (absolutely, but not along the ray), and its 3D landmarks, once each
frame is laid on the known hand by the best rotation and translation (for trackers get the orientation wrong). The
offset of each landmark is the robust weighted least squares of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hand_geometry.assets import Array, as_numpy, check_side, load_asset
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.fitting.chain import CARRIER, HandChain, HandState, pose
from hand_geometry.fitting.observed import Observed
from hand_geometry.fitting.start import procrustes

_ROUNDS = 12
_OUTLIER = 2.0  # standard deviations: errors far beyond count for nothing (Geman and McClure, 1987)
_PRIOR = 0.05  # standard deviation of an offset, metres: only keeps what was not seen at zero


@dataclass(frozen=True)
class KnownMotion:
    """One hand whose parameters are known, and what a tracker made of it.

    Attributes:
        side: "left" or "right".
        global_orient: Shape (T, 3), axis-angle.
        hand_pose: Shape (T, 15, 3), axis-angle.
        transl: Shape (T, 3), metres.
        keypoints: The tracker's, shape (T, 21, 3), metres, anywhere; NaN where there are none. Or None.
        keypoints_2d: The tracker's, shape (T, 21, 2), pixels; NaN where there are none. Or None. With the depths that
            ``calibrate_table`` needs: shape (T, 21, 3).
        camera: Pinhole matrix, shape (3, 3), of the frame that the parameters are in; needed with ``keypoints_2d``.
        betas: Shape (B,), or None for the mean shape.
    """

    side: str
    global_orient: Any
    hand_pose: Any
    transl: Any
    keypoints: Any = None
    keypoints_2d: Any = None
    camera: Any = None
    betas: Any = None


def calibrate_landmarks(motions: list[KnownMotion], *, sigma_3d: float = 0.01, sigma_2d: float = 4.0) -> Array:
    """Offsets of a tracker's landmarks.

    Args:
        motions: Known motions; left hands are mirrored. A few hundred frames with many poses and views are plenty.
        sigma_3d: Standard deviation of the aligned 3D landmarks, metres.
        sigma_2d: Standard deviation of the image points, pixels.

    Returns:
        Offsets of the *right* hand, shape (21, 3), metres, in the frame of the carrying joint; for the left negate x.

    Raises:
        InputError: If nothing is seen.
        ShapeError: If a shape does not fit.
    """
    scenes = [scene_of(motion) for motion in motions]
    if not any(scene.observed.seen.any() for scene in scenes):
        raise InputError("motions: Expected at least one frame with landmarks, got none. Check the tracker's output.")
    offsets: Array = np.zeros((21, 3))
    for _ in range(_ROUNDS):
        normal, right = np.tile(np.eye(3) / _PRIOR**2, (21, 1, 1)), np.zeros((21, 3))
        for scene in scenes:
            for slope, error, weight in scene.equations(offsets, sigma_3d, sigma_2d):
                # slope (T, 21, D, 3) by the offset, error (T, 21, D) at offset 0, in standard deviations
                rest = np.linalg.norm(error - np.einsum("tkda,ka->tkd", slope, offsets), axis=-1)
                trust = weight / (1 + (rest / _OUTLIER) ** 2) ** 2
                normal += np.einsum("tk,tkda,tkdb->kab", trust, slope, slope)
                right += np.einsum("tk,tkda,tkd->ka", trust, slope, error)
        offsets = np.asarray(np.linalg.solve(normal, right[..., None])[..., 0], np.float64)
    return offsets


@dataclass(frozen=True)
class Scene:
    """A known motion as a right hand; ``mirror`` is the factor of x that made it one."""

    observed: Observed
    keypoints: Array  # true, (T, 21, 3)
    turns: Array  # of the carriers, (T, 21, 3, 3)
    mirror: Array  # (3,)

    def equations(self, offsets: Array, sigma_3d: float, sigma_2d: float) -> list[tuple[Array, Array, Array]]:
        """Slope by the offset, error at offset 0 (in standard deviations) and weight, of the 3D and the image term."""
        seen, turns = self.observed, self.turns
        out = []
        if seen.in_3d:
            expected = self.keypoints + (turns @ offsets[..., None])[..., 0]
            aligned = _laid_on(seen.points * self.mirror, expected, seen.weight_3d)
            out.append((turns / sigma_3d, (aligned - self.keypoints) / sigma_3d, seen.weight_3d))
        if seen.pixels is not None and seen.camera is not None:
            # In the camera the hand is as it is; the offset moves it by M turn o. Linear about the current guess.
            focal = seen.camera[[0, 1], [0, 1]]
            base = self.keypoints * self.mirror
            moves = self.mirror[:, None] * turns  # (T, 21, 3, 3)
            at = base + (moves @ offsets[..., None])[..., 0]
            depth = at[..., 2:]
            ratio = at[..., :2] / depth
            slope = focal[:, None] * (moves[..., :2, :] - ratio[..., None] * moves[..., 2:, :]) / depth[..., None]
            error = seen.pixels - (ratio * focal + seen.camera[:2, 2])
            error = error + np.einsum("tkda,ka->tkd", slope, offsets)
            out.append((slope / sigma_2d, error / sigma_2d, seen.weight_2d))
        return out


def scene_of(motion: KnownMotion) -> Scene:
    """The motion as a right hand's, checked."""
    side = check_side(motion.side)
    mirror = np.ones(3) if side == "right" else np.array([-1.0, 1.0, 1.0])
    axial = np.ones(3) if side == "right" else np.array([1.0, -1.0, -1.0])
    names = {"global_orient": (3,), "hand_pose": (15, 3), "transl": (3,)}
    known = {name: as_numpy(getattr(motion, name)).astype(np.float64) for name in names}
    frames = len(known["transl"])
    for name, tail in names.items():
        if known[name].shape != (frames, *tail) or not np.isfinite(known[name]).all():
            expected = f"({frames}, {', '.join(map(str, tail))}), finite"
            raise ShapeError(name, expected, known[name].shape, "Pass one hand of a known motion.")
    observed = Observed.check(motion.keypoints, None, motion.keypoints_2d, motion.camera)
    if len(observed.seen) != frames:
        raise ShapeError("keypoints", f"({frames}, 21, ...)", len(observed.seen), "As many frames as the motion.")
    asset = load_asset("default", "right")
    betas = np.zeros(asset.shapedirs.shape[-1]) if motion.betas is None else as_numpy(motion.betas).astype(np.float64)
    chain = HandChain.build(asset, betas, np.zeros((21, 3)))
    angles = np.einsum("jka,tja->tjk", chain.axes, known["hand_pose"] * axial).reshape(frames, 45)
    orient = Rotation.from_rotvec(known["global_orient"] * axial).as_matrix()
    posed = pose(chain, HandState(orient, angles, known["transl"] * mirror))
    return Scene(observed, posed.keypoints, posed.world[:, CARRIER], mirror)


def _laid_on(points: Array, target: Array, weight: Array) -> Array:
    """Each frame of points (T, 21, 3) moved rigidly onto the target, weights (T, 21)."""
    share = (weight / np.maximum(weight.sum(1, keepdims=True), 1.0))[..., None]
    middle, wanted = (points * share).sum(1, keepdims=True), (target * share).sum(1, keepdims=True)
    out = np.empty_like(points)
    for t in range(len(points)):
        turn = procrustes(points[t], target[t : t + 1], weight[t : t + 1])[0]
        out[t] = (points[t] - middle[t]) @ turn.T + wanted[t]
    return out
