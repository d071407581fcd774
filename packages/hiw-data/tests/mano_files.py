"""A pair of small made-up MANO files with what the official ones have: mean pose, components, shapes, a far J0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hand_geometry.assets import KEYPOINT_SOURCE, PARENTS, load_asset
from scipy.spatial.transform import Rotation

SIDES = ("left", "right")
SHIFT = np.array([0.09, 0.006, 0.005])


def write_mano(folder: Path) -> Path:
    """MANO_LEFT.npz and MANO_RIGHT.npz; the left's shape components have the right's x, as MANO ships them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    mean = rng.normal(scale=0.2, size=45)
    components = np.linalg.qr(rng.normal(size=(45, 45)))[0]
    for side in SIDES:
        asset = load_asset("default", side)
        sign = 1.0 if side == "right" else -1.0
        mirror = np.ones(45) if side == "right" else np.tile([1.0, -1.0, -1.0], 15)
        shapes = load_asset("default", "right").shapedirs[..., :10]
        kintree = np.array([PARENTS, range(16)])
        np.savez(
            folder / f"MANO_{side.upper()}.npz",
            v_template=asset.v_template + SHIFT * [sign, 1, 1],
            f=asset.faces,
            weights=asset.weights,
            J_regressor=asset.joint_regressor,
            shapedirs=shapes,
            kintree_table=kintree,
            hands_mean=mean * mirror,
            hands_components=components * mirror,
            tip_ids=asset.tip_ids,
        )
    return folder


class PlainHand:
    """One hand of a folder, posed by formulas written out here and nowhere else."""

    def __init__(self, folder: Path, side: str, mirrored: bool = False, template: np.ndarray | None = None) -> None:
        stored = dict(np.load(folder / f"MANO_{side.upper()}.npz"))
        self.template = stored["v_template"] if template is None else template
        self.shapes, self.weights = stored["shapedirs"], stored["weights"]
        if mirrored and side == "left":
            self.shapes = self.shapes * np.array([-1.0, 1.0, 1.0])[:, None]
        self.regressor, self.tips = stored["J_regressor"], stored["tip_ids"]
        self.mean, self.components = stored["hands_mean"], stored["hands_components"]

    def rest(self, betas: np.ndarray) -> np.ndarray:
        """Rest joints (16, 3)."""
        return self.regressor @ (self.template + self.shapes[..., : len(betas)] @ betas)

    def local(self, pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Keypoints (21, 3) of a hand whose wrist is not turned, in the template's frame; pose (15, 3) absolute."""
        vertices = self.template + self.shapes[..., : len(betas)] @ betas
        joints = self.regressor @ vertices
        turns, at = [np.eye(3)], [joints[0]]
        for k in range(1, 16):
            parent = PARENTS[k]
            turns.append(turns[parent] @ Rotation.from_rotvec(pose[k - 1]).as_matrix())
            at.append(at[parent] + turns[parent] @ (joints[k] - joints[parent]))
        tips = [
            sum(self.weights[v, k] * (turns[k] @ (vertices[v] - joints[k]) + at[k]) for k in range(16))
            for v in self.tips
        ]
        return np.array([*at, *tips])[list(KEYPOINT_SOURCE)]


def random_motion(frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Smooth parameters of two hands: orient (T, 2, 3), pose (T, 2, 15, 3), place (T, 2, 3), betas (2, 10)."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 2, frames)[:, None]
    orient = rng.normal(size=(1, 2, 3)) + 0.3 * np.sin(time)[..., None] * rng.normal(size=(1, 2, 3))
    pose = 0.25 * rng.normal(size=(1, 2, 15, 3)) + 0.1 * np.sin(time)[..., None, None] * rng.normal(size=(1, 2, 15, 3))
    place = np.array([[-0.12, 0.1, 0.4], [0.12, 0.1, 0.4]]) + 0.05 * np.cos(time)[..., None] * rng.normal(size=(2, 3))
    return {"orient": orient, "pose": pose, "place": place, "betas": rng.normal(size=(2, 10))}


def turned(orient: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (21, 3) turned by one axis-angle."""
    return points @ Rotation.from_rotvec(orient).as_matrix().T
