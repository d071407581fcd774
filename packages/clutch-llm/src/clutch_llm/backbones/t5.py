"""Encoder-decoder: a T5 (Raffel et al. 2020) or Flan-T5, a small one with random weights or one with weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Cache, DynamicCache, EncoderDecoderCache, T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseActDense, T5DenseGatedActDense, T5LayerNorm

from clutch_llm.backbones.base import Backbone
from clutch_llm.config import KNOWN_SIZES, ClutchConfig
from clutch_llm.errors import ConfigError
from clutch_llm.vocabulary import TokenLayout


class T5Backbone(Backbone):
    """A T5: the encoder reads the prompt, the decoder goes on with cross-attention.

    Args:
        t5: with room for all tokens of the layout.
    """

    kind = "t5"

    def __init__(self, t5: T5ForConditionalGeneration) -> None:
        super().__init__()
        self.t5 = t5
        # T5 v1.0 ties head and embedding and scales the output for it; v1.1 (Flan) does neither.
        self.output_scale = t5.config.d_model**-0.5 if getattr(t5.config, "scale_decoder_outputs", True) else 1.0

    @property
    def transformer(self) -> T5ForConditionalGeneration:
        """The T5."""
        return self.t5

    @property
    def stacks(self) -> list[tuple[nn.ModuleList, nn.Module]]:
        """Encoder and decoder."""
        return [(stack.block, stack.final_layer_norm) for stack in (self.t5.encoder, self.t5.decoder)]

    def encode(self, embedded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encoder states."""
        states: torch.Tensor = self.t5.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        return states

    def decode(
        self, embedded: torch.Tensor, encoded: torch.Tensor, mask: torch.Tensor, cache: Cache | None = None
    ) -> torch.Tensor:
        """Decoder states."""
        states: torch.Tensor = self.t5.decoder(
            inputs_embeds=embedded,
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return states

    def new_cache(self) -> Cache:
        """For the decoder and its cross-attention."""
        return EncoderDecoderCache(DynamicCache(), DynamicCache())


def t5_config(config: ClutchConfig, layout: TokenLayout) -> T5Config:
    """T5 sizes without any weights or network, with room for every token of the layout.

    Raises:
        ConfigError: when ``base_model`` names a T5 whose sizes are not written in `KNOWN_SIZES`.
    """
    common: dict[str, Any] = {
        "vocab_size": layout.size,
        "pad_token_id": layout.pad,
        "eos_token_id": layout.eos,
        "decoder_start_token_id": layout.pad,
        "dropout_rate": config.dropout,
    }
    if config.base_model is None:
        return T5Config(
            d_model=config.d_model,
            d_kv=config.d_model // config.heads,
            d_ff=config.d_ff,
            num_layers=config.layers,
            num_decoder_layers=config.decoder_layers or config.layers,
            num_heads=config.heads,
            feed_forward_proj=config.feed_forward,
            **common,
        )
    if config.base_model not in KNOWN_SIZES:
        raise ConfigError(
            f"Expected a base model of known sizes ({', '.join(KNOWN_SIZES)}), got {config.base_model!r}. "
            "Load its weights instead, or add its sizes to KNOWN_SIZES."
        )
    sizes = KNOWN_SIZES[config.base_model]
    common["vocab_size"] = max(32128, layout.size)
    return T5Config(feed_forward_proj="gated-gelu", tie_word_embeddings=False, **sizes, **common)


def new_t5(sizes: T5Config, *, light: bool) -> T5Backbone:
    """A T5 with random weights (no weights at all under ``torch.device("meta")``).

    Args:
        sizes: from `t5_config`, or as a saved model holds them.
        light: for a small model on a CPU: see `lighten`.
    """
    t5 = T5ForConditionalGeneration(sizes)
    if light:
        lighten(t5)
    return T5Backbone(t5)


def lighten(t5: T5ForConditionalGeneration) -> None:
    """A quarter off a training step of a small T5 on a CPU, with nothing lost that was measured.

    Dropout stays on the residual stream alone (random numbers for attention weights and feed-forward layers cost more
    than their product), and norms are torch's fused RMSNorm. Names of parameters stay.
    """
    for module in list(t5.modules()):
        if isinstance(module, T5Attention):
            module.dropout = 0.0
        elif isinstance(module, T5DenseActDense | T5DenseGatedActDense):
            module.dropout.p = 0.0
        for name, child in module.named_children():
            if isinstance(child, T5LayerNorm):
                setattr(module, name, nn.RMSNorm(child.weight.shape[0], eps=child.variance_epsilon))


def load_t5(name_or_folder: str, config: ClutchConfig) -> T5Backbone:
    """A T5's weights from the hub or a folder.

    Raises:
        OSError, ValueError: of `transformers`, when there is no T5 there.
    """
    return T5Backbone(
        T5ForConditionalGeneration.from_pretrained(name_or_folder, dtype=torch.float32, dropout_rate=config.dropout)
    )
