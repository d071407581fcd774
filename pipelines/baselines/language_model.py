"""Our language model over another tokenizer, MotionGPT-like; and over SHIFT, for as long as all others.

The model, its pretraining and its sampling are those of the demo. It has one stage here, pretraining, and so neither
refinement nor instruction tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import clutch_llm
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, Sampling, train_stage
from clutch_llm.corpus import build_corpus
from hand_geometry import features_to_joints

from pipelines.baselines.base import Budget, Clips, Motion
from pipelines.baselines.tokens import TokenBaseline, Tokenizers


class LanguageModel(TokenBaseline):
    """Text and tokens in one T5.

    Args:
        kind: of the tokenizer.
        tokenizers: that make it.
        model: sizes.
        training: its pretraining; steps and seed follow from the budget.
        sampling: temperature and guidance.
    """

    clutch: Clutch

    def __init__(
        self, kind: str, tokenizers: Tokenizers, model: ClutchConfig, training: PretrainConfig, sampling: Sampling
    ) -> None:
        super().__init__(kind, tokenizers)
        self.model, self.training, self.sampling = model, training, sampling

    @property
    def made_of(self) -> dict[str, Any]:
        """Its settings and its tokenizer's."""
        training = asdict(self.training) | {"steps": None, "seed": None}
        return super().made_of | {
            "model": asdict(self.model),
            "training": training,
            "sampling": asdict(self.sampling),
            "version": clutch_llm.__version__,
        }

    def fit(self, clips: Clips, budget: Budget, seed: int) -> None:
        """Train the tokenizer, then the language model on its tokens."""
        self.fit_tokenizer(clips, budget, seed)
        captions = [text for clip in clips for text in (*clip["captions"], *clip.get("paraphrases", ()))]
        examples = build_corpus(clips, self.tokenizer)
        start = Clutch.create(self.model, tokenizer=self.tokenizer, captions=captions, seed=seed)

        def train(steps: int, on_step: Callable[[], None]) -> Clutch:
            config = replace(self.training, steps=steps, seed=seed, log_every=1)
            trained, _ = train_stage(start, examples, config, joints_fn=features_to_joints, on_log=lambda *_: on_step())
            return trained

        self.steps["language model"] = budget.steps(1 - self.tokenizers.share, train)
        self.clutch = replace(train(self.steps["language model"], lambda: None), generation=self.sampling)
        self.parameters += self.clutch.n_parameters

    def generate(self, texts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion]:
        """As `Clutch.generate`, at the lengths that are asked for."""
        return generate_lengths(self.clutch, texts, frames, seed)

    def caption(self, clips: Clips) -> list[str]:
        """As `Clutch.caption`, in detail."""
        features, valid = [clip["features"] for clip in clips], [clip["valid"] for clip in clips]
        return self.clutch.caption(features, valid, fps=self.clutch.fps, detailed=True)


def generate_lengths(clutch: Clutch, texts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion]:
    """Motions of a model, each of so many frames, which are whole latent steps; each text's seed is by its place."""
    seconds, seeds = [count / clutch.fps for count in frames], [seed + i for i in range(len(texts))]
    drawn = clutch.generate(texts, seconds=seconds, seed=seeds)
    return [several[0]["features"][:count] for several, count in zip(drawn, frames, strict=True)]
