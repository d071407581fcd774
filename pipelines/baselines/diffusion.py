"""A small diffusion model on motion features, MDM-like (Tevet et al. 2023); HandMDM is one for hands.

The network is given a noisy motion and predicts the clean one (x0), all frames at once, from the caption. The noise
follows a cosine schedule (Nichol and Dhariwal 2021); generation is deterministic from the noise that it starts at
(DDIM, Song et al. 2021), led by classifier-free guidance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from shift_tokenizer import find_device
from torch import Tensor, nn

from pipelines.baselines.base import Baseline, Budget, Clips, Motion
from pipelines.baselines.corpus import Corpus
from pipelines.baselines.network import Network, NetworkSettings, batches, guided, train_network

FEATURES = 198
UNSEEN_WEIGHT = 0.2
"""Weight of the frames in which a hand is not seen, as in the training of the tokenizers."""

VELOCITY_WEIGHT = 1.0
BATCH = 128
_TIMES = 64  # numbers that tell the time
_NOISIEST = 0.999


class Denoiser(nn.Module):
    """The clean motion, as the network sees it in a noisy one."""

    def __init__(self, settings: NetworkSettings, words: int, longest: int) -> None:
        super().__init__()
        width = settings.width
        self.network = Network(settings, words, longest)
        self.enter, self.leave = nn.Linear(FEATURES, width), nn.Linear(width, FEATURES)
        self.time = nn.Sequential(nn.Linear(_TIMES, width), nn.GELU(), nn.Linear(width, width))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, noisy: Tensor, time: Tensor, lengths: Tensor, ids: Tensor) -> Tensor:
        """Normalised noisy motions (B, T, 198) and times (B,) in 0..1 -> clean ones (B, T, 198)."""
        rates = torch.exp(torch.linspace(0, math.log(1000), _TIMES // 2, device=time.device))
        waves = time[:, None] * rates
        told = self.time(torch.cat([waves.sin(), waves.cos()], 1))
        clean: Tensor = self.leave(self.network(self.enter(noisy) + told[:, None], lengths, ids))
        return clean


class Diffusion(Baseline):
    """Takes noise away.

    Args:
        settings: of the network.
        guidance: classifier-free, 1 for none.
        rounds: of generation.
    """

    def __init__(self, settings: NetworkSettings, guidance: float, rounds: int) -> None:
        super().__init__()
        self.settings, self.guidance, self.rounds = settings, guidance, rounds

    @property
    def made_of(self) -> dict[str, Any]:
        """Its settings."""
        return asdict(self.settings) | {"guidance": self.guidance, "rounds": self.rounds}

    def fit(self, clips: Clips, budget: Budget, seed: int) -> None:
        """Train the network for the whole budget."""
        device = find_device()
        self.corpus = corpus = Corpus(clips)
        self.mean, self.std = torch.from_numpy(corpus.mean), torch.from_numpy(corpus.std)
        motions = [(torch.from_numpy(motion) - self.mean) / self.std for motion in corpus.motions]
        weights = [_weights(clip["valid"]) for clip in corpus.clips]

        def make() -> Denoiser:
            return Denoiser(self.settings, len(corpus.words), max(map(len, motions)))

        def loss(denoiser: Denoiser, rng: np.random.Generator) -> Tensor:
            members = corpus.draw(self.settings.batch_size, rng)
            lengths = torch.tensor([len(motions[i]) for i in members], device=device)
            clean = nn.utils.rnn.pad_sequence([motions[i] for i in members], batch_first=True).to(device)
            weight = nn.utils.rnn.pad_sequence([weights[i] for i in members], batch_first=True).to(device)
            time = torch.rand(len(members), device=device) * _NOISIEST
            signal, noise = _schedule(time)
            noisy = signal * clean + noise * torch.randn(clean.shape, device=device)
            found = denoiser(noisy, time, lengths, corpus.read(members, rng).to(device))
            error = ((found - clean) ** 2 * weight).sum() / weight.sum()
            both = weight[:, 1:].minimum(weight[:, :-1])
            steps = ((found.diff(dim=1) - clean.diff(dim=1)) ** 2 * both).sum() / both.sum()
            return error + VELOCITY_WEIGHT * steps

        self.denoiser, self.steps["network"] = train_network("diffusion", make, loss, self.settings, budget, 1.0, seed)
        self.parameters = sum(p.numel() for p in self.denoiser.parameters())

    @torch.no_grad()
    def generate(self, texts: Sequence[str], frames: Sequence[int], seed: int) -> list[Motion]:
        """From noise to motion in `rounds`."""
        device = find_device()
        generator = torch.Generator(device).manual_seed(seed)
        made: list[Motion] = [np.empty(0, np.float32)] * len(texts)
        for members in batches(list(frames), BATCH):
            lengths = torch.tensor([frames[i] for i in members], device=device)
            ids = self.corpus.words.encode([texts[i] for i in members]).to(device)
            x = torch.randn(len(members), int(lengths.max()), FEATURES, generator=generator, device=device)
            times = torch.linspace(_NOISIEST, 0, self.rounds + 1, device=device)
            for now, then in pairwise(times):
                time = now.expand(len(members))
                clean = guided(lambda said, x=x, t=time, n=lengths: self.denoiser(x, t, n, said), ids, self.guidance)
                (signal, noise), (next_signal, next_noise) = _schedule(time), _schedule(then.expand(len(members)))
                x = next_signal * clean + next_noise * (x - signal * clean) / noise
            for k, i in enumerate(members):
                made[i] = (x[k, : frames[i]].cpu() * self.std + self.mean).numpy()
        return made


def _schedule(time: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (B, 1, 1) of signal and noise, whose squares sum to 1, at times (B,) from 0 to 1."""
    angle = (time * math.pi / 2)[:, None, None]
    return angle.cos(), angle.sin()


def _weights(valid: np.ndarray) -> Tensor:
    """(T, 198): 1 where the hand is seen, `UNSEEN_WEIGHT` elsewhere."""
    seen = torch.from_numpy(np.asarray(valid, bool)).float()
    return (UNSEEN_WEIGHT + (1 - UNSEEN_WEIGHT) * seen).repeat_interleave(FEATURES // 2, 1)
