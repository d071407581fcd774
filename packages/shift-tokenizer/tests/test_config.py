import json
from pathlib import Path

import pytest
import torch
from shift_tokenizer import ConfigError, ShiftConfig, ShiftTokenizer, TokenizerTraining

PUBLISHED_NUMBERS = 34_960_099


def test_the_published_sizes_build_with_the_published_count() -> None:
    with torch.device("meta"):
        tokenizer = ShiftTokenizer(ShiftConfig.paper())
    assert sum(p.numel() for p in tokenizer.parameters()) == PUBLISHED_NUMBERS
    assert tokenizer.codebooks().shape == (2, 4096, 64)


CONV = 64 * 64 * 3 + 64  # a convolution of width 64
BLOCKS = 2 * (CONV + 64 * 64 + 64)  # two residual blocks


@pytest.mark.parametrize("decomposition", ["shift", "part", "modality", "plain"])
@pytest.mark.parametrize("inputs", ["own", "whole"])
@pytest.mark.parametrize(
    ("quantizer", "depth", "more"), [("ema", 2, 0), ("cosine", 1, 0), ("fsq", 1, 8 * 3 + 3 + 3 * 8 + 8)]
)
@pytest.mark.parametrize("frames", [1, 4, 64])
def test_every_member_has_the_numbers_that_its_layers_ask_for(
    decomposition: str, inputs: str, quantizer: str, depth: int, more: int, frames: int
) -> None:
    config = ShiftConfig(
        decomposition=decomposition,
        encoder_input=inputs,
        quantizer=quantizer,
        residual_depth=depth,
        frames_per_latent=frames,
        width=64,
        code_dim=8,
        codebook_size=64,
        fsq_levels=(4, 4, 4) if quantizer == "fsq" else (),
    )
    with torch.device("meta"):
        tokenizer = ShiftTokenizer(config)
    hands = 1 if decomposition in ("shift", "part") else 2
    outputs = [9, 90] if decomposition in ("shift", "modality") else [99]
    stages = max(2, frames.bit_length() - 1)
    strided = frames.bit_length() - 1
    expected = 0
    for features in outputs:
        first = hands * (99 if inputs == "whole" else features) * 64 * 3 + 64
        last = 64 * features * hands * 3 + features * hands
        ends = 2 * 8 * 64 * 3 + 8 + 64
        body = 2 * stages * BLOCKS + strided * 64 * 64 + 2 * stages * CONV + CONV
        expected += first + last + ends + body + more
    assert sum(p.numel() for p in tokenizer.parameters()) == expected
    assert tokenizer.codebooks().shape == (len(outputs) * depth, 64, 8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantizer": "fsq"}, r"fsq_levels: expected a list of integers .* got \(\)"),
        ({"quantizer": "fsq", "fsq_levels": (8, 8)}, r"fsq_levels: expected levels whose product is codebook_size 512"),
        ({"fsq_levels": (8, 8, 8)}, "fsq_levels: expected none for quantizer 'ema'"),
        ({"quantizer": "cosine", "residual_depth": 2}, "residual_depth: expected 1 for quantizer 'cosine'"),
    ],
)
def test_quantizers_that_do_not_fit_are_named(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ShiftConfig.from_dict(values)


@pytest.mark.parametrize(
    ("decomposition", "depth", "slots"),
    [
        ("shift", 1, (0, 1, 0, 1)),
        ("part", 1, (0, 0)),
        ("modality", 1, (0, 1)),
        ("plain", 1, (0,)),
        ("part", 2, (0, 1, 0, 1)),
        ("plain", 4, (0, 1, 2, 3)),
    ],
)
def test_slots_name_their_codebooks(decomposition: str, depth: int, slots: tuple[int, ...]) -> None:
    config = ShiftConfig(decomposition=decomposition, residual_depth=depth)
    assert config.slot_codebook == slots
    assert config.n_slots == len(slots)
    assert config.n_codebooks == len(set(slots))


def test_a_configuration_survives_json() -> None:
    config = ShiftConfig.paper(dilations=[5, 1], quantizer="fsq", fsq_levels=[8, 8, 8, 8])
    assert ShiftConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    training = TokenizerTraining(steps=3, source_weights={"a": 1})
    assert TokenizerTraining.from_dict(json.loads(json.dumps(training.to_dict()))) == training


@pytest.mark.parametrize(
    "values",
    [
        {"decomposition": "hands"},
        {"width": 0},
        {"width": "112"},
        {"width": True},
        {"codebook_size": 12.5},
        {"frames_per_latent": 3},
        {"frames_per_latent": True},
        {"mirror_left": 1},
        {"decay": 1.0},
        {"decay": float("nan")},
        {"dilations": [9, 0]},
        {"dilations": 3},
        {"dilations": []},
        {"quantizer": "grid"},
        {"codebook_init": "zeros"},
    ],
)
def test_a_wrong_value_is_named(values: dict) -> None:
    (name,) = values
    with pytest.raises(ConfigError, match=rf"ShiftConfig\.{name}: expected .* got"):
        ShiftConfig.from_dict(values)


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ConfigError, match="got also widht"):
        ShiftConfig.from_dict({"widht": 3})
    with pytest.raises(ConfigError, match="got also step"):
        TokenizerTraining.from_dict({"step": 3})


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"learning_rate": -1},
        {"rotation_weight": -0.1},
        {"source_weights": {"a": -1}},
        {"source_weights": 3},
        {"source_weights": {"a": "much"}},
        {"seed": -1},
        {"mirror_probability": 1.5},
        {"device": "abacus"},
    ],
)
def test_a_wrong_training_value_is_named(values: dict) -> None:
    (name,) = values
    with pytest.raises(ConfigError, match=rf"TokenizerTraining\.{name}: expected .* got"):
        TokenizerTraining.from_dict(values)


def test_the_package_depends_on_three_others_only() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    dependencies = text.split("dependencies = [")[1].split("]")[0]
    assert [part.strip(' "').split(">")[0] for part in dependencies.split(",")] == ["torch", "numpy", "safetensors"]
