import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from shift_tokenizer import FileFormatError, ShiftTokenizer, ShiftTokenizerError, evaluate_reconstruction
from shift_tokenizer.cli import main
from shift_tokenizer.stores import read_clips

from .conftest import make_clip

MODEL = {"width": 8, "codebook_size": 12, "code_dim": 4, "dilations": [1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips" / "a.npy", make_clip(rng, 18)["features"])
    features = make_clip(rng, 16)["features"]
    np.savez(tmp_path / "clips" / "b.npz", features=features, valid=np.ones((16, 2), bool), source="mine")
    (tmp_path / "clips" / "notes.txt").write_text("not a clip")
    settings = {"model": MODEL, "training": {"batch_size": 4, "window": 16, "log_every": 2}}
    (tmp_path / "small.json").write_text(json.dumps(settings))
    return tmp_path


def test_clips_become_a_tokenizer_tokens_and_motion(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder / "tokenizer")
    main(["train", str(folder / "clips"), "--config", str(folder / "small.json"), "--steps", "3", "--out", model])
    assert "step 3: loss" in capsys.readouterr().out
    tokens, motion = folder / "tokens.npy", folder / "motion.npz"
    main(["encode", str(folder / "clips" / "a.npy"), "--model", model, "--out", str(tokens)])
    assert "20 frames at 15 a second -> 5 steps of 4 tokens" in capsys.readouterr().out
    assert np.load(tokens).shape == (5, 4)
    main(["decode", str(tokens), "--model", model, "--out", str(motion)])
    assert np.load(motion)["features"].shape == (20, 198)
    capsys.readouterr()
    main(["inspect", model])
    main(["inspect", model, "--data", str(folder / "clips")])
    shown = capsys.readouterr().out
    assert "codebook of each: 0, 1, 0, 1" in shown
    assert "codebook 1 over the end of training" in shown
    assert "codebook 0 over 2 clips" in shown


def write_store(path: Path, fps: float = 15.0) -> list[dict]:
    zarr = pytest.importorskip("zarr")
    rng = np.random.default_rng(1)
    clips = [make_clip(rng, 16 + number) | {"valid": np.ones((16 + number, 2), bool)} for number in range(4)]
    described = [
        {"length": len(clip["features"]), "clip_id": str(n), "source": "mine", "split": "train" if n < 3 else "test"}
        for n, clip in enumerate(clips)
    ]
    group = zarr.open_group(path, mode="w", attributes={"fps": fps})
    for name in ("features", "valid"):
        group.create_array(name, data=np.concatenate([clip[name] for clip in clips]))
    group.create_array("clips", data=np.frombuffer(json.dumps(described).encode(), np.uint8))
    return clips


def test_a_store_is_trained_on_and_measured_by_split(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, model = folder / "hands.zarr", str(folder / "tokenizer")
    clips = write_store(store)
    read = read_clips([store], 4, 15)
    assert [len(clip["features"]) for clip in read] == [16, 20, 20, 20]
    assert np.array_equal(read[2]["features"][:18], clips[2]["features"])
    assert not read[2]["valid"][18:].any()
    assert [clip["clip_id"] for clip in read_clips([store, folder / "clips"], 4, 15, split="test")] == ["3", "a", "b"]
    options = ["--config", str(folder / "small.json"), "--steps", "3", "--out", model]
    main(["train", str(store), "--split", "train", "--val-split", "test", *options])
    assert "val_reconstruction" in capsys.readouterr().out
    assert sorted(p.name for p in (folder / "tokenizer" / "checkpoints").iterdir()) == ["best", "last"]
    figures = folder / "figures.json"
    main(["eval", model, str(store), "--split", "test", "--out", str(figures), "--joints", f"{__name__}:joints"])
    shown, written = capsys.readouterr().out, json.loads(figures.read_text())
    assert "mpjpe_mm/mine" in shown
    expected = evaluate_reconstruction(ShiftTokenizer.from_pretrained(model), read[3:], joints)
    assert written == pytest.approx(expected)


def joints(features: torch.Tensor) -> torch.Tensor:
    return features.unflatten(-1, (2, 33, 3))[..., -3:, :]


def test_training_goes_on_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"model": MODEL, "training": {"batch_size": 4, "window": 16, "log_every": 2, "checkpoint_every": 2}}
    (folder / "small.json").write_text(json.dumps(settings))
    clips, config = str(folder / "clips"), str(folder / "small.json")
    for name, dies in (("whole", False), ("cut", True), ("cut", False)):
        seen: list[int] = []

        def note(step: int, metrics: dict, *, dies: bool = dies, seen: list[int] = seen) -> None:
            seen.append(step)
            if dies and step == 4:
                raise KeyboardInterrupt

        monkeypatch.setattr("shift_tokenizer.cli._print_metrics", note)
        run = ["train", clips, "--config", config, "--steps", "6", "--out", str(folder / name)]
        if dies:
            with pytest.raises(KeyboardInterrupt):
                main(run)
        else:
            main(run)
    assert seen == [4, 6]
    assert (folder / "cut" / "model.safetensors").read_bytes() == (folder / "whole" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("damage", ["array", "json", "lengths", "split"])
def test_a_store_that_is_not_one_is_refused(folder: Path, damage: str) -> None:
    zarr = pytest.importorskip("zarr")
    write_store(folder / "hands.zarr")
    group = zarr.open_group(folder / "hands.zarr", mode="r+")
    if damage == "array":
        del group["valid"]
    elif damage == "json":
        group.create_array("clips", data=np.frombuffer(b"{", np.uint8), overwrite=True)
    elif damage == "lengths":
        group.create_array("clips", data=np.frombuffer(b'[{"length": 5}]', np.uint8), overwrite=True)
    with pytest.raises(FileFormatError, match=r"hands\.zarr: expected"):
        read_clips([folder / "hands.zarr"], 4, 15, split="no such" if damage == "split" else None)


def test_a_store_without_zarr_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(folder / "hands.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ShiftTokenizerError, match=r"shift-tokenizer\[zarr\]"):
        read_clips([folder / "hands.zarr"], 4, 15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere"], "expected a readable file"),
        (["train", "empty", "--out", "x"], "Expected .npy or .npz files"),
        (["train", "clips", "--out", "x", "--config", "broken.json"], "expected a JSON file"),
        (["train", "clips", "--out", "x", "--config", "wrong.json"], "got also widht"),
        (["train", "clips", "--out", "x", "--config", "odd.json"], "got something else"),
        (["train", "clips", "--out", "x", "--joints", "no_such_module:f"], "expected module:function"),
        (["train", "bad/pickle.npy", "--out", "x"], "without pickles"),
        (["train", "bad/broken.npz", "--out", "x"], "without pickles"),
        (["train", "bad/shape.npy", "--out", "x"], "expected features"),
        (["train", "bad/valid.npz", "--out", "x"], "expected valid"),
        (["train", "bad/names.npz", "--out", "x"], "expected features (T, 198)"),
    ],
)
def test_mistakes_end_in_one_line_that_says_what_to_do(
    folder: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    (folder / "bad").mkdir()
    np.save(folder / "bad" / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "bad" / "broken.npz").write_bytes(b"PK\x03\x04 not a zip file")
    np.save(folder / "bad" / "shape.npy", np.zeros((8, 99)))
    np.savez(folder / "bad" / "valid.npz", features=np.zeros((8, 198)), valid=np.ones(8, bool))
    np.savez(folder / "bad" / "names.npz", motion=np.zeros((8, 198)))
    (folder / "broken.json").write_text("{")
    (folder / "wrong.json").write_text('{"model": {"widht": 3}}')
    (folder / "odd.json").write_text('{"width": 3}')
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "x").exists()


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["train"], ["encode"], ["decode"], ["eval"], ["inspect"]):
        with pytest.raises(SystemExit) as exit_info:
            main([*command, "--help"])
        assert exit_info.value.code == 0
        assert "shift-tokenizer encode wave.npz" in capsys.readouterr().out
