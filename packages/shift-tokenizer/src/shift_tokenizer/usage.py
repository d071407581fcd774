"""How well the codes are used: shares, perplexity, codes in use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import ShiftConfig


@dataclass(frozen=True)
class CodebookUsage:
    """Use of one codebook.

    Attributes:
        counts: (K,) how often each code was used.
        perplexity: exp of the entropy of the codes' shares: K if all are used alike, 1 if one is, 0 if none.
        in_use: share of the codes that were used at all, 0 to 1.
    """

    counts: Tensor
    perplexity: float
    in_use: float

    @property
    def dead(self) -> Tensor:
        """The codes that were never used, (n,) int64."""
        return (self.counts == 0).nonzero()[:, 0]


def usage_of_counts(counts: Tensor) -> CodebookUsage:
    """Usage from counts (K,)."""
    total = counts.sum()
    shares = counts.double() / total.clamp(min=1)
    entropy = -torch.special.xlogy(shares, shares).sum()
    perplexity = float(entropy.exp()) if total > 0 else 0.0
    return CodebookUsage(counts, perplexity, float((counts > 0).double().mean()))


def codebook_usage(
    tokens: Iterable[Tensor], config: ShiftConfig, *, valid: Sequence[Tensor] | None = None
) -> list[CodebookUsage]:
    """Usage of every codebook over tokens.

    Args:
        tokens: of each clip (L_i, n_slots), or batches (B, L, n_slots).
        config: of the tokenizer that made them.
        valid: if given, per clip (T_i, 2) bool: slots of a hand that is not seen in a step do not count.

    Returns:
        one entry per codebook.
    """
    counts = torch.zeros(config.n_codebooks, config.codebook_size, dtype=torch.int64)
    for number, clip in enumerate(tokens):
        ids = torch.as_tensor(clip).cpu().reshape(-1, config.n_slots)
        seen = torch.ones_like(ids, dtype=torch.bool) if valid is None else _seen_slots(valid[number], config)
        for slot, book in enumerate(config.slot_codebook):
            counts[book] += torch.bincount(ids[seen[:, slot], slot], minlength=config.codebook_size)
    return [usage_of_counts(row) for row in counts]


def _seen_slots(valid: Tensor, config: ShiftConfig) -> Tensor:
    """Valid (T, 2) -> (L, n_slots): whether the hands of a slot are seen within the step."""
    steps = torch.as_tensor(valid).bool().unflatten(0, (-1, config.frames_per_latent)).any(1)  # (L, 2)
    parts = steps if config.splits_parts else steps.any(1, keepdim=True)
    return parts.repeat_interleave(config.n_codebooks, 1)
