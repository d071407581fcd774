"""A vector quantizer whose codes are running means of what they stand for, with dead codes replaced.

Design:
- With `cosine`, latents and codes are brought to length sqrt(D), so that the nearest code is the one of the
  same direction (Yu et al. 2022, ViT-VQGAN), and numbers stay about 1 in size.
- All state (codes, running counts and sums, steps, whether codes were drawn) is in buffers, and so is saved.
- `forward` only looks up. `update` changes the codes, and draws from a generator that the caller gives.
- Under `torch.distributed`, counts and sums are those of all ranks, and all draw the same codes from the latents
  of all: many processes move a codebook as one does on the joint batch.
- A dead code (one whose running count is under the threshold) is replaced by a random latent with a running count of
  1.5 times the threshold. Without that count it falls under the threshold again before it is used, and 5 to 12 % of the
  codes end up with all the use.

Source of the running means: van den Oord et al. 2017, appendix A.1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributed import agree, count_rows, draw_rows, moments, sum_over_ranks
from .fsq import FiniteScalarQuantizer
from .lookup import codebook_statistics, vq_lookup

_RESET_COUNT = 1.5  # running count of a code that was just replaced, in reset thresholds: see above
_KMEANS_ROUNDS = 10  # of Lloyd's algorithm; they run once, on the first batch
_DRAW_NOISE = 0.01  # in standard deviations of the latents; tells codes apart that were drawn from equal latents
_MIN_COUNT = 1e-6  # a code without any count is divided by this; far under the threshold of a dead one


class EmaQuantizer(nn.Module):
    """One codebook (K, D)."""

    codebook: Tensor
    counts: Tensor
    sums: Tensor
    steps: Tensor
    ready: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        decay: float,
        reset_every: int,
        reset_threshold: float,
        cosine: bool = False,
        kmeans: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.dim, self.cosine, self.kmeans = size, dim, cosine, kmeans
        self.decay, self.reset_every, self.reset_threshold = decay, reset_every, reset_threshold
        self.register_buffer("codebook", self._direct(torch.randn(size, dim)))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> indices (N,), codes (N, D) with a straight-through gradient, squared error (N,)."""
        return vq_lookup(self._direct(latents), self.codebook)

    @torch.no_grad()
    def initialise(self, latents: Tensor, generator: torch.Generator) -> None:
        """Draws the codes from latents (N, D), N of at least 1 over all ranks, unless that was done before.

        With `kmeans`, rounds of k-means on these latents follow (Lloyd 1982); a code without latents stays.
        """
        if bool(self.ready):
            return
        latents = self._direct(latents)
        drawn = draw_rows(latents, self.size, generator)
        noise = agree(torch.randn(self.size, self.dim, generator=generator).to(drawn))
        self.codebook.copy_(self._direct(drawn + _DRAW_NOISE * moments(latents.reshape(-1, 1))[1] * noise))
        for _ in range(_KMEANS_ROUNDS if self.kmeans else 0):
            counts, sums = self._statistics(latents, vq_lookup(latents, self.codebook)[0])
            means = self._direct(sums / counts.clamp(min=1)[:, None])
            self.codebook.copy_(torch.where(counts[:, None] > 0, means, self.codebook))
        self.counts.fill_(self.reset_threshold * count_rows(latents) / self.size)
        self.sums.copy_(self.codebook * self.counts[:, None])
        self.ready.fill_(True)

    @torch.no_grad()
    def update(self, latents: Tensor, indices: Tensor, pool: Tensor, generator: torch.Generator) -> None:
        """Moves the codes towards the mean of their latents; every `reset_every` steps replaces dead ones.

        Args:
            latents: (N, D) what was quantised.
            indices: (N,) the codes that it got.
            pool: (M, D) latents from which new codes may be drawn; none are drawn from an empty pool.
            generator: a CPU generator, the only source of chance.
        """
        latents, pool = self._direct(latents), self._direct(pool)
        counts, sums = self._statistics(latents, indices)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.steps += 1
        if int(self.steps) % self.reset_every == 0 and count_rows(pool):
            threshold = self.reset_threshold * count_rows(latents) / self.size
            dead = self.counts < threshold
            drawn = draw_rows(pool, int(dead.sum()), generator)
            self.counts[dead] = _RESET_COUNT * threshold
            self.sums[dead] = drawn * (_RESET_COUNT * threshold)
        self.codebook.copy_(self._direct(self.sums / self.counts.clamp(min=_MIN_COUNT)[:, None]))

    def _statistics(self, latents: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Counts (K,) and sums (K, D) over all ranks, in one exchange."""
        counts, sums = codebook_statistics(latents, indices, self.size)
        both = sum_over_ranks(torch.cat([counts[:, None], sums], 1))
        return both[:, 0], both[:, 1:]

    def _direct(self, rows: Tensor) -> Tensor:
        """Rows brought to length sqrt(D) if directions are compared; else as they are."""
        return F.normalize(rows, dim=-1) * self.dim**0.5 if self.cosine else rows


Level = EmaQuantizer | FiniteScalarQuantizer


class ResidualQuantizer(nn.Module):
    """Quantizers one after the other, each on what those before it left over; with one level, a plain quantizer."""

    def __init__(self, levels: list[Level]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> indices (N, R), the sum of the codes (N, D) straight through, mean squared error (N,).

        The error is averaged over the levels, so that the commitment weighs alike at any depth. Under autocast
        all of it stays in float32.
        """
        with torch.autocast(latents.device.type, enabled=False):
            return self._quantize(latents if latents.dtype == torch.float64 else latents.float())

    def _quantize(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if len(self.levels) == 1:
            index, quantized, error = self.levels[0](latents)
            return index[:, None], quantized, error
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
            if len(self.levels) > 1:
                latents = latents - level(latents)[1]

    @torch.no_grad()
    def update(self, latents: Tensor, indices: Tensor, visible: Tensor, generator: torch.Generator) -> None:
        """Updates every level: latents (N, D), indices (N, R), visible (N,) bool: what new codes may be drawn from."""
        for level, index in zip(self.quantizers(), indices.unbind(1), strict=True):
            codes = level.codebook[index] if len(self.levels) > 1 else None
            level.update(latents, index, latents[visible], generator)
            latents = latents if codes is None else latents - codes

    def embed(self, indices: Tensor) -> Tensor:
        """Indices (..., R) -> the sum of their codes (..., D)."""
        return torch.stack([q.codebook[i] for q, i in zip(self.quantizers(), indices.unbind(-1), strict=True)]).sum(0)

    def embed_probabilities(self, probabilities: Tensor) -> Tensor:
        """Distributions (..., R, K) -> the expected sum of codes (..., D)."""
        pairs = zip(self.quantizers(), probabilities.unbind(-2), strict=True)
        return torch.stack([p @ quantizer.codebook for quantizer, p in pairs]).sum(0)

    @property
    def ready(self) -> bool:
        """Whether every level has its codes."""
        return all(bool(level.ready) for level in self.quantizers())

    def quantizers(self) -> list[Level]:
        """The levels, first to last."""
        return [level for level in self.levels if isinstance(level, EmaQuantizer | FiniteScalarQuantizer)]
