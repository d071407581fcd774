"""The lookup as one Triton kernel: nearest code, gather and squared error; N x K never leaves the chip.

Design:
- A program holds BLOCK_N rows and walks through the codebook in tiles of BLOCK_K codes, keeping the best score and the
  runner-up's of each row. Scores are |c|^2 / 2 - x.c, moved by the mean of the codes, with products of three TF32
  parts (`tf32x3`, near float32 on tensor cores) or of full float32 (`ieee`) where there is no TF32.
- Rows whose two best scores lie closer than a bound on the rounding are marked. A second launch, without asking
  the host, settles those by the plain difference in float64: one program a row, which ends at once for the others.
- Ties go to the lowest index. Addresses are 64-bit.

`CONFIGS` is all that autotuning may choose from; a test compiles each and checks registers, shared memory and stack.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .triton_backend import interprets

_SMALL = [
    triton.Config({"BLOCK_N": 64, "BLOCK_K": 32}, num_warps=4, num_stages=2),
    triton.Config({"BLOCK_N": 128, "BLOCK_K": 32}, num_warps=8, num_stages=2),
    triton.Config({"BLOCK_N": 32, "BLOCK_K": 64}, num_warps=4, num_stages=2),
]
_LARGE = [
    triton.Config({"BLOCK_N": 64, "BLOCK_K": 64}, num_warps=4, num_stages=2),
    triton.Config({"BLOCK_N": 128, "BLOCK_K": 64}, num_warps=8, num_stages=2),
]
# By compute capability, from this one on: before Hopper the large tiles spill.
CONFIGS = {80: _SMALL, 90: _SMALL + _LARGE}
# What a product of this kind may round away, relative to |x| |c|, for each of D terms: twice float32's unit
# roundoff, and eight times that for tf32x3, which drops the product of the low parts and adds by truncation.
UNITS = {"ieee": 2.0**-23, "tf32x3": 2.0**-20}
TAIL_D = 16
SETTLE = {"BLOCK_K": 64, "BLOCK_D": 16}


@triton.jit
def _rows(x, n, d, N, D: tl.constexpr):
    """Rows n, columns d of x, zero outside: (BLOCK_N, BLOCK_D) float32."""
    return tl.load(x + n[:, None] * D + d[None, :], mask=(n[:, None] < N) & (d[None, :] < D), other=0.0).to(tl.float32)


@triton.jit
def _codes(codes, k, d, K, D: tl.constexpr):
    """Codes k (moved to the centre), columns d, transposed: (BLOCK_D, BLOCK_K)."""
    return tl.load(
        codes + k[None, :].to(tl.int64) * D + d[:, None], mask=(k[None, :] < K) & (d[:, None] < D), other=0.0
    )


@triton.jit
def nearest_kernel(
    x,  # (N, D), contiguous
    codebook,  # (K, D) float32, contiguous
    codes,  # (K, D), the codebook less the centre
    half_norms,  # (K,), of these codes
    centre,  # (D,)
    longest,  # (1,), the longest norm of these codes
    index,  # (N,) int64
    quantized,  # (N, D) float32
    error,  # (N,) float32
    doubt,  # (N,) int8
    N,
    K,
    D: tl.constexpr,
    UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TAIL_D: tl.constexpr,  # columns at a time in gather and error, where more would not fit the registers
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Best code, its row, its squared error, and whether float64 must settle it, for BLOCK_N rows."""
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    column = tl.arange(0, BLOCK_K)
    chunk = tl.arange(0, BLOCK_D)
    best = tl.full((BLOCK_N,), float("inf"), tl.float32)
    second = tl.full((BLOCK_N,), float("inf"), tl.float32)
    found = tl.zeros((BLOCK_N,), tl.int32)
    if D <= BLOCK_D:  # rows are loaded once; columns beyond D meet zeros of the codes
        rows = _rows(x, n, chunk, N, D) - tl.load(centre + chunk, mask=chunk < D, other=0.0)[None, :]
    for first in range(0, K, BLOCK_K):
        k = first + column
        if D <= BLOCK_D:
            product = tl.dot(rows, _codes(codes, k, chunk, K, D), input_precision=PRECISION)
        else:
            product = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
            for start in range(0, D, BLOCK_D):
                d = start + chunk
                part = _rows(x, n, d, N, D) - tl.load(centre + d, mask=d < D, other=0.0)[None, :]
                product = tl.dot(part, _codes(codes, k, d, K, D), product, input_precision=PRECISION)
        score = tl.load(half_norms + k, mask=k < K, other=float("inf"))[None, :] - product  # (BLOCK_N, BLOCK_K)
        value, local = tl.min(score, axis=1, return_indices=True)  # the leftmost of equals
        rival = tl.min(tl.where(column[None, :] == local[:, None], float("inf"), score), axis=1)
        second = tl.minimum(tl.minimum(second, rival), tl.maximum(best, value))
        found = tl.where(value < best, first + local, found)
        best = tl.minimum(best, value)
    square = tl.zeros((BLOCK_N,), tl.float32)
    norm = tl.zeros((BLOCK_N,), tl.float32)
    for start in range(0, D, TAIL_D):
        d = start + tl.arange(0, TAIL_D)
        inside = (n[:, None] < N) & (d[None, :] < D)
        part = _rows(x, n, d, N, D)
        code = tl.load(codebook + found.to(tl.int64)[:, None] * D + d[None, :], mask=inside, other=0.0)
        tl.store(quantized + n[:, None] * D + d[None, :], code, mask=inside)
        square += tl.sum((part - code) * (part - code), axis=1)
        moved = part - tl.load(centre + d, mask=d < D, other=0.0)[None, :]
        norm += tl.sum(moved * moved, axis=1)
    far = tl.load(longest)
    bound = (D + 8) * UNIT * (tl.sqrt(norm) * far + far * far)
    tl.store(index + n, found.to(tl.int64), mask=n < N)
    tl.store(error + n, square, mask=n < N)
    tl.store(doubt + n, tl.where(second - best > bound, 0, 1).to(tl.int8), mask=n < N)


@triton.jit
def settle_kernel(
    x, codebook, index, quantized, error, doubt, K, D: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr
):
    """One row, if it is marked: the nearest code by the plain difference in float64."""
    n = tl.program_id(0).to(tl.int64)
    if tl.load(doubt + n) != 0:
        chunk = tl.arange(0, BLOCK_D)
        best = tl.full((), float("inf"), tl.float64)
        found = tl.full((), 0, tl.int32)
        for first in range(0, K, BLOCK_K):
            k = first + tl.arange(0, BLOCK_K)
            distance = tl.zeros((BLOCK_K,), tl.float64)
            for start in range(0, D, BLOCK_D):
                d = start + chunk
                inside = (k[:, None] < K) & (d[None, :] < D)
                row = tl.load(x + n * D + d, mask=d < D, other=0.0).to(tl.float64)
                code = tl.load(codebook + k[:, None].to(tl.int64) * D + d[None, :], mask=inside, other=0.0)
                difference = tl.where(inside, row[None, :] - code.to(tl.float64), 0.0)
                distance += tl.sum(difference * difference, axis=1)
            distance = tl.where(k < K, distance, float("inf"))
            value, local = tl.min(distance, axis=0, return_indices=True)
            found = tl.where(value < best, first + local, found)
            best = tl.minimum(best, value)
        tl.store(index + n, found.to(tl.int64))
        tl.store(error + n, best.to(tl.float32))
        for start in range(0, D, BLOCK_D):
            d = start + chunk
            code = tl.load(codebook + found.to(tl.int64) * D + d, mask=d < D, other=0.0)
            tl.store(quantized + n * D + d, code, mask=d < D)


def chunk_size(dim: int) -> int:
    """BLOCK_D for rows of this width: all of it, from 16 (`tl.dot` takes no less) to 64, else 32 at a time."""
    return max(16, triton.next_power_of_2(dim)) if dim <= 64 else 32


def lookup(x: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows x (N, D), codebook (K, D) -> indices (N,) int64, codes (N, D), squared error (N,), in the wider type."""
    n, dim = x.shape
    dtype = torch.promote_types(x.dtype, codebook.dtype)
    originals = codebook.float().contiguous()
    centre = originals.mean(0)
    codes = originals - centre
    half_norms = codes.square().sum(1).mul_(0.5)
    longest = half_norms.amax().mul(2).sqrt().reshape(1)
    index = torch.empty(n, dtype=torch.int64, device=x.device)
    quantized = torch.empty(n, dim, device=x.device)
    error = torch.empty(n, device=x.device)
    doubt = torch.empty(n, dtype=torch.int8, device=x.device)
    if n:
        precision = _precision(x)
        outputs = (index, quantized, error, doubt)
        sizes = (n, len(codes), dim)
        shared = {"UNIT": UNITS[precision], "PRECISION": precision, "BLOCK_D": chunk_size(dim), "TAIL_D": TAIL_D}
        rows = x.contiguous()
        inputs = (rows, originals, codes, half_norms, centre, longest)
        if interprets():
            config = CONFIGS[80][0].kwargs
            nearest_kernel[(triton.cdiv(n, config["BLOCK_N"]),)](*inputs, *outputs, *sizes, **shared, **config)
        else:
            grid = lambda config: (triton.cdiv(n, config["BLOCK_N"]),)  # noqa: E731
            _tuned(_generation(x))[grid](*inputs, *outputs, *sizes, **shared)
        settle_kernel[(n,)](rows, originals, *outputs, *sizes[1:], **SETTLE)
    return index, quantized.to(dtype), error.to(dtype)


@cache
def _tuned(generation: int) -> Any:
    return triton.autotune(CONFIGS[generation], key=["K", "D"])(nearest_kernel)


def _generation(x: Tensor) -> int:
    return 90 if torch.version.hip is None and torch.cuda.get_device_capability(x.device) >= (9, 0) else 80


def _precision(x: Tensor) -> str:
    """`tf32x3` where there are TF32 tensor cores, full float32 elsewhere."""
    if not x.is_cuda or torch.version.hip is not None:
        return "ieee"
    return "tf32x3" if torch.cuda.get_device_capability(x.device) >= (8, 0) else "ieee"
