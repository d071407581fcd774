"""``fit_keypoints``: from 21 keypoints a frame, in space or in an image, to MANO parameters.

Batched Gauss-Newton with an analytic Jacobian; priors and limits along each joint's anatomical axes; Huber
loss.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from threadpoolctl import ThreadpoolController

from hand_geometry.assets import ASSETS, Array, HandAsset, Side, as_numpy, check_side
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.fitting.chain import HandChain, HandState, pose
from hand_geometry.fitting.limits import angle_priors
from hand_geometry.fitting.objective import Objective, project
from hand_geometry.fitting.observed import Observed
from hand_geometry.fitting.shape import fit_betas
from hand_geometry.fitting.solver import likeliest, minimise
from hand_geometry.fitting.start import initial_states, rotate_to_ray
from hand_geometry.fitting.table import LandmarkTable, table_of
from hand_geometry.fitting.tracked import TrackedImage, own_offsets
from hand_geometry.sides import load_sided

Float32 = NDArray[np.float32]

_TRIAL_STEPS = 12  # of each of the starts that an image alone leaves open


@dataclass(frozen=True)
class KeypointFit:
    """Result of ``fit_keypoints``; NumPy float32 unless said. For a batch of clips each array has a leading axis.

    Attributes:
        global_orient: Shape (T, 3), axis-angle.
        hand_pose: Shape (T, 15, 3), axis-angle, MANO order, absolute.
        transl: Shape (T, 3), metres.
        betas: Shape (B,).
        valid: Frames in which the hand was seen, shape (T,) bool; the others are interpolated.
        residual: Mean distance of the fitted from the visible keypoints (relative to their mean if 2D was
            given), shape (T,), metres; NaN where not valid or without 3D.
        reprojection: Mean image distance, shape (T,), pixels, NaN where not valid; None without 2D. With depths: to
            where the table expects the tracker's landmarks of this hand.
        keypoints: Fitted keypoints, landmark offsets included, shape (T, 21, 3), metres.
        iterations: Gauss-Newton steps taken (of a batch: the most that a clip took).
    """

    global_orient: Float32
    hand_pose: Float32
    transl: Float32
    betas: Float32
    valid: NDArray[np.bool_]
    residual: Float32
    reprojection: Float32 | None
    keypoints: Float32
    iterations: int


def fit_keypoints(
    keypoints: Any = None,
    *,
    side: str,
    model: Any = None,
    valid: Any = None,
    keypoints_2d: Any = None,
    camera: Any = None,
    landmark_offsets: Any = None,
    along_ray: bool | None = None,
    betas: Any = None,
    sigma_3d: float = 0.008,
    sigma_2d: float = 4.0,
    smoothness: tuple[float, float, float] | None = (0.15, 0.20, 0.05),
    max_iterations: int = 25,
) -> KeypointFit:
    """Fit one hand over one clip, or over each clip of a batch.

    Args:
        keypoints: Shape (T, 21, 3) or (clips, T, 21, 3), metres, OpenPose/MediaPipe order; NumPy or torch. None to fit
            image points alone: the depth then follows from the size of the hand in ``betas``.
        side: "left" or "right".
        model: A ``HandModel``, a ``HandAsset``, a path, or None for the open hand.
        valid: What to trust: frames (T,), or keypoints (T, 21), bool, with the clips' axis if there is one. None for
            all that is finite. A frame with fewer than 6 visible keypoints counts as not seen.
        keypoints_2d: Image points, shape (T, 21, 2), pixels. With them the 3D keypoints count relative to
            their mean, and the translation comes from the camera. Or shape (T, 21, 3): a tracker's image landmarks with
            their depths in pixels (MediaPipe: x times the image's width, y times its height, z times its width); they
            need a table as ``landmark_offsets`` and tell more than MediaPipe's world landmarks, best left out.
        camera: Pinhole matrix, shape (3, 3); needed with ``keypoints_2d``. Axes: x right, y down, z forward.
        landmark_offsets: Where the tracker's landmarks sit on the hand, shape (21, 3), metres, in the frame
            of the carrying joint; "mediapipe" for the calibrated table that ships with the package; None for
            zeros. For image landmarks with depths "mediapipe" or a ``LandmarkTable``, which also tells the mean and the
            covariance of the tracker's errors; small offsets of the clip's own are then learned as well.
        along_ray: Whether the 3D keypoints are oriented to the ray through the hand rather than to the
            camera's axis, as MediaPipe's are. None: yes if ``landmark_offsets="mediapipe"`` and 2D is given.
        betas: Shape (B,); "fit" to estimate it from the bone lengths; None for the mean shape.
        sigma_3d: Standard deviation of the 3D keypoints, metres.
        sigma_2d: Standard deviation of the image points, pixels; with depths the table says it.
        smoothness: Expected change per frame of wrist rotation (rad), finger angles (rad) and translation
            (m); None fits every frame alone.
        max_iterations: Gauss-Newton steps at most.

    Returns:
        Parameters of every frame. Frames without keypoints are carried along by smoothness and marked. A clip of a
        batch in which the hand is never seen comes back as a relaxed hand, all marked.

    Raises:
        ShapeError: If a shape does not fit.
        InputError: If the hand is never seen, a frame that ``valid`` vouches for has a number that is not finite, or an
            option is senseless.
    """
    side = check_side(side)
    for name, value in (("sigma_3d", sigma_3d), ("sigma_2d", sigma_2d), ("max_iterations", max_iterations)):
        if not value > 0:
            raise InputError(f"{name}: Expected a positive number, got {value}. Leave it out.")
    if smoothness is not None and not (len(smoothness) == 3 and min(smoothness) > 0):
        raise InputError(f"smoothness: Expected three positive numbers or None, got {smoothness}.")
    asset = _asset_of(model, side)
    if along_ray is None:
        along_ray = landmark_offsets is not None and isinstance(landmark_offsets, str)
    table = table_of(landmark_offsets, _depths(keypoints_2d))
    offsets = _offsets_of(landmark_offsets, side) if table is None else table.offsets_of(side)
    options = _Options(side, along_ray, sigma_3d, sigma_2d, smoothness, max_iterations, table)
    with _blas().limit(limits=1, user_api="blas"):
        if not any(v is not None and as_numpy(v).ndim == 4 for v in (keypoints, keypoints_2d)):
            observed = Observed.check(keypoints, valid, keypoints_2d, camera)
            if not observed.seen.any():
                raise InputError("valid: Expected at least one frame to fit, got none. Leave this hand out.")
            return _fit(asset, observed, offsets, betas, options)
        clips = [Observed.check(a, b, c, camera) for a, b, c in _clips(keypoints, valid, keypoints_2d)]
        shapes = _shapes(betas, len(clips))
        fits = [_fit(asset, clip, offsets, shape, options) for clip, shape in zip(clips, shapes, strict=True)]
    return _stacked(fits)


@dataclass(frozen=True)
class _Options:
    side: Side
    along_ray: bool
    sigma_3d: float
    sigma_2d: float
    smoothness: tuple[float, float, float] | None
    max_iterations: int
    table: LandmarkTable | None


def _depths(keypoints_2d: Any) -> Any:
    """What comes third in image points, or None."""
    array = None if keypoints_2d is None else as_numpy(keypoints_2d)
    return array if array is not None and array.ndim in (3, 4) and array.shape[-1] == 3 else None


def _clips(*given: Any) -> list[tuple[Any, ...]]:
    """The same for each clip of a batch."""
    arrays = [None if value is None else as_numpy(value) for value in given]
    lengths = {len(array) for array in arrays if array is not None}
    if len(lengths) != 1 or 0 in lengths:
        shapes = [array.shape for array in arrays if array is not None]
        raise ShapeError("keypoints", "as many clips everywhere, at least one", shapes, "Give all the clips' axis.")
    return [tuple(None if array is None else array[k] for array in arrays) for k in range(lengths.pop())]


def _shapes(betas: Any, clips: int) -> list[Any]:
    if betas is None or isinstance(betas, str) or as_numpy(betas).ndim == 1:
        return [betas] * clips
    array = as_numpy(betas)
    if len(array) != clips:
        raise ShapeError("betas", f"(B,) or ({clips}, B)", array.shape)
    return list(array)


def _stacked(fits: list[KeypointFit]) -> KeypointFit:
    joined: dict[str, Any] = {}
    for field in fields(KeypointFit):
        values = [getattr(fit, field.name) for fit in fits]
        if field.name == "iterations":
            joined[field.name] = max(values)
        else:
            joined[field.name] = None if values[0] is None else np.stack(values)
    return KeypointFit(**joined)


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    """BLAS threads only get in each other's way on 51 x 51 matrices: 30 times slower where cores are shared."""
    return ThreadpoolController()


def _fit(asset: HandAsset, observed: Observed, offsets: Array, betas: Any, options: _Options) -> KeypointFit:
    if observed.pixels is not None and observed.camera is not None and options.along_ray:
        turned = rotate_to_ray(observed.points, observed.pixels, observed.camera, observed.weight_2d)
        observed = replace(observed, points=turned)
    shape = _betas_of(betas, asset, offsets, observed)
    chain = HandChain.build(asset, shape, offsets)
    if not observed.seen.any():
        return _nobody(chain, observed, shape)
    starts = initial_states(chain, observed)
    start = starts[0]
    if len(starts) > 1:
        alone = Objective(chain, observed, options.sigma_3d, options.sigma_2d, None)
        tried = [minimise(alone, state, _TRIAL_STEPS)[0] for state in starts]
        start = likeliest(alone, tried, options.smoothness)
    image = None
    if options.table is not None:
        depth = pose(chain, start).keypoints[..., 2].mean(1)
        image = TrackedImage.build(options.table, options.side, observed, depth)
    objective = Objective(chain, observed, options.sigma_3d, options.sigma_2d, options.smoothness, image)
    state, iterations = minimise(objective, start, options.max_iterations)
    if image is not None:
        chain = own_offsets(image, chain, state)
        objective = replace(objective, chain=chain)
        state, more = minimise(objective, state, options.max_iterations)
        iterations += more
    return _result(chain, state, objective, shape, iterations)


def _nobody(chain: HandChain, observed: Observed, betas: Array) -> KeypointFit:
    frames = len(observed.seen)
    relaxed = np.tile(angle_priors()[0], (frames, 1))
    state = HandState(np.tile(np.eye(3), (frames, 1, 1)), relaxed, np.zeros((frames, 3)))
    return _result(chain, state, Objective(chain, observed, 1.0, 1.0, None), betas, 0)


def _result(chain: HandChain, state: HandState, objective: Objective, betas: Array, iterations: int) -> KeypointFit:
    posed, observed = pose(chain, state), objective.observed
    residual = _mean_where(objective.error_3d(posed) * objective.sigma_3d, observed.weight_3d)
    reprojection = None
    if observed.pixels is not None and observed.camera is not None:
        image = objective.image
        expected = project(posed.keypoints, observed.camera) if image is None else image.expected(posed)
        apart = expected - observed.pixels
        reprojection = _mean_where(apart, observed.weight_2d)
    return KeypointFit(
        global_orient=Rotation.from_matrix(state.orient).as_rotvec().astype(np.float32),
        hand_pose=posed.axis_angle.astype(np.float32),
        transl=state.transl.astype(np.float32),
        betas=betas.astype(np.float32),
        valid=observed.seen,
        residual=residual,
        reprojection=reprojection,
        keypoints=posed.keypoints.astype(np.float32),
        iterations=iterations,
    )


def _mean_where(error: Array, weight: Array) -> Float32:
    """Mean length of errors (T, 21, D) over what is visible; NaN in frames where nothing is."""
    count = weight.sum(1)
    total = (np.linalg.norm(error, axis=-1) * weight).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _asset_of(model: Any, side: Side) -> HandAsset:
    asset = getattr(model, "asset", model)
    if asset is None or isinstance(asset, str | os.PathLike):
        return load_sided("default" if asset is None else os.fspath(asset), side)
    if not isinstance(asset, HandAsset):
        raise InputError(f"model: Expected a HandModel, a path or None, got {type(model).__name__}.")
    if asset.side != side:
        raise InputError(f"model: Expected a {side} hand, got a {asset.side} one. Load the other.")
    return asset


def _offsets_of(offsets: Any | Literal["mediapipe"], side: Side) -> Array:
    if offsets is None:
        return np.zeros((21, 3))
    if isinstance(offsets, str):
        if offsets != "mediapipe":
            raise InputError(f"landmark_offsets: Expected 'mediapipe' or an array, got {offsets!r}.")
        table = np.load(ASSETS / "mediapipe_offsets_right.npy", allow_pickle=False).astype(np.float64)
        return table if side == "right" else table * [-1.0, 1.0, 1.0]
    array = as_numpy(offsets).astype(np.float64)
    if array.shape != (21, 3) or not np.isfinite(array).all():
        raise ShapeError("landmark_offsets", "(21, 3), finite", array.shape)
    return array


def _betas_of(betas: Any, asset: HandAsset, offsets: Array, observed: Observed) -> Array:
    count = asset.shapedirs.shape[-1]
    if betas is None:
        return np.zeros(count)
    if isinstance(betas, str):
        if betas != "fit":
            raise InputError(f"betas: Expected an array, 'fit' or None, got {betas!r}.")
        whole = observed.weight_3d.all(1)
        if not whole.any():
            raise InputError(
                "betas: Expected a frame with all 21 keypoints in 3D to fit the shape, got none. Pass betas."
            )
        return fit_betas(asset, offsets, observed.points[whole])
    array = as_numpy(betas).astype(np.float64)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ShapeError("betas", f"({count},), finite", array.shape)
    return array
