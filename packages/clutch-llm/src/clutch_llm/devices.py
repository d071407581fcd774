"""Where and in which type of numbers a model runs."""

from __future__ import annotations

import torch

from clutch_llm.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device of a name; "auto" is the first CUDA GPU, or Apple's, or the CPU.

    Raises:
        ConfigError: when the name is not known or there is no such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch says with an assertion that it has no CUDA
        reason = str(error).splitlines()[0]
        raise ConfigError(f"Expected a device that is here, such as auto or cpu, got {device!r}: {reason}") from error
    return chosen


def choose_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The floating-point type of a name such as "bfloat16"; None is float32.

    Raises:
        ConfigError: when it is none that models run in.
    """
    chosen = torch.float32 if dtype is None else DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen not in DTYPES.values():
        raise ConfigError(f"Expected dtype as one of {', '.join(DTYPES)}, got {dtype!r}. Correct it.")
    return chosen
