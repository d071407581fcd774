"""Settings of the language model, and how any settings are read; those of the training stages are in `stages`."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from clutch_llm.errors import ConfigError

T = TypeVar("T")

#: Forms of a motion in the model, see `ClutchConfig.motion_form`.
MOTION_FORMS = ("interleaved", "step")

#: Backbones that can start from nothing, see `ClutchConfig.architecture`.
ARCHITECTURES = ("encoder-decoder", "decoder-only")

#: T5 sizes by hub name, so that a paper-sized model can be laid out without the network (as on the meta device).
KNOWN_SIZES: dict[str, dict[str, Any]] = {
    "google/flan-t5-small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "google/flan-t5-base": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "google/flan-t5-large": {"d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16},
}


def require(ok: bool, what: str, expected: str, got: object) -> None:
    """Refuse a setting.

    Raises:
        ConfigError: when it is not ok; says what was expected and got.
    """
    if not ok:
        raise ConfigError(f"Expected {what} {expected}, got {got!r}. Correct it in the configuration.")


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a configuration from plain values, as YAML gives them.

    Raises:
        ConfigError: on a name the configuration does not have, or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    renamed: Mapping[str, str] = getattr(sys.modules[cls.__module__], "RENAMED", {})
    for old, new in renamed.items():
        if old in values:
            raise ConfigError(f"Expected the setting {new!r} of {cls.__name__}, got its old name {old!r}. Rename it.")
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if "fps" in values and cls is ClutchConfig:
        raise ConfigError("Expected no rate in ClutchConfig, got fps: it is the motion tokenizer's, ShiftConfig.fps.")
    for name, value in values.items():
        if name not in names:
            raise ConfigError(
                f"Expected the settings of {cls.__name__} ({', '.join(names)}), got {name!r}. "
                "Correct the name in the configuration."
            )
        _check_type(f"{cls.__name__}.{name}", hints[name], value)
    return cls(**values)


def _check_type(name: str, hint: Any, value: object) -> None:
    options = typing.get_args(hint) if typing.get_origin(hint) not in (dict, tuple, list, Mapping) else ()
    for kind in options or (hint,):
        kind = Mapping if dataclasses.is_dataclass(kind) else typing.get_origin(kind) or kind  # as StageConfig.adapt
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return
        if kind is int and isinstance(value, bool):
            continue
        if isinstance(kind, type) and isinstance(value, kind):
            return
    raise ConfigError(f"Expected {name} of type {hint}, got {value!r}. Correct the value in the configuration.")


@dataclass(frozen=True)
class ClutchConfig:
    """Sizes of the language model.

    Attributes:
        base_model: None for a model of the sizes below, trained from nothing with a text tokenizer of its own; or a
            hub name or folder of a T5 or a decoder-only model (`backbones`), whose weights, sizes and text tokenizer
            are taken.
        architecture: of a model from nothing: "encoder-decoder", a T5, or "decoder-only", a Llama whose prompt is read
            in both directions.
        d_model: width.
        d_ff: width of the feed-forward layers.
        heads: attention heads; each has ``d_model // heads`` dimensions.
        layers: encoder layers, or all there are in a decoder-only model.
        decoder_layers: decoder layers of an encoder-decoder; None takes ``layers``.
        dropout: dropout rate, in [0, 1).
        feed_forward: T5's name of its feed-forward layer; a Llama's is gated.
        text_vocabulary: size limit of the trained text tokenizer; too small a one breaks letters into bytes.
        max_steps: longest motion in latent steps. A step is ``frames_per_latent`` frames of the motion tokenizer at
            its rate: 4 / 15 s by default.
        motion_form: "interleaved" as published, one position a code, ended by ``<eom>``; or "step", one position a
            latent step, whose codes a small head writes one after the other, of a length that is told first
            (`models.step`).
        plan: in the step form, the model writes what the motion will do, as claims, before it writes the motion
            (`planning`).
    """

    base_model: str | None = None
    architecture: str = "encoder-decoder"
    d_model: int = 128
    d_ff: int = 512
    heads: int = 4
    layers: int = 3
    decoder_layers: int | None = None
    dropout: float = 0.1
    feed_forward: str = "relu"
    text_vocabulary: int = 1000
    max_steps: int = 18
    motion_form: str = "interleaved"
    plan: bool = False

    def __post_init__(self) -> None:
        for name in ("d_model", "d_ff", "heads", "layers", "max_steps"):
            require(getattr(self, name) >= 1, f"ClutchConfig.{name}", "of at least 1", getattr(self, name))
        require(self.d_model % self.heads == 0, "ClutchConfig.d_model", "divisible by heads", self.d_model)
        require(0.0 <= self.dropout < 1.0, "ClutchConfig.dropout", "in [0, 1)", self.dropout)
        require(
            self.text_vocabulary >= 400,
            "ClutchConfig.text_vocabulary",
            "of at least 400",
            self.text_vocabulary,
        )
        kind = self.architecture
        require(kind in ARCHITECTURES, "ClutchConfig.architecture", f"one of {ARCHITECTURES}", kind)
        form = self.motion_form
        require(form in MOTION_FORMS, "ClutchConfig.motion_form", f"one of {MOTION_FORMS}", form)
        require(form == "step" or not self.plan, "ClutchConfig.motion_form", "'step' with plan: true", form)

    @classmethod
    def paper(cls) -> ClutchConfig:
        """The paper's language model: Flan-T5-base, motions of up to 18 latent steps (72 frames)."""
        return cls(base_model="google/flan-t5-base", max_steps=18)
