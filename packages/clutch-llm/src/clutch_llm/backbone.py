"""The T5 under the model: a small one with random weights, or any from a hub name or folder."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseActDense, T5DenseGatedActDense, T5LayerNorm

from clutch_llm.config import KNOWN_SIZES, ClutchConfig
from clutch_llm.errors import ConfigError
from clutch_llm.vocabulary import TokenLayout

logger = logging.getLogger(__name__)

#: Standard deviation of the token embeddings of a step-form model that starts from nothing.
EMBEDDING_SPREAD = 0.3


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


def new_t5(sizes: T5Config, *, light: bool) -> T5ForConditionalGeneration:
    """A T5 with random weights (no weights at all under ``torch.device("meta")``).

    Args:
        sizes: from `t5_config`, or as a saved model holds them.
        light: for a small model on a CPU: see `lighten`.
    """
    t5 = T5ForConditionalGeneration(sizes)
    if light:
        lighten(t5)
    return t5


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


@torch.no_grad()
def narrow_embeddings(t5: T5ForConditionalGeneration) -> None:
    """Start the token embeddings of a T5 from nothing at `EMBEDDING_SPREAD` rather than 1.

    In the residual stream, what a layer adds is small beside embeddings of spread 1, so that what is read in a sentence
    takes thousands of steps to be heard.
    """
    t5.get_input_embeddings().weight.mul_(EMBEDDING_SPREAD)


def check_t5(name_or_folder: str) -> None:
    """Refuse a model of the hub or of a folder that is not a T5, from its configuration alone.

    Raises:
        ConfigError: naming the model and what it is, or saying that there is none.
    """
    try:
        kind = AutoConfig.from_pretrained(name_or_folder).model_type
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"Expected a T5 at {name_or_folder!r}, got: {reason} "
            "Give a hub name that can be reached or a folder with config.json and model.safetensors."
        ) from error
    if kind != "t5":
        raise ConfigError(
            f"Expected base_model as a T5, got {name_or_folder!r}, which is a model of the kind {kind!r}. "
            "Name a T5, such as google/flan-t5-base."
        )


def load_t5(name_or_folder: str, config: ClutchConfig, layout: TokenLayout) -> T5ForConditionalGeneration:
    """A T5's weights from the hub or a folder, its embeddings grown to hold the motion tokens.

    Raises:
        ConfigError: when there is no T5 there.
    """
    try:
        t5 = T5ForConditionalGeneration.from_pretrained(
            name_or_folder, dtype=torch.float32, dropout_rate=config.dropout
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Expected a T5 at {name_or_folder!r}, got: {error}. "
            "Give a hub name that can be reached or a folder with config.json and model.safetensors."
        ) from error
    if t5.get_input_embeddings().num_embeddings < layout.size:
        t5.resize_token_embeddings(layout.size, mean_resizing=False)
    return t5


@torch.no_grad()
def seed_motion_embeddings(
    t5: T5ForConditionalGeneration, codebooks: torch.Tensor, layout: TokenLayout, generator: torch.Generator
) -> None:
    """Start the motion tokens at their codes: codebooks (C, K, D) -> rows of the token embedding.

    Each codebook is whitened as a whole, turned into the model's width by a random orthogonal map and given the spread
    of the text embeddings, so that similar motions start out with similar tokens.
    """
    tables = {id(t.weight): t.weight for t in (t5.get_input_embeddings(), t5.get_output_embeddings())}
    width = next(iter(tables.values())).shape[1]
    for index, codebook in enumerate(codebooks.float()):
        centred = (codebook - codebook.mean(0)) / codebook.std(0).clamp(min=1e-6)
        mixing = torch.empty(codebook.shape[1], width)
        nn.init.orthogonal_(mixing, generator=generator)
        rows = centred @ mixing
        rows = rows / rows.std().clamp(min=1e-6)
        start = layout.text_size + index * layout.codebook_size
        for table in tables.values():
            spread = table[: layout.text_size].std()
            table[start : start + layout.codebook_size] = (rows * spread).to(table)
