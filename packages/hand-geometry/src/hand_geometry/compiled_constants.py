"""What of the open hand a compiler takes as it is, for it could not trace the reading of a file.

Imported while something is being compiled alone: marking a function loads the compiler, 1.3 seconds and a thousand
modules that nobody else needs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hand_geometry import features, kinematics


@torch.compiler.assume_constant_result
def wrists(dtype: torch.dtype, device: torch.device) -> Tensor:
    """``features.read_wrists``."""
    return features.read_wrists(dtype, device)


@torch.compiler.assume_constant_result
def bones(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """``kinematics.read_bones``."""
    return kinematics.read_bones(dtype, device)
