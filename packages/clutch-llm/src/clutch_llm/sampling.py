"""How the next token is drawn, from chance that belongs to one text alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clutch_llm.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: what ``generation_config.json`` of a model folder holds.

    Attributes:
        temperature: divides the logits; finite, above 0.
        top_k: draw among the k likeliest alone; None for all.
        greedy: take the likeliest, whatever the rest says.
        guidance: classifier-free guidance (Ho and Salimans, 2022): logits are ``free + guidance * (given - free)``,
            with the text given and without it. 1 is off; above 1 the text counts for more, at twice the time.
    """

    temperature: float = 1.0
    top_k: int | None = None
    greedy: bool = False
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"Expected a temperature above 0, got {self.temperature}. Use greedy=True for the likeliest motion."
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"Expected top_k of at least 1 or None, got {self.top_k}.")
        if not 0 <= self.guidance < math.inf:
            raise ConfigError(f"Expected guidance of at least 0, got {self.guidance}. 1 is none, 2 to 4 is strong.")

    def draw(self, logits: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
        """Draw one index for each row by the inverse of its cumulative distribution.

        Args:
            logits: (N, V).
            chance: (N,) float64, uniform in [0, 1).

        Returns:
            (N,) int64.
        """
        if self.greedy:
            return logits.argmax(-1)
        wide = torch.float32 if logits.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        logits = logits.to(wide) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        reached = logits.softmax(-1).cumsum(-1)
        last = reached[:, -1:]
        wanted = torch.minimum(chance.to(wide)[:, None] * last, torch.nextafter(last, torch.zeros_like(last)))
        return torch.searchsorted(reached, wanted, right=True)[:, 0]


def chance_of(text: str, *, seed: int, index: int, count: int) -> np.ndarray:
    """The random numbers of one sample of one text: they depend on nothing else.

    Args:
        text: what the hands should do.
        seed: any integer.
        index: number of the sample among those of its text.
        count: how many numbers.

    Returns:
        Uniform in [0, 1), shape (count,) float64.
    """
    key = hashlib.sha256(f"{int(seed)}\n{int(index)}\n{text}".encode()).digest()
    words = [int(word) for word in np.frombuffer(key, dtype="<u4")]
    return np.random.default_rng(words).random(count)


def chances_of(texts: Sequence[str], *, seeds: Sequence[int], samples: int, count: int) -> np.ndarray:
    """The same for ``samples`` samples of each text in turn: (len(texts) * samples, count)."""
    pairs = zip(texts, seeds, strict=True)
    rows = [chance_of(t, seed=s, index=k, count=count) for t, s in pairs for k in range(samples)]
    return np.stack(rows) if rows else np.empty((0, count))


def seeds_of(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed for each of ``count`` texts, from one for all or one for each."""
    seeds = [seed] * count if isinstance(seed, int | np.integer) else [int(s) for s in seed]
    if len(seeds) != count:
        raise ConfigError(f"Expected one seed, or one for each of {count} texts, got {len(seeds)}.")
    return [int(s) for s in seeds]
