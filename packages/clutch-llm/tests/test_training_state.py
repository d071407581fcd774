import json
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import InstructConfig, PretrainConfig, RefineConfig, ReinforceConfig, train_stage
from clutch_llm.engine import gathered_weights
from clutch_llm.errors import CheckpointError, ConfigError
from clutch_llm.training_state import fingerprint

SHORT = {"batch_size": 8, "log_every": 5, "warmup": 2, "learning_rate": 3e-3, "checkpoint_every": 5}


def weights_of(clutch) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in clutch.model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[n], b[n]) for n in a)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("config", [PretrainConfig, RefineConfig], ids=["pretrain", "refine"])
def test_a_killed_run_ends_bit_equal_to_one_that_was_not(clutch, examples, tmp_path, config, optimizer: str) -> None:
    settings = config(steps=15, optimizer=optimizer, **SHORT)
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


def killed_at(clutch, examples, config, folder, step: int) -> None:
    """Train until a step, and leave the state behind."""

    def kill(done: int, row: dict[str, float]) -> None:
        if done == step:
            raise KilledError

    with pytest.raises(KilledError):
        train_stage(clutch, examples, config, checkpoint_dir=folder, on_log=kill)


def test_a_state_of_another_run_is_said_and_not_used(clutch, examples, tmp_path, caplog) -> None:
    killed_at(clutch, examples, PretrainConfig(steps=10, **SHORT), tmp_path / "s", 10)
    other = PretrainConfig(steps=10, seed=1, **SHORT)
    anew, history = train_stage(clutch, examples, other)
    again, resumed = train_stage(clutch, examples, other, checkpoint_dir=tmp_path / "s")
    assert "step-00000005 is not used" in caplog.text
    assert "belongs to another run (settings, data or starting weights differ)" in caplog.text
    assert resumed == history
    assert same(weights_of(anew), weights_of(again))


@pytest.mark.parametrize("damage", ["cut json", "no json", "other json", "cut weights", "no weights", "flipped bit"])
@pytest.mark.parametrize("zero_stage", [0, 1])
def test_a_damaged_state_is_said_and_training_starts_anew(
    clutch, examples, tmp_path, caplog, damage: str, zero_stage: int
) -> None:
    config = PretrainConfig(steps=10, zero_stage=zero_stage, **SHORT)
    whole, history = train_stage(clutch, examples, config)
    killed_at(clutch, examples, config, tmp_path / "s", 10)
    folder = tmp_path / "s" / "step-00000005"
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    match damage:
        case "cut json":
            (folder / "state.json").write_text((folder / "state.json").read_text()[:-9])
        case "no json":
            (folder / "state.json").unlink()
        case "other json":
            (folder / "state.json").write_text("[1]")
        case "cut weights":
            largest.write_bytes(content[: len(content) // 2])
        case "no weights":
            largest.unlink()
        case "flipped bit":
            content[len(content) // 2] ^= 1
            largest.write_bytes(content)
    again, resumed = train_stage(clutch, examples, config, checkpoint_dir=tmp_path / "s")
    assert "step-00000005 is not used" in caplog.text
    assert "damaged" in caplog.text
    assert resumed == history
    assert same(weights_of(whole), weights_of(again))
    assert not (tmp_path / "s").exists()


@pytest.mark.filterwarnings("ignore:.torch.distributed.*is deprecated:FutureWarning")  # in DeepSpeed
def test_parts_of_zero_3_of_another_number_of_processes_are_refused_and_stay(clutch, examples, tmp_path) -> None:
    config = PretrainConfig(steps=10, zero_stage=3, **SHORT)
    killed_at(clutch, examples, config, tmp_path / "s", 10)
    meta = tmp_path / "s" / "step-00000005" / "state.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "world": 4}))
    with pytest.raises(
        CheckpointError, match=r"Expected 4 processes, as those that wrote .*step-00000005.* Got 1\. Start 4"
    ):
        train_stage(clutch, examples, config, checkpoint_dir=tmp_path / "s")
    assert meta.exists()


def test_where_the_last_state_is_damaged_the_one_before_is_taken(clutch, examples, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    config = PretrainConfig(steps=20, keep_checkpoints=2, **SHORT)
    whole, history = train_stage(clutch, examples, config)
    killed_at(clutch, examples, config, tmp_path / "s", 20)
    foreign = tmp_path / "s" / "step-00000012"
    foreign.mkdir()
    (foreign / "state.json").write_text(json.dumps({"fingerprint": "of another run"}))
    states = sorted((tmp_path / "s").iterdir())
    assert [path.name for path in states] == ["step-00000010", "step-00000012", "step-00000015"]
    (states[-1] / "state.safetensors").write_bytes(b"half")
    killed_at(clutch, examples, config, tmp_path / "s", 20)
    assert "step-00000015 is not used" in caplog.text
    assert "going on from step 10" in caplog.text
    assert [path.name for path in sorted((tmp_path / "s").iterdir())] == ["step-00000010", "step-00000015"]
    again, resumed = train_stage(clutch, examples, config, checkpoint_dir=tmp_path / "s")
    assert "going on from step 15" in caplog.text
    assert resumed == history
    assert same(weights_of(whole), weights_of(again))


@pytest.mark.parametrize("changes", [{}, {"zero_stage": 2, "precision": "bf16"}], ids=["plain", "bf16"])
def test_the_best_on_validation_is_given_also_after_a_kill(clutch, examples, tmp_path, monkeypatch, changes) -> None:
    """Validations of 3, 1, 2 and 4: the weights of the second are given, to the bit, not those of the last."""
    seen: dict[int, dict[str, torch.Tensor]] = {}
    planted = {5: 3.0, 10: 1.0, 15: 2.0, 20: 4.0}
    weights = iter(planted)

    def validate(run, _) -> dict[str, float]:
        done = next(weights)
        seen[done] = gathered_weights(run.engine)
        return {"val/t2m": planted[done] - 0.5, "val/m2t": planted[done] + 0.5}

    monkeypatch.setattr("clutch_llm.training._Run.validate", validate)
    config = PretrainConfig(steps=20, keep="best", **changes, **SHORT)

    def kill(step: int, row: dict[str, float]) -> None:
        if step == 20:
            raise KilledError

    settings = {"val_examples": examples, "checkpoint_dir": tmp_path / "s"}
    with pytest.raises(KilledError):
        train_stage(clutch, examples, config, on_log=kill, **settings)
    weights = iter([20])
    trained, history = train_stage(clutch, examples, config, **settings)
    assert [row["val/t2m"] for row in history] == [2.5, 0.5, 1.5, 3.5]
    assert trained.stages[-1]["best_step"] == 10
    trained.save_pretrained(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "PretrainConfig: 20 steps, of which the best on validation is kept: step 10, seed 0" in card
    found = weights_of(trained)
    assert not same(seen[10], seen[15])
    assert same(seen[10], found)


def test_the_best_needs_examples_to_validate_on(clutch, examples) -> None:
    with pytest.raises(ConfigError, match=r"Expected val_examples for PretrainConfig.keep 'best', got none"):
        train_stage(clutch, examples, PretrainConfig(keep="best"))
    with pytest.raises(ConfigError, match=r"ReinforceConfig.keep 'last', as validation measures no reward, got 'best'"):
        ReinforceConfig(keep="best")
    with pytest.raises(ConfigError, match=r"keep_checkpoints of at least 1, got 0"):
        PretrainConfig(keep_checkpoints=0)


def changed(examples: list[dict[str, Any]], key: str, value: Any) -> list[dict[str, Any]]:
    return [{**examples[0], key: value}, *examples[1:]]


def test_the_fingerprint_knows_all_that_decides_a_run(clutch, examples, tmp_path) -> None:
    """Each thing that shapes the result gives another one; what shapes nothing does not."""
    base = fingerprint(clutch.model, examples, PretrainConfig())
    assert fingerprint(clutch.model, [dict(e) for e in examples], PretrainConfig()) == base
    features, valid, tokens = (examples[0][key].copy() for key in ("features", "valid", "tokens"))
    features[3, 5] += 0.5
    valid[3, 1] = False
    tokens[1, 2] = (tokens[1, 2] + 1) % 24
    other = {
        "features": changed(examples, "features", features),
        "valid": changed(examples, "valid", valid),
        "tokens": changed(examples, "tokens", tokens),
        "captions": changed(examples, "captions", ["else"]),
        "mirrored captions": changed(examples, "mirrored_captions", ["else", "other"]),
        "source": changed(examples, "source", "elsewhere"),
        "order": [*examples[1:], examples[0]],
        "fewer": examples[1:],
    }
    marks = {name: fingerprint(clutch.model, some, PretrainConfig()) for name, some in other.items()}
    marks["seed"] = fingerprint(clutch.model, examples, PretrainConfig(seed=1))
    marks["stage"] = fingerprint(clutch.model, examples, InstructConfig())
    marks["joints"] = fingerprint(clutch.model, examples, PretrainConfig(), joints=True)
    marks["validation"] = fingerprint(clutch.model, examples, PretrainConfig(), val_examples=examples[:1])
    for number in (1, 2):
        (tmp_path / "ds.json").write_text(json.dumps({"gradient_predivide_factor": number}))
        config = PretrainConfig(deepspeed_config=str(tmp_path / "ds.json"))
        marks[f"deepspeed {number}"] = fingerprint(clutch.model, examples, config)
    with torch.no_grad():
        clutch.model.slot_embedding.weight[1, 0] += 0.1
        marks["weights"] = fingerprint(clutch.model, examples, PretrainConfig())
        clutch.model.slot_embedding.weight[1, 0] -= 0.1
    assert len({base, *marks.values()}) == 1 + len(marks)


def test_what_stands_where_a_hand_is_not_seen_is_no_part_of_the_fingerprint(clutch, examples) -> None:
    valid, features = examples[0]["valid"].copy(), examples[0]["features"].copy()
    valid[2:4, 0], features[2:4, :99] = False, np.nan
    one, other = ({**examples[0], "valid": valid, "features": f} for f in (features, examples[0]["features"]))
    marks = {fingerprint(clutch.model, [e], PretrainConfig()) for e in (one, other)}
    assert len(marks) == 1
