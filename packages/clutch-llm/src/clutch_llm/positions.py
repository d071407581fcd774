"""Where each token stands inside its motion: the slot and step that the model is told.

T5's relative positions and codebooks shared by both hands leave the model blind to whose slot it is on and when the
time is up, so every motion token carries its position. A *position* is 0 outside a motion and ``1 + k`` for the k-th
code of a motion (k = step * n_slots + slot). The encoder is told each token's own position; the decoder, at each
input, the position of the token it has to write *next*.
"""

from __future__ import annotations

import torch

from clutch_llm.vocabulary import TokenLayout


def own_positions(ids: torch.Tensor, layout: TokenLayout) -> torch.Tensor:
    """Place of each token itself, for the encoder: ids (B, S) -> (B, S) int64, 0 outside a motion."""
    since, inside = _since_som(ids, layout)
    return torch.where(inside & (since >= 1), since, 0)


def next_positions(ids: torch.Tensor, layout: TokenLayout) -> torch.Tensor:
    """Place of the token that follows each input, for the decoder: ids (B, S) -> (B, S) int64.

    Where a motion may go on or end, that is the position of the code that would go on.
    """
    since, inside = _since_som(ids, layout)
    return torch.where(inside, since + 1, 0)


def _since_som(ids: torch.Tensor, layout: TokenLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens since the last ``<som>``, and whether no ``<eom>`` has come since."""
    index = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    never = torch.full_like(ids, -1)
    last_som = torch.where(ids == layout.som, index, never).cummax(1).values
    last_eom = torch.where(ids == layout.eom, index, never).cummax(1).values
    return index - last_som, last_som > last_eom


def slots_and_steps(positions: torch.Tensor, n_slots: int, max_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the slot and step embeddings: positions (…) -> slots in 0..n_slots, steps in 0..max_steps + 1.

    Row 0 of both is "not in a motion"; steps past ``max_steps`` share the last row.
    """
    inside = positions > 0
    code = (positions - 1).clamp(min=0)
    slots = torch.where(inside, code % n_slots + 1, 0)
    steps = torch.where(inside, (code // n_slots).clamp(max=max_steps) + 1, 0)
    return slots, steps
