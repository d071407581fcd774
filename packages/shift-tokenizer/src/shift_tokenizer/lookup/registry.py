"""The backends that `vq_lookup` knows, and which of them takes a given pair of tensors."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..errors import BackendError


@dataclass(frozen=True)
class Backend:
    """One way to find the nearest codes.

    Attributes:
        name: what `vq_lookup(backend=...)` calls it.
        priority: "auto" prefers the highest among those that support the tensors and pay off for them.
        supports: whether it can take x (N, D) and codebook (K, D): device, type, shape.
        nearest: x (N, D), codebook (K, D) -> indices (N,) int64.
        worthwhile: whether "auto" should consider it for these tensors; always, unless said otherwise.
        fused: if there is one, x, codebook -> indices (N,), codes (N, D), squared error (N,) in a single pass.
    """

    name: str
    priority: int
    supports: Callable[[Tensor, Tensor], bool]
    nearest: Callable[[Tensor, Tensor], Tensor]
    worthwhile: Callable[[Tensor, Tensor], bool] = lambda x, codebook: True
    fused: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] | None = None


BACKENDS: dict[str, Backend] = {}


def register_backend(backend: Backend) -> None:
    """Makes a backend known to `vq_lookup`; a second one of the same name replaces the first."""
    BACKENDS[backend.name] = backend


def choose_backend(x: Tensor, codebook: Tensor, name: str) -> Backend:
    """The backend of that name, or for "auto" the best one for these tensors.

    Raises:
        BackendError: it is unknown, or does not support these tensors.
    """
    if name == "auto":
        able = (b for b in BACKENDS.values() if b.supports(x, codebook) and b.worthwhile(x, codebook))
        return max(able, key=lambda b: b.priority)
    if name not in BACKENDS:
        raise BackendError(f"Expected a backend of auto, {', '.join(sorted(BACKENDS))}, got {name!r}. Choose one.")
    if not BACKENDS[name].supports(x, codebook):
        raise BackendError(
            f"Expected tensors that backend {name!r} supports on this machine, got x {tuple(x.shape)} {x.dtype} on "
            f"{x.device} and {len(codebook)} codes. Use backend='auto'."
        )
    return BACKENDS[name]
