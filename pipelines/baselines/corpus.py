"""What all baselines learn from: the clips and their mirror images, sources balanced, a sentence drawn for each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from clutch_llm.batching import PARAPHRASED_SHARE
from clutch_llm.corpus import mirror_clip
from clutch_llm.evaluation.unseen import filled, seen_mean
from clutch_llm.evaluation.vocabulary import WordVocabulary
from shift_tokenizer.mixing import source_shares

from pipelines.baselines.base import Clips

SOURCE_TEMPERATURE = 2.0
"""Sources of n clips are drawn in proportion to n ** (1 / temperature), as in the training of the language model."""

TEXT_DROPOUT = 0.1
"""Share of the examples whose text is left out, for classifier-free guidance."""

_MIN_STD = 0.05  # features that hardly vary are not blown up


class Corpus:
    """Clips to learn from.

    Args:
        clips: of the train split.

    Attributes:
        clips: those, and behind them the mirror image of each.
        motions: features (T, 198) of each, unseen hands replaced.
        words: of all their sentences.
        mean, std: (198,) of the features.
    """

    def __init__(self, clips: Clips) -> None:
        self.size = len(clips)
        self.clips = [*clips, *(mirror_clip(clip) for clip in clips)]
        self.mean, std = seen_mean(self.clips)
        self.std = std.clip(min=_MIN_STD)
        self.motions = filled(self.clips, self.mean)
        self.words = WordVocabulary.build(
            text for clip in self.clips for text in (*clip["captions"], *clip.get("paraphrases", ()))
        )
        counts = Counter(clip["source"] for clip in clips)
        shares = source_shares(counts, SOURCE_TEMPERATURE, {})
        weights = np.array([shares[clip["source"]] / counts[clip["source"]] for clip in clips])
        self._weights = weights / weights.sum()

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """Indices of clips to learn from next, half of them of mirror images."""
        own = rng.choice(self.size, size=count, p=self._weights)
        return [int(i) for i in own + self.size * rng.integers(2, size=count)]

    def read(self, members: list[int], rng: np.random.Generator) -> torch.Tensor:
        """A sentence of each clip as word ids (B, W); zeros alone where it is left out."""
        ids = self.words.encode([self._sentence(i, rng) for i in members])
        ids[torch.from_numpy(rng.random(len(members)) < TEXT_DROPOUT)] = 0
        return ids

    def _sentence(self, index: int, rng: np.random.Generator) -> str:
        clip = self.clips[index]
        several = clip.get("paraphrases") if rng.random() < PARAPHRASED_SHARE else None
        several = several or clip["captions"]
        return str(several[int(rng.integers(len(several)))])


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A NumPy generator that is seeded by the next number of a torch one."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
