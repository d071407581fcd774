"""The lookup on the CPU by 16-bit integers: a pass that proves its candidates, and float64 for these alone.

It needs numba (`pip install "shift-tokenizer[cpu]"`), which compiles the kernel at the first call (a second or two,
kept on disk after that).

Design:
- x and codes, moved by the mean of the codes, are rounded to 16-bit integers. Integer dot products are twice as many
  an instruction as float32 ones, and exact, so that the only error is that of the rounding, which is known: with
  x = x' + dx and c = c' + dc, |x.c - x'.c'| <= |dx| |c| + |x'| |dc| (Cauchy-Schwarz). Norms are scaled to 32000, so
  scores fit 32 bits by the same inequality, for any data.
- The codes are seen as groups of two. Each lane of the vector unit keeps the best and the second best of the groups
  that it meets, the number of the group in the low bits of the score.
- Every group whose score is within the error of the best is settled by the plain difference in float64. Where a lane's
  second best is within it too (under one row in a hundred on Gaussian data), the row's integer scores are made once
  more, and every code within the error is compared.
"""

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from .duplicates import without_duplicates
from .registry import Backend

_LARGEST_DIM = 4096  # numbers in a code
_LARGEST_CODEBOOK = 1 << 20  # codes
_WORTHWHILE = 1 << 28  # multiplications; below, importing numba costs more than it saves
_INSTALLED = importlib.util.find_spec("numba") is not None


def nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Rows x (N, D), codebook (K, D) -> indices (N,) int64; among equals the lowest."""
    from .microkernel import pack, scan

    rows = (x if x.dtype == torch.float64 else x.float()).detach().contiguous().numpy()
    packed = pack(codebook.detach().double().contiguous().numpy())
    index = torch.empty(len(x), dtype=torch.int64)
    threads = min(torch.get_num_threads(), max(1, len(x)))
    edges = [len(x) * i // threads for i in range(threads + 1)]

    def work(part: int) -> None:
        here = slice(edges[part], edges[part + 1])
        scan(rows[here], *packed, index.numpy()[here])

    if threads == 1:
        work(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    return index


def _supports(x: Tensor, codebook: Tensor) -> bool:
    fits = codebook.shape[1] <= _LARGEST_DIM and len(codebook) <= _LARGEST_CODEBOOK
    return _INSTALLED and fits and x.device.type == "cpu"


def _worthwhile(x: Tensor, codebook: Tensor) -> bool:
    return x.numel() * len(codebook) >= _WORTHWHILE


BACKEND = Backend("compiled", 20, _supports, without_duplicates(nearest), _worthwhile)
