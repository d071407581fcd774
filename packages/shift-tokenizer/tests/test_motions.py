"""The commands on files of people: rates, readers of other packages, validity, and every format that is written."""

import json
import logging
import sys
import types
from collections.abc import Mapping
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shift_tokenizer import FileFormatError, ShiftConfig, ShiftTokenizer, motions
from shift_tokenizer.cli import main
from shift_tokenizer.motions import read_clip

from .conftest import make_clip, ready
from .test_cli import write_store

FPS_15 = ShiftConfig(width=8, codebook_size=12, code_dim=4, dilations=(1,))


@pytest.fixture
def model(tmp_path: Path) -> str:
    ready(ShiftTokenizer(FPS_15)).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def clip() -> dict:
    valid = np.ones((16, 2), bool)
    valid[4:, 0] = False
    return make_clip(np.random.default_rng(3), 16) | {"valid": valid}


def read_every_other(path: Path, fps: float | None) -> Mapping[str, Any]:
    """A reader of another package: takes every other frame of "their_motion", which has 30 a second."""
    with np.load(path) as arrays:
        if "their_motion" not in arrays.files and "features" not in arrays.files:
            raise ValueError("no motion of ours.")
        features = arrays["their_motion" if "their_motion" in arrays.files else "features"]
    if fps is None:
        return {"features": features, "valid": np.ones((len(features), 2), bool), "fps": 30.0}
    assert fps == 15.0
    return {"features": features[::2], "valid": np.arange(len(features) // 2)[:, None] < np.array([2, 99]), "fps": fps}


def read_at_its_own_rate(path: Path, fps: float | None) -> Mapping[str, Any]:
    return {"features": np.zeros((4, 198)), "valid": np.ones((4, 2), bool), "fps": 30.0}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs the reader as a package would."""
    install(tmp_path, monkeypatch, "read_every_other")


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *functions: str) -> None:
    """Installs a package whose metadata names these functions as readers; no other package is seen."""
    package = folder / "site" / "theirs-1.0.dist-info"
    package.mkdir(parents=True)
    entries = "".join(f"{name} = theirs:{name}\n" for name in functions)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[shift_tokenizer.motion_readers]\n{entries}")

    def only_here(*, group: str) -> list[EntryPoint]:
        found = [e for package in distributions(path=[str(folder / "site")]) for e in package.entry_points]
        return [entry for entry in found if entry.group == group]

    monkeypatch.setattr(motions, "entry_points", only_here)
    module = types.ModuleType("theirs")
    for name in functions:
        setattr(module, name, globals()[name])
    monkeypatch.setitem(sys.modules, "theirs", module)


def test_a_motion_file_of_another_package_is_encoded_at_the_tokenizers_rate(
    model: str,
    clip: dict,
    tmp_path: Path,
    reader: None,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.savez(tmp_path / "wave.npz", their_motion=clip["features"].repeat(2, 0))
    with caplog.at_level(logging.INFO):
        main(["encode", str(tmp_path / "wave.npz"), "--model", model, "--out", str(tmp_path / "tokens.npz")])
    assert "wave.npz: resampled from 30 to 15 frames a second" in caplog.text
    assert "16 frames at 15 a second -> 4 steps" in capsys.readouterr().out
    valid = np.arange(16)[:, None] < np.array([2, 99])
    with np.load(tmp_path / "tokens.npz") as written:
        expected = ShiftTokenizer.from_pretrained(model).encode(clip["features"], valid)
        assert np.array_equal(written["tokens"], expected.numpy())
        assert float(written["fps"]) == 15.0


def test_features_of_another_rate_are_resampled_by_a_reader_or_refused(
    clip: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "fast.npz", features=clip["features"].repeat(2, 0), fps=np.array([30]), source="mine")
    monkeypatch.setattr(motions, "entry_points", lambda *, group: [])
    with pytest.raises(FileFormatError, match=r"at 15 frames a second, got motion of 30\. Install hand-geometry"):
        read_clip(tmp_path / "fast.npz", 4, 15.0)
    install(tmp_path, monkeypatch, "read_every_other")
    read = read_clip(tmp_path / "fast.npz", 4, 15.0)
    assert np.array_equal(read["features"], clip["features"])
    assert (read["fps"], read["source"], read["clip_id"]) == (15.0, "mine", "fast")


def test_what_no_reader_knows_is_told_with_their_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: None
) -> None:
    np.savez(tmp_path / "odd.npz", something=np.zeros(3))
    with pytest.raises(FileFormatError, match=r"odd\.npz: expected features .*read_every_other: no motion of ours"):
        read_clip(tmp_path / "odd.npz", 4, 15.0)
    with pytest.raises(FileFormatError, match="expected a motion file, got none"):
        read_clip(tmp_path / "nowhere.bvh", 4, 15.0)


def test_a_reader_that_keeps_another_rate_is_found_out(
    tmp_path: Path, clip: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "read_at_its_own_rate")
    np.savez(tmp_path / "odd.npz", something=np.zeros(3))
    with pytest.raises(FileFormatError, match="expected 15 frames a second of the reader read_at_its_own_rate, got 30"):
        read_clip(tmp_path / "odd.npz", 4, 15.0)


def test_a_file_without_a_rate_is_taken_as_15_and_that_is_said(
    clip: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "a.npy", clip["features"])
    assert read_clip(tmp_path / "a.npy", 4, 15.0)["fps"] == 15.0
    assert "a.npy tells no rate: taken as 15 frames a second" in caplog.text
    caplog.clear()
    np.savez(tmp_path / "a.npz", features=clip["features"], fps=15)
    read_clip(tmp_path / "a.npz", 4, 15.0)
    assert caplog.text == ""


@pytest.mark.parametrize("fps", [0.0, -15.0, np.nan, np.array([15.0, 30.0]), "15 fps"])
def test_a_rate_that_is_none_is_refused(fps: Any, clip: dict, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=clip["features"], fps=fps)
    with pytest.raises(FileFormatError, match=r"a\.npz: expected fps as one positive number"):
        read_clip(tmp_path / "a.npz", 4, 15.0)


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
def test_a_hand_that_is_not_seen_changes_no_token(
    model: str, clip: dict, tmp_path: Path, value: float, kind: type
) -> None:
    poisoned = np.where(clip["valid"].repeat(99, 1), clip["features"], value).astype(np.float64)
    for name, features in (("a", clip["features"]), ("b", poisoned)):
        np.savez(tmp_path / f"{name}.npz", features=features, valid=clip["valid"].astype(kind), fps=15)
        main(["encode", str(tmp_path / f"{name}.npz"), "--model", model, "--out", str(tmp_path / f"{name}.out.npz")])
    one, other = (np.load(tmp_path / f"{name}.out.npz")["tokens"] for name in "ab")
    assert np.array_equal(one, other)


@pytest.mark.parametrize("tokens", ["t.npy", "t.npz"])
@pytest.mark.parametrize("motion", ["m.npy", "m.npz"])
def test_commands_read_every_format_that_they_write(
    model: str, clip: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: str, motion: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("clip.npz", features=clip["features"], fps=15)
    main(["encode", "clip.npz", "--model", model, "--out", tokens])
    main(["decode", tokens, "--model", model, "--out", motion])
    if motion == "m.npz":
        with np.load(motion) as written:
            assert float(written["fps"]) == 15.0
    main(["encode", motion, "--model", model, "--out", "again.npz"])
    main(["eval", model, motion])
    main(["inspect", model, "--data", motion])
    (tmp_path / "small.json").write_text(json.dumps({"model": {"width": 4}, "training": {"batch_size": 2}}))
    main(["train", motion, "--config", "small.json", "--steps", "1", "--out", "trained", "--device", "cpu"])


def test_tokens_and_motion_of_another_rate_are_written_and_refused_with_it(
    clip: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ready(ShiftTokenizer(ShiftConfig(width=8, codebook_size=12, dilations=(1,), fps=30))).save_pretrained("fast")
    ready(ShiftTokenizer(FPS_15)).save_pretrained("slow")
    np.savez("clip.npz", features=clip["features"], fps=30)
    main(["encode", "clip.npz", "--model", "fast", "--out", "t.npz"])
    main(["decode", "t.npz", "--model", "fast", "--out", "m.npz"])
    assert float(np.load("t.npz")["fps"]) == float(np.load("m.npz")["fps"]) == 30.0
    for command in (
        ["decode", "t.npz", "--model", "slow", "--out", "x.npz"],
        ["encode", "clip.npz", "--model", "fast", "--out", "x.npy"],
        ["encode", "clip.npz", "--model", "fast", "--out", "x"],
        ["encode", "clip.npz", "--model", "fast", "--out", "x.npz", "--device", "abacus"],
    ):
        with pytest.raises(SystemExit):
            main(command)
    errors = capsys.readouterr().err.splitlines()
    assert ["expected tokens of 15 frames a second, got 30" in errors[0], "expected .npz" in errors[1]] == [True, True]
    assert ["ends in .npz or .npy" in errors[2], "device: expected" in errors[3], len(errors)] == [True, True, 4]
    assert not list(tmp_path.glob("x*"))


def test_a_store_keeps_its_rate_and_another_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path / "fast.zarr", fps=30.0)
    tokenizer = ready(ShiftTokenizer(FPS_15))
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "small.json").write_text('{"model": {"width": 4}}')
    for command in (
        ["train", str(tmp_path / "fast.zarr"), "--config", str(tmp_path / "small.json"), "--out", str(tmp_path / "x")],
        ["eval", str(tmp_path / "model"), str(tmp_path / "fast.zarr")],
        ["inspect", str(tmp_path / "model"), "--data", str(tmp_path / "fast.zarr")],
    ):
        with pytest.raises(SystemExit):
            main(command)
        assert "clip 0 of 15 frames a second, which is the tokenizer's rate, got 30" in capsys.readouterr().err


def test_a_mistake_of_ours_keeps_its_traceback(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(ShiftTokenizer, "from_pretrained", broken)
    with pytest.raises(KeyError, match="ours"):
        main(["inspect", model])


def test_a_file_that_the_disk_keeps_back_is_one_line(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "there")

    monkeypatch.setattr(ShiftTokenizer, "from_pretrained", refuse)
    with pytest.raises(SystemExit) as exit_info:
        main(["inspect", model])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "shift-tokenizer: [Errno 13] Permission denied: 'there'\n"


def test_hand_geometrys_reader_brings_its_motion_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For real, where that package is there: a motion of 30 frames a second, whose left hand is not seen at the end."""
    motion_io = pytest.importorskip("hand_geometry.motion_io")
    read_features = getattr(motion_io, "read_features", None)
    if read_features is None:
        pytest.skip("this hand-geometry registers no reader")
    import hand_geometry

    features = torch.from_numpy(make_clip(np.random.default_rng(0), 32)["features"])
    valid = np.ones((32, 2), bool)
    valid[20:, 0] = False
    hand_geometry.save_motion(tmp_path / "wave.npz", features, fps=30, valid=valid)
    monkeypatch.setitem(globals(), "read_features", read_features)
    install(tmp_path, monkeypatch, "read_features")
    with caplog.at_level(logging.INFO):
        clip = read_clip(tmp_path / "wave.npz", 4, 15.0)
    assert clip["features"].shape == (16, 198)
    assert "tells no rate" not in caplog.text
    assert clip["valid"][:10, 0].all()
    assert not clip["valid"][11:, 0].any()
    assert clip["valid"][:, 1].all()
    assert "resampled from 30 to 15" in caplog.text
