"""The lookup by blocked matrix products, exact.

Design:
- Codes are ordered by |c|^2 / 2 - x.c. A block of scores (k codes, b rows) stays in the cache, and nothing larger is
  ever made.
- An argmin over all scores costs as much as the matrix product. So the codes are dealt into about sqrt(K) groups:
  one pass takes the minimum of each group, and only the winning group is searched for its code.
- x and codes are moved by the mean of the codes first, so that a cloud far from the origin loses no digits.
- Rounding makes scores inexact. Where the best two scores of a row lie closer than a bound on it, every code within the
  bound is compared by the plain difference in float64. The answer is the reference's. Equal codes, which resets of dead
  codes leave behind, cost such a row a second product and no more.
"""

import torch
from torch import Tensor

from .duplicates import without_duplicates
from .reference import nearest as reference
from .registry import Backend

_SCORES_IN_BLOCK = 1 << 19  # 2 MiB of float32, which the second cache holds
_CODES_IN_BLOCK = 4096  # at most; larger codebooks are gone through in parts
_NUMBERS_IN_COMPARISON = 1 << 20  # 8 MiB of float64 for the candidates that are compared at once
_FEW = 1 << 18  # multiplications; below, the reference is as fast


def nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Rows x (N, D), codebook (K, D) -> indices (N,) int64; among equals the lowest."""
    dtype = torch.float64 if torch.float64 in (x.dtype, codebook.dtype) else torch.float32
    if not len(x):
        return torch.zeros(0, dtype=torch.int64, device=x.device)
    centre = codebook.to(dtype).mean(0)
    rows, codes = x.to(dtype) - centre, codebook.to(dtype) - centre
    blocks = [_CodeBlock(part, start) for part, start in _split(codes)]
    wide = max(len(block.codes) for block in blocks)
    size = min(len(rows), max(1, _SCORES_IN_BLOCK // wide))
    scratch = rows.new_empty(wide * size)
    found = [_nearest_in_blocks(part, blocks, scratch) for part in rows.split(size)]
    index, best, gap = (torch.cat(column) for column in zip(*found, strict=True))
    bound = _rounding(rows, codes)
    doubtful = (~(gap > bound)).nonzero()[:, 0]
    for part in doubtful.split(size) if len(doubtful) else ():
        pairs = _candidates(rows[part], (best + bound)[part], blocks, scratch)
        index[part] = _settle(x[part], codebook, *pairs, index[part])
    return index


def _candidates(rows: Tensor, limit: Tensor, blocks: list["_CodeBlock"], scratch: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (b, D), limit (b,) -> which of the rows and which codes (P,) have a score within the limit."""
    found = [(_scores(rows, block, scratch) <= limit).nonzero() + _shift(block, rows) for block in blocks]
    pairs = torch.cat(found)
    return pairs[:, 1], pairs[:, 0]


def _shift(block: "_CodeBlock", rows: Tensor) -> Tensor:
    return torch.tensor([block.start, 0], device=rows.device)


def _settle(x: Tensor, codebook: Tensor, row: Tensor, code: Tensor, index: Tensor) -> Tensor:
    """Chooses by the plain difference in float64 among the pairs (P,) of a row of x (b, D) and a code."""
    size = max(1, _NUMBERS_IN_COMPARISON // x.shape[1])
    distance = torch.cat([
        (x[r].double() - codebook[c].double()).square().sum(1)
        for r, c in zip(row.split(size), code.split(size), strict=True)
    ])  # fmt: skip
    least = torch.full(x.shape[:1], torch.inf, dtype=torch.float64, device=x.device)
    nearest = distance == least.scatter_reduce_(0, row, distance, "amin")[row]
    lowest = torch.full_like(index, len(codebook)).scatter_reduce_(0, row[nearest], code[nearest], "amin")
    return torch.where(lowest < len(codebook), lowest, index)


def _rounding(rows: Tensor, codes: Tensor) -> Tensor:
    """A bound (N,) on the rounding error of the difference of two scores of a row.

    |fl(score) - score| <= (D + 4) u (|x| |c| + |c|^2 / 2) for unit roundoff u, two of them for taking the mean away
    from both; twice that for two scores, with some room.
    """
    longest = codes.norm(dim=1).amax()
    reach = rows.norm(dim=1) * longest + longest.square()
    return (rows.shape[1] + 6) * _epsilon(rows) * reach


def _epsilon(rows: Tensor) -> float:
    """Twice the unit roundoff of a matrix product of this type, as torch is set to compute it."""
    if rows.dtype == torch.float32:
        precision = torch.get_float32_matmul_precision()
        if precision != "highest":  # factors may be rounded to TF32 or bfloat16 first
            return {"high": 2.0**-9, "medium": 2.0**-6}[precision]
    return torch.finfo(rows.dtype).eps


def _split(codes: Tensor) -> list[tuple[Tensor, int]]:
    return [(codes[i : i + _CODES_IN_BLOCK], i) for i in range(0, len(codes), _CODES_IN_BLOCK)]


class _CodeBlock:
    """Some of the codes (k, D), filled up with codes infinitely far away so that they make G groups of g."""

    def __init__(self, codes: Tensor, start: int) -> None:
        self.start = start
        self.group = max(1, round(len(codes) ** 0.5))  # g
        self.groups = -(-len(codes) // self.group)  # G
        missing = self.group * self.groups - len(codes)
        half_norms = codes.square().sum(1).mul_(0.5)
        self.codes = torch.cat([codes, codes.new_zeros(missing, codes.shape[1])])
        self.half_norms = torch.cat([half_norms, half_norms.new_full((missing,), torch.inf)])[:, None]


def _nearest_in_blocks(rows: Tensor, blocks: list[_CodeBlock], scratch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (b, D) -> the best code (b,), its score (b,), and by how much it leads (b,)."""
    best = rows.new_full((len(rows),), torch.inf)
    second = best.clone()
    index = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for block in blocks:
        where, value, rival = _best_two(rows, block, scratch)
        second = torch.minimum(torch.minimum(second, rival), torch.maximum(best, value))
        index = torch.where(value < best, where, index)
        best = torch.minimum(best, value)
    return index, best, second - best


def _scores(rows: Tensor, block: _CodeBlock, scratch: Tensor) -> Tensor:
    """Rows (b, D) -> scores (k, b), in the scratch memory."""
    scores = scratch[: len(block.codes) * len(rows)].view(len(block.codes), len(rows))
    return torch.addmm(block.half_norms, block.codes, rows.T, alpha=-1, out=scores)


def _best_two(rows: Tensor, block: _CodeBlock, scratch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (b, D) -> index (b,) of the best code of the block, its score and the runner-up's (b,)."""
    b = len(rows)
    grouped = _scores(rows, block, scratch).view(block.group, block.groups, b)  # code G * i + column
    minima = grouped.amin(0)  # (G, b)
    best, column = minima.min(0)
    second = minima.scatter_(0, column[None], torch.inf).amin(0)
    winners = grouped.gather(1, column.expand(block.group, 1, b))[:, 0]  # (g, b)
    _, position = winners.min(0)
    within = winners.scatter_(0, position[None], torch.inf).amin(0)
    return position * block.groups + column + block.start, best, torch.minimum(second, within)


def _nearest_on_cpu(x: Tensor, codebook: Tensor) -> Tensor:
    """As `nearest`; a few rows are compared plainly, which is then four times as fast."""
    return (reference if x.numel() * len(codebook) <= _FEW else _among_distinct)(x, codebook)


_among_distinct = without_duplicates(nearest)
CPU = Backend("cpu", 10, lambda x, codebook: x.device.type == "cpu", _nearest_on_cpu)
GEMM = Backend("gemm", 5, lambda x, codebook: x.device.type != "cpu", nearest)
