"""Motion tokenizers of the baselines: each trained once for a seed, and shared by all that speak it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shift_tokenizer
import torch
from clutch_llm.atomic import write_beside
from hand_geometry import features_to_joints
from shift_tokenizer import ShiftConfig, ShiftTokenizer, TokenizerTraining, find_device, train_tokenizer

from pipelines.baselines.base import Baseline, Budget, Clips, Motion, clock
from pipelines.baselines.corpus import Corpus


class Tokenizers:
    """Makes the tokenizers of the family by name.

    Args:
        kinds: changes to `model` by name.
        model: the demo's tokenizer.
        training: how each is trained; steps and seed follow from the budget.
        share: of the budget that goes to a tokenizer.
        folder: where they are kept.
        data_hash: of the data, so that those of other data are not taken up.
    """

    def __init__(
        self,
        kinds: Mapping[str, Any],
        model: ShiftConfig,
        training: TokenizerTraining,
        share: float,
        folder: Path,
        data_hash: str,
    ) -> None:
        self.configs = {name: ShiftConfig.from_dict({**model.to_dict(), **kinds[name]}) for name in kinds}
        self.training, self.share, self.folder, self.data_hash = training, share, folder, data_hash

    def get(self, kind: str, clips: Clips, budget: Budget, seed: int) -> tuple[ShiftTokenizer, int]:
        """The tokenizer of a kind and the steps that it was trained for; charges the budget for a kept one."""
        place = self.folder / f"{kind}-{self._mark(kind, budget, seed)}"
        record = place.with_suffix(".json")
        if record.is_file():
            kept = json.loads(record.read_text())
            budget.charge(kept["seconds"])
            return ShiftTokenizer.from_pretrained(place), int(kept["steps"])

        def train(steps: int, on_step: Callable[[], None]) -> ShiftTokenizer:
            training = replace(self.training, steps=steps, seed=seed, log_every=1)
            made, _ = train_tokenizer(
                clips,
                self.configs[kind],
                training,
                joints_fn=features_to_joints,
                on_log=lambda *_: on_step(),
            )
            return made

        steps = budget.steps(self.share, train)
        began = clock()
        tokenizer = train(steps, lambda: None)
        seconds = clock() - began
        tokenizer.save_pretrained(place)
        with write_beside(record) as partial:
            partial.write_text(json.dumps({"steps": steps, "seconds": seconds}))
        return tokenizer, steps

    def made_of(self, kind: str) -> dict[str, Any]:
        """What a tokenizer is made of, its seed, its steps and the data left out."""
        training = self.training.to_dict()
        training = {name: training[name] for name in training if name not in ("steps", "seed")}
        about = {"model": self.configs[kind].to_dict(), "training": training, "share": self.share}
        return about | {"version": shift_tokenizer.__version__}

    def _mark(self, kind: str, budget: Budget, seed: int) -> str:
        made_of = [self.made_of(kind), budget.seconds, seed, self.data_hash]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


class TokenBaseline(Baseline):
    """A baseline that speaks the tokens of one tokenizer.

    Args:
        kind: of the tokenizer.
        tokenizers: that make it.
    """

    tokenizer: ShiftTokenizer

    def __init__(self, kind: str, tokenizers: Tokenizers) -> None:
        super().__init__()
        self.kind, self.tokenizers = kind, tokenizers

    @property
    def made_of(self) -> dict[str, Any]:
        """Its tokenizer's settings."""
        return {"tokenizer": self.tokenizers.made_of(self.kind)}

    def fit_tokenizer(self, clips: Clips, budget: Budget, seed: int) -> None:
        """Train or fetch the tokenizer."""
        self.tokenizer, self.steps["tokenizer"] = self.tokenizers.get(self.kind, clips, budget, seed)
        self.parameters = sum(p.numel() for p in self.tokenizer.parameters())

    def reconstruct(self, clips: Clips) -> list[Motion]:
        """What the tokenizer keeps of each clip's motion."""
        return self.decode(self.encode(clips))

    def encode(self, clips: Clips) -> list[torch.Tensor]:
        """Tokens (L, n_slots) of each clip."""
        return self.tokenizer.encode_list([clip["features"] for clip in clips], [clip["valid"] for clip in clips])

    def decode(self, tokens: Sequence[torch.Tensor]) -> list[Motion]:
        """Features of tokens."""
        return [np.asarray(motion.cpu(), np.float32) for motion in self.tokenizer.decode_list(tokens)]

    def lengths(self, frames: Sequence[int]) -> list[int]:
        """Latent steps that hold so many frames."""
        return [-(-count // self.tokenizer.config.frames_per_latent) for count in frames]


class TokenCorpus:
    """The clips of a corpus as tokens, in padded batches."""

    def __init__(self, corpus: Corpus, tokens: Sequence[torch.Tensor]) -> None:
        self.corpus, self.tokens = corpus, [t.cpu() for t in tokens]
        self.longest = max(len(t) for t in self.tokens)

    def batch(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens (B, L, n_slots), zeros past the ends, lengths (B,) and word ids (B, W)."""
        members = self.corpus.draw(count, rng)
        rows = [self.tokens[i] for i in members]
        lengths = torch.tensor([len(row) for row in rows])
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        device = find_device()
        return tokens.to(device), lengths.to(device), self.corpus.read(members, rng).to(device)
