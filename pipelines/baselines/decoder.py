"""A decoder alone over one stream of tokens: T2M-GPT-like over a plain VQ, HandX-like over finite scalar codes.

The codes of a motion are written one after the other, after the words of its caption. In training a random share of the
codes that it goes on from is replaced by others, as T2M-GPT does (Zhang et al. 2023, section 3.3): at generation it has
to go on from its own mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from shift_tokenizer import find_device
from torch import Tensor, nn

from pipelines.baselines.base import Budget, Clips, Motion
from pipelines.baselines.corpus import Corpus
from pipelines.baselines.network import Network, NetworkSettings, batches, guided, sample, train_network
from pipelines.baselines.tokens import TokenBaseline, TokenCorpus, Tokenizers

REPLACED = 0.5
"""Largest share of the codes that are replaced, drawn for each motion from nothing to this."""

BATCH = 128


class CodeWriter(nn.Module):
    """Logits of the next code: a network over the codes of a motion, slots of a step side by side."""

    def __init__(self, settings: NetworkSettings, words: int, longest: int, slots: int, codes: int) -> None:
        super().__init__()
        self.codes, self.slots = codes, slots
        self.network = Network(settings, words, longest, slots)
        self.table = nn.Embedding(slots * codes + 1, settings.width)
        self.head = nn.Linear(settings.width, codes)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, before: Tensor, lengths: Tensor, ids: Tensor) -> Tensor:
        """Codes (B, P) that are there already -> logits (B, P + 1, codes) of each of them and of the next."""
        slot = torch.arange(before.shape[1], device=before.device) % self.slots
        start = before.new_full((len(before), 1), self.slots * self.codes)
        x = self.table(torch.cat([start, before + slot * self.codes], 1))
        logits: Tensor = self.head(self.network(x, lengths, ids, causal=True))
        return logits


class Decoder(TokenBaseline):
    """Writes codes from left to right.

    Args:
        kind: of the tokenizer.
        tokenizers: that make it.
        settings: of the network.
        temperature: of sampling.
        guidance: classifier-free, 1 for none.
    """

    def __init__(
        self, kind: str, tokenizers: Tokenizers, settings: NetworkSettings, temperature: float, guidance: float
    ) -> None:
        super().__init__(kind, tokenizers)
        self.settings, self.temperature, self.guidance = settings, temperature, guidance

    @property
    def made_of(self) -> dict[str, Any]:
        """Its settings and its tokenizer's."""
        return super().made_of | asdict(self.settings) | {"temperature": self.temperature, "guidance": self.guidance}

    def fit(self, clips: Clips, budget: Budget, seed: int) -> None:
        """Train the tokenizer, then the network on its tokens."""
        self.fit_tokenizer(clips, budget, seed)
        self.corpus = Corpus(clips)
        data = TokenCorpus(self.corpus, self.encode(self.corpus.clips))
        config = self.tokenizer.config

        def make() -> CodeWriter:
            words = len(self.corpus.words)
            return CodeWriter(self.settings, words, data.longest, config.n_slots, config.codebook_size)

        def loss(writer: CodeWriter, rng: np.random.Generator) -> Tensor:
            tokens, lengths, ids = data.batch(self.settings.batch_size, rng)
            codes = tokens.flatten(1)
            share = torch.rand(len(codes), 1, device=codes.device) * REPLACED
            others = torch.randint(config.codebook_size, codes.shape, device=codes.device)
            shown = torch.where(torch.rand(codes.shape, device=codes.device) < share, others, codes)
            logits = writer(shown[:, :-1], lengths, ids)
            own = torch.arange(codes.shape[1], device=codes.device) < lengths[:, None] * config.n_slots
            return F.cross_entropy(logits[own], codes[own])

        share = 1 - self.tokenizers.share
        writer, self.steps["decoder"] = train_network(self.kind, make, loss, self.settings, budget, share, seed)
        self.writer = writer
        self.parameters += sum(p.numel() for p in writer.parameters())

    @torch.no_grad()
    def generate(self, texts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion]:
        """Codes drawn one by one, then decoded."""
        device = find_device()
        generator = torch.Generator(device).manual_seed(seed)
        steps, slots = self.lengths(frames), self.tokenizer.config.n_slots
        tokens: list[Tensor] = [torch.empty(0)] * len(texts)
        for members in batches(steps, BATCH):
            lengths = torch.tensor([steps[i] for i in members], device=device)
            ids = self.corpus.words.encode([texts[i] for i in members]).to(device)
            codes = torch.zeros(len(members), 0, dtype=torch.int64, device=device)
            for _ in range(int(lengths.max()) * slots):
                logits = guided(lambda said, c=codes, n=lengths: self.writer(c, n, said)[:, -1], ids, self.guidance)
                codes = torch.cat([codes, sample(logits, self.temperature, generator)[:, None]], 1)
            for k, i in enumerate(members):
                tokens[i] = codes[k, : steps[i] * slots].view(-1, slots)
        return [motion[:count] for motion, count in zip(self.decode(tokens), frames, strict=True)]
