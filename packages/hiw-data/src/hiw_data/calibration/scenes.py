"""Known motions of two hands, and pictures of them under known conditions.

Convention:
    The motion is in the axes of a head camera (x right, y down, z forward). A scene's camera may stand elsewhere;
    `in_camera` says what is true in its own axes, which are those of a fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hand_geometry import load_pose
from hand_geometry.assets import Side, load_asset
from hand_geometry.rendering import Camera, render_motion
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hiw_data.calibration.looks import BACKGROUNDS, Look, backdrop, lit
from hiw_data.errors import OptionError

SIDES: tuple[Side, Side] = ("left", "right")
FPS = 30.0
HEAD_CAMERA_FOV = math.degrees(2 * math.atan(0.64))
"""65.2 degrees across the picture: 500 pixels of focal length at 640 of width."""

Motion = Mapping[str, NDArray[np.float32]]
"""`global_orient` (T, 2, 3), `hand_pose` (T, 2, 15, 3), `transl` (T, 2, 3)."""


@dataclass(frozen=True)
class Scene:
    """One condition under which known motions are drawn.

    Attributes:
        name: of the condition.
        size: width and height of the picture, pixels.
        fov: horizontal field of view, degrees, 20 to 140.
        pitch: degrees by which the camera looks up; the hands are then lower in the picture.
        yaw: degrees by which it looks to its right.
        roll: degrees by which it is tilted.
        back: metres by which it stands further away.
        look: skin, background, light.
        forearms: whether they are drawn.
        palms: hands that show their palms, views that the landmark table was not made of.
        speed: of the motion, as a multiple of the usual one.
    """

    name: str
    size: tuple[int, int] = (640, 480)
    fov: float = HEAD_CAMERA_FOV
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0
    back: float = 0.0
    look: Look = field(default_factory=Look)
    forearms: bool = True
    palms: bool = False
    speed: float = 1.0

    def __post_init__(self) -> None:
        if min(self.size) < 32 or max(self.size) > 4096 or not 20 <= self.fov <= 140:
            raise OptionError(
                f"Scene {self.name}: expected a size of 32 to 4096 and a field of view of 20 to 140 degrees, got "
                f"{self.size} and {self.fov}."
            )
        if self.look.background not in BACKGROUNDS or not 0.1 <= self.speed <= 10:
            raise OptionError(
                f"Scene {self.name}: expected a background of {', '.join(BACKGROUNDS)} and a speed of 0.1 to 10, got "
                f"{self.look.background!r} and {self.speed}."
            )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The pinhole matrix, (3, 3)."""
        width, height = self.size
        focal = width / 2 / math.tan(math.radians(self.fov) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

    @property
    def rotation(self) -> NDArray[np.float64]:
        """From the motion's axes to the camera's, (3, 3)."""
        angles = [math.radians(angle) for angle in (self.roll, -self.pitch, -self.yaw)]
        turn: NDArray[np.float64] = Rotation.from_euler("zxy", angles).as_matrix()
        return turn

    @property
    def position(self) -> NDArray[np.float64]:
        """Of the camera, (3,), metres."""
        return np.array([0.0, 0.0, -self.back])


def in_camera(motion: Motion, scene: Scene) -> dict[str, NDArray[np.float32]]:
    """The motion in the axes of the scene's camera."""
    turn = Rotation.from_matrix(scene.rotation)
    moved = {name: np.array(values, np.float32) for name, values in motion.items()}
    for hand, side in enumerate(SIDES):
        wrist = load_asset("default", side).rest_joints[0]
        moved["global_orient"][:, hand] = (turn * Rotation.from_rotvec(motion["global_orient"][:, hand])).as_rotvec()
        place = motion["transl"][:, hand] + wrist - scene.position
        moved["transl"][:, hand] = turn.apply(place) - wrist
    return moved


def draw(motion: Motion, scene: Scene, *, seed: int = 0) -> NDArray[np.uint8]:
    """Pictures of a motion under the conditions of a scene.

    Args:
        motion: In the head camera's axes.
        scene: The conditions.
        seed: Of the background and the noise.

    Returns:
        (T, height, width, 3) uint8, RGB.

    Raises:
        MissingDependencyError: numba is not installed.
    """
    look = scene.look
    focal = float(scene.matrix[0, 0]) / min(scene.size)
    options: dict[str, Any] = {
        "size": scene.size,
        "camera": Camera(scene.rotation, scene.position, focal),
        "colors": (look.skin, look.skin),
        "forearms": scene.forearms,
    }
    rng = np.random.default_rng([seed, 1])
    if look.background == "plain":
        return lit(render_motion(motion, background=look.paper, **options), look, rng)
    # On black what is drawn is the hand alone; what white adds is how much of the background shows, shadows included.
    black = render_motion(motion, background=(0.0, 0.0, 0.0), **options)
    white = render_motion(motion, background=(1.0, 1.0, 1.0), **options)
    behind = backdrop(look, scene.size, rng)
    frames = np.empty_like(black)
    for t in range(len(frames)):
        shows = (white[t].astype(np.float32) - black[t]) / 255.0
        frames[t] = np.clip(black[t] + shows * behind, 0, 255).astype(np.uint8)
    return lit(frames, look, rng)


def known_motion(frames: int, seed: int, palms: bool = False, speed: float = 1.0) -> dict[str, NDArray[np.float32]]:
    """Two hands half a metre before a head camera that wander between poses; or that show it their palms.

    Args:
        frames: How many, at 30 a second.
        seed: Draws the motion.
        palms: Whether the palms face the camera.
        speed: As a multiple of the usual one.

    Returns:
        `global_orient` (T, 2, 3), `hand_pose` (T, 2, 15, 3), `transl` (T, 2, 3), in the camera's axes.
    """
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {"global_orient": [], "hand_pose": [], "transl": []}
    periods = {period: max(2, round(period / speed)) for period in (15, 18, 25, 30)}
    for side in SIDES:
        sign, asset = (1.0 if side == "right" else -1.0), load_asset("default", side)
        share = np.exp(1.6 * smooth_noise(frames, 3, rng, periods[18]))
        share /= share.sum(1, keepdims=True)
        poses = np.stack([load_pose(name, side).numpy() for name in ("flat", "fist", "pinch")])
        pose = np.einsum("tk,kja->tja", share, poses)
        bend = 0.22 * smooth_noise(frames, 5, rng, periods[15])
        spread = 0.10 * smooth_noise(frames, 5, rng, periods[25])
        for finger in range(5):
            for joint in range(3 * finger, 3 * finger + 3):
                pose[:, joint] += (1.0 if finger < 4 else 0.5) * bend[:, finger, None] * asset.joint_axes[joint + 1, 0]
            pose[:, 3 * finger] += spread[:, finger, None] * asset.joint_axes[3 * finger + 1, 1]
        along = np.array([0.0, -1.0, 0.0] if palms else [-0.25 * sign, -0.75, 0.6])
        along /= np.linalg.norm(along)
        back = np.array([0.0, 0.1, 1.0] if palms else [0.15 * sign, -0.55, -0.8])
        back -= along * (back @ along)
        back /= np.linalg.norm(back)
        base = np.stack([-sign * along, back, -sign * np.cross(along, back)], 1)
        reach = [0.5, 0.5, 0.5] if palms else [0.35, 0.35, 0.45]
        turn = Rotation.from_rotvec(smooth_noise(frames, 3, rng, periods[30]) * reach)
        wander = smooth_noise(frames, 3, rng, periods[30]) * [0.035, 0.03, 0.04]
        place = np.array([0.13 * sign, 0.12, 0.5]) + wander
        parts["global_orient"].append((turn * Rotation.from_matrix(base)).as_rotvec())
        parts["hand_pose"].append(pose)
        parts["transl"].append(place - asset.rest_joints[0])
    return {name: np.stack(values, 1).astype(np.float32) for name, values in parts.items()}


def smooth_noise(frames: int, count: int, rng: np.random.Generator, period: int) -> NDArray[np.float64]:
    """Noise (frames, count) of unit deviation at its knots, which are `period` frames apart, and smooth between."""
    knots = rng.normal(size=(max(4, frames // period + 3), count))
    at = np.linspace(0, len(knots) - 2.01, frames)
    first, share = at.astype(int), (at - at.astype(int))[:, None]
    share = share * share * (3 - 2 * share)
    mixed: NDArray[np.float64] = knots[first] * (1 - share) + knots[first + 1] * share
    return mixed
