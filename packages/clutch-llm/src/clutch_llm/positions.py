"""Where each token stands inside its motion: the slot and step that the model is told.

T5's relative positions and codebooks shared by both hands leave the model blind to whose slot it is on and when the
time is up, so every motion token carries its position. A *position* is 0 outside a motion and ``1 + k`` for the k-th
code of a motion (k = step * n_slots + slot). The encoder is told each token's own position; the decoder, at each
input, the position of the token it has to write *next*.
"""

from __future__ import annotations

import numpy as np
import torch


def prompt_positions(length: int) -> np.ndarray:
    """Own positions of a motion ``<som>`` codes ``<eom>`` of that many tokens in a prompt: 0, 1, 2, …, 0."""
    positions = np.arange(length, dtype=np.int64)
    positions[-1] = 0
    return positions


def motion_positions(length: int) -> np.ndarray:
    """Positions that a target ``<som>`` codes ``<eom>`` fills: 0, 1, 2, …; at its end, that of the code to go on."""
    return np.arange(length, dtype=np.int64)


def slots_and_steps(positions: torch.Tensor, n_slots: int, max_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the slot and step embeddings: positions (…) -> slots in 0..n_slots, steps in 0..max_steps + 1.

    Row 0 of both is "not in a motion"; steps past ``max_steps`` share the last row.
    """
    inside = positions > 0
    code = (positions - 1).clamp(min=0)
    slots = torch.where(inside, code % n_slots + 1, 0)
    steps = torch.where(inside, (code // n_slots).clamp(max=max_steps) + 1, 0)
    return slots, steps
