"""Settings of the training stages, validated where they are built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from clutch_llm.config import from_mapping, require

TASKS = ("t2m", "m2t", "text", "motion", "masked", "t2t", "plan", "complete")
PRECISIONS = ("fp32", "bf16")
OPTIMIZERS = ("adamw", "muon")

#: What of a model a stage trains, see `AdaptConfig.method`.
ADAPT_METHODS = ("full", "lora", "last_n")

#: Tasks that answer with a whole motion, which can be compared in motion space.
MOTION_TASKS = ("t2m", "masked", "complete")

#: Which model a stage gives, see `StageConfig.keep`.
KEPT = ("last", "best")

#: How refinement makes the choice of codes differentiable, see `RefineConfig.relaxation`.
RELAXATIONS = ("gumbel", "soft", "expected")

#: What a reward is made of, see `rewards`.
REWARD_TERMS = ("claims", "seconds", "contact", "limits", "jitter")

#: Old names of settings, which are refused with the new one.
RENAMED = {
    "hide": "decoder_input_dropout",
    "prefix": "target_truncation",
    "prefix_steps": "truncated_steps",
    "unconditional": "condition_dropout",
    "floor": "min_lr_ratio",
    "clip": "max_grad_norm",
}


class LossWeights(NamedTuple):
    """What a batch of a task is trained on: weights of its cross-entropy and of its distance in motion space."""

    cross_entropy: float
    motion: float


@dataclass(frozen=True)
class AdaptConfig:
    """What of a model is trained (`adapting`). A model's own tokens, heads and embeddings are trained in any case.

    Attributes:
        method: "full", all of it. "lora" (Hu et al. 2022): beside each linear map of the backbone's layers a product of
            two narrow ones, which is added to it at the end. "last_n": the backbone's last layers as they are, of
            encoder and decoder each, with the norms after them.
        rank: of "lora": width between the two narrow maps.
        alpha: of "lora": their product counts ``alpha / rank``.
        layers: of "last_n": how many layers.
    """

    method: str = "full"
    rank: int = 8
    alpha: int = 16
    layers: int = 2

    def __post_init__(self) -> None:
        require(self.method in ADAPT_METHODS, "AdaptConfig.method", f"one of {ADAPT_METHODS}", self.method)
        for key in ("rank", "layers"):
            require(getattr(self, key) >= 1, f"AdaptConfig.{key}", "of at least 1", getattr(self, key))
        require(0 < self.alpha < math.inf, "AdaptConfig.alpha", "above 0", self.alpha)


@dataclass(frozen=True)
class StageConfig:
    """What the training stages share.

    Attributes:
        steps: optimizer steps.
        batch_size: examples of one step, over all ranks.
        micro_batch_size: examples that a rank computes at once, a divisor of its share of the batch; the gradients of
            its micro-batches add up to that of the batch. None computes the share at once.
        learning_rate: peak of the cosine schedule.
        warmup: steps of linear warm-up.
        min_lr_ratio: the schedule ends at this share of the peak.
        optimizer: "adamw", as published, or "muon": Muon on the matrices, which learns more in a step, and AdamW on the
            rest (`optimizers`). It needs whole matrices in ``fp32``: ``zero_stage`` 0.
        weight_decay: of the optimizer.
        max_grad_norm: largest gradient norm.
        zero_stage: DeepSpeed ZeRO stage, 0 to 3.
        precision: ``fp32`` or ``bf16``.
        adapt: what of the model is trained; a mapping of its settings is taken for them.
        gradient_checkpointing: keep what stands between the backbone's layers alone and compute the rest again on the
            way back: less memory for a third more time.
        deepspeed_config: path of a DeepSpeed JSON that is merged with what the settings above decide; where both say
            something else, training stops and names both.
        seed: seed of batches, dropout and sampling.
        tasks: share of each task among the steps; names from ``TASKS``. "plan" trains caption to plan alone and is for
            models with `ClutchConfig.plan`. "complete" trains to fill a motion's gaps, which `Clutch.complete` needs.
        source_temperature: at least 1; sources of n clips are drawn in proportion to n ** (1 / temperature): 1 draws
            every clip alike, the higher, the more alike the sources.
        source_weights: share of each named source among the examples, in place of that; see
            `shift_tokenizer.mixing.source_shares`.
        mirror: share of examples that are shown mirrored: hands swapped, and the words left and right with them.
        condition_dropout: share of text-to-motion examples whose caption is left out, which is what
            classifier-free guidance at generation needs.
        decoder_input_dropout: share of examples in which the decoder sees ``<mask>`` instead of a random share of its
            own past. A motion's past all but gives its next code, so without this a model learns to go on long before
            it learns to listen to its prompt.
        target_truncation: share of text-to-motion batches whose motions stop after ``truncated_steps``. The beginning
            of a motion is where the caption decides; what follows is given by what came before, and costs most of the
            time.
        truncated_steps: latent steps of a truncated motion.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many of the last checkpoints stay until the stage is complete; where the last one is
            damaged, training goes on from the one before.
        keep: "last": the model after the last step is given; "best": that of the validation with the least
            cross-entropy, the mean of both directions (`val_loss`). It needs examples to validate on.
        log_every: steps between lines of the history.
    """

    #: "first" asks with each task's first template, "all" varies them.
    templates: ClassVar[str] = "first"
    #: A stage that may be left out takes 0 steps.
    least_steps: ClassVar[int] = 1

    steps: int = 2700
    batch_size: int = 16
    micro_batch_size: int | None = None
    learning_rate: float = 3e-3
    warmup: int = 50
    min_lr_ratio: float = 0.02
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    zero_stage: int = 0
    precision: str = "fp32"
    adapt: AdaptConfig = AdaptConfig()
    gradient_checkpointing: bool = False
    deepspeed_config: str | None = None
    seed: int = 0
    tasks: Mapping[str, float] = field(default_factory=lambda: {"t2m": 1.0})
    source_temperature: float = 2.0
    source_weights: Mapping[str, float] = field(default_factory=dict)
    mirror: float = 0.5
    condition_dropout: float = 0.1
    decoder_input_dropout: float = 0.4
    target_truncation: float = 0.7
    truncated_steps: int = 4
    checkpoint_every: int = 200
    keep_checkpoints: int = 1
    keep: str = "last"
    log_every: int = 20

    def __post_init__(self) -> None:
        name = type(self).__name__
        if isinstance(self.adapt, Mapping):  # as YAML gives it
            object.__setattr__(self, "adapt", from_mapping(AdaptConfig, self.adapt))
        least = self.least_steps
        require(self.steps >= least, f"{name}.steps", f"of at least {least}", self.steps)
        for key in ("batch_size", "truncated_steps", "checkpoint_every", "keep_checkpoints", "log_every"):
            require(getattr(self, key) >= 1, f"{name}.{key}", "of at least 1", getattr(self, key))
        micro = self.micro_batch_size
        require(micro is None or 1 <= micro <= self.batch_size, f"{name}.micro_batch_size", "in 1..batch_size", micro)
        for key in ("learning_rate", "max_grad_norm"):
            require(0.0 < getattr(self, key) < math.inf, f"{name}.{key}", "above 0 and finite", getattr(self, key))
        for key in ("warmup", "weight_decay", "seed"):
            require(0.0 <= getattr(self, key) < math.inf, f"{name}.{key}", "of at least 0", getattr(self, key))
        temperature = self.source_temperature
        require(1.0 <= temperature < math.inf, f"{name}.source_temperature", "of at least 1", temperature)
        require(self.zero_stage in (0, 1, 2, 3), f"{name}.zero_stage", "0, 1, 2 or 3", self.zero_stage)
        require(self.precision in PRECISIONS, f"{name}.precision", f"one of {PRECISIONS}", self.precision)
        require(self.keep in KEPT, f"{name}.keep", f"one of {KEPT}", self.keep)
        require(self.optimizer in OPTIMIZERS, f"{name}.optimizer", f"one of {OPTIMIZERS}", self.optimizer)
        whole = self.optimizer == "adamw" or (self.zero_stage, self.precision) == (0, "fp32")
        require(whole, f"{name}.optimizer", "'adamw' with ZeRO or bf16, which take matrices apart", self.optimizer)
        for key in ("mirror", "condition_dropout", "decoder_input_dropout", "target_truncation", "min_lr_ratio"):
            require(0.0 <= getattr(self, key) <= 1.0, f"{name}.{key}", "in [0, 1]", getattr(self, key))
        unknown = set(self.tasks) - set(TASKS)
        require(not unknown, f"{name}.tasks", f"among {TASKS}", sorted(unknown))
        weights = [*self.tasks.values(), *self.source_weights.values()]
        require(all(w >= 0 for w in weights), f"{name} weights", "of at least 0", weights)
        require(sum(self.tasks.values()) > 0, f"{name}.tasks", "with a weight above 0", dict(self.tasks))

    def loss_weights(self, task: str) -> LossWeights:
        """What a batch of this task is trained on."""
        return LossWeights(cross_entropy=1.0, motion=0.0)


@dataclass(frozen=True)
class PretrainConfig(StageConfig):
    """Stage 1: next-token cross-entropy on both directions and on corrupted text and motion."""

    tasks: Mapping[str, float] = field(
        default_factory=lambda: {"t2m": 0.62, "m2t": 0.34, "masked": 0.02, "motion": 0.01, "text": 0.01}
    )


@dataclass(frozen=True)
class MotionLossConfig(StageConfig):
    """A stage with a loss in motion space beside the cross-entropy: ``L = alpha * L_LM + lam * L_rec``.

    Masked prediction is trained by the distance in motion space alone, as in the paper: its alpha is 0.

    Attributes:
        alpha: weight of the cross-entropy.
        lam: weight of the reconstruction loss in motion space. Without it (0) it is not computed.
        temperature_start: Gumbel-softmax temperature at the first step.
        temperature_end: and at the last one.
        joint_weight: weight of the joint positions inside the reconstruction loss.
        velocity_weight: weight of the joint velocities inside it.
        relaxation: "gumbel" as published: codes are drawn with Gumbel-softmax and decoded. "soft": each slot's codes
            are mixed by their probabilities at the temperature, without noise, and the mixture is decoded (EgoLM, Hong
            et al. 2024). "expected": nothing is decoded; the code vector that is expected of each slot is regressed
            to the true code's.
        hard: of "gumbel": straight-through samples (one-hot forward, soft backward) rather than soft ones.
        control: take ``lam`` as 0 and change nothing else: what refinement is compared with.
    """

    alpha: float = 1.0
    lam: float = 2.0
    temperature_start: float = 1.0
    temperature_end: float = 0.5
    joint_weight: float = 1.0
    velocity_weight: float = 1.0
    relaxation: str = "gumbel"
    hard: bool = True
    control: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        for key in ("alpha", "lam", "joint_weight", "velocity_weight"):
            require(0 <= getattr(self, key) < math.inf, f"{name}.{key}", "of at least 0", getattr(self, key))
        for key in ("temperature_start", "temperature_end"):
            require(0 < getattr(self, key) < math.inf, f"{name}.{key}", "above 0", getattr(self, key))
        require(self.relaxation in RELAXATIONS, f"{name}.relaxation", f"one of {RELAXATIONS}", self.relaxation)

    def loss_weights(self, task: str) -> LossWeights:
        """``alpha`` and ``lam``, where the task has them."""
        refined = task in MOTION_TASKS and not self.control
        return LossWeights(0.0 if task == "masked" else self.alpha, self.lam if refined else 0.0)

    def temperature(self, step: int) -> float:
        """Gumbel-softmax temperature at a step, linear from start to end."""
        progress = step / max(1, self.steps - 1)
        return self.temperature_start + (self.temperature_end - self.temperature_start) * progress


@dataclass(frozen=True)
class RefineConfig(MotionLossConfig):
    """Stage 2: geometric refinement (CLUTCH, stage 2)."""

    steps: int = 250
    learning_rate: float = 1e-3
    warmup: int = 20
    decoder_input_dropout: float = 0.0
    target_truncation: float = 0.0
    tasks: Mapping[str, float] = field(default_factory=lambda: {"t2m": 0.6, "m2t": 0.25, "masked": 0.15})


@dataclass(frozen=True)
class InstructConfig(MotionLossConfig):
    """Stage 3: instruction tuning over many prompt templates for each task.

    As published, by cross-entropy alone: ``lam`` is 0. Above it, what refinement has brought is kept up.
    """

    templates: ClassVar[str] = "all"

    lam: float = 0.0

    steps: int = 400
    learning_rate: float = 1e-3
    warmup: int = 20
    tasks: Mapping[str, float] = field(default_factory=lambda: {"t2m": 0.55, "m2t": 0.35, "t2t": 0.1})

    def loss_weights(self, task: str) -> LossWeights:
        """The same; without a loss in motion space, masked prediction is trained by its cross-entropy."""
        return super().loss_weights(task) if self.lam else LossWeights(self.alpha, 0.0)


@dataclass(frozen=True)
class ReinforceConfig(StageConfig):
    """Stage 4: reinforcement with rewards that are measured (`reinforcement`); 0 steps leave it out.

    Of the settings that all stages share, ``tasks``, ``condition_dropout``, ``decoder_input_dropout``,
    ``target_truncation`` and ``truncated_steps`` have no say: captions are asked for whole motions, and what is drawn
    is scored as it was drawn, without dropout.

    Attributes:
        batch_size: captions of one step, over all ranks.
        samples: motions drawn for each caption, which are compared with each other.
        temperature: of drawing codes, and of the probabilities that are trained: one and the same.
        kl: weight of the distance from the model that the stage starts from.
        reward: weight of each of `REWARD_TERMS`; one that is not named has none.
        least_spread: rewards of a caption are divided by their standard deviation, or by this where it is smaller, so
            that chance differences between motions that are alike are not blown up.
        zero_stage: 0 to 2: motions are drawn from whole weights.
        keep: "last": the cross-entropy that validation measures is not what is trained.
    """

    least_steps: ClassVar[int] = 0

    steps: int = 0
    batch_size: int = 8
    learning_rate: float = 1e-4
    warmup: int = 5
    weight_decay: float = 0.0
    samples: int = 6
    temperature: float = 1.0
    kl: float = 0.1
    reward: Mapping[str, float] = field(
        default_factory=lambda: {"claims": 1.0, "seconds": 0.5, "contact": 0.5, "limits": 0.25, "jitter": 0.25}
    )
    least_spread: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.samples >= 2, "ReinforceConfig.samples", "of at least 2", self.samples)
        require(self.zero_stage <= 2, "ReinforceConfig.zero_stage", "0, 1 or 2", self.zero_stage)
        require(self.keep == "last", "ReinforceConfig.keep", "'last', as validation measures no reward", self.keep)
        for key in ("temperature", "least_spread"):
            require(0 < getattr(self, key) < math.inf, f"ReinforceConfig.{key}", "above 0", getattr(self, key))
        require(0 <= self.kl < math.inf, "ReinforceConfig.kl", "of at least 0", self.kl)
        unknown = set(self.reward) - set(REWARD_TERMS)
        require(not unknown, "ReinforceConfig.reward", f"among {REWARD_TERMS}", sorted(unknown))
        good = all(0 <= w < math.inf for w in self.reward.values()) and sum(self.reward.values()) > 0
        require(good, "ReinforceConfig.reward", "of weights of at least 0, one above", dict(self.reward))
