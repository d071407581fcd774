"""Training a tokenizer: `train_tokenizer`, exact and resumable.

Design:
- All chance comes from one generator, whose state is saved with the model, the optimizer and the step: a run
  that was killed ends bit for bit as one that was not (on the same machine and number of threads).
- A batch mixes its sources by fixed shares (`source_shares`): a small source keeps a share beside a large one.
- Geometry comes in from outside: `joints_fn` turns features into joints, `mirror_fn` mirrors a whole motion.
- Under `torch.distributed` every rank makes the same call, and gets the same tokenizer and history; files, callbacks
  and validation are rank 0's.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .atomic import make_folder
from .checkpoint import Best, load_state, remove_state, save_state
from .config import ShiftConfig
from .distributed import agree, agree_on, rank, sum_over_ranks, wait, world_size
from .errors import ConfigError, ShiftTokenizerError
from .evaluation import evaluate_reconstruction
from .losses import JointsFn
from .progress import progress_bar
from .run import Run
from .settings import TokenizerTraining
from .tokenizer import ShiftTokenizer
from .windows import Clips, check_clips

logger = logging.getLogger(__name__)

OnLog = Callable[[int, dict[str, float]], None]
BEST, LAST = "best", "last"


class TrainingCallback:
    """Hooks of a training run; each method does nothing unless a subclass overrides it."""

    def on_start(self, config: ShiftConfig, training: TokenizerTraining, step: int) -> None:
        """Before the first step; `step` steps were done by an earlier run."""

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """After a step (from 1) that is logged."""

    def on_checkpoint(self, step: int, folder: Path, best: bool) -> None:
        """After a tokenizer was written to `folder`, as the best so far or as the last."""

    def on_end(self, tokenizer: ShiftTokenizer, history: Sequence[Mapping[str, float]]) -> None:
        """After the last step, with what `train_tokenizer` returns."""


def train_tokenizer(
    clips: Clips,
    config: ShiftConfig | None = None,
    training: TokenizerTraining | None = None,
    *,
    val_clips: Clips | None = None,
    joints_fn: JointsFn | None = None,
    mirror_fn: Callable[[Tensor], Tensor] | None = None,
    checkpoint_dir: str | PathLike[str] | None = None,
    on_log: OnLog | None = None,
    callbacks: Sequence[TrainingCallback] = (),
) -> tuple[ShiftTokenizer, list[dict[str, float]]]:
    """Trains a tokenizer on clips.

    Args:
        clips: dicts with "features" (T, 198), T a multiple of frames_per_latent, and optionally "valid" (T, 2) bool,
            whether each hand is seen; "fps", frames a second; "source", the name of a dataset. What stands in
            frames in which a hand is not seen changes nothing. A list, or a map-style dataset that reads them, such as
            hiw_data's `HiwDataset(..., window=None)`: of more than `training.memory_mb` each is read when drawn.
        config: of the tokenizer.
        training: of the run.
        val_clips: clips of which the reconstruction error is logged; the best state is told by their
            val_mpjpe_mm with a joints_fn, by val_reconstruction without.
        joints_fn: features (B, T, 198) to joints (B, T, 2, J, 3) in metres, differentiable, joint 0 the
            wrist. Without it the joint losses are left out.
        mirror_fn: features (B, T, 198) to those of the mirrored motion, hands swapped. Needed for
            mirror_probability.
        checkpoint_dir: where the state is kept while training runs. If it holds one of the same configuration
            and data, training goes on from there; the state is removed in the end. Beside it stand the
            tokenizers `last` and, with val_clips, `best`, for `ShiftTokenizer.from_pretrained`. All ranks
            must see the same folder.
        on_log: called with the step (from 1) and its metrics.
        callbacks: further things to do on the way.

    Returns:
        the tokenizer (the last, or the best with `training.keep`), in eval mode on the training device, and
        the history: one dict per logged step. Under `torch.distributed` all ranks return the same.

    Raises:
        DataError: the clips do not fit; RateError where their rate is another than `config.fps`.
        ConfigError: the settings do not fit together.
        ShiftTokenizerError: the loss is not finite, or the disk refuses a checkpoint.
    """
    run = Run(clips, config or ShiftConfig(), training or TokenizerTraining(), joints_fn, mirror_fn)
    validates = val_clips is not None and len(val_clips) > 0
    if val_clips is not None and validates:
        check_clips(val_clips, run.config.frames_per_latent, run.config.fps)
    elif run.training.keep == BEST:
        raise ConfigError(
            "Expected val_clips for TokenizerTraining.keep 'best', got none. Pass some, or keep the last."
        )
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    mark = "" if folder is None else run.fingerprint(val_clips)
    if folder is not None:
        make_folder(folder)
        load_state(folder, run.state, mark)
        _check_alike(run.state.step, run.device)
    run.tokenizer.provenance = _provenance(run)
    called = _Calls(callbacks, on_log) if rank() == 0 else _Calls((), None)
    _loop(run, val_clips if validates else None, folder, mark, called)
    if run.training.keep == BEST:
        _restore_best(run)
    _share_results(run)
    _describe(run)
    if folder is not None and rank() == 0:
        _write(run, folder / LAST, False, called)
        remove_state(folder)
    wait()
    called.on_end(run.tokenizer.eval(), run.state.history)
    return run.tokenizer.eval(), run.state.history


class _Calls(TrainingCallback):
    """Several callbacks as one."""

    def __init__(self, callbacks: Sequence[TrainingCallback], on_log: OnLog | None) -> None:
        self._callbacks, self._on_log = tuple(callbacks), on_log

    def on_start(self, config: ShiftConfig, training: TokenizerTraining, step: int) -> None:
        for callback in self._callbacks:
            callback.on_start(config, training, step)

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._on_log is not None:
            self._on_log(step, dict(metrics))
        for callback in self._callbacks:
            callback.on_log(step, metrics)

    def on_checkpoint(self, step: int, folder: Path, best: bool) -> None:
        for callback in self._callbacks:
            callback.on_checkpoint(step, folder, best)

    def on_end(self, tokenizer: ShiftTokenizer, history: Sequence[Mapping[str, float]]) -> None:
        for callback in self._callbacks:
            callback.on_end(tokenizer, history)


def _loop(run: Run, val_clips: Clips | None, folder: Path | None, mark: str, called: _Calls) -> None:
    state, settings, first = run.state, run.training, run.state.step
    started = time.perf_counter()
    called.on_start(run.config, settings, first)
    bar = progress_bar(settings.steps, first, "tokenizer") if rank() == 0 else None
    while state.step < settings.steps:
        losses = run.step()
        done, last = state.step, state.step == settings.steps
        validates = (done % settings.validate_every == 0 or last) and rank() == 0
        validated = val_clips if validates else None
        if bar is not None:
            bar.update(1)
        if done % settings.log_every == 0 or validated is not None or last:
            metrics = run.metrics(losses)
            metrics["seconds_per_step"] = (time.perf_counter() - started) / (done - first)
            if validated is not None:
                metrics |= evaluate_reconstruction(run.tokenizer, validated, run.joints_fn, prefix="val_")
                _keep_best(run, metrics, folder, called)
            state.history.append({"step": done, **metrics})
            if bar is not None:
                bar.set_postfix({"loss": f"{metrics['loss']:.3f}"})
            called.on_log(done, metrics)
        if folder is not None and done % settings.checkpoint_every == 0 and not last and rank() == 0:
            _write(run, folder / LAST, False, called)
            save_state(folder, state, mark)
    if bar is not None:
        bar.close()


def _keep_best(run: Run, metrics: Mapping[str, float], folder: Path | None, called: _Calls) -> None:
    state, value = run.state, metrics.get("val_mpjpe_mm", metrics.get("val_reconstruction"))
    if value is None or (state.best is not None and state.best.value <= value):
        return
    tensors = {name: t.detach().clone() for name, t in run.tokenizer.state_dict().items()}
    state.best = Best(state.step, value, tensors if run.training.keep == BEST else {})
    if folder is not None:
        _write(run, folder / BEST, True, called)


def _restore_best(run: Run) -> None:
    """The best weights, which rank 0 knows, on every rank."""
    best = run.state.best
    if best is not None:
        run.tokenizer.load_state_dict(best.tensors)
    run.tokenizer.load_state_dict({name: agree(t) for name, t in run.tokenizer.state_dict().items()})


def _share_results(run: Run) -> None:
    """What rank 0 measured, on every rank, so that all return the same."""
    best = run.state.best
    history, told = agree_on([run.state.history, None if best is None else [best.step, best.value]], run.device)
    run.state.history = history
    run.state.best = None if told is None else Best(told[0], told[1], {} if best is None else best.tensors)


def _write(run: Run, folder: Path, best: bool, called: _Calls) -> None:
    _describe(run)
    run.tokenizer.save_pretrained(folder)
    called.on_checkpoint(run.state.step, folder, best)


def _provenance(run: Run) -> dict[str, Any]:
    """What a tokenizer was made from; nothing in it depends on when or where."""
    survey = run.survey
    return {
        "clips": len(survey.lengths),
        "frames": sum(survey.lengths),
        "clips_by_source": dict(sorted(Counter(survey.sources).items())),
        "data_sha256": survey.sha256,
        "settings": run.training.to_dict(),
        "joint_losses": run.joints_fn is not None,
        "processes": world_size(),
        "torch": torch.__version__.partition("+")[0],  # without the label of a local build
    }


def _describe(run: Run) -> None:
    """Adds the step and the last metrics, but no timing, to the tokenizer's provenance."""
    history = [entry for entry in run.state.history if entry["step"] <= run.state.step]
    last = history[-1] if history else {}
    metrics = {k: v for k, v in last.items() if k not in ("seconds_per_step", "step") and math.isfinite(v)}
    best = run.state.best
    kept = {} if best is None else {"best_step": best.step, "best_value": best.value}
    run.tokenizer.provenance |= {"step": run.state.step, "metrics": metrics, **kept}


def _check_alike(step: int, device: torch.device) -> None:
    if int(sum_over_ranks(torch.tensor(step, device=device))) != step * world_size():
        raise ShiftTokenizerError(
            f"checkpoint_dir: expected the same state on all {world_size()} processes, got step {step} on process "
            f"{rank()} and another elsewhere. Put it where all of them see it."
        )
