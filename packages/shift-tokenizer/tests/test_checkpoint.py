"""The state of a run: whole, of the same run, or not taken up, with a warning."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from shift_tokenizer import FileFormatError, ShiftConfig, TokenizerTraining
from shift_tokenizer.checkpoint import STATE_FILE, load_state, save_state
from shift_tokenizer.run import Run

TRAINING = TokenizerTraining(steps=9, batch_size=4, window=16)


@pytest.fixture
def saved(clips: list[dict], config: ShiftConfig, tmp_path: Path) -> tuple[Run, Path]:
    """A run after three steps, and the folder with its state."""
    run = Run(clips, config, TRAINING, None, None)
    for _ in range(3):
        run.step()
    save_state(tmp_path, run.state, "mark")
    return run, tmp_path


def content(run: Run) -> list[torch.Tensor]:
    known = run.state.optimizer.state_dict()["state"]
    optimizer = [value for _, values in sorted(known.items()) for _, value in sorted(values.items())]
    return [*run.tokenizer.state_dict().values(), *map(torch.as_tensor, optimizer), run.state.generator.get_state()]


def fresh(clips: list[dict], config: ShiftConfig) -> Run:
    return Run(clips, dataclasses.replace(config), dataclasses.replace(TRAINING, seed=5), None, None)


def rewrite(path: Path, change: Callable[[dict, dict], None]) -> None:
    """Writes the state anew after `change` of its tensors and header, with the hash that it had."""
    with safe_open(path, "pt") as file:
        header = dict(file.metadata())
    tensors = load_file(path)
    change(tensors, header)
    save_file(tensors, path, metadata=header)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(bytes(data))


def forget(name: str) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda tensors, _: tensors.pop(name))


def no_header(name: str) -> Callable[[Path], None]:
    return lambda path: rewrite(path, lambda _, header: header.pop(name))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(b"\xff" * 64),
    "no chance": forget("generator"),
    "no codebook": forget("model.streams.0.quantizer.levels.0.codebook"),
    "no optimizer": forget("optimizer.3.exp_avg"),
    "no hash": no_header("sha256"),
    "no mark": no_header("fingerprint"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_told_and_leaves_everything_as_it_was(
    saved: tuple[Run, Path], clips: list[dict], config: ShiftConfig, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, folder = saved
    DAMAGE[damage](folder / STATE_FILE)
    run = fresh(clips, config)
    before = [tensor.clone() for tensor in content(run)]
    assert not load_state(folder, run.state, "mark")
    assert "is damaged" in caplog.text
    assert "starting from the beginning" in caplog.text
    assert run.state.step == 0
    assert all(torch.equal(a, b) for a, b in zip(content(run), before, strict=True))


@pytest.mark.parametrize("what", ["model", "optimizer", "generator"])
def test_a_state_that_does_not_fit_is_undone(
    saved: tuple[Run, Path],
    clips: list[dict],
    config: ShiftConfig,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a hash that is right, as another version of the package would write it."""
    _, folder = saved
    prefixes = {"model": "model.mean", "optimizer": "optimizer.0.", "generator": "generator"}

    def change(tensors: dict, _: dict) -> None:
        for name in [name for name in tensors if name.startswith(prefixes[what])]:
            del tensors[name]

    rewrite(folder / STATE_FILE, change)
    with safe_open(folder / STATE_FILE, "pt") as file:
        known = file.metadata()["sha256"]
    monkeypatch.setattr("shift_tokenizer.checkpoint._hash", lambda tensors: known)
    run = fresh(clips, config)
    before = [tensor.clone() for tensor in content(run)]
    assert not load_state(folder, run.state, "mark")
    assert "is damaged" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(content(run), before, strict=True))


def test_a_whole_state_is_taken_up_whole(
    saved: tuple[Run, Path], clips: list[dict], config: ShiftConfig, caplog: pytest.LogCaptureFixture
) -> None:
    old, folder = saved
    run = fresh(clips, config)
    with caplog.at_level(logging.INFO):
        assert load_state(folder, run.state, "mark")
    assert "going on from step 3" in caplog.text
    assert run.state.step == 3
    assert all(torch.equal(a, b) for a, b in zip(content(run), content(old), strict=True))


def test_another_run_is_told_from_damage(
    saved: tuple[Run, Path], clips: list[dict], config: ShiftConfig, caplog: pytest.LogCaptureFixture
) -> None:
    assert not load_state(saved[1], fresh(clips, config).state, "another mark")
    assert "belongs to another configuration or other data" in caplog.text
    assert "damaged" not in caplog.text


def test_a_state_that_the_disk_keeps_back_is_no_reason_to_start_anew(
    saved: tuple[Run, Path], clips: list[dict], config: ShiftConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(FileFormatError, match=r"training_state.*Permission denied.*remove it to start anew"):
        load_state(saved[1], fresh(clips, config).state, "mark")


def test_a_fingerprint_holds_all_that_shapes_the_result(clips: list[dict], config: ShiftConfig) -> None:
    """And nothing of what does not: how often is logged, and what stands where a hand is not seen."""

    def mark_of(data: list[dict], sizes: ShiftConfig = config, settings: TokenizerTraining = TRAINING) -> str:
        return Run(data, sizes, settings, None, None).fingerprint(None)

    mark = mark_of(clips)
    moved = [clip | {"features": clip["features"] + 0.01} for clip in clips]
    hidden = [clip | {"valid": np.arange(2 * len(clip["features"])).reshape(-1, 2) > 3} for clip in clips]
    others = [clip | {"source": "other"} for clip in clips]
    for changed in (moved, hidden, others, clips[:-1]):
        assert mark_of(changed) != mark
    for field, value in {"seed": 1, "learning_rate": 1e-3, "source_temperature": 1.0, "precision": "bf16"}.items():
        assert mark_of(clips, settings=dataclasses.replace(TRAINING, **{field: value})) != mark
    for field in ("log_every", "validate_every", "checkpoint_every"):
        assert mark_of(clips, settings=dataclasses.replace(TRAINING, **{field: 3})) == mark
    assert mark_of(clips, dataclasses.replace(config, decay=0.5)) != mark
    best = Run(clips, config, dataclasses.replace(TRAINING, keep="best"), None, None)
    assert best.fingerprint(clips[:1]) != best.fingerprint(clips[:2])
    unseen = [*clips[:-1], clips[-1] | {"valid": hidden[-1]["valid"]}]
    poisoned = [*clips[:-1], unseen[-1] | {"features": clips[-1]["features"].copy()}]
    poisoned[-1]["features"][~poisoned[-1]["valid"][:, 0], :99] = torch.nan
    assert mark_of(poisoned) == mark_of(unseen)
