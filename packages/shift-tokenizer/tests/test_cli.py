import json
from pathlib import Path

import numpy as np
import pytest
from shift_tokenizer.cli import main

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
    assert "20 frames -> 5 steps of 4 tokens" in capsys.readouterr().out
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
        (["train", "bad/names.npz", "--out", "x"], "named 'features'"),
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
    for command in ([], ["train"], ["encode"], ["decode"], ["inspect"]):
        with pytest.raises(SystemExit) as exit_info:
            main([*command, "--help"])
        assert exit_info.value.code == 0
        assert "shift-tokenizer encode wave.npz" in capsys.readouterr().out
