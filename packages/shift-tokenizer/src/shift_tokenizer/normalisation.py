"""Mean and standard deviation of each hand's features over the frames in which it is seen."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .config import ShiftConfig
from .layout import HAND_FEATURES, HANDS, POSE, ROTATION, TRANSLATION

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


def streamed_statistics(
    blocks: Iterable[tuple[Tensor, Tensor]], config: ShiftConfig
) -> list[tuple[Tensor, Tensor] | None]:
    """The same from blocks of frames, one after the other, in float64 (Chan et al. 1983): equal to its rounding.

    Args:
        blocks: `hands` and `valid`, as `hand_statistics` takes them.
        config: as there.
    """
    count = [0] * HANDS
    mean, squares = torch.zeros(2, HANDS, HAND_FEATURES, dtype=torch.float64)
    for hands, valid in blocks:
        for hand in range(HANDS):
            own = hands[valid[:, hand], hand].double()
            if not len(own):
                continue
            at = 0 if config.mirror_left else hand
            total, step = count[at] + len(own), own.mean(0) - mean[at]
            squares[at] += (own - own.mean(0)).square().sum(0) + step.square() * (count[at] * len(own) / total)
            mean[at] += step * (len(own) / total)
            count[at] = total
    found: list[tuple[Tensor, Tensor] | None] = []
    for hand in range(HANDS):
        at = 0 if config.mirror_left else hand if count[hand] >= _MIN_FRAMES else count.index(max(count))
        std = (squares[at] / max(count[at] - 1, 1)).sqrt()
        found.append(_finished(mean[at].float(), std.float(), config) if count[at] >= _MIN_FRAMES else None)
    return found


def _statistics(rows: Tensor, config: ShiftConfig) -> tuple[Tensor, Tensor]:
    return _finished(rows.mean(0), rows.std(0), config)


def _finished(mean: Tensor, std: Tensor, config: ShiftConfig) -> tuple[Tensor, Tensor]:
    if config.group_std:
        for group in (ROTATION, POSE, TRANSLATION):
            std[list(group)] = std[list(group)].square().mean().sqrt()
    return mean, std.clamp(min=config.std_floor)
