"""Several processes that train one tokenizer: sums over all of them, and chance that they share.

Without an initialised process group, or with one process, each function does the local thing and nothing
else. With more, every rank has to come by each call. `ensure_process_group` joins the processes of a `torchrun`.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def ensure_process_group() -> bool:
    """Joins the processes of a `torchrun`, unless there is one process or they were joined before.

    Tensors on CPUs travel by gloo, those on CUDA devices by NCCL. Each process takes the CUDA device of its local rank.

    Returns:
        whether the group was made here, so that the caller may end it (`torch.distributed.destroy_process_group`).
    """
    if not dist.is_available() or dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return True


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """`ensure_process_group` for the length of a block."""
    made = ensure_process_group()
    try:
        yield
    finally:
        if made:
            dist.destroy_process_group()


def world_size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of the ranks' tensors, without a gradient; the tensor itself where there is one process."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def any_over_ranks(flag: bool, device: torch.device) -> bool:
    """Whether it holds on any rank."""
    return bool(sum_over_ranks(torch.tensor(float(flag), device=device)) > 0)


def agree(tensor: Tensor) -> Tensor:
    """Rank 0's tensor, on every rank."""
    if world_size() == 1:
        return tensor
    sent = (tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor).clone()
    dist.broadcast(sent, 0)
    return sent.to(tensor.dtype)


def agree_on(value: Any, device: torch.device) -> Any:
    """Rank 0's plain value (what JSON holds, NaN too), on every rank; `device` is where tensors travel."""
    if world_size() == 1:
        return value
    content = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=device)
    size = agree(torch.tensor(len(content), device=device))
    received = agree(content if rank() == 0 else content.new_empty(int(size)))
    return json.loads(bytes(received.tolist()))


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces the gradients by their sums over all ranks, in one exchange."""
    if world_size() == 1:
        return
    tensors = list(parameters)
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in tensors])
    dist.all_reduce(flat)
    for parameter, grad in zip(tensors, flat.split([p.numel() for p in tensors]), strict=True):
        parameter.grad = grad.view_as(parameter)


def wait() -> None:
    """Returns when every rank has come here."""
    if world_size() > 1:
        dist.barrier()


def count_rows(rows: Tensor) -> int:
    """Rows of all ranks together."""
    return len(rows) if world_size() == 1 else int(sum(_lengths(rows)))


def draw_rows(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws from the rows (N, D) of all ranks, as if they stood one below the other: (count, D), alike everywhere.

    With replacement. Only what is drawn travels.
    """
    if world_size() == 1:
        return rows[torch.randint(len(rows), (count,), generator=generator).to(rows.device)]
    lengths = _lengths(rows)
    chosen = torch.randint(int(sum(lengths)), (count,), generator=generator)
    local = agree(chosen.to(rows.device)) - int(sum(lengths[: rank()]))
    mine = (local >= 0) & (local < len(rows))
    drawn = rows.new_zeros(count, rows.shape[1])
    drawn[mine] = rows[local[mine]]
    return sum_over_ranks(drawn)


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (dividing by the count) of each column of all ranks' rows (N, D)."""
    wide = rows.double()
    number = wide.new_full((1, wide.shape[1]), float(len(wide)))
    number, total, squares = sum_over_ranks(torch.cat([number, wide.sum(0)[None], wide.square().sum(0)[None]]))
    mean = total / number
    return mean.to(rows.dtype), (squares / number - mean.square()).clamp(min=0).sqrt().to(rows.dtype)


def _lengths(rows: Tensor) -> list[int]:
    """How many rows each rank has."""
    own = torch.zeros(world_size(), dtype=torch.int64, device=rows.device)
    own[rank()] = len(rows)
    lengths: list[int] = sum_over_ranks(own).tolist()
    return lengths
