"""``fit_keypoints``: from 21 keypoints a frame to MANO parameters.

Batched Gauss-Newton with an analytic Jacobian; priors and limits along each joint's anatomical axes; Huber
loss.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from threadpoolctl import ThreadpoolController

from hand_geometry.assets import ASSETS, Array, HandAsset, Side, as_numpy, check_side, load_asset
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.fitting.chain import HandChain, HandState, pose
from hand_geometry.fitting.objective import Objective, project
from hand_geometry.fitting.shape import fit_betas
from hand_geometry.fitting.solver import minimise
from hand_geometry.fitting.start import initial_state, rotate_to_ray

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class KeypointFit:
    """Result of ``fit_keypoints``; NumPy float32 unless said.

    Attributes:
        global_orient: Shape (T, 3), axis-angle.
        hand_pose: Shape (T, 15, 3), axis-angle, MANO order, absolute.
        transl: Shape (T, 3), metres.
        betas: Shape (B,).
        valid: Frames that had keypoints, shape (T,) bool; the others are interpolated.
        residual: Mean distance of the fitted from the given keypoints (relative to their mean if 2D was
            given), shape (T,), metres; NaN where not valid.
        reprojection: Mean image distance, shape (T,), pixels, NaN where not valid; None without 2D.
        keypoints: Fitted keypoints, landmark offsets included, shape (T, 21, 3), metres.
        iterations: Gauss-Newton steps taken.
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
    keypoints: Any,
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
    """Fit one hand over one clip.

    Args:
        keypoints: Shape (T, 21, 3), metres, OpenPose/MediaPipe order; NumPy or torch. Frames with a number
            that is not finite count as not seen, unless ``valid`` says otherwise.
        side: "left" or "right".
        model: A ``HandModel``, a ``HandAsset``, a path, or None for the open hand.
        valid: Frames to trust, shape (T,) bool; None for all that are finite.
        keypoints_2d: Image points, shape (T, 21, 2), pixels. With them the 3D keypoints count relative to
            their mean, and the translation comes from the camera.
        camera: Pinhole matrix, shape (3, 3); needed with ``keypoints_2d``. Axes: x right, y down, z forward.
        landmark_offsets: Where the tracker's landmarks sit on the hand, shape (21, 3), metres, in the frame
            of the carrying joint; "mediapipe" for the calibrated table that ships with the package; None for
            zeros.
        along_ray: Whether the 3D keypoints are oriented to the ray through the hand rather than to the
            camera's axis, as MediaPipe's are. None: yes if ``landmark_offsets="mediapipe"`` and 2D is given.
        betas: Shape (B,); "fit" to estimate it from the bone lengths; None for the mean shape.
        sigma_3d: Standard deviation of the 3D keypoints, metres.
        sigma_2d: Standard deviation of the image points, pixels.
        smoothness: Expected change per frame of wrist rotation (rad), finger angles (rad) and translation
            (m); None fits every frame alone.
        max_iterations: Gauss-Newton steps at most.

    Returns:
        Parameters of every frame. Frames without keypoints are carried along by smoothness and marked.

    Raises:
        ShapeError: If a shape does not fit.
        InputError: If no frame is valid, a valid frame has a number that is not finite, or an option is
            senseless.
    """
    side = check_side(side)
    points, seen = _checked_points(keypoints, valid)
    pixels, pinhole = _checked_image(keypoints_2d, camera, seen)
    for name, value in (("sigma_3d", sigma_3d), ("sigma_2d", sigma_2d), ("max_iterations", max_iterations)):
        if not value > 0:
            raise InputError(f"{name}: Expected a positive number, got {value}. Leave it out.")
    if smoothness is not None and not (len(smoothness) == 3 and min(smoothness) > 0):
        raise InputError(f"smoothness: Expected three positive numbers or None, got {smoothness}.")
    asset = _asset_of(model, side)
    if along_ray is None:
        along_ray = landmark_offsets is not None and isinstance(landmark_offsets, str)
    offsets = _offsets_of(landmark_offsets, side)
    with _blas().limit(limits=1, user_api="blas"):
        return _fit(
            asset,
            points,
            seen,
            pixels,
            pinhole,
            offsets,
            along_ray,
            betas,
            sigma_3d,
            sigma_2d,
            smoothness,
            max_iterations,
        )


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    """BLAS threads only get in each other's way on 51 x 51 matrices: 30 times slower where cores are shared."""
    return ThreadpoolController()


def _fit(
    asset: HandAsset,
    points: Array,
    seen: NDArray[np.bool_],
    pixels: Array | None,
    pinhole: Array | None,
    offsets: Array,
    along_ray: bool,
    betas: Any,
    sigma_3d: float,
    sigma_2d: float,
    smoothness: tuple[float, float, float] | None,
    max_iterations: int,
) -> KeypointFit:
    if pixels is not None and pinhole is not None and along_ray:
        points = rotate_to_ray(points, pixels, pinhole)
    shape = _betas_of(betas, asset, offsets, points[seen])
    chain = HandChain.build(asset, shape, offsets)
    start = initial_state(chain, points, seen, pixels, pinhole)
    objective = Objective(chain, points, seen.astype(float), sigma_3d, pixels, pinhole, sigma_2d, smoothness)
    state, iterations = minimise(objective, start, max_iterations)
    return _result(chain, state, objective, seen, shape, iterations)


def _result(
    chain: HandChain,
    state: HandState,
    objective: Objective,
    seen: NDArray[np.bool_],
    betas: Array,
    iterations: int,
) -> KeypointFit:
    posed = pose(chain, state)
    found, target = posed.keypoints, objective.points
    reprojection = None
    if objective.pixels is not None and objective.camera is not None:
        distance = np.linalg.norm(project(found, objective.camera) - objective.pixels, axis=-1).mean(1)
        reprojection = np.where(seen, distance, np.nan).astype(np.float32)
        found = found - found.mean(1, keepdims=True)
    residual = np.where(seen, np.linalg.norm(found - target, axis=-1).mean(1), np.nan)
    return KeypointFit(
        global_orient=Rotation.from_matrix(state.orient).as_rotvec().astype(np.float32),
        hand_pose=posed.axis_angle.astype(np.float32),
        transl=state.transl.astype(np.float32),
        betas=betas.astype(np.float32),
        valid=seen,
        residual=residual.astype(np.float32),
        reprojection=reprojection,
        keypoints=posed.keypoints.astype(np.float32),
        iterations=iterations,
    )


def _checked_points(keypoints: Any, valid: Any) -> tuple[Array, NDArray[np.bool_]]:
    points = as_numpy(keypoints).astype(np.float64)
    if points.ndim != 3 or points.shape[1:] != (21, 3) or len(points) == 0:
        raise ShapeError("keypoints", "(T, 21, 3) with T >= 1", points.shape, "Pass one hand of one clip.")
    finite = np.asarray(np.isfinite(points).reshape(len(points), -1).all(1), np.bool_)
    seen = finite if valid is None else as_numpy(valid).astype(np.bool_)
    if seen.shape != (len(points),):
        raise ShapeError("valid", f"({len(points)},)", seen.shape, "Pass one flag a frame.")
    bad = np.flatnonzero(seen & ~finite)
    if len(bad):
        raise InputError(
            f"keypoints: Expected finite numbers in valid frames, got NaN or infinity in frame {bad[0]} "
            f"({len(bad)} in all). Set valid to False there."
        )
    if not seen.any():
        raise InputError("valid: Expected at least one frame to fit, got none. Leave this hand out.")
    if np.ptp(points[seen], axis=1).max() < 1e-4:
        raise InputError("keypoints: Expected a hand, got points that coincide. Are they in metres?")
    return np.where(finite[:, None, None], points, 0.0), seen


def _checked_image(keypoints_2d: Any, camera: Any, seen: NDArray[np.bool_]) -> tuple[Array, Array] | tuple[None, None]:
    if keypoints_2d is None:
        return None, None
    pixels = as_numpy(keypoints_2d).astype(np.float64)
    if pixels.shape != (len(seen), 21, 2):
        raise ShapeError("keypoints_2d", f"({len(seen)}, 21, 2)", pixels.shape)
    if camera is None:
        raise InputError("camera: Expected a (3, 3) pinhole matrix beside keypoints_2d, got None. Pass one.")
    pinhole = as_numpy(camera).astype(np.float64)
    if pinhole.shape != (3, 3):
        raise ShapeError("camera", "(3, 3)", pinhole.shape)
    focal = pinhole[[0, 1], [0, 1]]
    if not np.isfinite(pinhole).all() or focal.min() < 10 or focal.max() > 1e5:
        raise InputError(f"camera: Expected a focal length of 10 to 100,000 pixels, got {focal}. Check units.")
    if not np.isfinite(pixels[seen]).all():
        raise InputError("keypoints_2d: Expected finite numbers in valid frames. Set valid to False there.")
    return np.where(np.isfinite(pixels), pixels, 0.0), pinhole


def _asset_of(model: Any, side: Side) -> HandAsset:
    asset = getattr(model, "asset", model)
    if asset is None or isinstance(asset, str | os.PathLike):
        return load_asset("default" if asset is None else os.fspath(asset), side)
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


def _betas_of(betas: Any, asset: HandAsset, offsets: Array, points: Array) -> Array:
    count = asset.shapedirs.shape[-1]
    if betas is None:
        return np.zeros(count)
    if isinstance(betas, str):
        if betas != "fit":
            raise InputError(f"betas: Expected an array, 'fit' or None, got {betas!r}.")
        return fit_betas(asset, offsets, points)
    array = as_numpy(betas).astype(np.float64)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ShapeError("betas", f"({count},), finite", array.shape)
    return array
