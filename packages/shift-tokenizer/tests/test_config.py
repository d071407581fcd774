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
    config = ShiftConfig.paper(dilations=[5, 1])
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
        {"quantizer": "cosine"},
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
