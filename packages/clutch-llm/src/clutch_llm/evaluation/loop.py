"""The training loop of the evaluator and the judge: AdamW, warm-up and cosine, saved states, a history."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from clutch_llm.evaluation.checkpoint import clear_state, load_state, save_state

logger = logging.getLogger(__name__)

History = list[dict[str, float]]
OnLog = Callable[[int, dict[str, float]], None]
Loss = Callable[[torch.Generator], tuple[Tensor, dict[str, float]]]

LOG_EVERY = 20  # optimizer steps
WARM_UP = 20  # optimizer steps from nothing to the peak of the learning rate
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: optimizer ``steps``, the peak ``learning_rate``, AdamW's ``weight_decay``.

    A state is saved every ``checkpoint_every`` steps where a folder is given.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    checkpoint_every: int

    @classmethod
    def of(cls, config: Any) -> Schedule:
        """That of a configuration with fields of these names."""
        return cls(config.steps, config.learning_rate, config.weight_decay, config.checkpoint_every)


def choose_device(device: str) -> str:
    """ "auto" is the accelerator that is there, else the CPU; any other name is taken as it is."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def optimize(
    name: str,
    model: nn.Module,
    loss: Loss,
    schedule: Schedule,
    *,
    seed: int,
    mark: str,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    on_log: OnLog | None = None,
) -> History:
    """Train ``model`` in place.

    Args:
        name: of the progress bar and the log.
        model: its parameters are trained.
        loss: draws a batch with the generator; returns the loss and what to log beside it.
        schedule: steps and rates.
        seed: of the generator.
        mark: fingerprint of configuration and data; a state with another one is not taken up.
        checkpoint_dir: a training that was cut off goes on from here and ends bit-equal to an uninterrupted one; a
            finished training leaves nothing there.
        on_log: called with (step, figures) every 20 steps.

    Returns:
        One dict per log, with ``step`` and ``loss``.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    folder = Path(checkpoint_dir) if checkpoint_dir is not None else None
    first, history = load_state(folder, mark, model, optimizer, generator) if folder else (0, [])
    if first:
        logger.info("The %s goes on from step %d of %d.", name, first, schedule.steps)
    for step in tqdm(range(first, schedule.steps), desc=name, initial=first, total=schedule.steps, disable=None):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / WARM_UP)
            group["lr"] = schedule.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / schedule.steps))
        value, figures = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        done = step + 1
        if done % LOG_EVERY == 0 or done == schedule.steps:
            history.append({"step": done, "loss": float(value.detach()), **figures})
            if on_log:
                on_log(done, history[-1])
        if folder and done % schedule.checkpoint_every == 0 and done < schedule.steps:
            save_state(folder, mark, done, model, optimizer, generator, history)
    if folder:
        clear_state(folder)
    return history
