"""Nearest code: one operation with interchangeable backends, and the statistics that follow from it.

Every backend answers the same question: for each row of x (N, D), which row of the codebook (K, D) has the
smallest squared Euclidean distance; among equals the lowest index. None ever holds N x K distances.

| backend | where | how |
|---|---|---|
| `reference` | anywhere | the plain difference in float64, block by block: short, slow, the truth in tests |
| `cpu` | CPU | blocked matrix products, minima of groups of codes, doubtful rows settled in float64 |
| `compiled` | CPU, with numba | a 16-bit integer pass that proves its candidates, which are settled in float64 |
| `gemm` | other devices | what `cpu` does |
| `triton` | CUDA, with Triton | one fused kernel: nearest code, gather, squared error |

`vq_lookup(backend="auto")` takes the highest in priority that supports the tensors. Further backends can be added with
`register_backend`. docs/lookup.md has the figures.
"""

from . import blocked, compiled, reference, triton_backend
from .operator import vq_lookup
from .registry import BACKENDS, Backend, register_backend
from .statistics import codebook_statistics

register_backend(reference.BACKEND)
register_backend(blocked.CPU)
register_backend(blocked.GEMM)
register_backend(compiled.BACKEND)
register_backend(triton_backend.BACKEND)

__all__ = ["BACKENDS", "Backend", "codebook_statistics", "register_backend", "vq_lookup"]
