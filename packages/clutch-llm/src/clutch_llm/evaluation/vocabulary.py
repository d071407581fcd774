"""The evaluator's own words.

A word-level vocabulary with an unknown token, and sides swapped for mirrored motion.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from hand_geometry import mirror_text
from torch import Tensor

PAD, UNKNOWN = 0, 1
_WORD = re.compile(r"\w+", re.UNICODE)


def swap_sides(text: str) -> str:
    """The caption of the mirrored motion, by the rules of `hand_geometry.mirror_text`."""
    return mirror_text(text)


def split_words(text: str) -> list[str]:
    """Lower-cased words of a text; punctuation is dropped."""
    return _WORD.findall(text.lower())


class WordVocabulary:
    """Words seen at least ``min_count`` times, most frequent first.

    Id 0 is padding, id 1 every unknown word.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: i + 2 for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words) + 2

    @classmethod
    def build(cls, texts: Iterable[str], *, min_count: int = 1) -> WordVocabulary:
        """Count the words of ``texts``; the order is deterministic (frequency, then alphabet)."""
        counts = Counter(word for text in texts for word in split_words(text))
        return cls([w for w, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= min_count])

    def encode(self, texts: Sequence[str], *, max_words: int = 64) -> Tensor:
        """Texts to ids (N, W) int64, W the longest of them, padded with 0; an empty text is one unknown."""
        rows = [[self._ids.get(w, UNKNOWN) for w in split_words(t)][:max_words] or [UNKNOWN] for t in texts]
        ids = torch.zeros(len(rows), max((len(r) for r in rows), default=1), dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        return ids
