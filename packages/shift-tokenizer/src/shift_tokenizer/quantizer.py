"""A vector quantizer whose codes are running means of what they stand for, with dead codes brought back.

Design:
- All state (codes, running counts and sums, steps, whether codes were drawn) is in buffers, and so is saved.
- `forward` only looks up. `update` changes the codes, and draws from a generator that the caller gives.
- A dead code takes a random latent together with a running count of its own (1.5 times the threshold).
  Without that count it dies again before it has been used, and 5 to 12 % of the codes end up doing all the
  work.

Source of the running means: van den Oord et al. 2017, appendix A.1.
"""

import torch
from torch import Tensor, nn

from .lookup import codebook_statistics, vq_lookup

_LIFE = 1.5


class EmaQuantizer(nn.Module):
    """One codebook (K, D)."""

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    steps: Tensor
    ready: Tensor

    def __init__(self, size: int, dim: int, *, decay: float, reset_every: int, reset_threshold: float) -> None:
        super().__init__()
        self.size, self.dim = size, dim
        self.decay, self.reset_every, self.reset_threshold = decay, reset_every, reset_threshold
        self.register_buffer("codebook", torch.randn(size, dim))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> indices (N,), codes (N, D) with a straight-through gradient, squared error (N,)."""
        return vq_lookup(latents, self.codebook)

    @torch.no_grad()
    def initialise(self, latents: Tensor, generator: torch.Generator) -> None:
        """Draws the codes from latents (N, D), N of at least 1, unless that was done before."""
        if bool(self.ready):
            return
        drawn = _draw(latents, self.size, generator)
        noise = torch.randn(self.size, self.dim, generator=generator).to(drawn)
        self.codebook.copy_(drawn + 0.01 * latents.std(correction=0) * noise)
        self.counts.fill_(self.reset_threshold * len(latents) / self.size)
        self.sums.copy_(self.codebook * self.counts[:, None])
        self.ready.fill_(True)

    @torch.no_grad()
    def update(self, latents: Tensor, indices: Tensor, pool: Tensor, generator: torch.Generator) -> None:
        """Moves the codes towards the mean of their latents; every `reset_every` steps brings dead ones back.

        Args:
            latents: (N, D) what was quantised.
            indices: (N,) the codes that it got.
            pool: (M, D) latents from which new codes may be drawn; none are drawn from an empty pool.
            generator: a CPU generator, the only source of chance.
        """
        counts, sums = codebook_statistics(latents, indices, self.size)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.steps += 1
        if int(self.steps) % self.reset_every == 0 and len(pool):
            threshold = self.reset_threshold * len(latents) / self.size
            dead = self.counts < threshold
            drawn = _draw(pool, int(dead.sum()), generator)
            self.counts[dead] = _LIFE * threshold
            self.sums[dead] = drawn * (_LIFE * threshold)
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-6)[:, None])


class ResidualQuantizer(nn.Module):
    """Quantizers one after the other, each on what those before it left over; with one level, a plain quantizer."""

    def __init__(self, levels: list[EmaQuantizer]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> indices (N, R), the sum of the codes (N, D) straight through, mean squared error (N,).

        The error is averaged over the levels, so that the commitment weighs alike at any depth.
        """
        residual, total = latents, torch.zeros_like(latents)
        indices, errors = [], []
        for level in self.levels:
            index, quantized, error = level(residual)
            codes = quantized.detach()
            residual, total = residual - codes, total + codes
            indices.append(index)
            errors.append(error)
        return torch.stack(indices, 1), latents + (total - latents).detach(), torch.stack(errors).mean(0)

    @torch.no_grad()
    def initialise(self, latents: Tensor, generator: torch.Generator) -> None:
        """Draws the codes of every level that has none yet."""
        for level in self.quantizers():
            level.initialise(latents, generator)
            latents = latents - level(latents)[1]

    @torch.no_grad()
    def update(self, latents: Tensor, indices: Tensor, visible: Tensor, generator: torch.Generator) -> None:
        """Updates every level: latents (N, D), indices (N, R), visible (N,) bool: what new codes may be drawn from."""
        for level, index in zip(self.quantizers(), indices.unbind(1), strict=True):
            codes = level.codebook[index]
            level.update(latents, index, latents[visible], generator)
            latents = latents - codes

    def embed(self, indices: Tensor) -> Tensor:
        """Indices (..., R) -> the sum of their codes (..., D)."""
        return torch.stack([q.codebook[i] for q, i in zip(self.quantizers(), indices.unbind(-1), strict=True)]).sum(0)

    def embed_probabilities(self, probabilities: Tensor) -> Tensor:
        """Distributions (..., R, K) -> the expected sum of codes (..., D)."""
        pairs = zip(self.quantizers(), probabilities.unbind(-2), strict=True)
        return torch.stack([p @ quantizer.codebook for quantizer, p in pairs]).sum(0)

    def quantizers(self) -> list[EmaQuantizer]:
        """The levels, first to last."""
        return [level for level in self.levels if isinstance(level, EmaQuantizer)]


def _draw(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` random rows, with replacement."""
    return rows[torch.randint(len(rows), (count,), generator=generator).to(rows.device)]
