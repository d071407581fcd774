"""`TokenizerTraining`: how a tokenizer is trained, in one frozen dataclass."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .validation import from_mapping, require_choice, require_integer, require_match, require_number, require_weights

_LOSS_WEIGHTS = (
    "rotation_weight",
    "translation_weight",
    "pose_weight",
    "commitment_weight",
    "velocity_weight",
    "joint_weight",
    "root_joint_weight",
)
NO_INFLUENCE = ("log_every", "validate_every", "checkpoint_every", "device")


@dataclass(frozen=True)
class TokenizerTraining:
    """How a tokenizer is trained. The defaults are the demo's.

    Attributes:
        steps: optimizer steps.
        batch_size: windows per step, of all processes together.
        window: frames per window; a multiple of frames_per_latent.
        learning_rate: its peak; warmed up over `warmup_steps`, then a cosine down to `final_rate` of it.
        source_temperature: T of the shares that sources have of a batch: a source of n clips counts n ** (1 / T). At 1
            shares are those of the sizes; the higher, the more alike they are (`source_shares`).
        source_weights: shares by source, for those named, in place of that; each must be in the data.
        rotation_weight, translation_weight, pose_weight: of the smooth-L1 of wrist rotation, translation,
            pose. As published, with two models: 2/3, 1/3, 1.
        commitment_weight: of the latents' distance to their codes.
        velocity_weight: of the frame differences of the translation.
        joint_weight, root_joint_weight: of joint positions, absolute and relative to the wrist; need a
            `joints_fn`.
        invalid_weight: weight of a frame in which a hand is not seen, so that what stands in for it is learnt a
            little.
        unseen_share: share of the hands that are never seen in a window to work on, where hands are coded apart;
            they are all alike, and would take much of the time.
        mirror_probability: how often a window is replaced by its mirror image; needs a `mirror_fn`.
        gradient_clip: largest norm of the gradient.
        seed: of weights, batches and codebooks.
        log_every, validate_every, checkpoint_every: in steps; they do not change the result.
        precision: "fp32", or "bf16": the networks in bfloat16, quantizers, losses and weights in float32.
        keep: "last": the tokenizer after the last step is returned; "best": the best on the validation clips.
        device: "cpu", "cuda", "cuda:N", or "auto": a CUDA device if there is one.
        memory_mb: MiB that the training clips may take in memory; of more each is read when it is drawn. The windows
            are the same; mean and standard deviation are then summed in float64, and differ in their last bits.
    """

    steps: int = 1000
    batch_size: int = 32
    window: int = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 20
    final_rate: float = 0.02
    weight_decay: float = 1e-4
    source_temperature: float = 2.0
    source_weights: Mapping[str, float] = field(default_factory=dict)
    rotation_weight: float = 2.0
    translation_weight: float = 0.5
    pose_weight: float = 1.0
    commitment_weight: float = 0.25
    velocity_weight: float = 1.0
    joint_weight: float = 1.0
    root_joint_weight: float = 1.0
    invalid_weight: float = 0.2
    unseen_share: float = 0.1
    mirror_probability: float = 0.0
    gradient_clip: float = 1.0
    seed: int = 0
    log_every: int = 50
    validate_every: int = 400
    checkpoint_every: int = 200
    precision: str = "fp32"
    keep: str = "last"
    device: str = "auto"
    memory_mb: int = 512

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "window", "log_every", "validate_every", "checkpoint_every"):
            require_integer(self, name, 1)
        require_integer(self, "warmup_steps", 0)
        require_integer(self, "memory_mb", 0)
        require_integer(self, "seed", 0, 2**63 - 1)
        require_number(self, "learning_rate", 1e-9, 1.0)
        require_number(self, "final_rate", 0.0, 1.0)
        require_number(self, "gradient_clip", 1e-9)
        require_number(self, "mirror_probability", 0.0, 1.0)
        require_number(self, "unseen_share", 0.0, 1.0)
        for name in ("weight_decay", "invalid_weight", *_LOSS_WEIGHTS):
            require_number(self, name, 0.0)
        require_number(self, "source_temperature", 1.0)
        require_weights(self, "source_weights")
        require_choice(self, "precision", ("fp32", "bf16"))
        require_choice(self, "keep", ("last", "best"))
        require_match(self, "device", r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TokenizerTraining":
        """Builds it from plain values (JSON, YAML).

        Raises:
            ConfigError: a field is unknown or out of range.
        """
        return from_mapping(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "source_weights": dict(self.source_weights)}
