"""``render_motion``: pictures of a two-handed motion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hand_geometry.assets import Array, Side, as_numpy
from hand_geometry.errors import InputError, MissingDependencyError, ShapeError
from hand_geometry.features import PARAMETERS, as_tensor, features_to_params
from hand_geometry.model import HandModel
from hand_geometry.rendering.arms import LEFT_COLOR, RIGHT_COLOR, Arm, build_arm, posed_vertices
from hand_geometry.rendering.camera import Camera, frame_camera
from hand_geometry.rotations import axis_angle_to_matrix
from hand_geometry.validity import fill_unseen, mask_of

BACKGROUND = (0.965, 0.957, 0.945)

_SIDES: tuple[Side, Side] = ("left", "right")
_UNSEEN_OPACITY = 0.22
_SHADOW = 0.30
_NEAR = 0.02


def render_motion(
    motion: Any,
    *,
    fps: float = 15,
    size: tuple[int, int] = (320, 240),
    valid: Any = None,
    camera: Camera | str | None = None,
    colors: tuple[tuple[float, float, float], tuple[float, float, float]] = (LEFT_COLOR, RIGHT_COLOR),
    background: tuple[float, float, float] = BACKGROUND,
    forearms: bool = True,
    shadow: bool = True,
    samples: int = 2,
) -> NDArray[np.uint8]:
    """Draw both hands of a motion, frame by frame.

    Args:
        motion: Features, shape (T, 198), or parameters (``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15,
            3), ``transl`` (T, 2, 3)); NumPy or torch. The open hand is drawn.
        fps: Frames per second of the motion; drawn one picture a frame, so it is only checked.
        size: Width and height, pixels.
        valid: Which hands were seen, shape (T, 2) bool; None takes the motion's own, or all. A hand never seen is
            left out; one that is hidden for a while is drawn faded.
        camera: A ``Camera``, the name of a view ("egocentric", "three-quarter", "front", "above"), or None
            for "egocentric", framed on the whole motion.
        colors: Albedo of the left and the right hand, 0..1.
        background: Colour, 0..1.
        forearms: Whether to draw forearms that fade out.
        shadow: Whether hands cast a soft shadow on a table below them.
        samples: Supersampling per axis.

    Returns:
        Pictures, shape (T, height, width, 3) uint8, RGB.

    Raises:
        MissingDependencyError: If numba is not installed.
        ShapeError: If a shape does not fit.
        InputError: If a hand that was seen has a number that is not finite, or there are no frames.
    """
    (orient, pose, transl), seen = _parameters(motion, valid)
    if not fps > 0:
        raise InputError(f"fps: Expected a positive rate, got {fps}.")
    meshes, joints = _meshes(orient, pose, transl, colors, forearms)
    drawn = [hand for hand in (0, 1) if seen[:, hand].any()] or [0, 1]
    if not isinstance(camera, Camera):
        looked_at = joints[:, drawn][seen[:, drawn]] if seen.any() else joints
        camera = frame_camera(looked_at, size, view=camera or "egocentric")
    vertices = np.concatenate([meshes[hand][0] for hand in drawn], 1).astype(np.float32)
    opacity = [np.where(seen[:, hand], 1.0, _UNSEEN_OPACITY if seen.any() else 1.0) for hand in drawn]
    faces, albedo, counts = _merged([meshes[hand][1] for hand in drawn], forearms)
    stands = joints[seen] if seen.any() else joints
    floor = float(stands[..., 1].max()) + 0.05 if shadow else None
    painter = _Painter(camera, size, samples, faces, background, floor)
    frames = np.empty((len(vertices), size[1], size[0], 3), np.uint8)
    for t in range(len(vertices)):
        albedo_now = albedo.copy()
        albedo_now[:, 3] *= np.repeat([o[t] for o in opacity], counts)
        painter.paint(vertices[t], albedo_now, frames[t])
    return frames


class _Painter:
    """Buffers and constants of one video."""

    def __init__(
        self,
        camera: Camera,
        size: tuple[int, int],
        samples: int,
        faces: NDArray[np.int32],
        background: tuple[float, float, float],
        floor: float | None,
    ) -> None:
        try:
            from hand_geometry.rendering import raster, shading
        except ImportError as error:
            raise MissingDependencyError("numba", "Rendering") from error
        width, height = size
        if min(width, height, samples) < 1:
            raise InputError(f"size: Expected positive width, height and samples, got {size}, {samples}.")
        self._raster, self._resolve = raster, shading.resolve
        self._rotation = camera.rotation.astype(np.float32)
        self._position = camera.position.astype(np.float32)
        self._lens = camera.focal * min(size), width / 2, height / 2
        self._samples, self._faces, self._floor = samples, faces, floor
        self._background = np.array(background, np.float32)
        self._inverse_depth = np.zeros((height * samples, width * samples), np.float32)
        self._triangle = np.zeros((height * samples, width * samples), np.int32)
        self._box = np.zeros(4, np.int32)
        self._shade = np.zeros(((height + 1) // 2, (width + 1) // 2), np.float32)

    def paint(self, vertices: NDArray[np.float32], colors: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
        """Draw one frame into ``out``."""
        draw, faces = self._raster, self._faces
        points = draw.to_camera(vertices, self._rotation, self._position)
        focal, cx, cy = (value * self._samples for value in self._lens)
        screen = draw.to_screen(points, focal, cx, cy, _NEAR)
        draw.rasterise(screen, faces, self._inverse_depth, self._triangle, self._box)
        shadow = self._shadow(vertices, colors)
        normals = draw.vertex_normals(points, faces)
        self._resolve(
            normals, colors, faces, screen, self._inverse_depth, self._triangle, self._box,
            (focal, cx, cy), self._samples, shadow, self._background, out,
        )  # fmt: skip

    def _shadow(self, vertices: NDArray[np.float32], colors: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much darker each 2 x 2 pixels of the background are: the mesh dropped onto the floor, blurred."""
        self._shade[:] = 0
        if self._floor is None:
            return self._shade
        drop = np.maximum(self._floor - vertices[:, 1:2], 0)
        fallen = vertices + drop * np.array([0.25, 1.0, 0.2], np.float32)
        points = self._raster.to_camera(fallen.astype(np.float32), self._rotation, self._position)
        focal, cx, cy = (value / 2 for value in self._lens)
        weights = colors[:, 3] * np.float32(_SHADOW) * np.exp(-drop[:, 0] / np.float32(0.35))
        self._raster.splat(self._raster.to_screen(points, focal, cx, cy, _NEAR), self._faces, weights, self._shade)
        softness = max(1, round(0.03 * min(self._shade.shape)))
        blurred: NDArray[np.float32] = self._raster.blur(self._shade, softness)
        return blurred


def _parameters(motion: Any, valid: Any) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], NDArray[np.bool_]]:
    """The parameters, finite everywhere, and which hands were seen."""
    params = motion if isinstance(motion, Mapping) else features_to_params(as_tensor(motion).detach().cpu())
    missing = [name for name in PARAMETERS if name not in params]
    if missing:
        raise InputError(f"motion: Expected features or parameters, got a dict without {', '.join(missing)}.")
    tails = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "transl": (2, 3)}
    frames = len(params["transl"])
    arrays = {name: as_numpy(params[name]) for name in PARAMETERS}
    for name, tail in tails.items():
        if arrays[name].shape != (frames, *tail) or frames == 0:
            raise ShapeError(f"motion[{name!r}]", f"(T, {', '.join(map(str, tail))})", arrays[name].shape, "One clip.")
    seen = mask_of(params.get("valid") if valid is None else valid, frames)
    arrays = fill_unseen(arrays, seen)
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise InputError(f"motion[{name!r}]: Expected finite numbers, got NaN or infinity. Clean the motion first.")
    orient, pose, transl = (torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in PARAMETERS)
    return (orient, pose, transl), seen


def _meshes(
    orient: torch.Tensor, pose: torch.Tensor, transl: torch.Tensor, colors: Any, forearms: bool
) -> tuple[list[tuple[Array, Arm]], Array]:
    """Vertices (T, V, 3) and topology of each hand, and the joints (T, 2, 21, 3)."""
    meshes, joints = [], []
    for hand, side in enumerate(_SIDES):
        with torch.no_grad():
            rotation = axis_angle_to_matrix(orient[:, hand])
            out = HandModel.load("default", side)(rotation, axis_angle_to_matrix(pose[:, hand]), transl=transl[:, hand])
        arm = build_arm(side, tuple(colors[hand]))
        vertices = out.vertices.double().numpy()
        if forearms:
            vertices = posed_vertices(vertices, rotation.double().numpy(), arm, side)
        meshes.append((vertices, arm))
        joints.append(out.joints.double().numpy())
    return meshes, np.stack(joints, 1)


def _merged(arms: list[Arm], forearms: bool) -> tuple[NDArray[np.int32], NDArray[np.float32], list[int]]:
    """Several hands as one mesh: faces, colours, and the vertices of each."""
    faces, colors, counts, start = [], [], [], 0
    for arm in arms:
        count = len(arm.colors) if forearms else len(arm.colors) - len(arm.pull) * len(arm.loop)
        kept = arm.faces[(arm.faces < count).all(1)]
        faces.append(kept + np.int32(start))
        colors.append(arm.colors[:count])
        counts.append(count)
        start += count
    return np.concatenate(faces), np.concatenate(colors), counts
