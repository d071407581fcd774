"""One loop for the training stages: pretraining, geometric refinement, instruction tuning, reinforcement.

Every step is a function of (seed, step, weights, optimizer state): tasks, batches, dropout and Gumbel noise are seeded
anew at each step, so a run that was killed and resumed ends bit-equal to one that was not. The gradient is that of the
whole batch, however many processes and micro-batches share it; only dropout is drawn by each.
"""

from __future__ import annotations

import copy
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shift_tokenizer.windows import Clips
from tqdm import tqdm

from clutch_llm.adapting import adapt, keep_less, keep_words, merge
from clutch_llm.batching import SampleMaker, collate
from clutch_llm.clips import Example, check_examples
from clutch_llm.clutch import Clutch
from clutch_llm.engine import gathered_weights, set_learning_rate, start_engine, sum_over_ranks
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.evaluation.claims import ClaimReader
from clutch_llm.model import IGNORE
from clutch_llm.refinement import JointsFn, TrueMotion, code_distances, gumbel_noise, refinement_distances
from clutch_llm.reinforcement import Reinforcement
from clutch_llm.stages import LossWeights, MotionLossConfig, ReinforceConfig, StageConfig
from clutch_llm.step_batches import MicroBatch, StepBatches, planned
from clutch_llm.training_state import History, TrainingState, Weights, fingerprint

logger = logging.getLogger(__name__)

LogFn = Callable[[int, dict[str, float]], None]

#: Examples that validation takes of a split, about: enough to see a trend, few enough to cost little beside training.
VAL_EXAMPLES = 128
#: Validations in a run.
VAL_TIMES = 5
#: Examples of one forward in validation, which needs no memory for gradients.
VAL_BATCH = 32


def train_stage(
    clutch: Clutch,
    examples: Clips,
    config: StageConfig,
    *,
    val_examples: Clips | None = None,
    joints_fn: JointsFn | None = None,
    claim_reader: ClaimReader | None = None,
    checkpoint_dir: Path | str | None = None,
    on_log: LogFn | None = None,
) -> tuple[Clutch, History]:
    """Train one stage through DeepSpeed, in this process or in each process of a launcher.

    Args:
        clutch: the model to start from; it is not changed.
        examples: clips with tokens: a list, such as `build_corpus` makes, or a map-style dataset that reads each one
            when it is asked for. Of the latter all is held but the features, which are read when they are drawn.
        config: a `PretrainConfig`, `RefineConfig`, `InstructConfig` or `ReinforceConfig`: the class decides the stage.
        val_examples: held-out examples, for the validation loss in the history.
        joints_fn: forward kinematics for refinement, `hand_geometry.features_to_joints`.
        claim_reader: of captions, for reinforcement, such as `evaluation.claim_reader()`; None rewards the plan that
            the true motion follows, whatever the caption says of it.
        checkpoint_dir: where the state for resuming lives; a run that finds its own state goes on from it, and
            removes it when the stage is complete.
        on_log: called with (step, values) for every line of the history, in each process.

    Returns:
        The trained model and the history: step, loss, lr, cross-entropy by task, ``rec`` in refinement, in
        reinforcement ``reward``, its terms, its ``spread`` within a caption, ``kl`` and ``surprise`` (both a token, in
        nats), ``val/...``; all are of all processes together.

    Raises:
        ConfigError, DataError: when settings and data do not fit each other.
        MissingDependencyError: when DeepSpeed is not installed.
    """
    checked, held_out = _check(examples, () if val_examples is None else val_examples, clutch, config)
    model = copy.deepcopy(clutch.model)
    mark = fingerprint(model, checked, config, val_examples=held_out, joints=joints_fn is not None)
    if isinstance(config, ReinforceConfig):
        mark += f"-{getattr(claim_reader, '__qualname__', type(claim_reader).__name__)}"
    adapt(model, config.adapt, config.seed)
    keep_words(model, config.adapt)
    if config.gradient_checkpointing:
        keep_less(model)
    engine = start_engine(model, config)
    try:
        run = _Run(engine, clutch, checked, config, joints_fn, claim_reader)
        state = TrainingState(checkpoint_dir, mark, keep=config.keep_checkpoints)
        history, best = run.train(state, held_out, on_log)
        weights = gathered_weights(engine) if best is None else best
    finally:
        engine.destroy()
    state.clear()
    trained = copy.copy(clutch)
    trained.model = copy.deepcopy(clutch.model)
    adapt(trained.model, config.adapt, config.seed)
    with torch.no_grad():
        for name, parameter in trained.model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])
    merge(trained.model, config.adapt)
    about = {"stage": type(config).__name__, "steps": config.steps, "seed": config.seed, "tasks": dict(config.tasks)}
    if best is not None:
        about["best_step"] = int(min(validated(history), key=val_loss)["step"])
    trained.stages = [*clutch.stages, about]
    return trained, history


def _check(
    examples: Clips,
    val_examples: Clips,
    clutch: Clutch,
    config: StageConfig,
) -> tuple[list[Example], list[Example]]:
    """Check the examples, and that model, motion tokenizer and data agree; which two do not is said."""
    shift, layout = clutch.tokenizer.config, clutch.vocabulary.layout
    for name in ("codebook_size", "slot_codebook"):
        ours, theirs = getattr(layout, name), getattr(shift, name)
        if ours != theirs:
            raise DataError(
                f"Expected one {name} in the vocabulary and the motion tokenizer, got {ours} and {theirs}. "
                "Use the tokenizer that the model was made with."
            )
    if config.keep == "best" and not len(val_examples):
        raise ConfigError(
            f"Expected val_examples for {type(config).__name__}.keep 'best', got none. Pass some, or keep the last."
        )
    checked = check_examples(examples, shift)
    held_out = check_examples(val_examples, shift) if len(val_examples) else []
    if layout.plan_size == 0 and config.tasks.get("plan", 0) > 0:
        raise ConfigError(
            f'Expected {type(config).__name__}.tasks without "plan" for a model without plans, got it. '
            "Give the task 0, or make the model with ClutchConfig(motion_form='step', plan=True)."
        )
    if layout.stepwise and config.zero_stage == 3:
        raise ConfigError(
            f"Expected {type(config).__name__}.zero_stage 0, 1 or 2 for the step form, whose small heads share weights "
            "that ZeRO-3 would take apart between them, got 3. Take 2, or the interleaved form."
        )
    longest = max([*checked, *held_out], key=lambda e: len(e["tokens"]))
    if len(longest["tokens"]) > clutch.config.max_steps:
        raise DataError(
            f"Expected motions of at most ClutchConfig.max_steps = {clutch.config.max_steps} latent steps, got "
            f"{len(longest['tokens'])} in clip {longest['clip_id']!r}: {len(longest['features'])} frames at "
            f"ShiftConfig.frames_per_latent = {shift.frames_per_latent}. Raise max_steps or cut the clips."
        )
    return checked, held_out


def validated(history: History) -> History:
    """The lines of a history that have a validation."""
    return [row for row in history if "val/t2m" in row]


def val_loss(row: Mapping[str, float]) -> float:
    """What the best model has least of: the mean of both directions' cross-entropy a token on held-out examples."""
    return (row["val/t2m"] + row["val/m2t"]) / 2


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
        examples: Sequence[Example],
        config: StageConfig,
        joints_fn: JointsFn | None,
        reader: ClaimReader | None = None,
    ) -> None:
        self.engine, self.config = engine, config
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.vocabulary = clutch.vocabulary
        self.joints_fn = joints_fn
        self.tokenizer = copy.deepcopy(clutch.tokenizer).to(engine.device).eval().requires_grad_(False)
        self.learn: Callable[[int], dict[str, float]] = self.teach
        if isinstance(config, ReinforceConfig):
            policy = Reinforcement(engine, clutch, examples, config, tokenizer=self.tokenizer, reader=reader)
            self.learn = policy.step
        else:
            self.batches = StepBatches(
                examples, config, clutch.tokenizer, clutch.vocabulary, rank=self.rank, world=self.world
            )

    def train(
        self, state: TrainingState, val_examples: Sequence[Example], on_log: LogFn | None
    ) -> tuple[History, Weights | None]:
        """The history, and the weights of the best validation where these are to be kept."""
        config = self.config
        start, history, best = state.restore(self.engine)
        if on_log:
            for row in history:
                on_log(int(row["step"]), row)
        sums: dict[str, list[float]] = defaultdict(list)
        val_every = max(1, config.steps // VAL_TIMES)
        hidden = None if self.rank == 0 else True  # None: shown where there is a terminal
        bar = tqdm(range(start, config.steps), initial=start, total=config.steps, disable=hidden, unit="step")
        bar.set_description(type(config).__name__)
        with torch.random.fork_rng():
            for step in bar:
                for key, value in self.step(step).items():
                    sums[key].append(value)
                done = step + 1
                if done % config.log_every == 0 or done == config.steps:
                    row = {"step": float(done), **{k: float(np.mean(v)) for k, v in sums.items()}}
                    sums.clear()
                    due = done == config.steps or done // val_every > (done - config.log_every) // val_every
                    if val_examples and due:
                        row |= self.validate(val_examples)
                        least = min(map(val_loss, validated(history)), default=math.inf)
                        if config.keep == "best" and val_loss(row) < least:
                            best = gathered_weights(self.engine)
                    history.append(row)
                    bar.set_postfix(loss=f"{row['loss']:.3f}")
                    if on_log:
                        on_log(done, row)
                    if done % config.checkpoint_every < config.log_every and done < config.steps:
                        state.save(self.engine, done, history, best)
        return history, best

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step; gives what is logged of it."""
        rate = learning_rate_at(step, self.config)
        set_learning_rate(self.engine, rate)
        return self.learn(step) | {"lr": rate}

    def teach(self, step: int) -> dict[str, float]:
        """One optimizer step on what the examples say."""
        engine, config = self.engine, self.config
        batch = self.batches.draw(step)
        weights = config.loss_weights(batch.task)
        counts = [[micro.labels, micro.motions] for micro in batch.micro_batches]
        whole = self._total(torch.tensor(counts).sum(0))
        torch.manual_seed(batch.dropout_seed)
        engine.train()
        sums = torch.zeros(2, dtype=torch.float64, device=engine.device)
        for micro in batch.micro_batches:
            entropy, distance = self._losses(micro.to(engine.device), weights, step)
            shares = torch.stack([entropy / whole[0], distance / whole[1].clamp(min=1)])
            loss = weights.cross_entropy * shares[0] + weights.motion * shares[1]
            engine.backward(loss * self.world, scale_wrt_gas=False)  # the ranks' gradients are averaged, not added
            engine.step()  # which steps when the last micro-batch is in
            sums += shares.detach()
        entropy, distance = sum_over_ranks(sums).tolist()
        logged = {f"ce/{batch.task}": entropy}
        if weights.motion and isinstance(config, MotionLossConfig):
            logged |= {f"rec/{batch.task}": distance, "temperature": config.temperature(step)}
        return {"loss": weights.cross_entropy * entropy + weights.motion * distance, **logged}

    def _total(self, counts: torch.Tensor) -> torch.Tensor:
        return sum_over_ranks(counts.to(self.engine.device, torch.float64)).float()

    def _losses(self, micro: MicroBatch, weights: LossWeights, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Sums over a micro-batch: of its labels' cross-entropy, and of its motions' distances from the true ones."""
        config = self.config
        output = self.engine(*micro.parts, refine=weights.motion > 0)
        entropy = output.loss * micro.labels
        logits, mask = output.slot_logits, output.step_mask
        if logits is None or mask is None or not isinstance(config, MotionLossConfig):
            return entropy, torch.zeros_like(entropy)
        if config.relaxation == "expected":
            seen = torch.tensor([bool(np.any(example["valid"])) for example in micro.examples], device=mask.device)
            return entropy, (code_distances(logits, mask, micro.examples, self.tokenizer) * seen).sum()
        distances = refinement_distances(
            logits,
            mask,
            gumbel_noise(micro.noise_seeds, mask, logits.shape[2:]),
            TrueMotion.of(micro.examples, mask.shape[1] * self.tokenizer.config.frames_per_latent).to(mask.device),
            self.tokenizer,
            temperature=config.temperature(step),
            hard=config.hard,
            relaxation=config.relaxation,
            joints_fn=self.joints_fn,
            joint_weight=config.joint_weight,
            velocity_weight=config.velocity_weight,
        )
        return entropy, distances.sum()

    @torch.no_grad()
    def validate(self, examples: Sequence[Example]) -> dict[str, float]:
        """Cross-entropy a token of both directions on held-out examples, spread over the split."""
        self.engine.eval()
        row = {}
        maker = SampleMaker(self.vocabulary)
        spread = planned(examples[:: max(1, len(examples) // VAL_EXAMPLES)], self.vocabulary)
        some = sorted(spread, key=lambda e: len(e["tokens"]))
        for task in ("t2m", "m2t"):
            rng = np.random.default_rng(0)
            losses, labels = [], []
            for k in range(0, len(some), VAL_BATCH):
                samples = [maker.make(task, e, rng) for e in some[k : k + VAL_BATCH]]
                batch = collate(samples, self.vocabulary.layout.pad).to(self.engine.device)
                losses.append(float(self.engine(batch).loss))
                labels.append(int((batch.target != IGNORE).sum()))
            row[f"val/{task}"] = float(np.average(losses, weights=labels))
        own = torch.tensor([*row.values()], dtype=torch.float64, device=self.engine.device)
        mean = sum_over_ranks(own) / self.world
        return dict(zip(row, mean.tolist(), strict=True))  # alike on all processes, which decide by it
