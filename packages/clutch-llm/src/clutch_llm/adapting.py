"""What of a model a stage trains: all of it, narrow maps beside the backbone's (LoRA), or its last layers.

A model's own tokens (codes, marks, lengths, plans), heads and embeddings are trained in any case; its words are not,
unless all is. What a stage saves is a plain model: LoRA's maps are added to those that they stand beside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from clutch_llm.backbones import Backbone
from clutch_llm.errors import ConfigError, MissingDependencyError
from clutch_llm.model import ClutchModel
from clutch_llm.stages import AdaptConfig

#: Name of the narrow maps in peft.
ADAPTER = "default"


def adapt(model: ClutchModel, config: AdaptConfig, seed: int) -> None:
    """Freeze what is not trained, in place, and put LoRA's maps into the backbone, which change nothing yet.

    Args:
        model: whose parameters are all trainable.
        config: what is trained.
        seed: of LoRA's random halves; the others are zero.

    Raises:
        ConfigError: when more layers are asked for than there are.
        MissingDependencyError: when LoRA is asked for and peft is not installed.
    """
    if config.method == "full":
        return
    backbone = model.backbone
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    if config.method == "lora":
        _add_lora(backbone, config, seed)
    else:
        for layers, norm in backbone.stacks:
            if config.layers > len(layers):
                raise ConfigError(
                    f"Expected AdaptConfig.layers of at most {len(layers)}, which the backbone has, got "
                    f"{config.layers}. Take fewer, or method: full."
                )
            for module in (*layers[-config.layers :], norm):
                module.requires_grad_(True)
    for table in _tables(backbone):
        table.requires_grad_(True)


def keep_words(model: ClutchModel, config: AdaptConfig) -> None:
    """Give the words' rows of embeddings and head no gradient, where not all of the model is trained."""
    if config.method != "full":
        for table in _tables(model.backbone):
            table.register_hook(_without_first(model.layout.text_size))


def keep_less(model: ClutchModel) -> None:
    """Let the backbone's layers keep their inputs alone, and compute the rest again on the way back."""
    transformer = model.backbone.transformer
    name = "activation_checkpointing_enable"  # before transformers 5.23, gradient_checkpointing_enable
    enable = getattr(transformer, name, None) or transformer.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def merge(model: ClutchModel, config: AdaptConfig) -> None:
    """Undo `adapt`, in place: LoRA's maps are added to those that they stand beside, and all is trainable again."""
    if config.method == "full":
        return
    if config.method == "lora":
        from peft.tuners.lora import LoraLayer

        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, LoraLayer):
                    child.merge()
                    setattr(parent, name, child.get_base_layer())
    model.requires_grad_(True)


def _tables(backbone: Backbone) -> list[torch.Tensor]:
    """Embeddings and head: one where they are tied."""
    both: tuple[torch.Tensor, ...] = (backbone.embeddings.weight, backbone.head_weight)
    return list({id(table): table for table in both}.values())


def _without_first(rows: int) -> Any:
    """A hook by which the first rows of a table have no gradient."""

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        kept = gradient.clone()
        kept[:rows] = 0.0
        return kept

    return hook


def _add_lora(backbone: Backbone, config: AdaptConfig, seed: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingDependencyError(
            "Expected peft for AdaptConfig.method 'lora', got no such package. "
            "Install it with: pip install 'clutch-llm[train]'"
        ) from error
    inside = {id(m) for layers, _ in backbone.stacks for m in layers.modules() if isinstance(m, nn.Linear)}
    names = [name for name, module in backbone.transformer.named_modules() if id(module) in inside]
    narrow = LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules=names)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(narrow, backbone.transformer, adapter_name=ADAPTER)
