"""The state of a training run in one file, so that a run that was killed goes on as if it had not been.

One safetensors file holds all tensors, and its header the step, the history, a hash of the tensors and a fingerprint of
everything that shapes the result. It is replaced as a whole, so it is never half-written nor at odds with itself.
"""

import copy
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from .atomic import write_beside
from .errors import FileFormatError
from .files import state_to_cpu

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
    """What changes while training runs: the objects are updated in place by `load_state`."""

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
    tensors = state_to_cpu(tensors)
    header = {"fingerprint": mark, "step": str(state.step), "history": json.dumps(state.history)}
    header["best"] = json.dumps(None if best is None else [best.step, best.value])
    header["sha256"] = _hash(tensors)
    content = dump_tensors(tensors, metadata=header)
    with write_beside(Path(folder) / STATE_FILE) as part:
        part.write_bytes(content)


def load_state(folder: str | PathLike[str], state: TrainingState, mark: str) -> bool:
    """Takes up a saved state if there is one, whole and with the fingerprint `mark`.

    Returns:
        whether it was taken up; if not, `state` is as it was, and a warning says why.

    Raises:
        FileFormatError: there is a file, and the disk does not give it out.
    """
    path = Path(folder) / STATE_FILE
    if not path.exists():
        return False
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError(
            f"{path}: expected a readable file, got: {error}. Make it readable, or remove it to start anew."
        ) from error
    before = copy.deepcopy((state.model.state_dict(), state.optimizer.state_dict()))
    chance = state.generator.get_state()
    try:
        tensors, header = load_tensors(content), _header(content)
        if header["sha256"] != _hash(tensors):
            raise ValueError("its tensors are not those that were written")
        if header["fingerprint"] != mark:
            logger.warning("%s belongs to another configuration or other data: starting from the beginning", path)
            return False
        _take_up(state, tensors, header)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        logger.warning("%s is damaged (%s): starting from the beginning", path, error)
        state.model.load_state_dict(before[0])
        state.optimizer.load_state_dict(before[1])
        state.generator.set_state(chance)
        return False
    logger.info("%s: going on from step %d", path, state.step)
    return True


def remove_state(folder: str | PathLike[str]) -> None:
    """Removes the state of a finished run."""
    (Path(folder) / STATE_FILE).unlink(missing_ok=True)


def _take_up(state: TrainingState, tensors: dict[str, Tensor], header: Mapping[str, str]) -> None:
    step, history, best = int(header["step"]), json.loads(header["history"]), json.loads(header["best"])
    kept = None if best is None else Best(best[0], best[1], _under("best.", tensors))
    state.model.load_state_dict(_under("model.", tensors))
    _load_optimizer(state.optimizer, _under("optimizer.", tensors))
    state.generator.set_state(tensors["generator"])
    state.step, state.history, state.best = step, history, kept


def _header(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    return metadata


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    expected = {number for group in groups for number in group["params"]}
    if set(state) != expected:
        raise ValueError(f"its optimizer knows {len(state)} of {len(expected)} parameters")
    optimizer.load_state_dict({"state": state, "param_groups": groups})
