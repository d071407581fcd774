import json
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import InstructConfig, PretrainConfig, RefineConfig, train_stage
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


def test_a_state_with_parts_of_another_number_of_processes_is_not_used(clutch, examples, tmp_path, caplog) -> None:
    config = PretrainConfig(steps=10, zero_stage=1, **SHORT)
    killed_at(clutch, examples, config, tmp_path / "s", 10)
    meta = tmp_path / "s" / "step-00000005" / "state.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "world": 4}))
    seen: list[int] = []
    train_stage(clutch, examples, config, checkpoint_dir=tmp_path / "s", on_log=lambda step, _: seen.append(step))
    assert "its parts are those of 4 processes" in caplog.text
    assert seen == [5, 10]


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
