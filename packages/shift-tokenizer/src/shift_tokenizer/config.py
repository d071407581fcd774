"""`ShiftConfig`: what a tokenizer is, in one frozen dataclass that is written beside its weights."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError
from .layout import HAND_FEATURES, HANDS, POSE, TRAJECTORY
from .rates import DEFAULT_FPS
from .validation import (
    from_mapping,
    require_choice,
    require_integer,
    require_integers,
    require_number,
    require_power_of_two,
)

DECOMPOSITIONS = ("shift", "part", "modality", "plain")
_FPS = (1.0, 1000.0)  # frames a second; below, a hand's movement is lost, and above is no camera or glove


@dataclass(frozen=True)
class ShiftConfig:
    """Sizes and choices of a tokenizer; the defaults are the demo's, `ShiftConfig.paper()` are the published ones.

    Attributes:
        decomposition: "shift": a stream each for left trajectory, left pose, right trajectory, right pose;
            "part": left and right; "modality": trajectory and pose of both hands; "plain": one stream.
            Hands in streams of their own share weights and codebook.
        width: channels of the convolutions.
        codebook_size: codes in each codebook (K).
        code_dim: numbers in one code (D).
        frames_per_latent: frames that one latent step stands for; a power of two.
        residual_depth: codes per stream and step, each quantising what those before it left over.
        dilations: of the residual blocks of each stage, in order. Keep them under the latent steps of a training
            window: a tap that always falls outside is never trained, yet used on longer clips.
        mirror_left: give the left hand to the network as the mirror image of a right one.
        encoder_input: "own": the encoder of a modality sees that modality; "whole": all of the hand (as
            published).
        quantizer: "ema": codes follow the running mean of what they stand for; "cosine": the same with
            directions alone; "fsq": numbers rounded to levels, without a learnt codebook. Residual levels are
            for "ema".
        fsq_levels: of "fsq"; at least 3 each; their product is codebook_size: (8, 8, 8) for 512.
        codebook_init: "sample": codes are drawn from the first batch; "kmeans": and then moved by k-means.
        decay: of that running mean.
        reset_every: training steps between two searches for dead codes.
        reset_threshold: a code is dead when its running count is under this share of an equal share.
        std_floor: smallest standard deviation that normalisation divides by.
        prediction: share of a latent step's value that the next step is expected to have, from 0 to 0.99; codes
            stand for the rest. Of streams that carry the trajectory, alone or with the pose.
        pose_prediction: the same of a stream that carries the pose alone.
        fps: frames a second of the motion that it codes. Motion of another rate is refused.
        group_std: one standard deviation for wrist rotation, pose and translation each, instead of one per
            feature.
    """

    decomposition: str = "shift"
    width: int = 80
    codebook_size: int = 512
    code_dim: int = 64
    frames_per_latent: int = 4
    residual_depth: int = 1
    dilations: tuple[int, ...] = (3, 1)
    mirror_left: bool = True
    encoder_input: str = "own"
    quantizer: str = "ema"
    fsq_levels: tuple[int, ...] = ()
    codebook_init: str = "sample"
    decay: float = 0.97
    reset_every: int = 5
    reset_threshold: float = 0.22
    prediction: float = 0.8
    pose_prediction: float = 0.0
    std_floor: float = 1e-3
    group_std: bool = False
    fps: float = DEFAULT_FPS

    def __post_init__(self) -> None:
        require_integers(self, "dilations", 1)
        object.__setattr__(self, "dilations", tuple(self.dilations))
        require_choice(self, "decomposition", DECOMPOSITIONS)
        for name in ("width", "codebook_size", "code_dim", "residual_depth", "reset_every"):
            require_integer(self, name, 1)
        require_power_of_two(self, "frames_per_latent")
        require_choice(self, "mirror_left", (True, False))
        require_choice(self, "encoder_input", ("own", "whole"))
        require_choice(self, "quantizer", ("ema", "cosine", "fsq"))
        require_choice(self, "codebook_init", ("sample", "kmeans"))
        self._check_quantizer()
        require_number(self, "decay", 0.0, 0.99999)
        require_number(self, "reset_threshold", 0.0, 1.0)
        require_number(self, "prediction", 0.0, 0.99)
        require_number(self, "pose_prediction", 0.0, 0.99)
        require_number(self, "std_floor", 1e-8)
        require_choice(self, "group_std", (True, False))
        require_number(self, "fps", _FPS[0], _FPS[1])

    def _check_quantizer(self) -> None:
        if self.quantizer == "fsq" or self.fsq_levels:
            require_integers(self, "fsq_levels", 3)
            object.__setattr__(self, "fsq_levels", tuple(self.fsq_levels))
        else:
            object.__setattr__(self, "fsq_levels", ())
        if self.quantizer == "fsq" and math.prod(self.fsq_levels) != self.codebook_size:
            raise ConfigError(
                f"ShiftConfig.fsq_levels: expected levels whose product is codebook_size {self.codebook_size}, got "
                f"{self.fsq_levels}. Correct one of them."
            )
        if self.quantizer != "fsq" and self.fsq_levels:
            raise ConfigError(
                f"ShiftConfig.fsq_levels: expected none for quantizer {self.quantizer!r}, got {self.fsq_levels}. "
                "Leave them out."
            )
        if self.quantizer != "ema" and self.residual_depth > 1:
            raise ConfigError(
                f"ShiftConfig.residual_depth: expected 1 for quantizer {self.quantizer!r}, got {self.residual_depth}. "
                "Residual levels are for 'ema'."
            )

    @classmethod
    def paper(cls, **changes: Any) -> "ShiftConfig":
        """The sizes of the published SHIFT (two VQ-VAEs, 35.0 million numbers), with fields changed by name."""
        published: dict[str, Any] = {
            "width": 512,
            "codebook_size": 4096,
            "code_dim": 64,
            "dilations": (9, 3, 1),
            "mirror_left": False,
            "encoder_input": "whole",
            "decay": 0.99,
            "reset_every": 1,
            "prediction": 0.0,
        }
        return cls.from_dict({**published, **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ShiftConfig":
        """Builds a configuration from plain values (JSON, YAML).

        Raises:
            ConfigError: a field is unknown or out of range.
        """
        return from_mapping(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `ShiftConfig.from_dict(config.to_dict()) == config`."""
        return {**dataclasses.asdict(self), "dilations": list(self.dilations), "fsq_levels": list(self.fsq_levels)}

    @property
    def splits_parts(self) -> bool:
        """Whether each hand has streams of its own."""
        return self.decomposition in ("shift", "part")

    @property
    def n_parts(self) -> int:
        """Hands that are coded apart: 2 or 1."""
        return HANDS if self.splits_parts else 1

    @property
    def stream_features(self) -> tuple[tuple[int, ...], ...]:
        """For each modality, which of a hand's 99 features it carries."""
        if self.decomposition in ("shift", "modality"):
            return (TRAJECTORY, tuple(POSE))
        return (tuple(range(HAND_FEATURES)),)

    @property
    def stream_predictions(self) -> tuple[float, ...]:
        """For each modality, the share that is predicted from step to step."""
        return (self.prediction, self.pose_prediction)[: self.n_modalities]

    @property
    def n_modalities(self) -> int:
        """Modalities that are coded apart: 2 (trajectory, pose) or 1."""
        return len(self.stream_features)

    @property
    def n_codebooks(self) -> int:
        """Codebooks: one for each modality and residual level."""
        return self.n_modalities * self.residual_depth

    @property
    def codebook_names(self) -> tuple[str, ...]:
        """What each codebook carries: ("trajectory", "pose") for SHIFT; with the level, where there are several."""
        names = ("trajectory", "pose") if self.n_modalities == 2 else ("motion",)
        if self.residual_depth == 1:
            return names
        return tuple(f"{name}, level {level + 1}" for name in names for level in range(self.residual_depth))

    @property
    def n_slots(self) -> int:
        """Tokens of one latent step, ordered by part, then modality, then residual level."""
        return self.n_parts * self.n_codebooks

    @property
    def slot_codebook(self) -> tuple[int, ...]:
        """The codebook that each slot's token indexes: (0, 1, 0, 1) for SHIFT."""
        return tuple(range(self.n_codebooks)) * self.n_parts

    @property
    def n_stages(self) -> int:
        """Stages of the encoder and the decoder: two as published, more where frames_per_latent asks for it."""
        return max(2, self.frames_per_latent.bit_length() - 1)
