import json
import sys
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import InstructConfig, PretrainConfig, RefineConfig, train_stage
from clutch_llm import training_state as states
from clutch_llm.corpus import mirrored
from clutch_llm.errors import ConfigError, DataError, MissingDependencyError
from clutch_llm.training import learning_rate_at
from hand_geometry import features_to_joints

SHORT = {"batch_size": 8, "log_every": 5, "warmup": 2, "learning_rate": 3e-3, "checkpoint_every": 5}


def weights_of(clutch) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in clutch.model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (PretrainConfig(steps=60, tasks={"t2m": 1.0}, **SHORT), "ce/t2m"),
        (PretrainConfig(steps=60, tasks={"m2t": 1.0}, **SHORT), "ce/m2t"),
        (PretrainConfig(steps=60, tasks={"motion": 0.5, "text": 0.5}, **SHORT), "loss"),
        (InstructConfig(steps=60, tasks={"t2m": 0.5, "t2t": 0.5}, **SHORT), "loss"),
        (RefineConfig(steps=60, tasks={"masked": 1.0}, temperature_end=1.0, **SHORT), "rec/masked"),
        (RefineConfig(steps=60, tasks={"t2m": 1.0}, control=True, **SHORT), "ce/t2m"),
    ],
    ids=["t2m", "m2t", "corrupted", "instruct", "refine", "control"],
)
def test_each_stage_learns(clutch, examples, config, key: str) -> None:
    before = weights_of(clutch)
    trained, history = train_stage(clutch, examples, config, joints_fn=features_to_joints)
    assert history[-1]["step"] == 60
    assert np.mean([row[key] for row in history[-3:]]) < 0.93 * history[0][key]
    assert same(before, weights_of(clutch))  # what was given is not changed
    assert not same(before, weights_of(trained))
    assert trained.stages[-1]["stage"] == type(config).__name__


def test_refinement_trains_on_motion_and_the_control_does_not(clutch, examples) -> None:
    config = {"steps": 5, "tasks": {"t2m": 1.0}, **SHORT}
    _, refined = train_stage(clutch, examples, RefineConfig(**config))
    _, control = train_stage(clutch, examples, RefineConfig(control=True, **config))
    assert {"rec/t2m", "temperature"} <= set(refined[0])
    assert not {"rec/t2m", "temperature"} & set(control[0])
    assert control[0]["loss"] == pytest.approx(control[0]["ce/t2m"])
    assert refined[0]["loss"] == pytest.approx(refined[0]["ce/t2m"] + 2.0 * refined[0]["rec/t2m"], rel=1e-4)


def test_masked_prediction_refines_without_cross_entropy(clutch, examples) -> None:
    config = RefineConfig(steps=5, tasks={"masked": 1.0}, lam=3.0, **SHORT)
    _, history = train_stage(clutch, examples, config)
    assert history[0]["loss"] == pytest.approx(3.0 * history[0]["rec/masked"], rel=1e-4)


def test_mirrored_examples_are_another_half_of_the_data(clutch, examples) -> None:
    """Shown mirrored all the time, a run is the run over the mirrored examples shown as they are."""
    config = {"steps": 5, "tasks": {"m2t": 1.0}, **SHORT}
    images = mirrored(examples, clutch.tokenizer)
    _, seen = train_stage(clutch, examples, PretrainConfig(mirror=1.0, **config))
    _, given = train_stage(clutch, images, PretrainConfig(mirror=0.0, **config))
    _, plain = train_stage(clutch, examples, PretrainConfig(mirror=0.0, **config))
    assert seen[0]["loss"] != plain[0]["loss"]
    # The draws differ by the coin that decides on mirroring, so the losses are alike and not equal.
    assert seen[0]["loss"] == pytest.approx(given[0]["loss"], rel=0.1)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("config", [PretrainConfig, RefineConfig], ids=["pretrain", "refine"])
def test_a_killed_run_ends_bit_equal_to_one_that_was_not(clutch, examples, tmp_path, config) -> None:
    settings = config(steps=15, **SHORT)
    whole, history = train_stage(clutch, examples, settings, val_examples=examples)

    def kill(step: int, row: dict[str, float]) -> None:
        if step == 15:
            raise KilledError

    with pytest.raises(KilledError):
        train_stage(clutch, examples, settings, val_examples=examples, checkpoint_dir=tmp_path / "s", on_log=kill)
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["step-00000010"]
    seen: list[int] = []
    resumed, again = train_stage(
        clutch,
        examples,
        settings,
        val_examples=examples,
        checkpoint_dir=tmp_path / "s",
        on_log=lambda step, row: seen.append(step),
    )
    assert again == history
    assert seen == [5, 10, 15]
    assert same(weights_of(whole), weights_of(resumed))
    assert not (tmp_path / "s").exists()  # complete: nothing to resume


def test_a_state_of_another_run_is_not_used(clutch, examples, tmp_path, caplog) -> None:
    def kill(step: int, row: dict[str, float]) -> None:
        if step == 10:
            raise KilledError

    with pytest.raises(KilledError):
        train_stage(clutch, examples, PretrainConfig(steps=10, **SHORT), checkpoint_dir=tmp_path / "s", on_log=kill)
    caplog.set_level("INFO")
    seen: list[int] = []
    train_stage(
        clutch,
        examples,
        PretrainConfig(steps=10, seed=1, **SHORT),
        checkpoint_dir=tmp_path / "s",
        on_log=lambda step, row: seen.append(step),
    )
    assert "belongs to another run" in caplog.text
    assert seen == [5, 10]


def test_a_broken_state_is_named(clutch, examples, tmp_path) -> None:
    (tmp_path / "step-00000005").mkdir()
    (tmp_path / "step-00000005" / "state.json").write_text("{")
    with pytest.raises(states.CheckpointError, match="Remove the folder"):
        train_stage(clutch, examples, PretrainConfig(steps=5, **SHORT), checkpoint_dir=tmp_path)


def test_the_fingerprint_knows_settings_data_and_weights(clutch, examples) -> None:
    base = states.fingerprint(clutch.model, examples, PretrainConfig())
    assert base == states.fingerprint(clutch.model, examples, PretrainConfig())
    other = [dict(examples[0], captions=["else"]), *examples[1:]]
    assert base != states.fingerprint(clutch.model, examples, PretrainConfig(seed=1))
    assert base != states.fingerprint(clutch.model, examples, InstructConfig())
    assert base != states.fingerprint(clutch.model, other, PretrainConfig())


# DeepSpeed compiles an optimizer that is not used, which imports an old part of torch.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore:.torch.distributed.(all_gather_into|reduce_scatter)_tensor. is deprecated:FutureWarning"
)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_stages_train_to_the_same_weights(clutch, examples, stage: int) -> None:
    config: dict[str, Any] = {"steps": 5, "tasks": {"t2m": 1.0}, **SHORT}
    plain, history = train_stage(clutch, examples, PretrainConfig(**config))
    spread, again = train_stage(clutch, examples, PretrainConfig(zero_stage=stage, **config))
    assert again[0]["loss"] == pytest.approx(history[0]["loss"], rel=1e-4)
    for name, weight in weights_of(plain).items():
        torch.testing.assert_close(weights_of(spread)[name], weight, atol=2e-3, rtol=1e-2)


# Sums of bf16 are looser; and what is given back is float32.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_bf16_trains_to_about_the_same_loss(clutch, examples) -> None:
    config: dict[str, Any] = {"steps": 5, "tasks": {"t2m": 1.0}, **SHORT}
    _, history = train_stage(clutch, examples, PretrainConfig(**config))
    half, again = train_stage(clutch, examples, PretrainConfig(precision="bf16", zero_stage=2, **config))
    assert again[0]["loss"] == pytest.approx(history[0]["loss"], rel=0.02)
    assert {w.dtype for w in weights_of(half).values()} == {torch.float32}


def test_the_learning_rate_warms_up_and_falls() -> None:
    config = PretrainConfig(steps=100, warmup=10, learning_rate=1.0, min_lr_ratio=0.1)
    rates = [learning_rate_at(s, config) for s in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_motions_longer_than_the_model_are_refused(clutch, examples) -> None:
    longer = [{**examples[0], "tokens": np.zeros((9, 4), dtype=np.int64)}]
    with pytest.raises(DataError, match="max_steps = 8 latent steps, got 9"):
        train_stage(clutch, longer, PretrainConfig())
    with pytest.raises(DataError, match="got none"):
        train_stage(clutch, [], PretrainConfig())


def test_a_missing_deepspeed_names_the_extra(clutch, examples, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(MissingDependencyError, match=r"clutch-llm\[train\]"):
        train_stage(clutch, examples, PretrainConfig(steps=5, **SHORT))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps of at least 1"),
        ({"zero_stage": 4}, "zero_stage 0, 1, 2 or 3"),
        ({"precision": "fp8"}, "precision"),
        ({"tasks": {"walk": 1.0}}, "walk"),
        ({"tasks": {"t2m": 0.0}}, "above 0"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainConfig(**changes)


def test_history_is_plain_numbers(clutch, examples) -> None:
    _, history = train_stage(clutch, examples, PretrainConfig(steps=5, **SHORT), val_examples=examples)
    assert json.loads(json.dumps(history)) == history
    assert {"step", "loss", "lr", "val/t2m", "val/m2t"} <= set(history[0])
