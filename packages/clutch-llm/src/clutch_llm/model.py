"""The language model: a backbone that is told the slot and the step of every motion token.

Only what is needed is computed: the full-vocabulary logits on the labelled positions, and for refinement the K logits
of each slot's own codebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Cache

from clutch_llm.backbones.base import Backbone
from clutch_llm.positions import slots_and_steps
from clutch_llm.rows import IGNORE
from clutch_llm.vocabulary import TokenLayout

__all__ = ["IGNORE", "ClutchModel", "Encoded", "LMOutput", "TokenBatch"]


@dataclass
class TokenBatch:
    """Padded ids of a batch: one number a position, or a row of `rows` in the step form, which adds a last axis.

    Attributes:
        prompt: encoder ids (B, S).
        prompt_mask: True on real tokens (B, S).
        prompt_positions: position of each prompt token (B, S), see `positions`.
        target: labels (B, T), `IGNORE` on padding.
        target_positions: position that each label fills (B, T).
        target_hidden: True on labels that the decoder is not shown when it goes on: it sees ``<mask>`` (B, T).
    """

    prompt: torch.Tensor
    prompt_mask: torch.Tensor
    prompt_positions: torch.Tensor
    target: torch.Tensor
    target_positions: torch.Tensor
    target_hidden: torch.Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on a device."""
        return TokenBatch(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass
class LMOutput:
    """What a training forward gives.

    Attributes:
        loss: mean cross-entropy over the labelled tokens, a scalar.
        slot_logits: for refinement, logits of each motion code over its own codebook, (B, L, n_slots, K); zeros where
            an example is shorter than L steps.
        step_mask: True on real steps (B, L).
    """

    loss: torch.Tensor
    slot_logits: torch.Tensor | None = None
    step_mask: torch.Tensor | None = None


class Encoded(NamedTuple):
    """A prompt as the decoder sees it.

    Attributes:
        states: what the backbone made of the prompt, (B, S, d_model).
        pooled: the pooled prompt, one vector added to every decoder input, (B, 1, d_model).
        plan: in the step form, the pooled plan, added where the decoder writes a latent step, (B, 1, d_model).
    """

    states: torch.Tensor
    pooled: torch.Tensor
    plan: torch.Tensor | None = None


class ClutchModel(nn.Module):
    """A backbone with slot and step embeddings and pooled prompt conditioning: a vector added to every decoder input.

    Cross-attention takes thousands of steps to find out what of the prompt matters. The pooled prompt, a linear map of
    the sum of the prompt's embeddings, conditions the decoder from the first step on. It is taken before the encoder,
    whose norm lets the difference between datasets drown that between captions. A pretrained model starts with it at
    zero.

    Args:
        backbone: with room for all tokens of the layout.
        layout: where each kind of token sits.
        max_steps: longest motion in latent steps.
    """

    def __init__(self, backbone: Backbone, layout: TokenLayout, max_steps: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.layout = layout
        self.max_steps = max_steps
        width = backbone.width
        self.slot_embedding = nn.Embedding(layout.n_slots + 1, width)
        self.step_embedding = nn.Embedding(max_steps + 2, width)
        self.pooled_prompt = nn.Linear(width, width, bias=False)

    @property
    def output_scale(self) -> float:
        """What the backbone's states are multiplied by before the head."""
        return self.backbone.output_scale

    @torch.no_grad()
    def reset_position_embeddings(self, generator: torch.Generator) -> None:
        """Draw the slot and step embeddings with the spread of the token embeddings; row 0 (no motion) is zero."""
        spread = float(self.backbone.embeddings.weight[: self.layout.text_size].std())
        for table in (self.slot_embedding, self.step_embedding):
            table.weight.normal_(0.0, spread, generator=generator)
            table.weight[0] = 0.0
        nn.init.zeros_(self.pooled_prompt.weight)

    @torch.no_grad()
    def open_pooled_prompt(self, generator: torch.Generator) -> None:
        """Start the pooled prompt's map as a rotation rather than zero: for a model that is trained from nothing."""
        nn.init.orthogonal_(self.pooled_prompt.weight, generator=generator)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.slot_embedding.weight.device

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Token, slot and step embedding: (B, S) ids and positions -> (B, S, d_model)."""
        slots, steps = slots_and_steps(positions, self.layout.n_slots, self.max_steps)
        return self.backbone.embeddings(ids) + self.slot_embedding(slots) + self.step_embedding(steps)

    def encode(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> Encoded:
        """Read a prompt: ids, mask and positions (B, S)."""
        embedded = self.embed(ids, positions)
        states = self.backbone.encode(embedded, mask)
        length = mask.sum(1)[:, None, None]
        bag = embedded.masked_fill(~mask[..., None], 0).sum(1, keepdim=True) / length.sqrt().to(embedded.dtype)
        return Encoded(states, self.pooled_prompt(bag))

    def decoder_inputs(self, ids: torch.Tensor, positions: torch.Tensor, encoded: Encoded) -> torch.Tensor:
        """What the decoder reads: ids (B, T) with the positions that they are followed by -> (B, T, d_model)."""
        return self.embed(ids, positions) + encoded.pooled

    def decode(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        encoded: Encoded,
        mask: torch.Tensor,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Decoder states (B, T, d_model) of ids (B, T) that continue what the cache holds, ready for the head."""
        states = self.backbone.decode(self.decoder_inputs(ids, positions, encoded), encoded.states, mask, cache)
        return states * self.output_scale

    def new_cache(self) -> Cache:
        """An empty cache of keys and values for `decode`."""
        return self.backbone.new_cache()

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """Logits over every token of the layout: (…, d_model) -> (…, size)."""
        return F.linear(states, self.backbone.head_weight[: self.layout.size])

    def slot_head(self, states: torch.Tensor, slot: int) -> torch.Tensor:
        """Logits over the codes of one slot: (…, d_model) -> (…, K)."""
        start, stop = self.layout.slot_range(slot)
        return F.linear(states, self.backbone.head_weight[start:stop])

    def head_of(self, states: torch.Tensor, token: int) -> torch.Tensor:
        """Logit of one token: (…, d_model) -> (…, 1)."""
        return F.linear(states, self.backbone.head_weight[token : token + 1])

    def forward(self, *batches: TokenBatch, refine: bool = False) -> LMOutput:
        """Teacher-forced cross-entropy and, for refinement, the logits of every motion code over its codebook.

        Several batches count as one: the loss is the mean over all their labels, the logits stand one after the other.
        """
        losses, states = zip(*(self._teach(batch) for batch in batches), strict=True)
        labels = torch.stack([(batch.target != IGNORE).sum() for batch in batches])
        loss = (torch.stack(losses) * labels).sum() / labels.sum()
        if not refine:
            return LMOutput(loss)
        slots = [self._slot_logits(*pair) for pair in zip(states, batches, strict=True)]
        most = max(mask.shape[1] for _, mask in slots)
        return LMOutput(
            loss,
            torch.cat([F.pad(logits, (0, 0, 0, 0, 0, most - logits.shape[1])) for logits, _ in slots]),
            torch.cat([F.pad(mask, (0, most - mask.shape[1])) for _, mask in slots]),
        )

    def _teach(self, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropy over the labels, and the decoder's states."""
        encoded = self.encode(batch.prompt, batch.prompt_mask, batch.prompt_positions)
        shifted = batch.target.new_full(batch.target.shape, self.layout.pad)
        shown = batch.target.masked_fill(batch.target_hidden, self.layout.mask)
        shifted[:, 1:] = shown[:, :-1].clamp(min=self.layout.pad)
        states = self.decode(shifted, batch.target_positions, encoded, batch.prompt_mask)
        labelled = batch.target != IGNORE
        return F.cross_entropy(self.head(states[labelled]).float(), batch.target[labelled]), states

    def _slot_logits(self, states: torch.Tensor, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of each code over its own codebook; expects targets that are motions or their beginnings."""
        B, _, d = states.shape
        n = self.layout.n_slots
        codes = ((batch.target >= self.layout.text_size) & (batch.target < self.layout.som)).sum(1)
        L = int(codes.max()) // n
        body = states[:, 1 : 1 + L * n].reshape(B, L, n, d)  # <som> is first
        step_mask = torch.arange(L, device=states.device) * n < codes[:, None]
        logits = torch.stack([self.slot_head(body[:, :, s], s) for s in range(n)], dim=2)
        return logits.float(), step_mask
