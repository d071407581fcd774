"""When the Triton kernels may run. Triton itself is imported with the first of them, never with the package."""

import importlib.util
import os

import torch
from torch import Tensor

from .registry import Backend

_INSTALLED = importlib.util.find_spec("triton") is not None
_LARGEST_DIM = 1024  # beyond, a row and its code no longer pay for their way through the chip more than once


def runs_triton(x: Tensor) -> bool:
    """Whether a kernel can take this tensor: on CUDA, or anywhere when Triton interprets (TRITON_INTERPRET=1)."""
    return _INSTALLED and (x.is_cuda or interprets())


def interprets() -> bool:
    """Whether Triton was told to interpret its kernels on the CPU, as tests do."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _supports(x: Tensor, codebook: Tensor) -> bool:
    return runs_triton(x) and torch.float64 not in (x.dtype, codebook.dtype) and x.shape[1] <= _LARGEST_DIM


def _fused(x: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from .triton_lookup import lookup

    return lookup(x, codebook)


BACKEND = Backend(
    name="triton",
    priority=30,
    supports=_supports,
    nearest=lambda x, codebook: _fused(x, codebook)[0],
    worthwhile=lambda x, codebook: x.is_cuda,
    fused=_fused,
)
