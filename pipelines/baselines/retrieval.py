"""Retrieval: the motion of the training clip whose caption is nearest, and the caption of the nearest motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from clutch_llm.evaluation.unseen import fill_unseen
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from pipelines.baselines.base import Baseline, Budget, Clips, Motion
from pipelines.baselines.corpus import Corpus

SHAPE_FRAMES = 16
"""Frames at which motions are compared, whatever their lengths."""


class Retrieval(Baseline):
    """Takes what is nearest: captions by the cosine of their TF-IDF, motions by the distance of their features."""

    @property
    def made_of(self) -> dict[str, Any]:
        """It has no settings."""
        return {}

    def fit(self, clips: Clips, budget: Budget, seed: int) -> None:
        """Keep the clips and the weights of their words; the budget is not used."""
        self.corpus = Corpus(clips)
        self.sentences = [
            (text, i)
            for i, clip in enumerate(self.corpus.clips)
            for text in (*clip["captions"], *clip.get("paraphrases", ()))
        ]
        self.weights = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2))
        self.table: Any = self.weights.fit_transform([text for text, _ in self.sentences])
        self.shapes = np.stack([self._shape(motion) for motion in self.corpus.motions])

    def generate(self, texts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion]:
        """The motions of the nearest captions, one of equally near ones by the seed, cut or held at their ends."""
        rng = np.random.default_rng(seed)
        likeness = np.asarray((self.weights.transform(list(texts)) @ self.table.T).todense())
        made = []
        for row, count in zip(likeness, frames, strict=True):
            nearest = np.flatnonzero(row >= row.max() - 1e-9)
            motion = self.corpus.motions[self.sentences[int(rng.choice(nearest))][1]]
            made.append(hold(motion, count))
        return made

    def caption(self, clips: Clips) -> list[str]:
        """The most detailed caption of the training clip whose motion is nearest, hands that are seen compared."""
        said = []
        for clip in clips:
            seen = np.repeat(np.asarray(clip["valid"], bool).any(0), len(self.corpus.mean) // 2)
            features = fill_unseen(clip["features"], clip["valid"], self.corpus.mean)
            distance = np.square((self.shapes - self._shape(features))[..., seen]).mean((1, 2))
            said.append(str(self.corpus.clips[int(distance.argmin())]["captions"][-1]))
        return said

    def _shape(self, motion: NDArray[Any]) -> Motion:
        """Normalised features at `SHAPE_FRAMES` moments, (16, 198)."""
        at = np.linspace(0, len(motion) - 1, SHAPE_FRAMES).round().astype(int)
        shape: Motion = ((motion[at] - self.corpus.mean) / self.corpus.std).astype(np.float32)
        return shape


def hold(motion: Motion, frames: int) -> Motion:
    """A motion cut at a number of frames, or its last frame held until then."""
    return np.concatenate([motion[:frames], np.repeat(motion[-1:], max(0, frames - len(motion)), 0)])
