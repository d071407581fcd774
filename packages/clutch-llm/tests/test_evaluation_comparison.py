"""Arms against a control: planted changes must come out as what they are, arm by arm, with their sign and interval."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm.evaluation import (
    Evaluator,
    EvaluatorConfig,
    Judge,
    JudgeConfig,
    compare_arms,
    compare_refinement,
    temperature_of_multimodality,
    train_evaluator,
    train_judge,
)

_spec = importlib.util.spec_from_file_location("evaluation_clips", Path(__file__).with_name("evaluation_clips.py"))
assert _spec is not None
evaluation_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = evaluation_clips
_spec.loader.exec_module(evaluation_clips)  # type: ignore[union-attr]
make_clips = evaluation_clips.make_clips

Clips = list[dict[str, Any]]
LEFT_TRANSL = slice(96, 99)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips() -> Clips:
    return make_clips(40, first=3000, split="test", frames=24)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    config = EvaluatorConfig(
        width=32, hidden=24, embedding=16, word_width=16, steps=90, batch_size=32, learning_rate=4e-3
    )
    return train_evaluator(make_clips(160), config, seed=1)[0]


@pytest.fixture(scope="module")
def judge() -> Judge:
    config = JudgeConfig(width=24, steps=120, batch_size=32, learning_rate=1e-2, dropout=0.1)
    return train_judge(make_clips(160), config, seed=1)[0]


def shaken(clips: Clips, strength: float, seed: int = 0) -> list[list[np.ndarray]]:
    """The truth with the left wrist shaken: joint error and jitter are proportional to the strength."""
    rng = np.random.default_rng(seed)
    motions = []
    for c in clips:
        features = c["features"].copy()
        features[:, LEFT_TRANSL] += strength * rng.normal(0, 0.01, (len(features), 3)).astype(np.float32)
        motions.append([features])
    return motions


def of_others(clips: Clips) -> list[list[np.ndarray]]:
    """For each clip the motion of another whose captions and attributes differ."""
    found = []
    for i, clip in enumerate(clips):
        around = [*range(i + 1, len(clips)), *range(i)]
        j = next(j for j in around if clips[j]["attributes"]["hand"] != clip["attributes"]["hand"])
        found.append([clips[j]["features"]])
    return found


def test_each_change_belongs_to_its_arm_and_has_its_sign(evaluator: Evaluator, clips: Clips) -> None:
    arms = {"halved": [shaken(clips, 0.5)], "control": [shaken(clips, 1.0)], "doubled": [shaken(clips, 2.0)]}
    found = compare_arms(evaluator, clips, arms, control="control")["procedural"]
    assert list(found["arms"]) == ["halved", "control", "doubled"]
    assert list(found["changes"]) == ["halved", "doubled"]
    for name, factor in (("halved", -0.5), ("doubled", 1.0)):
        change = found["changes"][name]["mpjpe_abs"]
        assert change["change"] == pytest.approx(factor, abs=0.01)
        assert change["ci95_low"] <= change["change"] <= change["ci95_high"]
        assert found["arms"][name]["mpjpe_abs_mm"] == pytest.approx(
            (1 + factor) * found["arms"]["control"]["mpjpe_abs_mm"], rel=0.01
        )
    assert found["changes"]["halved"]["jitter"]["change"] < -0.3
    assert found["changes"]["halved"]["kid"]["change"] < 0 < found["changes"]["doubled"]["kid"]["change"]
    assert found["changes"]["halved"]["mpjpe_abs"]["no_worse"] is True
    assert found["changes"]["doubled"]["mpjpe_abs"]["no_worse"] is False
    assert found["changes"]["doubled"]["jitter"]["no_worse"] is False


def test_the_arms_of_a_refinement_cannot_be_swapped(evaluator: Evaluator, clips: Clips) -> None:
    found = compare_refinement(evaluator, clips, control=shaken(clips, 1.0), refined=shaken(clips, 0.5))["procedural"]
    assert found["control"] == "control"
    assert found["change"]["mpjpe_abs"]["change"] == pytest.approx(-0.5, abs=0.01)
    assert found["arms"]["refined"]["mpjpe_abs_mm"] < found["arms"]["control"]["mpjpe_abs_mm"]
    same = compare_refinement(evaluator, clips, shaken(clips, 1.0), shaken(clips, 1.0))["procedural"]["change"]
    for name in ("mpjpe_abs", "jitter", "kid", "r_precision_top3"):
        assert [same[name][key] for key in ("change", "ci95_low", "ci95_high")] == [0.0, 0.0, 0.0], name
        assert same[name]["no_worse"] is True
    assert same["multimodality"]["change"] is None


def test_an_arm_that_is_the_truth_and_one_of_other_clips(evaluator: Evaluator, judge: Judge, clips: Clips) -> None:
    truth = [[c["features"]] for c in clips]
    arms = {"other": [of_others(clips)], "is_truth": [truth]}
    texts = [c["captions"][-1] for c in clips]
    found = compare_arms(evaluator, clips, arms, control="is_truth", texts=texts, judge=judge)["procedural"]
    rows, change = found["arms"], found["changes"]["other"]
    assert rows["is_truth"]["judge_hand"] > 0.9
    assert rows["other"]["judge_hand"] < 0.1
    assert change["judge_hand"]["change"] == pytest.approx(rows["other"]["judge_hand"] - rows["is_truth"]["judge_hand"])
    assert change["judge_hand"]["ci95_high"] < -0.7
    assert change["judge_hand"]["no_worse"] is False
    assert change["r_precision_top3"]["change"] < -0.3
    assert change["r_precision_top3"]["no_worse"] is False
    back = compare_arms(evaluator, clips, arms, control="other", texts=texts, judge=judge)["procedural"]["changes"]
    assert back["is_truth"]["judge_hand"]["no_worse"] is True
    assert back["is_truth"]["r_precision_top3"]["no_worse"] is True
    json.dumps(found, allow_nan=False)


def test_seeds_are_paired_and_widen_the_interval(evaluator: Evaluator, clips: Clips) -> None:
    control = [shaken(clips, 1.0, seed) for seed in range(3)]
    apart = [shaken(clips, strength, seed) for seed, strength in enumerate((0.5, 1.0, 1.5))]
    alike = [shaken(clips, 1.0, seed) for seed in range(3)]
    found = compare_arms(evaluator, clips, {"control": control, "apart": apart, "alike": alike}, control="control")
    changes = found["procedural"]["changes"]
    assert found["procedural"]["seeds"] == 3
    # each seed of the control is the same draw as that of the arm, so nothing changed to the last bit
    assert changes["alike"]["mpjpe_abs"] == {
        "change": 0.0,
        "ci95_low": 0.0,
        "ci95_high": 0.0,
        "margin": 0.01,
        "no_worse": True,
    }
    assert changes["apart"]["mpjpe_abs"]["change"] == pytest.approx(0.0, abs=0.05)
    assert changes["apart"]["mpjpe_abs"]["ci95_low"] < -0.3
    assert changes["apart"]["mpjpe_abs"]["ci95_high"] > 0.3
    assert changes["apart"]["mpjpe_abs"]["no_worse"] is False


def test_each_arm_is_weighed_by_its_own_frames(evaluator: Evaluator, clips: Clips) -> None:
    """Errors of 5 and 10 mm in turn; the control's worse motions are half as long, so that they count half."""

    def moved(frames: int) -> list[list[np.ndarray]]:
        motions = []
        for k, clip in enumerate(clips):
            features = clip["features"].copy()
            features[:, LEFT_TRANSL.start] += 0.01 * (1 + k % 2)
            motions.append([features[:frames] if k % 2 else features])
        return motions

    found = compare_arms(evaluator, clips, {"control": [moved(12)], "whole": [moved(24)]}, control="control")
    change = found["procedural"]["changes"]["whole"]["mpjpe_abs"]
    assert change["change"] == pytest.approx(7.5 / (20 / 3) - 1, abs=1e-3)
    assert 0 < change["ci95_low"] <= change["change"] <= change["ci95_high"]


def test_a_margin_that_was_set_beforehand_decides(evaluator: Evaluator, clips: Clips) -> None:
    arms = {"control": [shaken(clips, 1.0)], "worse": [shaken(clips, 1.1)]}
    for margin, expected in ((0.05, False), (0.2, True)):
        found = compare_arms(evaluator, clips, arms, control="control", margins={"mpjpe_abs": margin})
        change = found["procedural"]["changes"]["worse"]["mpjpe_abs"]
        assert change["margin"] == margin
        assert change["no_worse"] is expected


def test_a_change_from_nothing_is_not_a_number(evaluator: Evaluator, clips: Clips) -> None:
    still = [[np.repeat(evaluation_clips.relaxed_features(1), 24, 0)] for _ in clips]
    found = compare_arms(evaluator, clips, {"control": [still], "arm": [shaken(clips, 1.0)]}, control="control")
    jitter = found["procedural"]["changes"]["arm"]["jitter"]
    assert found["procedural"]["arms"]["control"]["jitter_mm_frame3"] == 0.0
    assert jitter["change"] is None
    assert jitter["no_worse"] is None


def test_arms_that_cannot_be_compared_are_refused(evaluator: Evaluator, clips: Clips) -> None:
    one = shaken(clips, 1.0)
    with pytest.raises(ValueError, match="Expected the control among the arms refined"):
        compare_arms(evaluator, clips, {"refined": [one]}, control="control")
    with pytest.raises(ValueError, match="Expected 2 seeds of 'refined'"):
        compare_arms(evaluator, clips, {"control": [one, one], "refined": [one]}, control="control")


def test_the_temperature_of_a_given_variety_is_found() -> None:
    asked: list[float] = []

    def variety(temperature: float) -> float:
        asked.append(temperature)
        return temperature**2

    temperature, found = temperature_of_multimodality(variety, 0.81, tries=8, tolerance=0.01)
    assert temperature == pytest.approx(0.9, abs=0.01)
    assert found == pytest.approx(0.81, rel=0.01)
    assert len(asked) <= 8
    # out of reach: the nearest end
    assert temperature_of_multimodality(variety, 9.0, tries=6)[0] == pytest.approx(1.5, abs=0.03)
    assert temperature_of_multimodality(lambda _: None, 1.0) == (0.9, None)
    with pytest.raises(ValueError, match="low < high"):
        temperature_of_multimodality(variety, 1.0, low=2.0, high=1.0)
