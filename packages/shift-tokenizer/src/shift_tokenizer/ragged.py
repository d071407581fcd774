"""Clips of several lengths, and frames in which a hand is not seen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import ShapeError
from .layout import HANDS, join_hands, split_hands


def hold_nearest(features: Tensor, valid: Tensor, never: Tensor) -> Tensor:
    """Replaces what is not valid by the nearest valid frame of the same hand; ties go to the earlier frame.

    Args:
        features: (B, T, 198); what stands where a hand is not valid is not read.
        valid: (B, T, 2).
        never: (2, 99), the frame of a hand that is not valid anywhere in its clip.

    Raises:
        ShapeError: valid does not fit.
    """
    if valid.shape != (*features.shape[:2], HANDS):
        raise ShapeError(f"Expected valid {(*features.shape[:2], HANDS)}, got {tuple(valid.shape)}. One flag per hand.")
    valid = valid.bool()
    length = features.shape[1]
    frames = torch.arange(length, device=features.device)[None, :, None].expand(valid.shape)  # (B, T, 2)
    earlier = frames.masked_fill(~valid, -length).cummax(1).values
    later = frames.masked_fill(~valid, 3 * length).flip(1).cummin(1).values.flip(1)
    nearest = torch.where(frames - earlier <= later - frames, earlier, later)
    seen = valid.any(1, keepdim=True)  # (B, 1, 2)
    nearest = torch.where(seen, nearest, frames)
    hands = split_hands(features)
    held = hands.gather(1, nearest[..., None].expand_as(hands))
    return join_hands(torch.where(seen[..., None], held, never))


def buckets(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Groups indices of equal length into batches, shortest first."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    return [
        members[start : start + batch_size]
        for _, members in sorted(by_length.items())
        for start in range(0, len(members), batch_size)
    ]
