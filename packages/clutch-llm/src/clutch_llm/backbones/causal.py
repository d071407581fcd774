"""Decoder-only: one stack of layers over the prompt and what follows it, as in Llama, SmolLM2 or Qwen."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from clutch_llm.backbones.base import Backbone
from clutch_llm.config import ClutchConfig
from clutch_llm.vocabulary import TokenLayout

#: Kinds of decoder-only models that can be loaded: those with rotary positions and masks of four axes.
CAUSAL_KINDS = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "olmo2")

#: Spread of the weights of a model from nothing; at Llama's own, 0.02, a narrow one learns slowly.
SPREAD = 0.05

#: Longest prompt and answer together of a model from nothing, in positions.
POSITIONS = 2048


class CausalBackbone(Backbone):
    """A decoder-only model: the prompt stands before the inputs in one sequence.

    Args:
        lm: with room for all tokens of the layout.
        open_prompt: whether the tokens of a prompt see those after them, too (a prefix language model, Raffel et al.
            2020). A pretrained model has never seen such.
    """

    kind = "causal"

    def __init__(self, lm: PreTrainedModel, *, open_prompt: bool) -> None:
        super().__init__()
        self.lm = lm
        self.open_prompt = open_prompt

    @property
    def transformer(self) -> PreTrainedModel:
        """The language model."""
        return self.lm

    @property
    def stacks(self) -> list[tuple[nn.ModuleList, nn.Module]]:
        """One stack."""
        return [(self.lm.base_model.layers, self.lm.base_model.norm)]

    def encode(self, embedded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The prompt as it is: it is read together with what follows."""
        return embedded

    def decode(
        self, embedded: torch.Tensor, encoded: torch.Tensor, mask: torch.Tensor, cache: Cache | None = None
    ) -> torch.Tensor:
        """States of the inputs, after those of the prompt where the cache is empty."""
        seen = cache.get_seq_length() if cache is not None else 0
        new = embedded.shape[1]
        inputs = embedded if seen else torch.cat([encoded, embedded], 1)
        total = seen + inputs.shape[1]
        states: torch.Tensor = self.lm.base_model(
            inputs_embeds=inputs,
            attention_mask=self._attended(mask, total)[:, :, seen:],
            position_ids=_positions(mask, total)[:, seen:],
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return states[:, -new:]

    def new_cache(self) -> Cache:
        """For all layers."""
        return DynamicCache()

    def _attended(self, mask: torch.Tensor, total: int) -> torch.Tensor:
        """What each of so many positions sees, (B, 1, total, total) bool: itself always, so that no row is empty."""
        prompt = mask.shape[1]
        before = torch.ones(total, total, dtype=torch.bool, device=mask.device).tril()
        if self.open_prompt:
            before[:prompt, :prompt] = True
        real = torch.cat([mask, mask.new_ones(len(mask), total - prompt)], 1)
        itself = torch.eye(total, dtype=torch.bool, device=mask.device)
        return (before & real[:, None, None, :]) | itself


def _positions(mask: torch.Tensor, total: int) -> torch.Tensor:
    """Position ids (B, total): what follows a prompt goes on after its last real token."""
    prompt = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    after = torch.arange(total - mask.shape[1], device=mask.device) + mask.sum(1, keepdim=True)
    return torch.cat([prompt, after], 1)


def causal_config(config: ClutchConfig, layout: TokenLayout) -> LlamaConfig:
    """Sizes of a Llama from nothing, with room for every token of the layout."""
    return LlamaConfig(
        vocab_size=layout.size,
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=POSITIONS,
        attention_dropout=config.dropout,
        initializer_range=SPREAD,
        tie_word_embeddings=True,
        pad_token_id=layout.pad,
        bos_token_id=layout.pad,
        eos_token_id=layout.eos,
    )


def new_causal(sizes: LlamaConfig, *, light: bool) -> CausalBackbone:
    """A Llama with random weights; ``light`` for a small model on a CPU: with torch's fused RMSNorm."""
    lm = LlamaForCausalLM(sizes)
    if light:
        for module in list(lm.modules()):
            for name, child in module.named_children():
                if isinstance(child, LlamaRMSNorm):
                    setattr(module, name, nn.RMSNorm(child.weight.shape[0], eps=child.variance_epsilon))
    return CausalBackbone(lm, open_prompt=light)


def empty_causal(settings: dict[str, Any], *, light: bool) -> CausalBackbone:
    """The backbone of a saved model, its weights still to be filled in; ``light`` if it started from nothing."""
    if light:
        return new_causal(LlamaConfig(**settings), light=True)
    lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), attn_implementation="sdpa")
    return CausalBackbone(lm, open_prompt=False)


def load_causal(name_or_folder: str) -> CausalBackbone:
    """A decoder-only model's weights from the hub or a folder.

    Raises:
        OSError, ValueError: of `transformers`, when there is no such model.
    """
    lm = AutoModelForCausalLM.from_pretrained(name_or_folder, dtype=torch.float32, attn_implementation="sdpa")
    return CausalBackbone(lm, open_prompt=False)
