"""What a training stage needs to go on after it was killed: written beside, then renamed.

Without ZeRO and bf16 it is plain safetensors and JSON, which any number of processes takes up. With them the
optimizer's parts belong to DeepSpeed, and its own checkpoint format is used; another number of processes takes it up as
a universal checkpoint (Lian et al. 2024), but not the parts of ZeRO-3. A state that is damaged or of another run is
said to be and not used: training starts anew. So that nothing is loaded by half, each file's SHA-256 is checked first.
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

from clutch_llm.atomic import write_folder_beside
from clutch_llm.clips import Example
from clutch_llm.engine import load_of_other_processes, read_deepspeed
from clutch_llm.errors import CheckpointError
from clutch_llm.stages import StageConfig

logger = logging.getLogger(__name__)

History = list[dict[str, float]]
Weights = dict[str, torch.Tensor]


#: In a state, the weights of the best validation.
BEST = "best.safetensors"


def fingerprint(
    model: torch.nn.Module,
    examples: Sequence[Example],
    config: StageConfig,
    *,
    val_examples: Sequence[Example] = (),
    joints: bool = False,
) -> str:
    """A hash of all that decides a run and its history: configuration, data and the weights it starts from.

    Args:
        model: the weights to start from.
        examples: the training data.
        config: the stage, with the DeepSpeed file that it names.
        val_examples: the validation data.
        joints: whether refinement measures joints.
    """
    digest = hashlib.sha256()
    about = [type(config).__name__, asdict(config), read_deepspeed(config), joints, len(examples)]
    digest.update(json.dumps(about, sort_keys=True, default=dict).encode())
    for example in (*examples, *val_examples):
        keys = ("clip_id", "source", "captions", "mirrored_captions", "paraphrases")
        digest.update(json.dumps([example.get(key) for key in keys], default=list).encode())
        valid = np.ascontiguousarray(example["valid"], dtype=bool)
        hands = np.asarray(example["features"], dtype=np.float32).reshape(len(valid), 2, -1)
        digest.update(valid.tobytes())
        digest.update(np.where(valid[..., None], hands, 0.0).tobytes())
        digest.update(np.ascontiguousarray(example["tokens"], dtype=np.int64).tobytes())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class TrainingState:
    """Saves and restores a run in a folder that all processes see.

    Args:
        folder: where the states go; None keeps none.
        mark: the run's fingerprint: a state with another one is not used, and removed at the next save.
        keep: how many of the last states stay.
    """

    def __init__(self, folder: Path | str | None, mark: str, *, keep: int = 1) -> None:
        self.folder = None if folder is None else Path(folder)
        self.mark = mark
        self.keep = keep

    def save(self, engine: Any, step: int, history: History, best: Weights | None = None) -> None:
        """Write the state after ``step`` steps; those that do not stay are removed once this one is complete.

        Args:
            engine: whose state it is.
            step: steps done.
            history: up to here.
            best: weights of the best validation so far, to be kept beside.
        """
        if self.folder is None:
            return
        parts, final = self.folder / ".parts", self.folder / f"step-{step:08d}"
        first, plain = torch.distributed.get_rank() == 0, _is_plain(engine)
        if not plain:  # each process writes its own
            if first:
                shutil.rmtree(parts, ignore_errors=True)
            torch.distributed.barrier()
            engine.save_checkpoint(str(parts), tag="state")
            torch.distributed.barrier()
        if first:
            with write_folder_beside(final) as staged:
                if plain:
                    save_file(_plain_state(engine), staged / "state.safetensors")
                else:
                    parts.rename(staged / "deepspeed")
                if best is not None:
                    save_file(best, staged / BEST)
                files = {str(p.relative_to(staged)): _sha256(p) for p in sorted(staged.rglob("*")) if p.is_file()}
                world = torch.distributed.get_world_size()
                meta = {"fingerprint": self.mark, "step": step, "history": history, "files": files, "world": world}
                (staged / "state.json").write_text(json.dumps(meta))
            before = sorted(p for p in self.folder.glob("step-*") if p.name < final.name and self._is_own(p))
            stay = {final, *before[max(0, len(before) - self.keep + 1) :]}
            for other in set(self.folder.glob("step-*")) - stay:
                shutil.rmtree(other)
        torch.distributed.barrier()

    def restore(self, engine: Any) -> tuple[int, History, Weights | None]:
        """Load the newest state of this very run.

        Returns:
            Steps done, the history, and the weights of the best validation where they were kept; (0, [], None) when
            there is no state to use.

        Raises:
            CheckpointError: when the state has ZeRO-3's parts of another number of processes.
        """
        found = torch.zeros(2, dtype=torch.int64, device=engine.device)
        if torch.distributed.get_rank() == 0:
            found += torch.tensor(self._newest(), device=engine.device)
        torch.distributed.broadcast(found, 0)
        steps, world = found.tolist()
        if self.folder is None or not steps:
            return 0, [], None
        path = self.folder / f"step-{steps:08d}"
        if _is_plain(engine):
            _load_plain_state(engine, load_file(path / "state.safetensors"))
        elif world == torch.distributed.get_world_size():
            engine.load_checkpoint(str(path / "deepspeed"), tag="state")
        elif engine.zero_optimization_partition_weights():
            raise CheckpointError(
                f"Expected {world} processes, as those that wrote {path}: training with ZeRO-3 goes on with as many. "
                f"Got {torch.distributed.get_world_size()}. Start {world}, or remove the folder to train anew."
            )
        else:
            load_of_other_processes(engine, path / "deepspeed", self.folder / ".universal")
        logger.info("going on from step %d of %s", steps, path)
        history: History = json.loads((path / "state.json").read_text())["history"]
        return steps, history, load_file(path / BEST) if (path / BEST).exists() else None

    def clear(self) -> None:
        """Remove the states: the run is complete."""
        if self.folder is not None and torch.distributed.get_rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _newest(self) -> tuple[int, int]:
        """Steps of the newest state that can be used, and how many processes wrote it; (0, 0) where there is none."""
        for path in sorted(self.folder.glob("step-*"), reverse=True) if self.folder else ():
            fault, world = self._fault(path)
            if fault is None:
                return int(path.name.removeprefix("step-")), world
            logger.warning("%s is not used, training does not go on from it: %s", path, fault)
        return 0, 0

    def _is_own(self, path: Path) -> bool:
        """Whether a state is of this run."""
        try:
            return bool(json.loads((path / "state.json").read_text())["fingerprint"] == self.mark)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _fault(self, path: Path) -> tuple[str | None, int]:
        """Why a state cannot be used, None where it can; and how many processes wrote it."""
        try:
            meta: dict[str, Any] = json.loads((path / "state.json").read_text())
            mark, files, world, step = (meta[key] for key in ("fingerprint", "files", "world", "step"))
            if mark != self.mark:
                return "it belongs to another run (settings, data or starting weights differ)", 0
            broken = [name for name, sha in files.items() if _sha256(path / name) != sha]
            if broken or not files or path.name != f"step-{step:08d}" or not isinstance(meta["history"], list):
                return f"it is damaged ({', '.join(broken) or 'state.json'})", 0
            return None, int(world)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"it is damaged ({error!r})", 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_plain(engine: Any) -> bool:
    """Whether one unpartitioned torch optimizer holds everything."""
    return isinstance(engine.optimizer, torch.optim.Optimizer)


def _plain_state(engine: Any) -> dict[str, torch.Tensor]:
    """Trained weights, then each optimizer tensor as ``optimizer.<parameter index>.<name>``."""
    state = {f"model.{n}": v.detach().clone() for n, v in engine.module.named_parameters() if v.requires_grad}
    for index, values in engine.optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{key}": value.clone() for key, value in values.items()}
    return state


def _load_plain_state(engine: Any, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in engine.module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state[f"model.{name}"])
    whole = engine.optimizer.state_dict()
    values: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            values.setdefault(int(index), {})[key] = value
    engine.optimizer.load_state_dict({**whole, "state": values})
