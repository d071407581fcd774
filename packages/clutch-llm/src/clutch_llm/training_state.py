"""What a training stage needs to go on after it was killed: written beside, then renamed.

One process without ZeRO writes plain safetensors and JSON. With ZeRO or bf16 the optimizer's parts belong to DeepSpeed,
and its own checkpoint format is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from clutch_llm.config import StageConfig
from clutch_llm.corpus import Clip
from clutch_llm.errors import CheckpointError

logger = logging.getLogger(__name__)

History = list[dict[str, float]]


def fingerprint(model: torch.nn.Module, examples: Sequence[Clip], config: StageConfig) -> str:
    """A hash of all that decides a run: configuration, data and the weights it starts from."""
    digest = hashlib.sha256()
    digest.update(json.dumps([type(config).__name__, asdict(config)], sort_keys=True, default=dict).encode())
    for example in examples:
        digest.update(json.dumps([example["clip_id"], example["source"], list(example["captions"])]).encode())
        digest.update(np.ascontiguousarray(example["tokens"]).tobytes())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class TrainingState:
    """Saves and restores a run in a folder.

    Args:
        folder: where the states go; None keeps none.
        mark: the run's fingerprint: a state with another one is left alone and replaced at the next save.
    """

    def __init__(self, folder: Path | str | None, mark: str) -> None:
        self.folder = None if folder is None else Path(folder)
        self.mark = mark

    def save(self, engine: Any, step: int, history: History) -> None:
        """Write the state after ``step`` steps; the one before is removed once this one is complete."""
        if self.folder is None:
            return
        staged, final = self.folder / ".writing", self.folder / f"step-{step:08d}"
        first = torch.distributed.get_rank() == 0
        if first:
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
        if _is_plain(engine):
            save_file(_plain_state(engine), staged / "state.safetensors")
        else:
            torch.distributed.barrier()
            engine.save_checkpoint(str(staged / "deepspeed"), tag="state")
        if first:
            meta = {"fingerprint": self.mark, "step": step, "history": history}
            (staged / "state.json").write_text(json.dumps(meta))
            shutil.rmtree(final, ignore_errors=True)
            staged.rename(final)
            for other in self.folder.glob("step-*"):
                if other != final:
                    shutil.rmtree(other)
        torch.distributed.barrier()

    def restore(self, engine: Any) -> tuple[int, History]:
        """Load the newest state of this very run: (steps done, history), or (0, []) when there is none."""
        for path in sorted(self.folder.glob("step-*"), reverse=True) if self.folder else ():
            meta = self._read_meta(path)
            if meta["fingerprint"] != self.mark:
                logger.info("%s belongs to another run (settings, data or starting weights differ): not used", path)
                continue
            if _is_plain(engine):
                _load_plain_state(engine, load_file(path / "state.safetensors"))
            else:
                engine.load_checkpoint(str(path / "deepspeed"), tag="state")
            logger.info("going on from step %d of %s", meta["step"], path)
            return meta["step"], meta["history"]
        return 0, []

    def clear(self) -> None:
        """Remove the states: the run is complete."""
        if self.folder is not None and torch.distributed.get_rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _read_meta(path: Path) -> dict[str, Any]:
        try:
            meta: dict[str, Any] = json.loads((path / "state.json").read_text())
            return {key: meta[key] for key in ("fingerprint", "step", "history")}
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"Expected a training state at {path}, got: {error!r}. Remove the folder to train from the start."
            ) from error


def _is_plain(engine: Any) -> bool:
    """Whether one unpartitioned torch optimizer holds everything."""
    return isinstance(engine.optimizer, torch.optim.Optimizer)


def _plain_state(engine: Any) -> dict[str, torch.Tensor]:
    """Weights, then each optimizer tensor as ``optimizer.<parameter index>.<name>``."""
    state = {f"model.{n}": v.detach().clone() for n, v in engine.module.named_parameters()}
    for index, values in engine.optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{key}": value.clone() for key, value in values.items()}
    return state


def _load_plain_state(engine: Any, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in engine.module.named_parameters():
            parameter.copy_(state[f"model.{name}"])
    whole = engine.optimizer.state_dict()
    values: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            values.setdefault(int(index), {})[key] = value
    engine.optimizer.load_state_dict({**whole, "state": values})
