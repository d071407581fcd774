"""A masked transformer over residual tokens, MoMask-like (Guo et al. 2024).

The codes of the first level are hidden at random and filled in, in training; at generation all are hidden, and in each
of a few rounds those that the network is surest of are kept (MaskGIT, Chang et al. 2022, section 3.2). A second network
writes the further levels, one after the other, each from the sum of those before it.
"""

from __future__ import annotations

import math
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

BATCH = 256


class MaskedNetworks(nn.Module):
    """The network of the first level and that of the further ones."""

    def __init__(self, settings: NetworkSettings, words: int, longest: int, levels: int, codes: int) -> None:
        super().__init__()
        width = settings.width
        self.levels, self.codes, self.hidden = levels, codes, codes
        self.base, self.table = Network(settings, words, longest), nn.Embedding(codes + 1, width)
        self.head = nn.Linear(width, codes)
        self.residual, self.level = Network(settings, words, longest), nn.Embedding(levels, width)
        self.tables = nn.Embedding(levels * codes, width)
        self.heads = nn.ModuleList(nn.Linear(width, codes) for _ in range(1, levels))
        for table in (self.table, self.level, self.tables):
            nn.init.normal_(table.weight, std=0.02)

    def first(self, codes: Tensor, lengths: Tensor, ids: Tensor) -> Tensor:
        """Codes (B, L) of the first level, `hidden` where they are -> logits (B, L, codes)."""
        logits: Tensor = self.head(self.base(self.table(codes), lengths, ids))
        return logits

    def further(self, codes: Tensor, level: int, lengths: Tensor, ids: Tensor) -> Tensor:
        """Codes (B, L, level) of the levels before -> logits (B, L, codes) of a level from 1."""
        x = self.tables(codes + torch.arange(level, device=codes.device) * self.codes).sum(2) + self.level.weight[level]
        logits: Tensor = self.heads[level - 1](self.residual(x, lengths, ids))
        return logits


class MaskedResidual(TokenBaseline):
    """Fills in hidden codes; `rounds` of it at generation.

    Args:
        kind: of the tokenizer: of residual levels.
        tokenizers: that make it.
        settings: of each of the two networks.
        temperature: of sampling.
        guidance: classifier-free, 1 for none.
        rounds: of generation.
    """

    def __init__(
        self,
        kind: str,
        tokenizers: Tokenizers,
        settings: NetworkSettings,
        temperature: float,
        guidance: float,
        rounds: int,
    ) -> None:
        super().__init__(kind, tokenizers)
        self.settings, self.temperature, self.guidance, self.rounds = settings, temperature, guidance, rounds

    @property
    def made_of(self) -> dict[str, Any]:
        """Its settings and its tokenizer's."""
        return (
            super().made_of
            | asdict(self.settings)
            | {"temperature": self.temperature, "guidance": self.guidance, "rounds": self.rounds}
        )

    def fit(self, clips: Clips, budget: Budget, seed: int) -> None:
        """Train the tokenizer, then both networks side by side: each step has the loss of either."""
        self.fit_tokenizer(clips, budget, seed)
        self.corpus = Corpus(clips)
        data = TokenCorpus(self.corpus, self.encode(self.corpus.clips))
        levels, codes = self.tokenizer.config.n_slots, self.tokenizer.config.codebook_size

        def make() -> MaskedNetworks:
            return MaskedNetworks(self.settings, len(self.corpus.words), data.longest, levels, codes)

        def loss(networks: MaskedNetworks, rng: np.random.Generator) -> Tensor:
            tokens, lengths, ids = data.batch(self.settings.batch_size, rng)
            own = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
            first = tokens[..., 0]
            hidden = _hide(own, torch.cos(torch.rand(len(tokens), device=tokens.device) * math.pi / 2))
            logits = networks.first(torch.where(hidden, networks.hidden, first), lengths, ids)
            total = F.cross_entropy(logits[hidden], first[hidden])
            if levels > 1:
                level = int(rng.integers(1, levels))
                more = networks.further(tokens[..., :level], level, lengths, ids)
                total = total + F.cross_entropy(more[own], tokens[..., level][own])
            return total

        share = 1 - self.tokenizers.share
        self.networks, self.steps["networks"] = train_network(self.kind, make, loss, self.settings, budget, share, seed)
        self.parameters += sum(p.numel() for p in self.networks.parameters())

    @torch.no_grad()
    def generate(self, texts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion]:
        """The first level in rounds, the further ones one after the other, then decoded."""
        device = find_device()
        generator = torch.Generator(device).manual_seed(seed)
        steps = self.lengths(frames)
        tokens: list[Tensor] = [torch.empty(0)] * len(texts)
        for members in batches(steps, BATCH):
            lengths = torch.tensor([steps[i] for i in members], device=device)
            ids = self.corpus.words.encode([texts[i] for i in members]).to(device)
            codes = self._first(lengths, ids, generator)[..., None]
            for level in range(1, self.networks.levels):
                logits = guided(
                    lambda said, c=codes, k=level, n=lengths: self.networks.further(c, k, n, said), ids, self.guidance
                )
                codes = torch.cat([codes, sample(logits, self.temperature, generator)[..., None]], 2)
            for k, i in enumerate(members):
                tokens[i] = codes[k, : steps[i]]
        return [motion[:count] for motion, count in zip(self.decode(tokens), frames, strict=True)]

    def _first(self, lengths: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
        """Codes (B, L) of the first level."""
        own = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        codes = torch.full(own.shape, self.networks.hidden, device=own.device)
        for turn in range(1, self.rounds + 1):
            logits = guided(lambda said, c=codes: self.networks.first(c, lengths, said), ids, self.guidance)
            drawn = sample(logits, self.temperature, generator)
            hidden = codes == self.networks.hidden
            sure = logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
            luck = -torch.empty_like(sure).exponential_(generator=generator).log()
            sure = sure + self.temperature * (1 - turn / self.rounds) * luck
            sure = sure.masked_fill(~hidden, math.inf).masked_fill(~own, -math.inf)
            left = (lengths * math.cos(math.pi / 2 * turn / self.rounds)).long()
            kept = sure.argsort(1, descending=True).argsort(1) < (lengths - left)[:, None]
            codes = torch.where(hidden & kept, drawn, codes)
        return torch.where(own & (codes != self.networks.hidden), codes, 0)


def _hide(own: Tensor, share: Tensor) -> Tensor:
    """(B, L) bool: a share (B,) of each row's own positions, at least one, drawn at random."""
    count = (own.sum(1) * share).ceil().long().clamp(min=1)
    order = torch.rand(own.shape, device=own.device).masked_fill(~own, 2.0).argsort(1).argsort(1)
    return own & (order < count[:, None])
