"""The interface of a backbone: a transformer that reads an embedded prompt and goes on from it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Cache, PreTrainedModel


class Backbone(nn.Module):
    """A transformer of Hugging Face's under the model, by embeddings rather than token ids.

    Attributes:
        kind: its name in a model folder's config.json.
        output_scale: what the states are multiplied by before the head.
    """

    kind: ClassVar[str]
    output_scale: float = 1.0

    @property
    def transformer(self) -> PreTrainedModel:
        """The whole Hugging Face model, with its head."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Width of embeddings and states, d_model."""
        return int(self.embeddings.embedding_dim)

    @property
    def embeddings(self) -> nn.Embedding:
        """Embeddings of all tokens, (size, d_model)."""
        table = self.transformer.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        return table

    @property
    def head_weight(self) -> torch.Tensor:
        """Weights of the head, (size, d_model): a parameter of its own, or that of the embeddings."""
        weight: torch.Tensor = self.transformer.get_output_embeddings().weight
        return weight

    @property
    def tied_head(self) -> bool:
        """Whether head and embeddings are one parameter."""
        return self.head_weight is self.embeddings.weight

    @property
    def stacks(self) -> list[tuple[nn.ModuleList, nn.Module]]:
        """The layers, first to last, and the norm after them: of encoder and decoder each, or of all there is."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The transformer's configuration, as JSON values."""
        return dict(self.transformer.config.to_diff_dict())

    def encode(self, embedded: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Read a prompt: embeddings (B, S, d_model), True on real tokens (B, S) -> what `decode` needs, the same."""
        raise NotImplementedError

    def decode(
        self, embedded: torch.Tensor, encoded: torch.Tensor, mask: torch.Tensor, cache: Cache | None = None
    ) -> torch.Tensor:
        """States of inputs that continue what the cache holds.

        Args:
            embedded: the inputs' embeddings (B, T, d_model).
            encoded: of `encode`, (B, S, d_model).
            mask: True on the prompt's real tokens (B, S).
            cache: of `new_cache`; None where these are all the inputs.

        Returns:
            (B, T, d_model).
        """
        raise NotImplementedError

    def new_cache(self) -> Cache:
        """An empty cache of keys and values for `decode`."""
        raise NotImplementedError
