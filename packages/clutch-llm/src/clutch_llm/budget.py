"""What training will take, before it is started: memory of a GPU and hours of each stage, from sizes alone.

An estimate, with what it assumes (`Assumptions`) said beside the figures:

- Weights, gradients and AdamW's two moments as DeepSpeed holds them: in fp32 4, 4 and 8 bytes a parameter; in bf16 2
  and 2, and 12 for the moments with the fp32 copy that is updated. ZeRO 1 shares out the last over the GPUs, ZeRO 2
  the gradients as well, ZeRO 3 the weights as well.
- Activations as Korthikanti et al. (2022) count them: 34 bytes a token and unit of width in each layer and 5 a pair of
  tokens and head, at 16 bits; twice that in fp32; and the logits over the vocabulary, in fp32, with their gradient.
- Time from floating-point operations: 6 a parameter and token, and 12 a pair of tokens and unit of width in each
  attention, at a share of the GPU's peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clutch_llm.config import KNOWN_SIZES, ClutchConfig, from_mapping
from clutch_llm.errors import ConfigError
from clutch_llm.planning import FIELDS, PLAN_NAMES
from clutch_llm.stages import (
    InstructConfig,
    MotionLossConfig,
    PretrainConfig,
    RefineConfig,
    ReinforceConfig,
    StageConfig,
)

#: Stages in their order, by their section in a configuration.
STAGES: dict[str, type[StageConfig]] = {
    "pretrain": PretrainConfig,
    "refine": RefineConfig,
    "instruct": InstructConfig,
    "reinforce": ReinforceConfig,
}

#: Text tokens of a T5 from the hub.
T5_VOCABULARY = 32_128
GIB = 2**30


@dataclass(frozen=True)
class Assumptions:
    """What cannot be read in a configuration.

    Attributes:
        gpus: that train together.
        peak_tflops: of one, at the precision of training; 312 is an A100's in bf16.
        utilisation: share of the peak that training reaches, in (0, 1].
        prompt_tokens: of a prompt.
        refine_factor: a refinement step takes so many times a plain one: the motion decoder and its gradient.
        decoding_slowdown: a token is drawn so many times slower than it is read, because it is drawn alone.
        n_slots: codes of a latent step.
        codebooks: codebooks that the slots share.
        codebook_size: codes of each.
    """

    gpus: int = 1
    peak_tflops: float = 312.0
    utilisation: float = 0.3
    prompt_tokens: int = 64
    refine_factor: float = 1.5
    decoding_slowdown: float = 10.0
    n_slots: int = 4
    codebooks: int = 2
    codebook_size: int = 512

    def __post_init__(self) -> None:
        for name in ("gpus", "prompt_tokens", "n_slots", "codebooks", "codebook_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"Expected {name} of at least 1, got {getattr(self, name)}. Correct it.")
        for name in ("peak_tflops", "refine_factor", "decoding_slowdown"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"Expected {name} above 0 and finite, got {getattr(self, name)}. Correct it.")
        if not 0 < self.utilisation <= 1:
            raise ConfigError(f"Expected a utilisation in (0, 1], got {self.utilisation}. 0.3 is usual.")


@dataclass(frozen=True)
class Sizes:
    """A model's sizes.

    Attributes:
        width: of the model.
        heads: attention heads.
        encoder_layers: which read the prompt; 0 where those that write read it as well.
        decoder_layers: which write.
        encoder: parameters that each prompt token goes through.
        decoder: parameters that each written token goes through, without embeddings and head.
        vocabulary: tokens.
        parameters: all of them.
    """

    width: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    encoder: int
    decoder: int
    vocabulary: int
    parameters: int


@dataclass(frozen=True)
class StageBudget:
    """What a stage takes.

    Attributes:
        stage: its section in the configuration.
        steps: optimizer steps.
        weights: GiB of a GPU.
        gradients: GiB of a GPU.
        optimizer: GiB of a GPU.
        activations: GiB of a GPU, at the micro-batch.
        step_tflop: floating-point operations of a step over all GPUs, in 10^12.
        hours: of the whole stage.
    """

    stage: str
    steps: int
    weights: float
    gradients: float
    optimizer: float
    activations: float
    step_tflop: float
    hours: float

    @property
    def memory(self) -> float:
        """GiB of a GPU."""
        return self.weights + self.gradients + self.optimizer + self.activations


def sizes_of(config: ClutchConfig, assumed: Assumptions) -> Sizes:
    """Count parameters by the sizes, of a T5 or of a decoder-only model from nothing.

    Raises:
        ConfigError: for a base model whose sizes are not known by name.
    """
    base, step = config.base_model, config.motion_form == "step"
    if base is None:
        d, inner, ff, heads = config.d_model, config.d_model, config.d_ff, config.heads
        encoder_layers, decoder_layers = config.layers, config.decoder_layers or config.layers
        matrices, heads_of_words, text = 3 if "gated" in config.feed_forward else 2, 1, config.text_vocabulary

    elif base in KNOWN_SIZES:
        known = KNOWN_SIZES[base]
        d, heads, ff = known["d_model"], known["num_heads"], known["d_ff"]
        inner, encoder_layers = heads * known["d_kv"], known["num_layers"]
        decoder_layers, matrices, heads_of_words, text = encoder_layers, 3, 2, T5_VOCABULARY
    else:
        raise ConfigError(
            f"Expected a base model of {', '.join(KNOWN_SIZES)}, or none, got {base!r}. Name one of these."
        )
    attention, forward = 4 * d * inner, matrices * d * ff
    if base is None and config.architecture == "decoder-only":
        encoder_layers, decoder_layers = 0, config.layers
        encoder, decoder = 0, config.layers * (attention + 3 * d * ff)
    else:
        encoder, decoder = encoder_layers * (attention + forward), decoder_layers * (2 * attention + forward)
    own = (assumed.n_slots + 1 + config.max_steps + 2) * d + d * d  # slots, steps, the pooled prompt
    vocabulary = text + assumed.codebooks * assumed.codebook_size + 3
    if step:
        told = config.max_steps + (len(PLAN_NAMES) if config.plan else 0)
        vocabulary += told
        depth = assumed.n_slots * 9 * d * d + d * d  # of each slot a map and two layers of four times the width
        decoder, own = decoder + depth, own + d * d + (config.max_steps + 1) * d + told * d
    parameters = encoder + decoder + own + heads_of_words * vocabulary * d
    return Sizes(d, heads, encoder_layers, decoder_layers, encoder, decoder, vocabulary, parameters)


def budget_of(config: ClutchConfig, stages: Mapping[str, StageConfig], assumed: Assumptions) -> list[StageBudget]:
    """Memory and time of each stage, as if every motion were of ``max_steps``.

    Args:
        config: of the model.
        stages: by their names in `STAGES`; one of no steps is left out.
        assumed: all else.

    Raises:
        ConfigError: when a batch cannot be shared out over the GPUs.
    """
    sizes = sizes_of(config, assumed)
    return [_stage(name, stage, config, sizes, assumed) for name, stage in stages.items() if stage.steps]


def _stage(name: str, stage: StageConfig, config: ClutchConfig, sizes: Sizes, assumed: Assumptions) -> StageBudget:
    gpus = assumed.gpus
    if stage.batch_size % gpus:
        raise ConfigError(
            f"Expected {name}.batch_size divisible by the {gpus} GPUs, got {stage.batch_size}. Correct it."
        )
    half, drawn = stage.precision == "bf16", isinstance(stage, ReinforceConfig)
    group = stage.samples if isinstance(stage, ReinforceConfig) else 1
    shared = [gpus if stage.zero_stage >= level else 1 for level in (3, 2, 1)]
    bytes_each = (2, 2, 12) if half else (4, 4, 8)
    held = [sizes.parameters * each / share / GIB for each, share in zip(bytes_each, shared, strict=True)]
    if drawn:
        held[0] += sizes.parameters * bytes_each[0] / GIB  # the model that the policy is held near
    S = assumed.prompt_tokens
    questions = len(FIELDS) if config.plan else 0
    stepwise = config.motion_form == "step"
    T = config.max_steps + 2 + questions if stepwise else config.max_steps * assumed.n_slots + 2
    if not sizes.encoder_layers:
        S, T = 0, S + T
    at_once = (stage.micro_batch_size or stage.batch_size // gpus) * group
    activations = at_once * _activations(sizes, S, T) * (1 if half else 2) / GIB
    forward = 2 * (sizes.encoder * S + (sizes.decoder + sizes.vocabulary * sizes.width) * T) + 4 * sizes.width * (
        sizes.encoder_layers * S * S + sizes.decoder_layers * T * (T + S)
    )
    refined = isinstance(stage, MotionLossConfig) and stage.lam > 0 and not stage.control
    passes = 3.0 * (assumed.refine_factor if refined else 1.0)
    if drawn:
        passes += 1.0 + assumed.decoding_slowdown  # the reference, and the drawing
    flop = stage.batch_size * group * forward * passes
    rate = gpus * assumed.peak_tflops * 1e12 * assumed.utilisation
    hours = stage.steps * flop / rate / 3600
    return StageBudget(name, stage.steps, held[0], held[1], held[2], activations, flop / 1e12, hours)


def _activations(sizes: Sizes, S: int, T: int) -> float:
    """Bytes of one example at 16 bits."""
    encoder = sizes.encoder_layers * S * (34 * sizes.width + 5 * sizes.heads * S)
    decoder = sizes.decoder_layers * T * (45 * sizes.width + 5 * sizes.heads * (T + S))  # 11 more for what it looks up
    return encoder + decoder + 8 * T * sizes.vocabulary


def read_environment(conf: Path, env: str) -> tuple[ClutchConfig, dict[str, StageConfig], dict[str, Any]]:
    """The model, the stages and the motion tokenizer's model of an environment of the project's configuration.

    Args:
        conf: folder with ``base/parameters.yml`` and ``ENV/parameters.yml``, whose values take the place of base's.
        env: the environment; "base" is base alone.

    Raises:
        ConfigError: when a file is not there or does not hold settings.
    """
    import yaml

    values: dict[str, Any] = {}
    for name in dict.fromkeys(("base", env)):
        path = conf / name / "parameters.yml"
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"Expected settings in {path}, got: {error}. Name another --conf or --env.") from error
        if not isinstance(found, dict):
            raise ConfigError(f"Expected a mapping of settings in {path}, got {type(found).__name__}. Correct it.")
        values = _merged(values, found)
    stages = {name: from_mapping(kind, values[name]) for name, kind in STAGES.items() if name in values}
    return from_mapping(ClutchConfig, values.get("llm", {})), stages, values.get("tokenizer", {}).get("model", {})


def _merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in others.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def budget_table(sizes: Sizes, stages: Sequence[StageBudget], assumed: Assumptions) -> str:
    """The budget as text: a line a stage, then what is assumed."""
    head = ("stage", "steps", "weights", "gradients", "optimizer", "activations", "GiB a GPU", "TFLOP a step", "hours")
    rows: list[tuple[str, ...]] = [head]
    for s in stages:
        memory = (s.weights, s.gradients, s.optimizer, s.activations, s.memory)
        rows.append((s.stage, str(s.steps), *(f"{m:.2f}" for m in memory), f"{s.step_tflop:.3g}", f"{s.hours:.3g}"))
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    total = sum(s.hours for s in stages)
    return "\n".join(
        [
            f"{sizes.parameters / 1e6:.1f} M parameters, {assumed.gpus} GPUs, {total:.3g} hours in all",
            "",
            *lines,
            "",
            f"Assumed: {assumed.peak_tflops:g} TFLOP/s a GPU, of which {assumed.utilisation:.0%} are reached; prompts "
            f"of {assumed.prompt_tokens} tokens, motions as long as the model can; all of the "
            "model is trained and no activation computed twice, whatever adapt and gradient_checkpointing say; a "
            f"refinement step takes {assumed.refine_factor:g} plain ones; a token is drawn "
            f"{assumed.decoding_slowdown:g} times slower than it is read. Data loading, communication, validation and "
            "fragments of memory are not counted.",
        ]
    )
