"""What is under the model, behind one interface: encoder-decoder (T5, Flan-T5) or decoder-only (Llama, SmolLM2, Qwen).

Either starts from nothing at the sizes of `ClutchConfig`, or from a hub name or folder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, T5Config

from clutch_llm.backbones.base import Backbone
from clutch_llm.backbones.causal import (
    CAUSAL_KINDS,
    CausalBackbone,
    causal_config,
    empty_causal,
    load_causal,
    new_causal,
)
from clutch_llm.backbones.t5 import T5Backbone, load_t5, new_t5, t5_config
from clutch_llm.config import ClutchConfig
from clutch_llm.errors import ConfigError
from clutch_llm.vocabulary import TokenLayout

__all__ = [
    "Backbone",
    "CausalBackbone",
    "T5Backbone",
    "empty_backbone",
    "kind_of",
    "load_backbone",
    "narrow_embeddings",
    "new_backbone",
    "seed_motion_embeddings",
]

#: Standard deviation of the token embeddings of a step-form model that starts from nothing.
EMBEDDING_SPREAD = 0.3


def new_backbone(config: ClutchConfig, layout: TokenLayout) -> Backbone:
    """A small one from nothing (no weights at all under ``torch.device("meta")``), or a T5 of known sizes.

    Raises:
        ConfigError: when ``base_model`` names a T5 whose sizes are not written in `config.KNOWN_SIZES`.
    """
    if config.base_model is None and config.architecture == "decoder-only":
        return new_causal(causal_config(config, layout), light=True)
    return new_t5(t5_config(config, layout), light=config.base_model is None)


def load_backbone(config: ClutchConfig, layout: TokenLayout) -> Backbone:
    """The weights that ``base_model`` names, their embeddings grown to hold the motion tokens.

    Raises:
        ConfigError: when it is neither a T5 nor a decoder-only model of `CAUSAL_KINDS`, or there is none.
    """
    name = str(config.base_model)
    kind = kind_of(name)
    try:
        backbone = load_t5(name, config) if kind == "t5" else load_causal(name)
    except (OSError, ValueError) as error:
        raise _not_there(name, error) from error
    if backbone.embeddings.num_embeddings < layout.size:
        backbone.transformer.resize_token_embeddings(layout.size, mean_resizing=False)
    return backbone


def kind_of(name_or_folder: str) -> str:
    """What a model of the hub or of a folder is, from its configuration alone; one of "t5" and `CAUSAL_KINDS`.

    Raises:
        ConfigError: naming the model and what it is, or saying that there is none.
    """
    try:
        kind = str(AutoConfig.from_pretrained(name_or_folder).model_type)
    except (OSError, ValueError) as error:
        raise _not_there(name_or_folder, error) from error
    if kind != "t5" and kind not in CAUSAL_KINDS:
        raise ConfigError(
            f"Expected base_model as a T5 or one of {', '.join(CAUSAL_KINDS)}, got {name_or_folder!r}, which is a "
            f"model of the kind {kind!r}. Name another, such as google/flan-t5-base or HuggingFaceTB/SmolLM2-135M."
        )
    return kind


def _not_there(name: str, error: Exception) -> ConfigError:
    reason = str(error).splitlines()[0]
    return ConfigError(
        f"Expected a language model at {name!r}, got: {reason} "
        "Give a hub name that can be reached or a folder with config.json and model.safetensors."
    )


def empty_backbone(kind: str, settings: dict[str, Any], *, tied_head: bool, light: bool) -> Backbone:
    """The backbone of a saved model, its weights still to be filled in.

    Args:
        kind: as `Backbone.kind`.
        settings: as `Backbone.settings`.
        tied_head: whether head and embeddings are one parameter.
        light: whether it started from nothing.

    Raises:
        ConfigError: for an unknown kind.
    """
    if kind == T5Backbone.kind:
        backbone: Backbone = new_t5(T5Config(**settings), light=light)
    elif kind == CausalBackbone.kind:
        backbone = empty_causal(settings, light=light)
    else:
        raise ConfigError(f"Expected a backbone of the kind 't5' or 'causal', got {kind!r}. Save the model again.")
    head = backbone.transformer.get_output_embeddings()
    weight = backbone.embeddings.weight
    head.weight = weight if tied_head else nn.Parameter(torch.empty_like(weight))
    return backbone


@torch.no_grad()
def narrow_embeddings(backbone: Backbone) -> None:
    """Start the token embeddings of a model from nothing at `EMBEDDING_SPREAD`.

    In the residual stream, what a layer adds is small beside embeddings of spread 1, which a T5 has, so that what is
    read in a sentence takes thousands of steps to be heard.
    """
    weight = backbone.embeddings.weight
    weight.mul_(EMBEDDING_SPREAD / weight.std())


@torch.no_grad()
def seed_motion_embeddings(
    backbone: Backbone, codebooks: torch.Tensor, layout: TokenLayout, generator: torch.Generator
) -> None:
    """Start the motion tokens at their codes: codebooks (C, K, D) -> rows of the token embedding.

    Each codebook is whitened as a whole, turned into the model's width by a random orthogonal map and given the spread
    of the text embeddings, so that similar motions start out with similar tokens.
    """
    tables = {id(table): table for table in (backbone.embeddings.weight, backbone.head_weight)}
    for index, codebook in enumerate(codebooks.float()):
        centred = (codebook - codebook.mean(0)) / codebook.std(0).clamp(min=1e-6)
        mixing = torch.empty(codebook.shape[1], backbone.width)
        nn.init.orthogonal_(mixing, generator=generator)
        rows = centred @ mixing
        rows = rows / rows.std().clamp(min=1e-6)
        start = layout.text_size + index * layout.codebook_size
        for table in tables.values():
            spread = table[: layout.text_size].std()
            table[start : start + layout.codebook_size] = (rows * spread).to(table)
