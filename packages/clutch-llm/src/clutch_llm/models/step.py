"""The step form: one position a latent step, whose codes a small head writes one slot after the other.

A latent step goes in as one vector, the sum of a linear map for each slot of its code's embedding; what comes out is
one state, from which a small head predicts the first slot's code, then each other's from the state and the codes before
it (RQ-Transformer, Lee et al. 2022; Moshi, Defossez et al. 2024). The sequence is a quarter as long as the interleaved
one, and a code is conditioned on all codes before it all the same.

A motion of L latent steps is written as its length's token, its plan if there is one, ``<som>`` and L steps: the length
is told before the motion, and at each step how much is left, so there is no ``<eom>`` to be decided on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from clutch_llm.backbones.base import Backbone
from clutch_llm.model import ClutchModel, Encoded, TokenBatch
from clutch_llm.rows import IGNORE, are_steps
from clutch_llm.vocabulary import TokenLayout

#: Weight of a token of the length or the plan in the cross-entropy. A motion has seven times as many codes, and few of
#: them hang on what the sentence says: without it, reading is learnt long after writing.
TOLD_WEIGHT = 4.0


class StepModel(ClutchModel):
    """A backbone over rows (see `rows`) with step, steps-left, pooled prompt and pooled plan conditioning.

    Args:
        backbone: with room for all tokens of the layout.
        layout: where each kind of token sits.
        max_steps: longest motion in latent steps.
    """

    def __init__(self, backbone: Backbone, layout: TokenLayout, max_steps: int) -> None:
        super().__init__(backbone, layout, max_steps)
        width, n = backbone.width, layout.n_slots
        self.left_embedding = nn.Embedding(max_steps + 1, width)
        self.pooled_plan = nn.Linear(width, width, bias=False)
        self.slot_maps = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(n))
        self.slot_layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            for _ in range(n)
        )
        self.depth_head = nn.Linear(width, width)
        self.told_head = nn.Linear(width, layout.size - layout.first_told)

    @torch.no_grad()
    def reset_position_embeddings(self, generator: torch.Generator) -> None:
        """The same, with the steps-left embeddings; the pooled plan's map, too, is zero."""
        super().reset_position_embeddings(generator)
        spread = float(self.backbone.embeddings.weight[: self.layout.text_size].std())
        self.left_embedding.weight.normal_(0.0, spread, generator=generator)
        self.left_embedding.weight[0] = 0.0
        nn.init.zeros_(self.pooled_plan.weight)

    @torch.no_grad()
    def open_pooled_prompt(self, generator: torch.Generator) -> None:
        """The same, with the pooled plan's map."""
        super().open_pooled_prompt(generator)
        nn.init.orthogonal_(self.pooled_plan.weight, generator=generator)

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Token or latent step, step and steps left: rows (B, S, n_slots), positions (B, S, 2) -> (B, S, d_model)."""
        steps = are_steps(ids, self.layout)
        embedded = self.backbone.embeddings(ids[..., 0].clamp(min=0))
        if bool(steps.any()):
            codes = self.backbone.embeddings(ids[steps])  # (N, n_slots, d_model)
            summed = sum(linear(codes[:, slot]) for slot, linear in enumerate(self.slot_maps))
            embedded = embedded.masked_scatter(steps[..., None], summed.to(embedded.dtype))
        step, left = positions.clamp(max=self.max_steps).unbind(-1)
        return embedded + self.step_embedding(step) + self.left_embedding(left)

    def decoder_inputs(self, ids: torch.Tensor, positions: torch.Tensor, encoded: Encoded) -> torch.Tensor:
        """The same, with the pooled plan where a latent step is to be written."""
        inputs = super().decoder_inputs(ids, positions, encoded)
        if encoded.plan is None:
            return inputs
        return inputs + encoded.plan * (positions[..., :1] > 0)

    def with_plan(self, encoded: Encoded, rows: torch.Tensor) -> Encoded:
        """The encoded prompt with the pooled plan of rows (B, T, n_slots): of their tokens that are of plans."""
        if not self.layout.plan_size:
            return encoded
        first = rows[..., 0]
        planned = first >= self.layout.first_plan
        embedded = self.backbone.embeddings(first.clamp(min=0)).masked_fill(~planned[..., None], 0)
        length = planned.sum(1)[:, None, None].clamp(min=1)
        return encoded._replace(plan=self.pooled_plan(embedded.sum(1, keepdim=True) / length.sqrt().to(embedded.dtype)))

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """The same, with a head of its own for what is told before a motion: lengths and plans."""
        told = self.told_head(states / self.output_scale)
        return torch.cat([F.linear(states, self.backbone.head_weight[: self.layout.first_told]), told], -1)

    def depth_logits(self, states: torch.Tensor, codes: torch.Tensor, slot: int) -> torch.Tensor:
        """Logits of a slot's code, given the codes of the slots before it.

        Args:
            states: of `decode` where the step is to be written, (N, d_model).
            codes: ids of the step's codes, (N, at least ``slot``); those from ``slot`` on are not looked at.
            slot: 0 to n_slots - 1.

        Returns:
            (N, K).
        """
        state = states / self.output_scale + self.slot_embedding.weight[slot + 1]
        for before in range(slot):
            state = state + self.slot_maps[before](self.backbone.embeddings(codes[:, before]))
        return self.slot_head(self.depth_head(state + self.slot_layers[slot](state)) * self.output_scale, slot)

    def step_logits(self, states: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Logits of each slot given those before: states (N, d_model), ids (N, n_slots) -> (N, n_slots, K)."""
        return torch.stack([self.depth_logits(states, codes, slot) for slot in range(self.layout.n_slots)], 1)

    def _teach(self, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
        target, layout = batch.target, self.layout
        steps = are_steps(target, layout)
        tokens = (target[..., 0] != IGNORE) & ~steps
        encoded = self.encode(batch.prompt, batch.prompt_mask, batch.prompt_positions)
        encoded = self.with_plan(encoded, target)
        shown = target.masked_fill(batch.target_hidden[..., None] & (target != IGNORE), layout.mask)
        shifted = target.new_full(target.shape, IGNORE)
        shifted[..., 0] = layout.pad
        shifted[:, 1:] = shown[:, :-1]
        states = self.decode(shifted, batch.target_positions, encoded, batch.prompt_mask)
        words = target[tokens][:, 0]
        weights = torch.where(words >= layout.first_told, TOLD_WEIGHT, 1.0)
        loss = (weights * F.cross_entropy(self.head(states[tokens]).float(), words, reduction="none")).sum()
        labels = tokens.sum()
        if bool(steps.any()):
            codes = target[steps]
            logits = self.step_logits(states[steps], codes).float()
            offsets = torch.as_tensor(layout.slot_offsets, device=target.device)
            loss = loss + F.cross_entropy(logits.flatten(0, 1), (codes - offsets).flatten(), reduction="sum")
            labels = labels + codes.numel()
        return loss / labels, states

    def _slot_logits(self, states: torch.Tensor, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
        steps = are_steps(batch.target, self.layout)
        counts = steps.sum(1)
        longest = int(counts.max())
        mask = torch.arange(longest, device=states.device) < counts[:, None]
        logits = self.step_logits(states[steps], batch.target[steps]).float()
        placed = logits.new_zeros(*mask.shape, *logits.shape[1:])
        return placed.masked_scatter(mask[..., None, None], logits), mask
