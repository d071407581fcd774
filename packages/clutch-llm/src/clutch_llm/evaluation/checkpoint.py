"""A training state in one safetensors file.

Weights, optimizer, generator, step and history, written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from clutch_llm.evaluation.folders import write_whole

logger = logging.getLogger(__name__)

STATE_FILE = "training_state.safetensors"


def fingerprint(description: Any, clips: Any) -> str:
    """SHA-256 over a JSON-able description and the clips' features, captions and attributes."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode())
    for clip in clips:
        digest.update(
            json.dumps(
                [clip["clip_id"], clip["captions"], clip.get("attributes")], sort_keys=True, default=str
            ).encode()
        )
        digest.update(np.ascontiguousarray(clip["features"], dtype=np.float32).tobytes())
    return digest.hexdigest()


def identify(
    description: Any, clips: Any, *, checkpoint_dir: Any, data_hash: str | None, seed: int, config: Any
) -> tuple[str, str]:
    """What a training is known by.

    Args:
        description: what is trained, beside configuration and seed.
        clips: that it is trained on.
        checkpoint_dir: where its states go; None for nowhere.
        data_hash: of the store of the clips; None where there is none.
        seed: of the training.
        config: a dataclass.

    Returns:
        The fingerprint by which a state is taken up ("" where nothing needs it), and the hash that is kept with the
        model: ``data_hash``, or the fingerprint.
    """
    needed = checkpoint_dir is not None or data_hash is None
    known = {"config": dataclasses.asdict(config), "seed": seed, **description}
    mark = fingerprint(known, clips) if needed else ""
    return mark, mark if data_hash is None else data_hash


def save_state(
    folder: Path,
    mark: str,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    history: list[dict[str, float]],
) -> None:
    """Write the state beside its place, then move it there."""
    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v).detach().cpu().contiguous() for k, v in state.items()}
    tensors["generator"] = generator.get_state()
    metadata = {"fingerprint": mark, "step": str(step), "history": json.dumps(history)}
    write_whole(folder / STATE_FILE, save(tensors, metadata=metadata))


def load_state(
    folder: Path, mark: str, model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> tuple[int, list[dict[str, float]]]:
    """Put a matching state back; returns (step, history), or (0, []) if there is none that matches."""
    path = folder / STATE_FILE
    if not path.is_file():
        return 0, []
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        logger.warning("The training state in %s is damaged (%s): starting from the beginning.", folder, error)
        return 0, []
    if metadata.get("fingerprint") != mark:
        logger.warning(
            "The training state in %s belongs to another configuration or other data: starting from the beginning.",
            folder,
        )
        return 0, []
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    packed = optimizer.state_dict()
    packed["state"] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            packed["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(packed)
    generator.set_state(tensors["generator"])
    return int(metadata["step"]), json.loads(metadata["history"])


def clear_state(folder: Path) -> None:
    """Remove the state of a finished training."""
    (folder / STATE_FILE).unlink(missing_ok=True)
