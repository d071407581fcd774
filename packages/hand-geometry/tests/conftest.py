"""Motions and hands that several tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, load_pose, relaxed_hand

sys.path.append(str(Path(__file__).parent))  # helpers of several tests: code_motions


@pytest.fixture(scope="session")
def hands() -> dict[str, HandModel]:
    return {side: HandModel.load("default", side=side) for side in ("left", "right")}


@pytest.fixture(scope="session")
def make_motion() -> Callable[..., dict[str, np.ndarray]]:
    """A smooth two-handed motion in front of the viewer, as parameters in NumPy."""

    def make(frames: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        phase = rng.uniform(0, 6, 4)
        t = np.arange(frames) / 15
        out: dict[str, list[np.ndarray]] = {"global_orient": [], "hand_pose": [], "transl": []}
        for hand, side in enumerate(("left", "right")):
            rest = {name: value.numpy() for name, value in relaxed_hand(side).items()}
            curl = 0.5 + 0.4 * np.sin(3 * t + phase[hand])
            turn = 0.2 * np.sin(2 * t[:, None] + phase[:3])
            move = 0.04 * np.sin(2 * t[:, None] + phase[1:])
            out["global_orient"].append(rest["global_orient"] * 0.9 + turn)
            out["hand_pose"].append(curl[:, None, None] * load_pose("fist", side).numpy())
            out["transl"].append(rest["transl"] + move)
        return {name: np.stack(values, 1).astype(np.float32) for name, values in out.items()}

    return make


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def joints_of() -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Joints (T, 2, 21, 3) of a motion with its own betas, by the model in float64."""

    def joints(motion: dict[str, np.ndarray]) -> np.ndarray:
        out = []
        for hand, side in enumerate(("left", "right")):
            model = HandModel.load("default", side, dtype=torch.float64)
            names = ("global_orient", "hand_pose", "transl")
            orient, pose, transl = (torch.tensor(motion[name][:, hand]).double() for name in names)
            betas = torch.tensor(motion.get("betas", np.zeros((2, 10)))[hand]).double()
            out.append(model(orient, pose, betas.expand(len(orient), -1), transl, vertices=False).joints)
        return torch.stack(out, 1).numpy()

    return joints
