"""One loop for the three training stages: pretraining, geometric refinement, instruction tuning.

Every step is a function of (seed, step, weights, optimizer state): tasks, batches, dropout and Gumbel noise are seeded
anew at each step, so a run that was killed and resumed ends bit-equal to one that was not.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from clutch_llm.batching import BatchPlan, SampleMaker, collate, draw_task, split_by_length
from clutch_llm.clutch import Clutch
from clutch_llm.config import InstructConfig, RefineConfig, StageConfig
from clutch_llm.corpus import Clip, mirrored
from clutch_llm.engine import gathered_weights, set_learning_rate, start_engine
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.model import TokenBatch
from clutch_llm.refinement import JointsFn, TrueMotion, refinement_loss
from clutch_llm.training_state import History, TrainingState, fingerprint

logger = logging.getLogger(__name__)

LogFn = Callable[[int, dict[str, float]], None]

#: Tasks that answer with a whole motion, which can be compared in motion space.
REFINED_TASKS = ("t2m", "masked")

#: Validation looks at this many examples, this often in a run.
VAL_EXAMPLES, VAL_TIMES = 128, 5


def train_stage(
    clutch: Clutch,
    examples: Sequence[Clip],
    config: StageConfig,
    *,
    val_examples: Sequence[Clip] | None = None,
    joints_fn: JointsFn | None = None,
    checkpoint_dir: Path | str | None = None,
    on_log: LogFn | None = None,
) -> tuple[Clutch, History]:
    """Train one stage through DeepSpeed, in this process or in each process of a launcher.

    Args:
        clutch: the model to start from; it is not changed.
        examples: clips with tokens, from `build_corpus`.
        config: a `PretrainConfig`, `RefineConfig` or `InstructConfig`: the class decides the stage.
        val_examples: held-out examples, for the validation loss in the history.
        joints_fn: forward kinematics for refinement, `hand_geometry.features_to_joints`.
        checkpoint_dir: where the state for resuming lives; a run that finds its own state goes on from it, and
            removes it when the stage is complete.
        on_log: called with (step, values) for every line of the history.

    Returns:
        The trained model and the history: step, loss, lr, cross-entropy by task, ``rec`` in refinement, ``val/...``.

    Raises:
        ConfigError, DataError: when settings and data do not fit each other.
        MissingDependencyError: when DeepSpeed is not installed.
    """
    _check(examples, clutch)
    model = copy.deepcopy(clutch.model)
    mark = fingerprint(model, examples, config)
    engine = start_engine(model, config)
    try:
        run = _Run(engine, clutch, examples, config, joints_fn)
        state = TrainingState(checkpoint_dir, mark)
        history = run.train(state, val_examples or (), on_log)
        weights = gathered_weights(engine)
    finally:
        engine.destroy()
    state.clear()
    trained = copy.copy(clutch)
    trained.model = copy.deepcopy(clutch.model)
    with torch.no_grad():
        for name, parameter in trained.model.named_parameters():
            parameter.copy_(weights[name])
    trained.stages = [
        *clutch.stages,
        {"stage": type(config).__name__, "steps": config.steps, "seed": config.seed},
    ]
    return trained, history


def _check(examples: Sequence[Clip], clutch: Clutch) -> None:
    if not examples:
        raise DataError("Expected examples to train on, got none. Build the corpus from a non-empty split.")
    longest = max(len(e["tokens"]) for e in examples)
    if longest > clutch.config.max_steps:
        raise DataError(
            f"Expected motions of at most max_steps = {clutch.config.max_steps} latent steps, got {longest}. "
            "Raise max_steps in ClutchConfig or cut the clips."
        )


def learning_rate_at(step: int, config: StageConfig) -> float:
    """Linear warm-up, then a cosine from the peak to ``min_lr_ratio`` of it."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
    return config.learning_rate * warm * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


class _Run:
    """The loop and what it holds on to."""

    def __init__(
        self,
        engine: Any,
        clutch: Clutch,
        examples: Sequence[Clip],
        config: StageConfig,
        joints_fn: JointsFn | None,
    ) -> None:
        self.engine, self.config, self.examples = engine, config, examples
        self.images = mirrored(examples, clutch.tokenizer) if config.mirror > 0 else None
        self.pad = clutch.vocabulary.layout.pad
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        if config.batch_size % self.world:
            raise ConfigError(
                f"Expected a batch_size divisible by the {self.world} processes, got {config.batch_size}."
            )
        self.plan = BatchPlan(examples, config)
        self.maker = SampleMaker(
            clutch.vocabulary,
            templates="all" if isinstance(config, InstructConfig) else "first",
            condition_dropout=config.condition_dropout,
            decoder_input_dropout=config.decoder_input_dropout,
        )
        self.joints_fn = joints_fn
        self.tokenizer = copy.deepcopy(clutch.tokenizer).to(engine.device).eval().requires_grad_(False)

    def train(self, state: TrainingState, val_examples: Sequence[Clip], on_log: LogFn | None) -> History:
        config = self.config
        start, history = state.restore(self.engine)
        if on_log:
            for row in history:
                on_log(int(row["step"]), row)
        sums: dict[str, list[float]] = defaultdict(list)
        val_every = max(1, config.steps // VAL_TIMES)
        bar = tqdm(range(start, config.steps), initial=start, total=config.steps, disable=None, unit="step")
        bar.set_description(type(config).__name__)
        with torch.random.fork_rng():
            for step in bar:
                for key, value in self.step(step).items():
                    sums[key].append(value)
                done = step + 1
                if done % config.log_every == 0 or done == config.steps:
                    row = {"step": float(done), **{k: float(np.mean(v)) for k, v in sums.items()}}
                    sums.clear()
                    if val_examples and (done // val_every > (done - config.log_every) // val_every):
                        row |= self.validate(val_examples)
                    history.append(row)
                    bar.set_postfix(loss=f"{row['loss']:.3f}")
                    if on_log:
                        on_log(done, row)
                    if done % config.checkpoint_every < config.log_every and done < config.steps:
                        state.save(self.engine, done, history)
        return history

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step; gives what is logged of it."""
        config, engine = self.config, self.engine
        shared = np.random.default_rng([config.seed, 3, step])
        task = draw_task(config.tasks, shared)
        steps = config.truncated_steps if shared.random() < config.target_truncation else None
        rng = np.random.default_rng([config.seed, 4, step, self.rank])
        chosen = [self._either(i, rng) for i in self.plan.batch(step)[self.rank :: self.world]]
        samples = [self.maker.make(task, e, rng, steps=steps) for e in chosen]
        parts = split_by_length(samples)
        batches = [collate([samples[i] for i in part], self.pad).to(engine.device) for part in parts]
        chosen = [chosen[i] for part in parts for i in part]
        torch.manual_seed(int(rng.integers(2**62)))
        rate = learning_rate_at(step, config)
        set_learning_rate(engine, rate)
        engine.train()
        loss, logged = self._loss(batches, task, chosen, step)
        engine.backward(loss)
        engine.step()
        return {"loss": float(loss.detach()), "lr": rate, **logged}

    def _loss(
        self, batches: list[TokenBatch], task: str, chosen: list[Clip], step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The stage's loss and what is logged of it."""
        config = self.config
        if not isinstance(config, RefineConfig) or config.control:
            loss = self.engine(*batches).loss
            return loss, {f"ce/{task}": float(loss.detach())}
        refine = task in REFINED_TASKS
        output = self.engine(*batches, refine=refine)
        logged = {f"ce/{task}": float(output.loss.detach())}
        loss = output.loss * (0.0 if task == "masked" else config.alpha)
        if refine:
            reconstruction = refinement_loss(
                output.slot_logits,
                output.step_mask,
                TrueMotion.of(chosen).to(self.engine.device),
                self.tokenizer,
                temperature=config.temperature(step),
                hard=config.hard,
                joints_fn=self.joints_fn,
                joint_weight=config.joint_weight,
                velocity_weight=config.velocity_weight,
            )
            loss = loss + config.lam * reconstruction
            logged |= {f"rec/{task}": float(reconstruction.detach()), "temperature": config.temperature(step)}
        return loss, logged

    def _either(self, index: int, rng: np.random.Generator) -> Clip:
        """An example or, by its share, its mirror image."""
        if self.images is not None and rng.random() < self.config.mirror:
            return self.images[index]
        return self.examples[index]

    @torch.no_grad()
    def validate(self, examples: Sequence[Clip]) -> dict[str, float]:
        """Cross-entropy of both directions on held-out examples, spread over the split."""
        self.engine.eval()
        row = {}
        maker = SampleMaker(self.maker.vocabulary)
        for task in ("t2m", "m2t"):
            rng = np.random.default_rng(0)
            spread = examples[:: max(1, len(examples) // VAL_EXAMPLES)]
            some = sorted(spread, key=lambda e: len(e["tokens"]))
            batches = [some[k : k + 32] for k in range(0, len(some), 32)]
            losses = [
                float(self.engine(collate([maker.make(task, e, rng) for e in b], self.pad).to(self.engine.device)).loss)
                for b in batches
            ]
            row[f"val/{task}"] = float(np.average(losses, weights=[len(b) for b in batches]))
        return row
