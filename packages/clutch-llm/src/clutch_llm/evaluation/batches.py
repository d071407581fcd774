"""Batches for the evaluator: pairs of one source, lightly augmented, with the false negatives marked.

Every clip is stored padded beside its captions; a batch mirrors some clips (and swaps left and right in their
words and attributes), drops frames, adds noise, draws one of the captions and hides a few words. Two clips
that share a caption are no negatives of each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clutch_llm.errors import ConfigError
from clutch_llm.evaluation.evaluator import N_FEATURES, EvaluatorConfig
from clutch_llm.evaluation.grouping import Clip
from clutch_llm.evaluation.vocabulary import UNKNOWN, WordVocabulary, swap_sides

IGNORE = -100
_MAX_CLASSES = 256


@dataclass
class Batch:
    """One step's pairs.

    Features (B, T, 198), lengths (B,), ids (B, W), false_negative (B, B) bool, labels (B, A).
    """

    features: Tensor
    lengths: Tensor
    ids: Tensor
    false_negative: Tensor
    labels: Tensor


def attribute_classes(clips: Sequence[Clip]) -> dict[str, list[str]]:
    """Attributes that can be classified: their values, as text, where 2 to 256 differ and most repeat."""
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        for name, value in clip.get("attributes", {}).items():
            if isinstance(value, str | int) and not isinstance(value, bool):
                counts.setdefault(name, Counter())[str(value)] += 1
    return {
        name: sorted(values)
        for name, values in sorted(counts.items())
        if 2 <= len(values) <= _MAX_CLASSES and sum(values.values()) >= 2 * len(values)
    }


class PairSampler:
    """Draws batches from clips.

    Args:
        clips: clip dicts with features (T, 198) and at least one caption.
        config: sizes and strengths of the augmentation.
        vocabulary: encodes the captions.
        attributes: classes per attribute.
        mirror_fn: swaps and mirrors the hands of features (..., 198); None turns mirroring off.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        config: EvaluatorConfig,
        vocabulary: WordVocabulary,
        attributes: Mapping[str, Sequence[str]],
        mirror_fn: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self.config, self.mirror_fn = config, mirror_fn
        self.lengths = torch.tensor([len(c["features"]) for c in clips])
        self.features = torch.zeros(len(clips), int(self.lengths.max()), N_FEATURES)
        for i, clip in enumerate(clips):
            self.features[i, : self.lengths[i]] = torch.as_tensor(clip["features"], dtype=torch.float32)
        self._index_captions(clips, vocabulary)
        self.labels = torch.stack([self._labels(clips, attributes, swap) for swap in (False, True)])
        sources = sorted({c["source"] for c in clips})
        self.members = [torch.tensor([i for i, c in enumerate(clips) if c["source"] == s]) for s in sources]
        weights = config.source_weights or dict.fromkeys(sources, 1.0)
        self.weights = torch.tensor([float(weights.get(s, 0.0)) for s in sources])
        if not self.weights.sum() > 0:
            raise ConfigError(
                f"Expected a positive source_weights for one of {sources}, got {dict(weights)}. Name a source there is."
            )

    def _index_captions(self, clips: Sequence[Clip], vocabulary: WordVocabulary) -> None:
        texts: dict[str, int] = {}
        most = max(len(c["captions"]) for c in clips)
        # (2, N, C): the ids of each clip's captions, as they are and mirrored; -1 where there are fewer
        self.captions = torch.full((2, len(clips), most), -1)
        for i, clip in enumerate(clips):
            for j, caption in enumerate(clip["captions"]):
                for m, text in enumerate((caption, swap_sides(caption))):
                    self.captions[m, i, j] = texts.setdefault(text, len(texts))
        self.n_captions = torch.tensor([len(c["captions"]) for c in clips])
        self.words = vocabulary.encode(list(texts))

    @staticmethod
    def _labels(clips: Sequence[Clip], attributes: Mapping[str, Sequence[str]], swap: bool) -> Tensor:
        labels = torch.full((len(clips), len(attributes)), IGNORE)
        for a, (name, classes) in enumerate(attributes.items()):
            where = {value: k for k, value in enumerate(classes)}
            for i, clip in enumerate(clips):
                value = clip.get("attributes", {}).get(name)
                text = str(value) if value is not None else ""
                labels[i, a] = where.get(swap_sides(text) if swap else text, IGNORE)
        return labels

    def draw(self, generator: torch.Generator, normalize: Callable[[Tensor], Tensor]) -> Batch:
        """One augmented batch of one source; ``features`` come out normalised."""
        c = self.config
        members = self.members[int(torch.multinomial(self.weights, 1, generator=generator))]
        size = min(c.batch_size, len(members))
        picks = members[torch.randperm(len(members), generator=generator)[:size]]
        mirrored = torch.rand(size, generator=generator) < (c.mirror if self.mirror_fn else 0.0)
        features, lengths = self._crop(picks, generator)
        if self.mirror_fn is not None and mirrored.any():
            features[mirrored] = self.mirror_fn(features[mirrored])
        features, lengths = self._drop(features, lengths, generator)
        features = normalize(features)
        features = features + c.noise * torch.randn(features.shape, generator=generator)
        features = features + c.offset * torch.randn((size, 1, N_FEATURES), generator=generator)
        side = mirrored.long()
        column = (torch.rand(size, generator=generator) * self.n_captions[picks]).long()
        text = self.captions[side, picks, column]
        shared = (text[:, None, None] == self.captions[side, picks][None]).any(-1)
        ids = self.words[text]
        ids = ids[:, : int((ids != 0).sum(1).max())]
        hidden = (torch.rand(ids.shape, generator=generator) < c.drop_words) & (ids != 0)
        return Batch(
            features=features,
            lengths=lengths,
            ids=ids.masked_fill(hidden, UNKNOWN),
            false_negative=shared & ~torch.eye(size, dtype=torch.bool),
            labels=self.labels[side, picks],
        )

    def _crop(self, picks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[picks]
        spare = (lengths - self.config.max_frames).clamp(min=0)
        start = (torch.rand(len(picks), generator=generator) * (spare + 1)).long()
        lengths = lengths.clamp(max=self.config.max_frames)
        frames = (start[:, None] + torch.arange(int(lengths.max()))[None]).clamp(max=self.features.shape[1] - 1)
        return self.features[picks[:, None], frames], lengths

    def _drop(self, features: Tensor, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Drop a random share of each clip's frames, keeping order and at least 4."""
        batch, steps = features.shape[:2]
        share = self.config.drop_frames * torch.rand(batch, 1, generator=generator)
        inside = torch.arange(steps)[None] < lengths[:, None]
        keep = (torch.rand(batch, steps, generator=generator) >= share) & inside
        keep |= torch.arange(steps)[None] < 4
        order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)
        return features[torch.arange(batch)[:, None], order], keep.sum(1)
