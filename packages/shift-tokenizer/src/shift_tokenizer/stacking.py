"""From frames of two hands to the inputs of the streams, and from their outputs back to frames.

Hands that are coded apart lie on the batch axis: clip 0's left hand, clip 0's right hand, clip 1's left hand, ...
"""

import torch
from torch import Tensor

from .config import ShiftConfig
from .layout import HANDS, POSE, join_hands, split_hands


def stream_inputs(normalized: Tensor, config: ShiftConfig) -> list[Tensor]:
    """Normalised features (B, T, 198) to the input of each stream (B * parts, T, C)."""
    hands = split_hands(normalized)
    if config.encoder_input == "whole" or config.n_modalities == 1:
        return [_stack(hands, config)] * config.n_modalities
    pose = hands[..., POSE.start : POSE.stop]
    trajectory = torch.cat([hands[..., : POSE.start], hands[..., POSE.stop :]], -1)
    return [_stack(trajectory, config), _stack(pose, config)]


def stack_mask(mask: Tensor, config: ShiftConfig) -> Tensor:
    """A mask over time (B, T) to one for stacked hands (B * parts, T, 1)."""
    return mask.repeat_interleave(config.n_parts, 0)[..., None]


def assemble(decoded: list[Tensor], config: ShiftConfig) -> Tensor:
    """What the streams' decoders give, (B * parts, T, C) each, to normalised features (B, T, 198)."""
    if config.splits_parts:
        decoded = [d.unflatten(0, (-1, HANDS)).transpose(1, 2) for d in decoded]
    else:
        decoded = [d.unflatten(-1, (HANDS, -1)) for d in decoded]
    if config.n_modalities == 1:
        return join_hands(decoded[0])
    trajectory, pose = decoded  # (B, T, 2, 9), (B, T, 2, 90)
    return join_hands(torch.cat([trajectory[..., : POSE.start], pose, trajectory[..., POSE.start :]], -1))


def _stack(hands: Tensor, config: ShiftConfig) -> Tensor:
    """(B, T, 2, C) -> (2 B, T, C) if hands are coded apart, else (B, T, 2 C)."""
    if config.splits_parts:
        return hands.transpose(1, 2).flatten(0, 1)
    return hands.flatten(2)
