"""How many rows each code stands for, and their sum: what running means need, without a one-hot matrix."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..errors import ShapeError
from .triton_backend import runs_triton


def codebook_statistics(
    x: Tensor, indices: Tensor, codebook_size: int, *, deterministic: bool = False
) -> tuple[Tensor, Tensor]:
    """How many rows each code stands for, and their sum, without a one-hot matrix.

    Args:
        x: (N, D) rows; no gradient passes.
        indices: (N,) int64, the code of each row, in [0, codebook_size).
        codebook_size: K.
        deterministic: add in a fixed order, so that equal input gives equal bits. A CPU always does; on a
            GPU it costs a sort. `torch.use_deterministic_algorithms` asks for it too.

    Returns:
        counts (K,) and sums (K, D), in x's type (float32 for half types).

    Raises:
        ShapeError: shapes do not fit, or, on a CPU, an index is too large. On a GPU that is a device-side assert.
    """
    if x.ndim != 2 or indices.shape != x.shape[:1]:
        raise ShapeError(
            f"Expected x (N, D) and indices (N,), got {tuple(x.shape)} and {tuple(indices.shape)}. Flatten both."
        )
    counts, sums = torch.ops.shift_tokenizer.codebook_statistics(x, indices, codebook_size, deterministic)
    return counts, sums


@torch.library.custom_op("shift_tokenizer::codebook_statistics", mutates_args=())
def _codebook_statistics(x: Tensor, indices: Tensor, codebook_size: int, deterministic: bool) -> tuple[Tensor, Tensor]:
    rows = x if x.dtype in (torch.float32, torch.float64) else x.float()
    _check_range(indices, codebook_size)
    fixed = deterministic or torch.are_deterministic_algorithms_enabled()
    if runs_triton(rows):
        from .triton_statistics import codebook_statistics as fused

        return fused(rows, indices, codebook_size, fixed)
    ones = rows.new_ones(len(rows))
    counts, sums = rows.new_zeros(codebook_size), rows.new_zeros(codebook_size, rows.shape[1])
    with _fixed_order(fixed and not rows.is_cpu):
        return counts.index_add_(0, indices, ones), sums.index_add_(0, indices, rows)


@contextmanager
def _fixed_order(wanted: bool) -> Iterator[None]:
    """Lets torch add in a fixed order on devices where it would not."""
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if wanted:
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        if wanted:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)


@_codebook_statistics.register_fake
def _(x: Tensor, indices: Tensor, codebook_size: int, deterministic: bool) -> tuple[Tensor, Tensor]:
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    return x.new_empty(codebook_size, dtype=dtype), x.new_empty(codebook_size, x.shape[1], dtype=dtype)


def _check_range(indices: Tensor, codebook_size: int) -> None:
    if not len(indices):
        return
    low, high = indices.aminmax()
    if indices.device.type == "cpu":
        if low < 0 or high >= codebook_size:
            wrong = int(low) if low < 0 else int(high)
            raise ShapeError(
                f"Expected indices from 0 to under {codebook_size}, got {wrong}. Pass the codebook's size."
            )
    else:
        torch._assert_async((low >= 0) & (high < codebook_size))
