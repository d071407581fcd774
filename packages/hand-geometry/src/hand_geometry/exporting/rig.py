"""A motion as other programs want it: for each hand a rest mesh, a skeleton with skin weights, and its movement.

Convention:
    Metres. Axes as everywhere in this package: x right, y down, z forward; writers turn them once, at the root.
    Quaternions are (x, y, z, w) and change sign as little as possible from frame to frame. Joints are MANO's 16,
    then the five fingertips (thumb to pinky), which do not turn.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hand_geometry.assets import PARENTS, Array, HandAsset, Side, as_numpy
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.features import PARAMETERS, as_tensor, features_to_params
from hand_geometry.sides import load_sided
from hand_geometry.units import DEFAULT_FPS, fps_of
from hand_geometry.validity import fill_unseen, mask_of

_LOG = logging.getLogger(__name__)

SIDES: tuple[Side, Side] = ("left", "right")

JOINT_NAMES = (
    "wrist",
    *(f"{finger}{k}" for finger in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)),
)
TIP_NAMES = ("thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip")
TIP_PARENTS = (15, 3, 6, 12, 9)
CORRECTIVE_TOLERANCE = 1e-4
"""How far, in metres, pose correctives may be off where they are written as morph targets."""

_TAILS = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "transl": (2, 3)}


@dataclass(frozen=True)
class HandRig:
    """One hand of a clip.

    Attributes:
        side: "left" or "right".
        asset: The hand model; its faces and weights are the mesh's.
        vertices: Rest mesh with the shape baked in, shape (V, 3).
        joints: Rest joints, shape (16, 3).
        tips: Rest fingertips, shape (5, 3).
        rotations: Local rotations, quaternions, shape (T, 16, 4).
        wrist: Position of the wrist, shape (T, 3).
        betas: Shape coefficients that were baked in, shape (B,).
    """

    side: Side
    asset: HandAsset
    vertices: Array
    joints: Array
    tips: Array
    rotations: Array
    wrist: Array
    betas: Array

    @property
    def bones(self) -> Array:
        """Offset of each joint from its parent at rest; of the wrist from the origin; shape (16, 3)."""
        parents = np.array(PARENTS[1:])
        return np.concatenate([self.joints[:1], self.joints[1:] - self.joints[parents]])


@dataclass(frozen=True)
class Clip:
    """A motion that was checked, with the rigs of the hands that were seen.

    Attributes:
        rigs: One for each hand that was seen in some frame, left first.
        valid: Which hands were seen, shape (T, 2).
        fps: Frames per second.
        captions: What the motion shows.
    """

    rigs: tuple[HandRig, ...]
    valid: NDArray[np.bool_]
    fps: float
    captions: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.valid)


def build_clip(
    motion: Any,
    *,
    fps: float | None = None,
    valid: Any = None,
    captions: Sequence[str] | None = None,
    model: str | os.PathLike[str] = "default",
) -> Clip:
    """Check a motion and rig its hands.

    Args:
        motion: Parameters (``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), optionally
            ``betas`` (2, B), ``valid``, ``fps``, ``captions``) or features (T, 198); NumPy or torch.
        fps: Frames per second; None takes the motion's own, or 15, which a warning says.
        valid: Which hands were seen, shape (T, 2) bool; None takes the motion's own, or all.
        captions: What it shows; None takes the motion's own.
        model: "default", a MANO file or a folder of both sides: the hand whose shape space ``betas`` are in.

    Returns:
        The clip. A hand that was never seen has no rig.

    Raises:
        InputError: If an array is missing or not finite where a hand was seen, there is no frame, no hand was seen in
            any frame, or ``fps`` is not 1 to 1000.
        ShapeError: If a shape does not fit.
        AssetError: If the hand model cannot be read.
    """
    own = motion if isinstance(motion, Mapping) else features_to_params(as_tensor(motion).detach().cpu())
    params = _checked(own)
    frames = len(params["transl"])
    rate = own.get("fps") if fps is None else fps
    if rate is None:
        _LOG.warning("No fps was given: the motion is taken as %g frames per second.", DEFAULT_FPS)
        rate = DEFAULT_FPS
    seen = mask_of(own.get("valid") if valid is None else valid, frames)
    params = fill_unseen(params, seen)
    for name, value in params.items():
        if not np.isfinite(value).all():
            raise InputError(f"motion[{name!r}]: Expected finite numbers, got NaN or infinity. Clean the motion first.")
    if not seen.any():
        raise InputError(
            f"valid: Expected a hand that is seen in some frame, got none in {frames} frames. "
            "There is no motion to write; pass valid=None to write the stand-in poses all the same."
        )
    words = own.get("captions", ()) if captions is None else captions
    betas = np.atleast_2d(as_numpy(own.get("betas", np.zeros((2, 10)))).astype(np.float64))
    rigs = tuple(
        _rig(side, params, hand, betas[min(hand, len(betas) - 1)], model)
        for hand, side in enumerate(SIDES)
        if seen[:, hand].any()
    )
    return Clip(rigs, seen, fps_of(rate), tuple(str(word) for word in words))


def pose_correctives(rig: HandRig, tolerance: float = CORRECTIVE_TOLERANCE) -> tuple[Array, Array]:
    """Pose blend shapes of a clip as few morph targets.

    MANO adds ``posedirs @ (R_1..R_15 - I)`` to the rest mesh before it is skinned: 135 shapes. What one clip uses of
    them lies near a space of a few dimensions, found by singular values.

    Args:
        rig: A hand.
        tolerance: Largest distance that a vertex may be off, metres.

    Returns:
        Morph targets (K, V, 3) and their weights (T, K), with as small a K as the tolerance allows; K is 0 for hands
        without pose blend shapes, such as the open hand.
    """
    posedirs = rig.asset.posedirs
    frames, count = len(rig.rotations), len(rig.vertices)
    if posedirs is None:
        return np.empty((0, count, 3)), np.empty((frames, 0))
    matrices = Rotation.from_quat(rig.rotations[:, 1:].reshape(-1, 4)).as_matrix().reshape(frames, 15, 3, 3)
    used = (matrices - np.eye(3)).reshape(frames, 135)
    shapes = posedirs.reshape(-1, 135)  # (3 V, 135)
    basis, triangle = np.linalg.qr(shapes)  # distances in (135,) are distances of the whole mesh
    left, scale, right = np.linalg.svd(used @ triangle.T, full_matrices=False)
    exact = used @ shapes.T
    low, high = 0, len(scale)
    while low < high:
        k = (low + high) // 2
        off = exact - (left[:, :k] * scale[:k]) @ (basis @ right[:k].T).T
        enough = np.linalg.norm(off.reshape(frames, count, 3), axis=-1).max() <= tolerance
        low, high = (low, k) if enough else (k + 1, high)
    k = low
    return (basis @ right[:k].T).T.reshape(k, count, 3), left[:, :k] * scale[:k]


def _checked(own: Mapping[str, Any]) -> dict[str, Array]:
    missing = [name for name in PARAMETERS if name not in own]
    if missing:
        raise InputError(f"motion: Expected {', '.join(PARAMETERS)}, got no {', '.join(missing)}. Add them.")
    params = {name: as_numpy(own[name]).astype(np.float64) for name in PARAMETERS}
    frames = len(params["transl"]) if params["transl"].ndim else 0
    if frames == 0:
        raise InputError("motion: Expected at least one frame, got none. There is nothing to write.")
    for name, value in params.items():
        if value.shape != (frames, *_TAILS[name]):
            raise ShapeError(f"motion[{name!r}]", str((frames, *_TAILS[name])), value.shape, "Pass one clip.")
    return params


def _rig(side: Side, params: Mapping[str, Array], hand: int, betas: Array, model: str | os.PathLike[str]) -> HandRig:
    asset = load_sided(os.fspath(model), side, "auto")
    if len(betas) > asset.shapedirs.shape[-1] and betas[asset.shapedirs.shape[-1] :].any():
        expected = f"(2, B) with at most {asset.shapedirs.shape[-1]} components that are not zero"
        raise ShapeError("motion['betas']", expected, betas.shape, "Pass the model that they belong to.")
    betas = betas[: asset.shapedirs.shape[-1]]
    if not np.isfinite(betas).all():
        raise InputError("motion['betas']: Expected finite numbers, got NaN or infinity. Clean the motion first.")
    vertices = asset.v_template + asset.shapedirs[..., : len(betas)] @ betas
    joints = asset.joint_regressor @ vertices
    vectors = np.concatenate([params["global_orient"][:, hand, None], params["hand_pose"][:, hand]], 1)
    quaternions = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_quat().reshape(-1, 16, 4)
    return HandRig(
        side=side,
        asset=asset,
        vertices=vertices,
        joints=joints,
        tips=vertices[asset.tip_ids],
        rotations=continuous(quaternions),
        wrist=params["transl"][:, hand] + joints[0],
        betas=betas,
    )


def continuous(quaternions: Array) -> Array:
    """The same rotations (T, ..., 4) with signs such that neighbours in time are near each other."""
    out = quaternions.copy()
    turned = (quaternions[1:] * quaternions[:-1]).sum(-1) < 0
    flips = np.cumsum(turned, 0) % 2 == 1
    out[1:][flips] *= -1
    return out
