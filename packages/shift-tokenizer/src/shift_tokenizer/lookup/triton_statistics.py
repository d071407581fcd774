"""Counts and sums per code as Triton kernels: one pass with atomic additions, or a fixed order after a sort."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

SCATTER = {"BLOCK_N": 32, "BLOCK_D": 64}
SEGMENT = {"BLOCK_N": 32, "BLOCK_D": 64}


@triton.jit
def scatter_kernel(x, index, counts, sums, N, D, stride_n, stride_d, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    """Adds BLOCK_N rows, BLOCK_D columns to the sums of their codes, and the rows to the counts."""
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    code = tl.load(index + n, mask=n < N, other=0)
    inside = (n[:, None] < N) & (d[None, :] < D)
    rows = tl.load(x + n[:, None] * stride_n + d[None, :] * stride_d, mask=inside, other=0.0)
    tl.atomic_add(sums + code[:, None] * D + d[None, :], rows, mask=inside, sem="relaxed")
    if tl.program_id(1) == 0:
        ones = tl.full((BLOCK_N,), 1.0, counts.dtype.element_ty)
        tl.atomic_add(counts + code, ones, mask=n < N, sem="relaxed")


@triton.jit
def segment_kernel(
    x, order, offsets, counts, sums, D, stride_n, stride_d, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Adds up BLOCK_D columns of the rows of one code, in the order in which they came."""
    code = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    first = tl.load(offsets + code)
    last = tl.load(offsets + code + 1)
    total = tl.zeros((BLOCK_D,), sums.dtype.element_ty)
    for start in range(first, last, BLOCK_N):
        place = start + tl.arange(0, BLOCK_N)
        n = tl.load(order + place, mask=place < last, other=0)
        inside = (place[:, None] < last) & (d[None, :] < D)
        total += tl.sum(tl.load(x + n[:, None] * stride_n + d[None, :] * stride_d, mask=inside, other=0.0), axis=0)
    tl.store(sums + code * D + d, total, mask=d < D)
    if tl.program_id(1) == 0:
        tl.store(counts + code, (last - first).to(counts.dtype.element_ty))


def codebook_statistics(x: Tensor, indices: Tensor, codebook_size: int, fixed_order: bool) -> tuple[Tensor, Tensor]:
    """Rows (N, D) float32 or float64, indices (N,) -> counts (K,), sums (K, D), in a fixed order or any."""
    n, dim = x.shape
    counts, sums = x.new_zeros(codebook_size), x.new_zeros(codebook_size, dim)
    if not n or not dim:
        return counts, sums
    if fixed_order:
        ordered, order = torch.sort(indices, stable=True)
        offsets = torch.searchsorted(ordered, torch.arange(codebook_size + 1, device=x.device))
        grid = (codebook_size, triton.cdiv(dim, SEGMENT["BLOCK_D"]))
        segment_kernel[grid](x, order, offsets, counts, sums, dim, *x.stride(), **SEGMENT)
    else:
        grid = (triton.cdiv(n, SCATTER["BLOCK_N"]), triton.cdiv(dim, SCATTER["BLOCK_D"]))
        scatter_kernel[grid](x, indices, counts, sums, n, dim, *x.stride(), **SCATTER)
    return counts, sums
