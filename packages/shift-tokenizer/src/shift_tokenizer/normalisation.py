"""Mean and standard deviation of each hand's features over the frames in which it is seen."""

import torch
from torch import Tensor

from .config import ShiftConfig
from .layout import HANDS, POSE, ROTATION, TRANSLATION

_MIN_FRAMES = 2  # a standard deviation needs two


def hand_statistics(hands: Tensor, valid: Tensor, config: ShiftConfig) -> list[tuple[Tensor, Tensor] | None]:
    """Statistics of each hand.

    Args:
        hands: (N, 2, 99), the left hand mirrored where the tokenizer mirrors it. Frames of a hand that is not seen
            are not read.
        valid: (N, 2) bool.
        config: tells whether hands share statistics (mirror_left), whether groups do (group_std), and std_floor.

    Returns:
        for left and right, mean (99,) and standard deviation (99,). A hand with fewer than two valid frames has the
        other's; None where both have fewer.
    """
    seen = [hands[valid[:, hand], hand] for hand in range(HANDS)]
    if config.mirror_left:
        seen = [torch.cat(seen)] * HANDS
    seen = [rows if len(rows) >= _MIN_FRAMES else max(seen, key=len) for rows in seen]
    return [_statistics(rows, config) if len(rows) >= _MIN_FRAMES else None for rows in seen]


def _statistics(rows: Tensor, config: ShiftConfig) -> tuple[Tensor, Tensor]:
    std = rows.std(0)
    if config.group_std:
        for group in (ROTATION, POSE, TRANSLATION):
            std[list(group)] = std[list(group)].square().mean().sqrt()
    return rows.mean(0), std.clamp(min=config.std_floor)
