"""Nearest code: one operation with interchangeable backends, and the statistics that follow from it.

Every backend answers the same question: for each row of x (N, D), which row of the codebook (K, D) has the
smallest squared Euclidean distance; among equals the lowest index. Design:

- `reference` compares in float64, block by block, by the plain difference: short, slow, the truth in tests.
- `cpu` ranks by |c|^2 / 2 - x.c with blocked matrix products, so it holds a block and never N x K.
  Cancellation makes that inexact, so it bounds its own rounding error, and settles rows whose two best codes
  lie within the bound in float64, and those that are in doubt even there by the plain difference. Its answer
  is the reference's. `gemm` is the same on other devices.
- Further backends register themselves in `BACKENDS`; "auto" takes the highest in rank that supports x.

Gradients: `quantized` passes its gradient straight through to x (van den Oord et al. 2017), `sq_error` is
differentiable in x (commitment) and in the codebook.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .errors import BackendError, ShapeError

_SCORES_IN_BLOCK = 1 << 18
_CODES_IN_BLOCK = 4096


@dataclass(frozen=True)
class Backend:
    """One way to find the nearest codes.

    Attributes:
        name: what `vq_lookup(backend=...)` calls it.
        rank: "auto" prefers the highest among those that support the tensors.
        supports: whether it can take x (N, D) and codebook (K, D): device, type, shape.
        nearest: x (N, D), codebook (K, D) -> indices (N,) int64.
    """

    name: str
    rank: int
    supports: Callable[[Tensor, Tensor], bool]
    nearest: Callable[[Tensor, Tensor], Tensor]


BACKENDS: dict[str, Backend] = {}


def register_backend(backend: Backend) -> None:
    """Makes a backend known to `vq_lookup`; a second one of the same name replaces the first."""
    BACKENDS[backend.name] = backend


def vq_lookup(x: Tensor, codebook: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor, Tensor]:
    """Finds the nearest code of each row.

    Args:
        x: (N, D) floating point, finite; any strides; N may be 0.
        codebook: (K, D), same device, K of at least 1.
        backend: "auto", "reference", "cpu", or another registered name.

    Returns:
        indices (N,) int64; quantized (N, D), the codes in x's type, whose gradient goes straight through to
        x; sq_error (N,), the squared distance, differentiable in x and the codebook.

    Raises:
        ShapeError: shapes, types or devices do not fit.
        BackendError: the backend is unknown or does not support these tensors.
    """
    _check(x, codebook)
    chosen = _choose(x, codebook, backend)
    with torch.no_grad():
        indices = chosen.nearest(x.detach(), codebook.detach())
    quantized, sq_error = _StraightThrough.apply(x, codebook, indices)
    return indices, quantized, sq_error


def codebook_statistics(x: Tensor, indices: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """How many rows each code stands for, and their sum, without a one-hot matrix.

    Args:
        x: (N, D) rows.
        indices: (N,) int64, the code of each row, in [0, codebook_size).
        codebook_size: K.

    Returns:
        counts (K,) and sums (K, D), in x's type (float32 for half types).
    """
    if x.ndim != 2 or indices.shape != x.shape[:1]:
        raise ShapeError(
            f"Expected x (N, D) and indices (N,), got {tuple(x.shape)} and {tuple(indices.shape)}. Flatten both."
        )
    rows = x if x.dtype in (torch.float32, torch.float64) else x.float()
    counts = torch.bincount(indices, minlength=codebook_size)
    if counts.shape[0] != codebook_size:
        raise ShapeError(f"Expected indices under {codebook_size}, got {int(indices.max())}. Pass the codebook's size.")
    sums = rows.new_zeros(codebook_size, rows.shape[1]).index_add_(0, indices, rows)
    return counts.to(rows.dtype), sums


class _StraightThrough(torch.autograd.Function):
    """Gathers codes and squared errors, given the indices; the gradients are those of the module docstring."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codebook: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        codes = codebook.index_select(0, indices)
        difference = x.to(codes.dtype) - codes
        ctx.save_for_backward(difference, indices)
        ctx.codebook_shape, ctx.dtypes = codebook.shape, (x.dtype, codebook.dtype)
        return codes.to(x.dtype), difference.square().sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_quantized: Tensor, grad_error: Tensor) -> tuple[Tensor | None, ...]:
        difference, indices = ctx.saved_tensors
        to_x = 2 * grad_error[:, None] * difference
        grad_x = grad_codebook = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_quantized + to_x).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            grad_codebook = to_x.new_zeros(ctx.codebook_shape).index_add_(0, indices, to_x).neg_()
        return grad_x, grad_codebook, None


def _nearest_reference(x: Tensor, codebook: Tensor) -> Tensor:
    rows, codes = x.double(), codebook.double()
    block = max(1, (1 << 22) // codes.numel())
    parts = [
        (part[:, None] - codes).square().sum(-1).argmin(1)  # (b, K, D) -> (b,)
        for part in rows.split(block)
    ]
    return torch.cat(parts)


def _nearest_blocked(x: Tensor, codebook: Tensor) -> Tensor:
    dtype = torch.float64 if torch.float64 in (x.dtype, codebook.dtype) else torch.float32
    rows, codes = x.to(dtype), codebook.to(dtype)
    half_norms = codes.square().sum(1).mul_(0.5)  # (K,)
    largest = float(half_norms.max()) if rows.numel() else 0.0
    block = max(1, _SCORES_IN_BLOCK // min(len(codes), _CODES_IN_BLOCK))
    parts = [_nearest_block(part, codes, half_norms, largest) for part in rows.split(block)]
    return torch.cat(parts)


def _nearest_block(rows: Tensor, codes: Tensor, half_norms: Tensor, largest: float) -> Tensor:
    """Nearest codes of a block of rows (b, D), settling near-ties exactly."""
    best = rows.new_full((len(rows),), torch.inf)
    second = best.clone()
    index = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for start in range(0, len(codes), _CODES_IN_BLOCK):
        stop = start + _CODES_IN_BLOCK
        scores = torch.addmm(half_norms[start:stop], rows, codes[start:stop].T, alpha=-1)  # (b, k), half scale
        value, where = scores.min(1)
        scores.scatter_(1, where[:, None], torch.inf)
        rival = torch.minimum(torch.maximum(best, value), scores.amin(1))
        second = torch.minimum(second, rival)
        index = torch.where(value < best, where + start, index)
        best = torch.minimum(best, value)
    # |fl(score) - score| <= (D + 2) u (|x| |c| + |c|^2 / 2); twice that, for two scores, with some room.
    unit = torch.finfo(rows.dtype).eps
    reach = rows.norm(dim=1) * (2 * largest) ** 0.5 + largest
    doubtful = ~(second - best > (rows.shape[1] + 4) * unit * reach)
    if doubtful.any():
        finer = _nearest_reference if rows.dtype == torch.float64 else _nearest_blocked
        index[doubtful] = finer(rows[doubtful].double(), codes.double())
    return index


def _check(x: Tensor, codebook: Tensor) -> None:
    if x.ndim != 2 or codebook.ndim != 2 or x.shape[1] != codebook.shape[1] or 0 in codebook.shape:
        raise ShapeError(
            f"Expected x (N, D) and a codebook (K, D) with K and D of at least 1, got {tuple(x.shape)} and "
            f"{tuple(codebook.shape)}. Flatten x to rows of the codebook's width."
        )
    if not (x.is_floating_point() and codebook.is_floating_point()) or x.device != codebook.device:
        raise ShapeError(
            f"Expected floating point tensors on one device, got {x.dtype} on {x.device} and {codebook.dtype} on "
            f"{codebook.device}. Convert or move one of them."
        )


def _choose(x: Tensor, codebook: Tensor, name: str) -> Backend:
    if name == "auto":
        return max((b for b in BACKENDS.values() if b.supports(x, codebook)), key=lambda b: b.rank)
    if name not in BACKENDS:
        raise BackendError(f"Expected a backend of auto, {', '.join(sorted(BACKENDS))}, got {name!r}. Choose one.")
    if not BACKENDS[name].supports(x, codebook):
        raise BackendError(
            f"Expected tensors that backend {name!r} supports, got {x.dtype} on {x.device}. Use backend='auto'."
        )
    return BACKENDS[name]


register_backend(Backend("reference", 0, lambda x, codebook: True, _nearest_reference))
register_backend(Backend("cpu", 10, lambda x, codebook: x.device.type == "cpu", _nearest_blocked))
register_backend(Backend("gemm", 5, lambda x, codebook: x.device.type != "cpu", _nearest_blocked))
