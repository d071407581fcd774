import json
from pathlib import Path
from typing import Any

import pytest
import torch
from clutch_llm import PretrainConfig, RefineConfig
from clutch_llm.engine import engine_settings, start_engine
from clutch_llm.errors import ConfigError


def config_with(tmp_path: Path, settings: Any, **changes: Any) -> PretrainConfig:
    (tmp_path / "ds.json").write_text(json.dumps(settings))
    return PretrainConfig(batch_size=8, deepspeed_config=str(tmp_path / "ds.json"), **changes)


def test_settings_are_those_of_the_stage() -> None:
    config = PretrainConfig(batch_size=24, micro_batch_size=3, max_grad_norm=0.5, zero_stage=2, precision="bf16")
    settings = engine_settings(config, 4)
    assert settings["train_batch_size"] == 24
    assert settings["train_micro_batch_size_per_gpu"] == 3
    assert settings["gradient_accumulation_steps"] == 2
    assert settings["gradient_clipping"] == 0.5
    assert settings["zero_optimization"] == {"stage": 2}
    assert settings["bf16"] == {"enabled": True}


def test_the_users_own_settings_are_merged(tmp_path) -> None:
    own = {
        "gradient_predivide_factor": 2.0,
        "zero_optimization": {"stage": 2, "overlap_comm": False},
        "train_batch_size": "auto",
        "bf16": {"enabled": "auto"},
        "steps_per_print": 7,
    }
    settings = engine_settings(config_with(tmp_path, own, zero_stage=2), 1)
    assert settings["gradient_predivide_factor"] == 2.0
    assert settings["zero_optimization"] == {"stage": 2, "overlap_comm": False}
    assert settings["train_batch_size"] == 8
    assert settings["bf16"] == {"enabled": False}
    assert settings["steps_per_print"] == 7


def test_the_users_own_settings_reach_the_engine(tmp_path) -> None:
    engine = start_engine(torch.nn.Linear(3, 3), config_with(tmp_path, {"gradient_predivide_factor": 2.0}))
    try:
        assert engine.gradient_predivide_factor() == 2.0
        assert engine.gradient_clipping() == 1.0
    finally:
        engine.destroy()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"train_batch_size": 16}, r"train_batch_size = 8 in .*, which PretrainConfig.batch_size decides, got 16"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps = 1 .*micro_batch_size decides, got 2"),
        ({"gradient_clipping": 0.5}, "gradient_clipping = 1.0 .*max_grad_norm decides, got 0.5"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage = 0 .*zero_stage decides, got 3"),
        ({"bf16": {"enabled": True}}, "bf16.enabled = False .*precision decides, got True"),
        ({"fp16": {"enabled": True}}, "fp16.enabled = False .*precision decides, got True"),
        ({"optimizer": {"type": "Adam"}}, "no 'optimizer' in .*learning_rate"),
        ({"scheduler": {"type": "WarmupLR"}}, "no 'scheduler' in"),
        ([1], "Expected a JSON object in .*, got list"),
    ],
)
def test_a_conflict_with_the_stage_is_named(tmp_path, own: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        engine_settings(config_with(tmp_path, own), 1)


def test_a_missing_or_broken_file_of_settings_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json, got: .*RefineConfig.deepspeed_config"):
        engine_settings(RefineConfig(deepspeed_config=str(tmp_path / "none.json")), 1)
    (tmp_path / "half.json").write_text("{")
    with pytest.raises(ConfigError, match=r"DeepSpeed settings \(JSON\) in .*half\.json"):
        engine_settings(RefineConfig(deepspeed_config=str(tmp_path / "half.json")), 1)
