"""The state of a training run in one file, so that a run that was killed goes on as if it had not been.

One safetensors file holds all tensors, and its header the step, the history and a fingerprint of everything
that shapes the result. It is replaced as a whole, so it is never half-written nor at odds with itself.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from .files import state_to_cpu, write_atomic

logger = logging.getLogger(__name__)

STATE_FILE = "training_state.safetensors"


@dataclass
class Best:
    """The best state on the validation clips: its step, its error, and the model's tensors if they are kept."""

    step: int
    value: float
    tensors: dict[str, Tensor]


@dataclass
class TrainingState:
    """What changes while training runs: the objects are updated in place by `load`."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int
    history: list[dict[str, float]]
    best: Best | None = None


def fingerprint(**parts: Any) -> str:
    """SHA-256 of what shapes a run: JSON values by name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save_state(folder: str | PathLike[str], state: TrainingState, mark: str) -> None:
    """Writes the state under the fingerprint `mark`, replacing any that is there."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors["generator"] = state.generator.get_state()
    best = state.best
    if best is not None:
        tensors |= {f"best.{name}": tensor for name, tensor in best.tensors.items()}
    header = {"fingerprint": mark, "step": str(state.step), "history": json.dumps(state.history)}
    header["best"] = json.dumps(None if best is None else [best.step, best.value])
    write_atomic(Path(folder) / STATE_FILE, dump_tensors(state_to_cpu(tensors), metadata=header))


def load_state(folder: str | PathLike[str], state: TrainingState, mark: str) -> bool:
    """Takes up a saved state if there is one with the fingerprint `mark`.

    Returns:
        whether it was taken up; if not, `state` is untouched and the reason is logged.
    """
    path = Path(folder) / STATE_FILE
    if not path.exists():
        return False
    try:
        content = path.read_bytes()
        tensors, header = load_tensors(content), _header(content)
    except (SafetensorError, ValueError) as error:
        logger.warning("%s cannot be read (%s): starting from the beginning", path, error)
        return False
    if header.get("fingerprint") != mark:
        logger.warning("%s belongs to another configuration or other data: starting from the beginning", path)
        return False
    state.model.load_state_dict(_under("model.", tensors))
    _load_optimizer(state.optimizer, _under("optimizer.", tensors))
    state.generator.set_state(tensors["generator"])
    state.step, state.history = int(header["step"]), json.loads(header["history"])
    best = json.loads(header.get("best", "null"))
    state.best = None if best is None else Best(best[0], best[1], _under("best.", tensors))
    logger.info("%s: going on from step %d", path, state.step)
    return True


def remove_state(folder: str | PathLike[str]) -> None:
    """Removes the state of a finished run."""
    (Path(folder) / STATE_FILE).unlink(missing_ok=True)


def _header(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    return metadata


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
