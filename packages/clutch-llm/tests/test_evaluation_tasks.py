"""Tokenizer, text to motion, motion to text and refinement: hand-worked cases, baselines, and what must come out."""

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
    check_goals,
    compare_refinement,
    evaluate_m2t,
    evaluate_t2m,
    evaluate_tokenizer,
    train_evaluator,
)
from clutch_llm.evaluation.grouping import by_source, other_indices
from clutch_llm.evaluation.motion_errors import clip_errors, hold, mean_pose, stack_samples
from clutch_llm.evaluation.refinement import relative_change

_spec = importlib.util.spec_from_file_location("evaluation_clips", Path(__file__).with_name("evaluation_clips.py"))
assert _spec is not None
evaluation_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = evaluation_clips
_spec.loader.exec_module(evaluation_clips)  # type: ignore[union-attr]
make_clips = evaluation_clips.make_clips

LEFT_TRANSL = slice(96, 99)
Clips = list[dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clips() -> Clips:
    return make_clips(40, first=3000, split="test") + make_clips(20, first=4000, source="fingerspelling", split="test")


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    config = EvaluatorConfig(
        width=32, hidden=24, embedding=16, word_width=16, steps=90, batch_size=32, learning_rate=4e-3
    )
    return train_evaluator(make_clips(160) + make_clips(60, source="fingerspelling", first=500), config, seed=1)[0]


def _moved(clip: dict[str, Any], metres: float) -> np.ndarray:
    """The clip with its left hand moved sideways."""
    features = clip["features"].copy()
    features[:, 96] += metres
    return features


def test_a_hand_that_is_10_mm_off_has_5_mm_of_error_over_both_hands(clips: Clips) -> None:
    errors = clip_errors([_moved(c, 0.01) for c in clips[:3]], clips[:3])
    assert errors.mean("mpjpe_abs_mm") == pytest.approx(5.0, abs=1e-3)
    assert errors.mean("mpjpe_root_mm") == pytest.approx(0.0, abs=1e-3)
    assert errors.mean("pa_mpjpe_mm") == pytest.approx(0.0, abs=1e-2)
    assert errors.mean("acceleration_error_m_s2") == pytest.approx(0.0, abs=1e-3)


def test_frames_that_are_not_valid_do_not_count(clips: Clips) -> None:
    clip = clips[0] | {"valid": clips[0]["valid"].copy()}
    clip["valid"][:, 1] = False
    clip["valid"][5:, 0] = False
    poisoned = _moved(clip, 0.01)
    poisoned[5:] = 7.0
    poisoned[:, 99:] = 7.0
    assert clip_errors([poisoned], [clip]).mean("mpjpe_abs_mm") == pytest.approx(10.0, abs=1e-3)
    clip["valid"][:] = False
    nothing = clip_errors([poisoned], [clip])
    assert nothing.mean("mpjpe_abs_mm") is None
    assert nothing.interval("mpjpe_abs_mm") is None


def test_clips_count_by_their_frames() -> None:
    short, long = evaluation_clips.make_clip(0, frames=8), evaluation_clips.make_clip(1, frames=24)
    errors = clip_errors([_moved(short, 0.04), _moved(long, 0.0)], [short, long], ["mpjpe_abs_mm"])
    assert errors.mean("mpjpe_abs_mm") == pytest.approx(20.0 * 8 / 32, abs=1e-3)


def test_a_motion_of_another_length_is_compared_over_what_both_have(clips: Clips) -> None:
    longer = np.concatenate([_moved(clips[0], 0.01), np.full((8, 198), 3.0, np.float32)])
    assert clip_errors([longer], clips[:1]).mean("mpjpe_abs_mm") == pytest.approx(5.0, abs=1e-3)
    assert clip_errors([longer[:8]], clips[:1]).mean("mpjpe_abs_mm") == pytest.approx(5.0, abs=1e-3)


def test_jitter_of_a_cubic_path_is_its_third_difference() -> None:
    clip = evaluation_clips.make_clip(0, frames=12)
    path = np.repeat(evaluation_clips.relaxed_features(1), 12, 0)
    path[:, 96] += (1e-4 * np.arange(12.0) ** 3).astype(np.float32)  # third difference: 6e-4 m, left hand only
    assert clip_errors([path], [clip]).mean("jitter_mm_frame3") == pytest.approx(0.3, rel=1e-2)


def test_samples_are_averaged_clip_by_clip(clips: Clips) -> None:
    one = clip_errors([_moved(c, 0.01) for c in clips[:2]], clips[:2])
    two = clip_errors([_moved(c, 0.03) for c in clips[:2]], clips[:2])
    assert stack_samples([one, two]).mean("mpjpe_abs_mm") == pytest.approx(10.0, abs=1e-3)


def test_mean_pose_takes_each_hand_where_it_was_seen() -> None:
    clip = evaluation_clips.make_clip(0, frames=8)
    clip["features"] = np.repeat(np.arange(8, dtype=np.float32)[:, None], 198, 1)
    clip["valid"][4:, 0] = False
    pose = mean_pose([clip])
    assert pose[0] == pytest.approx(1.5)
    assert pose[-1] == pytest.approx(3.5)
    assert hold(pose, 3).shape == (3, 198)


def test_tokenizer_rows_stand_in_the_order_they_must(clips: Clips) -> None:
    found = evaluate_tokenizer(clips, [_moved(c, 0.002) for c in clips], make_clips(30))
    assert list(found) == ["fingerspelling", "procedural"]
    for source, count in (("fingerspelling", 20), ("procedural", 40)):
        rows = found[source]["rows"]
        assert found[source]["clips"] == count
        assert rows["truth"]["mpjpe_abs_mm"] == pytest.approx(0.0, abs=1e-4)
        assert rows["reconstruction"]["mpjpe_abs_mm"] == pytest.approx(1.0, abs=1e-3)
        assert rows["reconstruction"]["mpjpe_abs_mm"] < rows["own_mean_pose_held"]["mpjpe_abs_mm"]
        assert rows["own_mean_pose_held"]["jitter_mm_frame3"] == pytest.approx(0.0, abs=1e-3)
        low, high = (rows["mean_pose"][f"mpjpe_abs_mm_ci95_{end}"] for end in ("low", "high"))
        assert low < rows["mean_pose"]["mpjpe_abs_mm"] < high
    assert found["procedural"]["synthetic"] is True
    assert found["fingerspelling"]["synthetic"] is False
    share = found["procedural"]["mpjpe_abs_share_of_mean_pose"]
    rows = found["procedural"]["rows"]
    assert share == pytest.approx(rows["reconstruction"]["mpjpe_abs_mm"] / rows["mean_pose"]["mpjpe_abs_mm"])


def test_text_to_motion_rows(evaluator: Evaluator, clips: Clips) -> None:
    rng = np.random.default_rng(0)
    good = [[c["features"], _moved(c, 0.001)] for c in clips]
    noise = [[rng.normal(0, 1, c["features"].shape).astype(np.float32)] for c in clips]
    found = evaluate_t2m(
        evaluator,
        clips,
        {"good": good, "noise": noise},
        [c["features"] for c in clips],
        pool_clips=make_clips(60, first=6000),
        texts=[c["captions"][-1] for c in clips],
        group_size=16,
    )
    section = found["procedural"]
    rows = section["rows"]
    assert list(rows) == ["truth", "reconstruction", "good", "noise", "random_caption", "chance"]
    assert section["groups"] == 2
    assert section["samples_per_caption"] == {"good": 2, "noise": 1}
    top = {name: row["r_precision_top3"] for name, row in rows.items()}
    assert top["chance"] == pytest.approx(3 / 16)
    assert top["truth"] > 2 * top["chance"]
    assert top["good"] == pytest.approx(top["truth"], abs=0.1)
    assert top["random_caption"] < 0.6 * top["truth"]
    assert rows["noise"]["fid"] > 3 * rows["random_caption"]["fid"]
    assert rows["noise"]["kid_mean"] > rows["random_caption"]["kid_mean"] + 0.05
    assert rows["truth"]["kid_mean"] is None
    assert rows["reconstruction"]["fid"] == pytest.approx(0.0, abs=1e-3)
    assert rows["reconstruction"]["multimodality"] is None
    assert rows["good"]["multimodality"] < 0.2
    assert rows["good"]["mpjpe_abs_mm"] == pytest.approx(0.25, abs=1e-2)
    assert rows["truth"]["mm_dist"] < rows["random_caption"]["mm_dist"]
    json.dumps(found)


def test_few_clips_are_not_given_an_r_precision(evaluator: Evaluator, clips: Clips) -> None:
    found = evaluate_t2m(evaluator, clips, [[c["features"]] for c in clips])
    assert found["fingerspelling"]["rows"]["generated"]["r_precision_top1"] is None
    assert found["fingerspelling"]["groups"] == 0
    assert found["procedural"]["overlap"] is True
    assert found["fingerspelling"]["rows"]["random_caption"]["kid_mean"] is None


def test_motion_to_text_rows(evaluator: Evaluator, clips: Clips) -> None:
    fine = [c["captions"][-1] for c in clips]
    found = evaluate_m2t(
        evaluator, clips, {"right": fine, "same": ["the left hand swings"] * len(clips)}, group_size=16
    )
    section = found["procedural"]
    rows = section["rows"]
    assert rows["right"]["retrieval_top1"] == rows["truth_fine"]["retrieval_top1"]
    assert rows["right"]["bleu_4"] == pytest.approx(1.0)
    assert rows["right"]["rouge_l"] == pytest.approx(1.0)
    assert section["distinct_captions"]["same"] == pytest.approx(1 / 40)
    assert rows["same"]["retrieval_top1"] == pytest.approx(1 / 16, abs=1e-6)
    assert section["top1_over_chance"]["same"] == pytest.approx(1.0, abs=1e-4)
    assert rows["random_caption"]["retrieval_top1"] < rows["right"]["retrieval_top1"]
    assert rows["random_caption"]["bleu_1"] < 1.0
    json.dumps(found)


def test_refinement_reports_the_change_it_was_given(evaluator: Evaluator, clips: Clips) -> None:
    rng = np.random.default_rng(0)
    shakes = [rng.normal(0, 0.01, (*c["features"].shape[:1], 3)).astype(np.float32) for c in clips]

    def shaken(strength: float) -> list[list[np.ndarray]]:
        motions = []
        for c, shake in zip(clips, shakes, strict=True):
            features = c["features"].copy()
            features[:, LEFT_TRANSL] += strength * shake
            motions.append([features])
        return motions

    found = compare_refinement(evaluator, clips, shaken(1.0), shaken(0.5))["procedural"]
    change = found["change"]["mpjpe_abs"]
    assert change["change"] == pytest.approx(-0.5, abs=0.01)
    assert change["ci95_low"] <= change["change"] <= change["ci95_high"]
    assert found["change"]["jitter"]["change"] < -0.3
    assert found["goals"]["mpjpe_abs_3_percent_lower"] is True
    assert found["goals"]["jitter_8_percent_lower"] is True
    same = compare_refinement(evaluator, clips, shaken(1.0), shaken(1.0))["procedural"]
    assert same["change"]["mpjpe_abs"] == {"change": 0.0, "ci95_low": 0.0, "ci95_high": 0.0}
    assert same["change"]["kid"] == {"difference": 0.0, "standard_error": 0.0}
    assert same["goals"] == {
        "mpjpe_abs_3_percent_lower": False,
        "jitter_8_percent_lower": False,
        "kid_no_worse": True,
    }
    json.dumps(found)


def test_a_change_from_nothing_is_not_a_number(clips: Clips) -> None:
    perfect = clip_errors([c["features"] for c in clips[:4]], clips[:4])
    zeroed = clip_errors([c["features"] for c in clips[:4]], clips[:4])
    zeroed.values["mpjpe_abs_mm"][:] = 0.0
    assert relative_change(zeroed, perfect, "mpjpe_abs_mm")["change"] is None


def test_a_random_caption_is_never_ones_own(clips: Clips) -> None:
    for i, j in enumerate(other_indices(clips, seed=0)):
        assert not set(clips[i]["captions"]) & set(clips[j]["captions"])
    assert by_source(clips)["fingerspelling"] == list(range(40, 60))


def test_goals_read_what_the_functions_write(evaluator: Evaluator, clips: Clips) -> None:
    features = [c["features"] for c in clips]
    samples = [[f] for f in features]
    metrics = {
        "tokenizer": evaluate_tokenizer(clips, features, make_clips(20)),
        "text_to_motion": evaluate_t2m(evaluator, clips, samples, features),
        "motion_to_text": evaluate_m2t(evaluator, clips, [c["captions"][-1] for c in clips]),
        "refinement": compare_refinement(evaluator, clips, samples, samples),
        "well_formed_share": 0.99,
    }
    goals = {(g["name"].split(":")[0], g["source"]): g for g in check_goals(metrics)}
    assert goals["Tokenizer", "procedural"]["met"] is True
    assert goals["Text to motion", "procedural"]["value"] == pytest.approx(1.0)
    assert goals["Motion to text", "fingerspelling"]["met"] is None
    assert goals["Generated motions that are well-formed", ""]["met"] is False
    assert len(check_goals(metrics)) == 9
    assert check_goals({}) == []


@pytest.mark.parametrize("count", [0, 59])
def test_results_that_do_not_match_the_clips_are_refused(evaluator: Evaluator, clips: Clips, count: int) -> None:
    short: Any = [[c["features"]] for c in clips][:count]
    with pytest.raises(ValueError, match="per clip"):
        evaluate_tokenizer(clips, short, clips)
    with pytest.raises(ValueError, match="per clip"):
        evaluate_t2m(evaluator, clips, short)
    with pytest.raises(ValueError, match="per clip"):
        evaluate_m2t(evaluator, clips, ["a caption"] * count)
    with pytest.raises(ValueError, match="each clip"):
        compare_refinement(evaluator, clips, short, short)
    with pytest.raises(ValueError, match="at least one motion"):
        evaluate_t2m(evaluator, clips, [[] for _ in clips])
