"""Motions of different lengths in batches: neighbours in length together, padded to the longest of each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


def padded_batches(
    motions: Sequence[Tensor], batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Motions, shortest first.

    Args:
        motions: N tensors (T_i, C).
        batch_size: motions at a time.
        device: of what is given.

    Yields:
        Indices of the batch's motions, the motions (B, T, C) with zeros past their ends, and their lengths (B,).
    """
    order = sorted(range(len(motions)), key=lambda i: len(motions[i]))
    for start in range(0, len(order), batch_size):
        picks = order[start : start + batch_size]
        x = nn.utils.rnn.pad_sequence([motions[i] for i in picks], batch_first=True).to(device)
        yield picks, x, torch.tensor([len(motions[i]) for i in picks], device=device)
