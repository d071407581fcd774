"""Streaming and chains: the same motion as offline, frame by frame; exact lengths; no seam."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig
from clutch_llm.cli import main
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.generation import Stepper
from hand_geometry import features_to_joints
from hand_geometry.motion_io import read_features

CAPTIONS = ["the left hand waves", "both hands clap"]


@pytest.fixture(scope="module", params=["step", "interleaved"])
def model(request, tokenizer) -> Clutch:
    form = request.param
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8, motion_form=form, plan=form == "step")
    clutch = Clutch.create(config, tokenizer=tokenizer, captions=CAPTIONS, seed=0)
    clutch.stages = [{"stage": "PretrainConfig", "steps": 1, "seed": 0, "tasks": {"complete": 1.0}}]
    return clutch


# Streaming


@pytest.mark.parametrize("seconds", [None, 32 / 15])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_stream_is_what_generate_gives(model: Clutch, seconds: float | None, guidance: float) -> None:
    for seed in range(3):
        pieces = list(model.stream("both hands clap", seconds, seed=seed, guidance=guidance))
        offline = model.generate("both hands clap", seconds, seed=seed, guidance=guidance)[0][0]["features"]
        np.testing.assert_allclose(np.concatenate(pieces), offline, atol=1e-4)
        assert all(len(piece) and piece.dtype == np.float32 for piece in pieces)


def test_frames_come_while_steps_are_written(model: Clutch, monkeypatch) -> None:
    """With no lookahead, a step's frames are there before the next step is asked for."""
    written = []
    step = Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self, *how: written.append(0) or step(self, *how))
    per_step = 1 if model.config.motion_form == "step" else 4
    stream = model.stream("both hands clap", 32 / 15, lookahead=0)
    assert not written  # nothing is done before it is asked for
    first = next(stream)
    begun = len(written)
    assert first.shape == (4, 198)
    for k, piece in enumerate(stream, 1):
        assert piece.shape == (4, 198)
        assert len(written) == begun + k * per_step
    assert k == 7


def test_a_tokenizer_that_can_still_be_trained_streams_as_well(model: Clutch) -> None:
    trainable = copy.copy(model)
    trainable.tokenizer = copy.deepcopy(model.tokenizer).requires_grad_(True)
    pieces = list(trainable.stream("both hands clap", 1.0))
    np.testing.assert_array_equal(np.concatenate(pieces), np.concatenate(list(model.stream("both hands clap", 1.0))))


def test_a_stream_refuses_at_once(model: Clutch) -> None:
    with pytest.raises(DataError, match="Expected a text"):
        model.stream(" ")
    with pytest.raises(ConfigError, match="Expected seconds"):
        model.stream("x", 99.0)
    with pytest.raises(ConfigError, match="temperature"):
        model.stream("x", temperature=-1.0)


# Chains


@pytest.mark.parametrize("overlap", [None, 1, 7])
def test_a_chain_is_as_long_as_its_lines_to_the_frame(model: Clutch, overlap: int | None) -> None:
    script = [("both hands clap", 1.0), ("the left hand waves", 0.1), ("both hands clap", 5.35), ("x", 1.6)]
    made = model.chain(script, overlap=overlap, seed=1)
    assert made["features"].shape == (round(8.05 * 15), 198)
    assert made["tokens"].shape == (-(-round(8.05 * 15) // 4), 4)
    assert (model.chain(script, overlap=overlap, seed=1)["features"] == made["features"]).all()
    assert (model.chain(script, overlap=overlap, seed=2)["features"] != made["features"]).any()


def test_lengths_do_not_drift_with_many_lines(model: Clutch) -> None:
    assert len(model.chain([("x", 0.5)] * 9)["features"]) == round(4.5 * 15)


def test_each_piece_of_a_chain_has_a_seed_of_its_own(model: Clutch, monkeypatch) -> None:
    """5 s are written in three pieces here: a first of 20 frames at most, since 16 of 32 are read anew."""
    seeds = []
    for name in ("generate", "complete"):
        method = getattr(Clutch, name)
        record = lambda self, *a, m=method, **how: seeds.append(how["seed"]) or m(self, *a, **how)  # noqa: E731
        monkeypatch.setattr(Clutch, name, record)
    pieces = list(model.chain_stream([("both hands clap", 2.0), ("both hands clap", 1.0)], seed=7))
    assert len(pieces) == len(seeds) == 3
    assert seeds == [7, 8, 9]


def test_a_piece_goes_on_from_the_last_frames_that_there_are(model: Clutch, monkeypatch) -> None:
    """Of 15 frames the last 12, three whole steps."""
    given = []
    complete = Clutch.complete
    record = lambda self, motion, *a, **how: given.append(motion) or complete(self, motion, *a, **how)  # noqa: E731
    monkeypatch.setattr(Clutch, "complete", record)
    first, _ = model.chain_stream([("both hands clap", 1.0), ("the left hand waves", 1.0)], seed=1)
    (motion,) = given
    assert motion.shape == (12 + 15, 198)
    np.testing.assert_array_equal(motion[:12], first[3:])
    assert np.isnan(motion[12:]).all()


def test_a_chain_has_no_seam(model: Clutch) -> None:
    """Where a piece begins, joints go no further in a frame than they do within pieces."""
    pieces = list(model.chain_stream([("both hands clap", 2.0), ("the left hand waves", 2.0)] * 4, seed=3))
    joints = features_to_joints(torch.from_numpy(np.concatenate(pieces)))
    moves = (joints[1:] - joints[:-1]).norm(dim=-1).flatten(1).mean(1).numpy()
    seams = np.cumsum([len(piece) for piece in pieces])[:-1] - 1
    assert len(seams) >= 7
    assert moves[seams].mean() < 1.2 * np.delete(moves, seams).mean()
    apart = [model.generate("both hands clap", 2.0, seed=k)[0][0]["features"] for k in range(4)]
    cut = features_to_joints(torch.from_numpy(np.concatenate([a[i : i + 1] for a in apart for i in (-1, 0)][1:-1])))
    jumps = (cut[1::2] - cut[::2]).norm(dim=-1).flatten(1).mean(1).numpy()
    assert moves[seams].mean() < 0.7 * jumps.mean()


def test_a_script_may_be_endless_and_is_read_line_by_line(model: Clutch) -> None:
    read = []

    def script() -> Iterator[tuple[str, float]]:
        while True:
            read.append(len(read))
            yield "both hands clap", 1.0

    pieces = model.chain_stream(script())
    assert read == []
    for k in range(1, 4):
        assert next(pieces).shape == (15, 198)
        assert len(read) == k


@pytest.mark.parametrize(
    ("script", "how", "error"),
    [
        ([], {}, "at least one sentence"),
        ([("x", 0.0)], {}, "above 0 in line 1"),
        ([("x", 1.0), ("", 1.0)], {}, "text in line 2"),
        ([("x", 1.0), "y"], {}, r"line 2 of the script as \(text, seconds\)"),
        ([("x", 0.01)], {}, "a frame or more"),
        ([("x", 1.0)], {"overlap": 8}, "overlap of 1 to 7"),
        ([("x", 1.0)], {"blend": 0}, "blend of at least 1"),
    ],
)
def test_scripts_that_are_none_are_refused(model: Clutch, script, how, error: str) -> None:
    with pytest.raises((ConfigError, DataError), match=error):
        model.chain(script, **how)


# Commands


@pytest.fixture(scope="module")
def folder(model: Clutch, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    return path


def error_of(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    assert exit_.value.code == 1
    return capsys.readouterr().err


def test_a_script_makes_one_file(model: Clutch, folder: Path, tmp_path: Path, capsys) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("# two lines\n2 both hands clap\n\n1.5 the left hand waves\n")
    out = tmp_path / "long.npz"
    main(["generate", "--script", str(lines), "--model", str(folder), "--out", str(out), "--seed", "4"])
    assert capsys.readouterr().out.split() == [str(out)]
    made = read_features(out)["features"]
    expected = model.chain([("both hands clap", 2.0), ("the left hand waves", 1.5)], seed=4)["features"]
    assert made.shape == expected.shape == (52, 198)
    np.testing.assert_allclose(made[:, 6:96], read_back(expected)[:, 6:96], atol=1e-4)


def read_back(features: np.ndarray) -> np.ndarray:
    """Features as a file of parameters has them: with rotations that are rotations."""
    from hand_geometry.features import features_to_params, params_to_features

    return np.asarray(params_to_features(features_to_params(features)))


def test_scripts_that_are_none_are_one_line(folder: Path, tmp_path: Path, capsys) -> None:
    lines, out = tmp_path / "lines.txt", tmp_path / "m.npz"
    ask = ("generate", "--model", folder, "--out", out)
    lines.write_text("2 both hands clap\nboth hands clap\n")
    assert "in line 2, as '2.5 both hands clap'" in error_of(capsys, *ask, "--script", lines)
    lines.write_text("# nothing\n")
    assert "got none" in error_of(capsys, *ask, "--script", lines)
    assert "No such file" in error_of(capsys, *ask, "--script", tmp_path / "none.txt")
    assert "--script alone, got texts, --samples as well" in error_of(
        capsys, *ask, "x", "--samples", 2, "--script", lines
    )
    assert "got neither" in error_of(capsys, *ask)
    assert not out.exists()


def test_a_file_is_completed(folder: Path, tmp_path: Path, capsys) -> None:
    start, out = tmp_path / "start.npz", tmp_path / "whole.npz"
    main(["generate", "both hands clap", "--seconds", "1.3", "--model", str(folder), "--out", str(start)])
    ask = ["complete", str(start), "--model", str(folder), "--out", str(out)]
    main([*ask, "--text", "the left hand waves", "--seconds", "2", "--keep"])
    given, made = read_features(start)["features"], read_features(out)["features"]
    assert made.shape == (30, 198)
    np.testing.assert_allclose(made[:20], given, atol=1e-4)
    main([*ask, "--before", "0.5", "--gap", "0.4", "0.8", "--keep"])
    made = read_features(out)["features"]
    assert made.shape == (28, 198)
    kept = [*range(6), *range(12, 20)]
    np.testing.assert_allclose(made[8:][kept][:, 6:96], given[kept][:, 6:96], atol=1e-4)
    assert np.abs(made[8:][6:12] - given[6:12]).max() > 1e-3
    main([*ask, "--drop", "left", "--drop", "right-path", "--keep"])
    made = read_features(out)["features"]
    np.testing.assert_allclose(made[:, 105:195], given[:, 105:195], atol=1e-4)
    assert np.abs(made[:, 6:96] - given[:, 6:96]).max() > 1e-3
    main([*ask, "--samples", "2", "--claim", "contact:both/palms=touch@1.0-1.2", "--rank", "2", "--seconds", "2"])
    assert capsys.readouterr().out.count("fulfils") == 2
    assert "gap within the motion's 1.33 seconds" in error_of(capsys, *ask, "--gap", "1", "3")
    assert "at least 0 before" in error_of(capsys, *ask, "--before", "-1")
