"""Finite scalar quantization: a few numbers, each rounded to a few levels; there is no codebook to learn.

Source: Mentzer et al. 2024, "Finite Scalar Quantization: VQ-VAE Made Simple", section 3 and appendix A.1. A linear
map takes a latent to as many numbers as there are levels, and another brings the rounded ones back, so that
networks and slots are those of the other quantizers. The codebook is what the second map makes of all combinations.

Added to it: the numbers are standardised by running means before they are squeezed. Without that, those of small
models drift together, and most codes fall out of use.
"""

import math

import torch
from torch import Tensor, nn

from .distributed import moments, sum_over_ranks

_ROOM = 1e-3  # share by which the squeezed range is wider than the levels, so that the outermost can be reached
_MIN_STD = 1e-6  # of the numbers that are squeezed: a constant one is not divided by 0


class FiniteScalarQuantizer(nn.Module):
    """Latents (N, D) to one of prod(levels) codes."""

    counts: Tensor
    mean: Tensor
    std: Tensor
    steps: Tensor
    levels: Tensor
    bases: Tensor
    ready: Tensor

    def __init__(self, levels: tuple[int, ...], dim: int, *, decay: float) -> None:
        super().__init__()
        self.size, self.dim, self.decay = math.prod(levels), dim, decay
        self.project_in = nn.Linear(dim, len(levels))
        self.project_out = nn.Linear(len(levels), dim)
        self.register_buffer("counts", torch.ones(self.size))
        self.register_buffer("mean", torch.zeros(len(levels)))
        self.register_buffer("std", torch.ones(len(levels)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        bases = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("bases", torch.tensor(bases), persistent=False)

    @property
    def codebook(self) -> Tensor:
        """All codes (K, D); differentiable in the second map."""
        digits = torch.arange(self.size, device=self.levels.device)[:, None] // self.bases % self.levels  # (K, d)
        codes: Tensor = self.project_out(self._scale(digits - self.levels // 2))
        return codes

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> indices (N,), codes (N, D) with rounding passed straight through, zeros (N,): nothing to commit."""
        bounded = self._bound((self.project_in(latents) - self.mean) / self.std)  # (N, d)
        rounded = bounded + (bounded.round() - bounded).detach()
        digits = rounded.detach().round().long() + self.levels // 2
        return (digits * self.bases).sum(1), self.project_out(self._scale(rounded)), latents.new_zeros(len(latents))

    @torch.no_grad()
    def initialise(self, latents: Tensor, generator: torch.Generator) -> None:
        """Takes mean and spread from the first latents; there are no codes to draw."""
        if not bool(self.ready):
            self._follow(latents, 1.0)
            self.ready.fill_(True)

    @torch.no_grad()
    def update(self, latents: Tensor, indices: Tensor, pool: Tensor, generator: torch.Generator) -> None:
        """Moves mean, spread and the codes' counts towards those of these latents, of all ranks together."""
        self._follow(latents, 1 - self.decay)
        counts = torch.bincount(indices, minlength=self.size).to(self.counts)
        self.counts.lerp_(sum_over_ranks(counts), 1 - self.decay)
        self.steps += 1

    def _follow(self, latents: Tensor, share: float) -> None:
        mean, std = moments(self.project_in(latents))
        self.mean.lerp_(mean, share)
        self.std.lerp_(std.clamp(min=_MIN_STD), share)

    def _bound(self, x: Tensor) -> Tensor:
        """Squeezes each number between the middles below its lowest and above its highest level."""
        half = (self.levels - 1) * (1 + _ROOM) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        return torch.tanh(x + torch.atanh(offset / half)) * half - offset

    def _scale(self, rounded: Tensor) -> Tensor:
        """Levels about zero -> numbers from -1 to 1."""
        return rounded.to(self.project_out.weight.dtype) / (self.levels // 2)
