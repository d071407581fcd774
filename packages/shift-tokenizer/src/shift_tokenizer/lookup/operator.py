"""`vq_lookup`: a torch custom operator around the backends, with its gradients.

Gradients: `quantized` passes its gradient straight through to x (van den Oord et al. 2017), `sq_error` is
differentiable in x (commitment) and in the codebook. Because the operator is registered with a fake and its
autograd, `torch.compile` passes through it without a graph break.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import ShapeError
from .registry import choose_backend


def vq_lookup(x: Tensor, codebook: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor, Tensor]:
    """Finds the nearest code of each row.

    Args:
        x: (N, D) floating point, finite; any strides; N may be 0.
        codebook: (K, D), same device, K of at least 1.
        backend: "auto", "reference", "cpu", "compiled", "gemm", "triton", or another registered name.

    Returns:
        indices (N,) int64; quantized (N, D), the codes in x's type, whose gradient goes straight through to
        x; sq_error (N,), the squared distance, differentiable in x and the codebook, once.

    Raises:
        ShapeError: shapes, types or devices do not fit.
        BackendError: the backend is unknown or does not support these tensors.
    """
    _check(x, codebook)
    indices, codes, sq_error = torch.ops.shift_tokenizer.vq_lookup(x, codebook, backend)
    return indices, codes.to(x.dtype), sq_error


def gather_codes(x: Tensor, codebook: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (N, D) of these indices, in the wider of both types, and the squared errors (N,)."""
    codes = codebook.index_select(0, indices).to(torch.promote_types(x.dtype, codebook.dtype))
    return codes, (x - codes).square().sum(1)


@torch.library.custom_op("shift_tokenizer::vq_lookup", mutates_args=())
def _vq_lookup(x: Tensor, codebook: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    chosen = choose_backend(x, codebook, backend)
    if chosen.fused is not None:
        return chosen.fused(x, codebook)
    indices = chosen.nearest(x, codebook)
    return indices, *gather_codes(x, codebook, indices)


@_vq_lookup.register_fake
def _(x: Tensor, codebook: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.promote_types(x.dtype, codebook.dtype)
    n, d = x.shape
    return x.new_empty(n, dtype=torch.int64), x.new_empty(n, d, dtype=dtype), x.new_empty(n, dtype=dtype)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: tuple[Tensor, Tensor, Tensor]) -> None:
    # The codes that were gathered, not the codebook: training changes that in place before going backward.
    x, codebook, _ = inputs
    indices, codes, _ = output
    ctx.mark_non_differentiable(indices)
    ctx.save_for_backward(x, codes, indices)
    ctx.codebook_like = codebook.shape, codebook.dtype


@once_differentiable
def _backward(ctx: Any, _: Tensor, grad_codes: Tensor, grad_error: Tensor) -> tuple[Tensor | None, ...]:
    x, codes, indices = ctx.saved_tensors
    shape, dtype = ctx.codebook_like
    to_x = 2 * grad_error[:, None] * (x - codes)
    grad_x = grad_codebook = None
    if ctx.needs_input_grad[0]:
        grad_x = (grad_codes + to_x).to(x.dtype)
    if ctx.needs_input_grad[1]:
        grad_codebook = to_x.new_zeros(shape).index_add_(0, indices, to_x).neg_().to(dtype)
    return grad_x, grad_codebook, None


_vq_lookup.register_autograd(_backward, setup_context=_save)


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
