"""Equal codes, which resets of dead codes leave behind, looked up once.

They are exact ties: every one of them would be a candidate for each row near it, to be compared in float64.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_WORTHWHILE = 1 << 16  # numbers in x; below, the search for equals costs more than it saves

Nearest = Callable[[Tensor, Tensor], Tensor]


def without_duplicates(nearest: Nearest) -> Nearest:
    """The same lookup, made among codes (K, D) of which no two are equal; its answer is the lowest of equal ones."""

    def lookup(x: Tensor, codebook: Tensor) -> Tensor:
        first = _first_of_equals(codebook) if x.numel() >= _WORTHWHILE else None
        return nearest(x, codebook) if first is None else first[nearest(x, codebook[first])]

    return lookup


def _first_of_equals(codebook: Tensor) -> Tensor | None:
    """The codes (U,) that no equal code comes before, in order; None if no two are equal."""
    if not _may_have_equals(codebook):
        return None
    distinct, group = codebook.unique(dim=0, return_inverse=True)
    if len(distinct) == len(codebook):
        return None
    numbers = torch.arange(len(codebook), device=codebook.device)
    lowest = torch.full((len(distinct),), len(codebook), device=codebook.device)
    return lowest.scatter_reduce_(0, group, numbers, "amin").sort().values


def _may_have_equals(codebook: Tensor) -> bool:
    """Whether two codes have the same hash: a weighted sum of their bits, in integers, which wrap around."""
    bits = codebook.detach().float().contiguous().view(torch.int32).long()
    factors = torch.arange(1, 2 * codebook.shape[1], 2, device=codebook.device) * 0x9E3779B97F4A7C1
    hashes = (bits * factors).sum(1)
    return bool((hashes.sort().values.diff() == 0).any())
