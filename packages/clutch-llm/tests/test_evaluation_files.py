"""Motions from files: every representation gives the same features, files find their clips, figures are theirs."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm.errors import DataError, MissingDependencyError
from clutch_llm.evaluation import (
    Evaluator,
    EvaluatorConfig,
    Judge,
    JudgeConfig,
    evaluate_files,
    files,
    read_motion,
    train_evaluator,
    train_judge,
)
from clutch_llm.evaluation.cli import add_commands
from clutch_llm.evaluation.judge import joints_of
from hand_geometry import canonicalize, features_to_params, params_to_features, save_motion

_spec = importlib.util.spec_from_file_location("evaluation_clips", Path(__file__).with_name("evaluation_clips.py"))
assert _spec is not None
evaluation_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = evaluation_clips
_spec.loader.exec_module(evaluation_clips)  # type: ignore[union-attr]

Clips = list[dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_clips(count: int, first: int = 0) -> Clips:
    """Canonical clips, as a store has them."""
    clips = evaluation_clips.make_clips(count, first=first, source="hands")
    for clip in clips:
        clip["clip_id"] = f"hands/{clip['clip_id']}"
        params = canonicalize(features_to_params(clip["features"]))
        clip["features"] = np.asarray(params_to_features(params), dtype=np.float32)
    return clips


@pytest.fixture(scope="module")
def measures() -> tuple[Evaluator, Judge]:
    sizes = {"width": 32, "hidden": 24, "embedding": 16, "word_width": 16}
    train = make_clips(160)
    evaluator = train_evaluator(train, EvaluatorConfig(**sizes, steps=60, batch_size=32, learning_rate=4e-3))[0]
    judge_config = JudgeConfig(width=24, steps=100, batch_size=32, learning_rate=1e-2, dropout=0.1)
    return evaluator, train_judge(train, judge_config)[0]


def test_features_parameters_and_joints_of_a_motion_are_read_alike(tmp_path: Path) -> None:
    clip = make_clips(1)[0]
    features = clip["features"]
    (joints,) = joints_of([features])
    save_motion(tmp_path / "params.npz", features_to_params(features), fps=15)
    np.savez(tmp_path / "features.npz", features=features, fps=15)
    np.savez(tmp_path / "joints.npz", joints=joints, fps=15)
    np.savez(tmp_path / "flat.npz", joints=joints.reshape(-1, 42, 3), fps=15.0)
    np.save(tmp_path / "features.npy", features)
    np.save(tmp_path / "joints.npy", joints + 1.0)  # canonical again, wherever it was
    for name, tolerance in (
        ("params.npz", 1e-4),
        ("features.npz", 1e-4),
        ("features.npy", 1e-4),
        ("joints.npz", 2e-3),
        ("flat.npz", 2e-3),
        ("joints.npy", 2e-3),
    ):
        read = read_motion(tmp_path / name, 15.0)
        assert read.valid.all()
        np.testing.assert_allclose(joints_of([read.features])[0], joints, atol=tolerance, err_msg=name)


def test_a_motion_at_another_rate_is_resampled(tmp_path: Path) -> None:
    features = np.repeat(evaluation_clips.relaxed_features(1), 41, 0)
    features[:, 96] += np.linspace(0, 0.4, 41, dtype=np.float32)  # a metre in 2.5 s at 40 frames a second
    np.savez(tmp_path / "fast.npz", features=features, fps=40)
    read = read_motion(tmp_path / "fast.npz", 20.0)
    assert len(read.features) == 21
    np.testing.assert_allclose(np.diff(read.features[:, 96]), 0.02, atol=1e-5)


def test_a_file_without_a_rate_says_what_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(tmp_path / "a.npy", make_clips(1)[0]["features"])
    with caplog.at_level(logging.WARNING):
        assert len(read_motion(tmp_path / "a.npy", 15.0).features) == 16
    assert "15 frames a second" in caplog.text


def test_joints_that_are_not_finite_are_not_seen(tmp_path: Path) -> None:
    (joints,) = joints_of([make_clips(1)[0]["features"]])
    joints[:, 1] = np.nan
    joints[7, 0] = 0.0  # what trackers write where they see nothing
    joints[3:5, 0] = np.nan
    np.savez(tmp_path / "one.npz", joints=joints, fps=15)
    read = read_motion(tmp_path / "one.npz", 15.0)
    assert not read.valid[:, 1].any()
    assert read.valid[:, 0].tolist() == [k not in (3, 4, 7) for k in range(16)]
    assert np.isfinite(read.features).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"joints": np.zeros((4, 21, 3)), "fps": 15}, r"joints \(T, 2, 21, 3\)"),
        ({"joints": np.full((4, 2, 21, 3), np.nan), "fps": 15}, "finite joints"),
        ({"joints": np.zeros((4, 2, 21, 3)), "fps": 15}, "finite joints"),
        ({"joints": np.zeros((0, 2, 21, 3)), "fps": 15}, "joints"),
        ({"joints": np.zeros((4, 2, 21, 3)), "fps": -1}, "positive number"),
        ({"joints": np.zeros((4, 2, 21, 3)), "fps": "fast"}, "positive number"),
    ],
)
def test_files_that_hold_no_motion_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_motion(tmp_path / "bad.npz", 15.0)


def test_an_array_with_a_broken_header_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match="Expected plain arrays"):
        read_motion(path, 15.0)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match="cannot be read"):
        read_motion(tmp_path / "bad.npz", 15.0)
    np.save(tmp_path / "bad.npy", np.zeros((4, 7)))
    with pytest.raises(DataError, match=r"\(T, 198\)"):
        read_motion(tmp_path / "bad.npy", 15.0)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_motion(tmp_path / "objects.npy", 15.0)
    for name in ("nothing.npz", "motion.txt"):
        with pytest.raises(DataError, match="ending in"):
            read_motion(tmp_path / name, 15.0)


def _write(folder: Path, clips: Clips, made: list[list[np.ndarray]]) -> None:
    for clip, samples in zip(clips, made, strict=True):
        for k, motion in enumerate(samples):
            path = folder / f"{clip['clip_id']}{f'-{k + 1}' if len(samples) > 1 else ''}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, features=motion, fps=15)


def test_files_find_their_clips_and_are_measured_as_what_they_are(measures: Any, tmp_path: Path, caplog: Any) -> None:
    evaluator, judge = measures
    clips = make_clips(40, first=3000)
    other = [next(c for c in clips if c["attributes"]["hand"] != o["attributes"]["hand"]) for o in clips]
    _write(tmp_path / "truth", clips, [[c["features"], c["features"]] for c in clips])
    _write(tmp_path / "wrong", clips[:36], [[o["features"]] for o in other[:36]])
    np.savez(tmp_path / "wrong" / "stranger.npz", features=clips[0]["features"], fps=15)
    truth = evaluate_files(tmp_path / "truth", clips, evaluator, judge=judge, pool_clips=make_clips(40, first=6000))
    with caplog.at_level(logging.WARNING):
        wrong = evaluate_files(tmp_path / "wrong", clips, evaluator, judge=judge)
    assert "1 files are of no clip" in caplog.text
    rows = truth["text_to_motion"]["hands"]["rows"]
    assert truth["text_to_motion"]["hands"]["samples_per_caption"] == {"generated": 2}
    assert rows["generated"]["mpjpe_abs_mm"] == pytest.approx(0.0, abs=0.1)
    assert rows["generated"]["multimodality"] == pytest.approx(0.0, abs=1e-3)
    assert truth["judge"]["hands"]["rows"]["generated"]["hand"] > 0.9
    assert wrong["judge"]["hands"]["rows"]["generated"]["hand"] < 0.1
    assert wrong["text_to_motion"]["hands"]["clips"] == 36
    assert wrong["text_to_motion"]["hands"]["rows"]["generated"]["mpjpe_abs_mm"] > 5
    assert wrong["without_motion"] == [c["clip_id"] for c in clips[36:]]
    assert truth["without_motion"] == []
    assert truth["measured_by"]["judge"]["data_hash"] == judge.data_hash


def test_the_caption_that_was_asked_for_is_the_one_that_is_measured(measures: Any, tmp_path: Path) -> None:
    clips = make_clips(40, first=3000)
    _write(tmp_path, clips, [[c["features"]] for c in clips])
    fine, short = (
        evaluate_files(tmp_path, clips, measures[0], caption=level)["text_to_motion"]["hands"]["rows"]["generated"]
        for level in (-1, 0)
    )
    assert fine["mm_dist"] != short["mm_dist"]
    assert fine["fid"] == short["fid"]


def test_a_folder_without_motions_of_these_clips_is_refused(measures: Any, tmp_path: Path) -> None:
    clips = make_clips(2)
    with pytest.raises(DataError, match="folder of motions"):
        evaluate_files(tmp_path / "nowhere", clips, measures[0])
    with pytest.raises(DataError, match=r"hands/hands-0000\.npz"):
        evaluate_files(tmp_path, clips, measures[0])


class _Store:
    def __init__(self, path: str | Path) -> None:
        assert Path(path).name == "clips.zarr"

    def clips(self, split: str) -> Clips:
        return make_clips(40, first={"test": 3000, "val": 6000, "train": 0}[split])


class _EntryPoint:
    def load(self) -> type[_Store]:
        return _Store


def test_the_command_measures_a_folder(measures: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    evaluator, judge = measures
    evaluator.save_pretrained(tmp_path / "evaluator")
    judge.save_pretrained(tmp_path / "judge")
    clips = make_clips(40, first=3000)
    _write(tmp_path / "motions", clips[:39], [[c["features"]] for c in clips[:39]])
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    arguments = ["evaluate", "--motions", str(tmp_path / "motions"), "--store", str(tmp_path / "clips.zarr")]
    arguments += ["--evaluator", str(tmp_path / "evaluator"), "--judge", str(tmp_path / "judge")]
    args = parser.parse_args([*arguments, "--out", str(tmp_path / "out" / "figures.json")])
    monkeypatch.setattr(files, "entry_points", lambda group: [])
    with pytest.raises(MissingDependencyError, match="hiw-data"):
        args.run(args)
    monkeypatch.setattr(files, "entry_points", lambda group: {"clutch_llm.clip_stores": [_EntryPoint()]}[group])
    args.run(args)
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    shown = capsys.readouterr().out
    assert "hands: 39 clips, 1 samples each" in shown
    assert "1 clips have no motion" in shown
    row = figures["text_to_motion"]["hands"]["rows"]["generated"]
    assert f"{row['r_precision_top3']:.3f}" in shown
    assert figures["text_to_motion"]["hands"]["compared"] == 39
    assert "judge: hand" in shown


def test_samples_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    clips = make_clips(1)
    _write(tmp_path, clips, [[clips[0]["features"]] * 11])
    (paths,) = files.find_motions(tmp_path, clips).values()
    assert [p.stem.split("-")[-1] for p in paths] == [str(k) for k in range(1, 12)]
