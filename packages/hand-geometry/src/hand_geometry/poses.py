"""Hand poses to start from: flat, fist, pinch, and the relaxed hand that stands in for an unseen one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hand_geometry.assets import ASSETS, check_side, load_asset
from hand_geometry.errors import InputError
from hand_geometry.rotations import matrix_to_axis_angle

POSES = ("flat", "fist", "pinch")
_AXIAL = (1.0, -1.0, -1.0)  # rotation vectors under a reflection in x

# Fingers forward (+z), palm down (+y), as the wearer of a head camera sees them: x right, y down, z forward.
_FORWARD_PALM_DOWN = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))


def load_pose(name: str, side: str = "right") -> Tensor:
    """A named finger pose.

    Args:
        name: "flat", "fist" or "pinch".
        side: "left" or "right".

    Returns:
        ``hand_pose``, shape (15, 3), axis-angle in MANO order, float32.

    Raises:
        InputError: If the name is unknown.
    """
    if name not in POSES:
        raise InputError(f"name: Expected one of {', '.join(POSES)}, got {name!r}. Pick one of these.")
    if name == "flat":
        return torch.zeros(15, 3)
    with np.load(ASSETS / "poses_right.npz", allow_pickle=False) as stored:
        pose = torch.tensor(stored[name], dtype=torch.float32)
    return pose if check_side(side) == "right" else pose * torch.tensor(_AXIAL)


def relaxed_hand(side: str = "right") -> dict[str, Tensor]:
    """A hand at rest beside the origin: fingers forward, palm down, slightly curled.

    Args:
        side: "left" or "right"; the left is the mirror of the right.

    Returns:
        ``global_orient`` (3,), ``hand_pose`` (15, 3), ``wrist`` (3,) at x = 0.13 m (right) or -0.13 m (left),
        and ``transl`` (3,), the MANO translation that puts the open hand's wrist there.
    """
    side = check_side(side)
    orient = matrix_to_axis_angle(torch.tensor(_FORWARD_PALM_DOWN))
    wrist = torch.tensor([0.13, 0.0, 0.0])
    if side == "left":
        orient, wrist = orient * torch.tensor(_AXIAL), wrist * torch.tensor([-1.0, 1.0, 1.0])
    rest = torch.tensor(load_asset("default", side).rest_joints[0], dtype=torch.float32)
    return {
        "global_orient": orient,
        "hand_pose": 0.25 * load_pose("fist", side),
        "wrist": wrist,
        "transl": wrist - rest,
    }
