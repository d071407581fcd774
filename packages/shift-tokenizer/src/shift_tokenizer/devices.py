"""Where a tokenizer works: the accelerator that is there, or the one that was asked for."""

import os

import torch

from .errors import ConfigError


def find_device(name: str | torch.device = "auto") -> torch.device:
    """The device of a name.

    Args:
        name: "auto": a CUDA device if there is one, else the CPU (nearest codes are settled in float64, which Apple's
            GPUs have not); else a name that torch knows, such as "cpu" or "cuda:1". Under `torchrun`, "auto" and
            "cuda" are the device of this process's local rank.

    Raises:
        ConfigError: the name is none, or there is no such device.
    """
    if str(name) == "auto":
        return find_device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device: expected 'auto', 'cpu', 'cuda' or 'cuda:N', got {name!r}. Correct it.") from error
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
    if index >= count:
        raise ConfigError(f"device: expected one of {count} CUDA devices, got number {index}. Take 'cpu' or 'auto'.")
    return torch.device("cuda", index)
