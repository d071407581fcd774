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
    compare_refinement,
    evaluate_m2t,
    evaluate_t2m,
    evaluate_tokenizer,
    train_evaluator,
)
from clutch_llm.evaluation.grouping import by_source, other_indices
from clutch_llm.evaluation.motion_errors import clip_errors, hold, joint_tensors, mean_pose, stack_samples

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


def test_hands_of_a_motion_that_are_not_seen_do_not_count(clips: Clips) -> None:
    clip = clips[0]
    seen = clip["valid"].copy()
    seen[:, 1] = False
    moved = _moved(clip, 0.01)
    moved[:, 99:] = 7.0
    assert clip_errors([moved], [clip], seen=[seen]).mean("mpjpe_abs_mm") == pytest.approx(10.0, abs=1e-3)


def test_a_random_captions_motion_is_measured_where_its_own_hands_are_seen(evaluator: Evaluator) -> None:
    """Clip 0 rests; of clip 1 the left hand alone is seen: what stands for its right hand has no error."""
    clips = [evaluation_clips.make_clip(k, frames=12) for k in range(2)]
    for k, clip in enumerate(clips):
        clip["features"] = evaluation_clips.relaxed_features(12)
        clip["captions"] = [f"the {k}"]
    clips[1]["features"] = _moved(clips[1], 0.01)
    clips[1]["valid"][:, 1] = False
    row = evaluate_t2m(evaluator, clips, [[c["features"]] for c in clips])["procedural"]["rows"]["random_caption"]
    assert row["mpjpe_abs_mm"] == pytest.approx(10.0, abs=1e-2)


def test_joints_of_the_truth_that_are_known_are_taken_as_they_are(clips: Clips) -> None:
    own, moved = clips[:3], [_moved(c, 0.01) for c in clips[:3]]
    found = clip_errors(moved, own, truth=joint_tensors([c["features"] for c in own]))
    for name, values in clip_errors(moved, own).values.items():
        np.testing.assert_array_equal(found.values[name], values)
    of_itself = clip_errors(moved, own, truth=joint_tensors(moved))
    assert of_itself.mean("mpjpe_abs_mm") == 0.0
    assert joint_tensors([]) == []


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
    found = evaluate_tokenizer(
        clips, [_moved(c, 0.002) for c in clips], make_clips(30) + make_clips(9, source="fingerspelling")
    )
    assert list(found) == ["fingerspelling", "procedural"]
    for source, count in (("fingerspelling", 20), ("procedural", 40)):
        rows = found[source]["rows"]
        assert found[source]["clips"] == count
        assert rows["truth"]["mpjpe_abs_mm"] == pytest.approx(0.0, abs=1e-4)
        assert rows["reconstruction"]["mpjpe_abs_mm"] == pytest.approx(1.0, abs=1e-3)
        assert rows["reconstruction"]["mpjpe_abs_mm"] < rows["static_pose"]["mpjpe_abs_mm"]
        assert rows["static_pose"]["jitter_mm_frame3"] == pytest.approx(0.0, abs=1e-3)
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


def test_a_random_caption_is_never_ones_own(clips: Clips) -> None:
    for i, j in enumerate(other_indices(clips, seed=0)):
        assert not set(clips[i]["captions"]) & set(clips[j]["captions"])
    assert by_source(clips)["fingerspelling"] == list(range(40, 60))


def test_the_mean_pose_is_that_of_the_training_clips() -> None:
    test, train = make_clips(3, first=10), make_clips(3)
    for clip in train:
        clip["features"] = np.repeat(evaluation_clips.relaxed_features(1), len(clip["features"]), 0)
        clip["features"][:, 96] += 0.5
    found = evaluate_tokenizer(test, [c["features"] for c in test], train)["procedural"]
    # the left wrist is 500 mm off, the right one where it rests: 250 mm over both hands, whatever the test clips are
    assert found["rows"]["mean_pose"]["mpjpe_abs_mm"] == pytest.approx(250.0, abs=25.0)
    nobody = evaluate_tokenizer(test, [c["features"] for c in test], make_clips(2, source="elsewhere"))["procedural"]
    assert nobody["rows"]["mean_pose"]["mpjpe_abs_mm"] is None
    assert nobody["mpjpe_abs_share_of_mean_pose"] is None


def test_errors_of_acceleration_know_the_rate() -> None:
    slow = evaluation_clips.make_clip(0, frames=12)
    fast = slow | {"fps": 30.0}
    moved = slow["features"].copy()
    moved[6, 96] += 0.01
    once = clip_errors([moved], [slow]).mean("acceleration_error_m_s2")
    twice = clip_errors([moved], [fast]).mean("acceleration_error_m_s2")
    # second differences 10, 20 and 10 mm over 10 windows and two hands, at 15 frames a second
    assert once == pytest.approx(0.04 / 20 * 15**2, rel=1e-2)
    assert twice == pytest.approx(4 * once, rel=1e-4)


def test_what_stands_in_the_frames_of_an_unseen_hand_changes_nothing(evaluator: Evaluator) -> None:
    clean = make_clips(40, first=3000, split="test")
    for clip in clean:
        clip["valid"][:, 1] = False
        clip["valid"][3:6, 0] = False
    poisoned = []
    for k, clip in enumerate(clean):
        features = clip["features"].copy()
        features[:, 99:] = (np.nan, 0.0, 7.0)[k % 3]
        features[3:6, :99] = (0.0, np.nan, -3.0)[k % 3]
        poisoned.append(clip | {"features": features})
    made = [[_moved(c, 0.01)] for c in clean]
    for evaluate in (
        lambda own: evaluate_t2m(evaluator, own, made, [m for (m,) in made], pool_clips=own),
        lambda own: evaluate_m2t(evaluator, own, [c["captions"][0] for c in own]),
        lambda own: evaluate_tokenizer(own, [m for (m,) in made], own),
        lambda own: compare_refinement(evaluator, own, made, made),
    ):
        assert json.dumps(evaluate(poisoned), allow_nan=False) == json.dumps(evaluate(clean))


def test_few_clips_give_figures_or_none_but_never_a_nan(evaluator: Evaluator) -> None:
    for count in (1, 2, 3):
        own = make_clips(count, first=3000)
        samples = [[c["features"]] for c in own]
        found: list[Any] = [
            evaluate_t2m(evaluator, own, samples, [c["features"] for c in own], pool_clips=own[:1]),
            evaluate_m2t(evaluator, own, [c["captions"][-1] for c in own]),
            evaluate_tokenizer(own, [c["features"] for c in own], own),
            compare_refinement(evaluator, own, samples, samples),
        ]
        json.dumps(found, allow_nan=False)
    one = evaluate_t2m(evaluator, own[:1], samples[:1])["procedural"]["rows"]["generated"]
    assert [one[key] for key in ("diversity", "fid", "kid_mean", "r_precision_top1", "multimodality")] == [None] * 5


@pytest.mark.parametrize("count", [0, 59])
def test_results_that_do_not_match_the_clips_are_refused(evaluator: Evaluator, clips: Clips, count: int) -> None:
    short: Any = [[c["features"]] for c in clips][:count]
    with pytest.raises(ValueError, match="per clip"):
        evaluate_tokenizer(clips, short, clips)
    with pytest.raises(ValueError, match="per clip"):
        evaluate_t2m(evaluator, clips, short)
    with pytest.raises(ValueError, match="per clip"):
        evaluate_m2t(evaluator, clips, ["a caption"] * count)
    with pytest.raises(ValueError, match="per clip"):
        compare_refinement(evaluator, clips, short, short)
    with pytest.raises(ValueError, match="at least one motion"):
        evaluate_t2m(evaluator, clips, [[] for _ in clips])
    with pytest.raises(ValueError, match="elsewhere"):
        evaluate_t2m(evaluator, clips, [[c["features"]] for c in clips], texts={"elsewhere": ["a"] * 60})


# Planted cases: arms of which it is known what they are


@pytest.fixture(scope="module")
def planted(evaluator: Evaluator, clips: Clips) -> dict[str, Any]:
    """An arm that is the truth, one that is another clip's motion, one in which only the first sample is the truth."""
    others = [clips[j]["features"] for j in _others(clips)]
    truth = [c["features"] for c in clips]
    for k, clip in enumerate(clips):
        clip["attributes"]["unseen"] = bool(k % 2)
    arms = {
        "is_truth": [[f] for f in truth],
        "is_another": [[f] for f in others],
        "first_sample_is_truth": [[f, o] for f, o in zip(truth, others, strict=True)],
    }
    texts = [c["captions"][-1] for c in clips]
    # seen clips are well done, unseen ones are not
    arms["seen_is_truth"] = [[(truth, others)[k % 2][k]] for k in range(len(clips))]
    return evaluate_t2m(evaluator, clips, arms, others, texts=texts, split_by=["unseen", "nowhere"], group_size=16)


def _others(clips: Clips) -> list[int]:
    """Clips of the same source whose captions differ."""
    found = []
    for i, clip in enumerate(clips):
        around = [*range(i + 1, len(clips)), *range(i)]
        same = (j for j in around if clips[j]["source"] == clip["source"])
        found.append(next(j for j in same if not set(clips[j]["captions"]) & set(clip["captions"])))
    return found


def test_the_table_says_which_arm_is_the_truth(planted: dict[str, Any]) -> None:
    for source in ("procedural", "fingerspelling"):
        rows = planted[source]["rows"]
        assert rows["is_truth"]["mpjpe_abs_mm"] == pytest.approx(0.0, abs=1e-3)
        assert rows["is_truth"]["fid"] == pytest.approx(0.0, abs=1e-3)
        for key in ("r_precision_top1", "r_precision_top3", "r_precision_full_top3", "mm_dist"):
            assert rows["is_truth"][key] == pytest.approx(rows["truth"][key]), key
        assert rows["is_another"]["r_precision_top3"] < 0.5 * rows["is_truth"]["r_precision_top3"]
        assert rows["is_another"]["r_precision_full_top3"] < 0.5 * rows["is_truth"]["r_precision_full_top3"]
        assert rows["is_another"]["mm_dist"] > 1.2 * rows["is_truth"]["mm_dist"]
        assert rows["is_another"]["mpjpe_abs_mm"] > 5
        # what was given as the reconstruction are the others
        assert rows["reconstruction"] == rows["is_another"]


def test_every_sample_counts(planted: dict[str, Any]) -> None:
    rows = planted["procedural"]["rows"]
    both = rows["first_sample_is_truth"]
    assert both["mpjpe_abs_mm"] == pytest.approx(rows["is_another"]["mpjpe_abs_mm"] / 2, rel=0.02)
    for key in ("mm_dist", "r_precision_full_top3", "fid", "kid_mean"):
        middle = (rows["is_truth"][key] + rows["is_another"][key]) / 2
        assert both[key] == pytest.approx(middle, rel=1e-5), key
    assert both["multimodality"] > 0.1
    assert rows["is_truth"]["multimodality"] is None


def test_clips_that_training_has_not_seen_are_told_apart(planted: dict[str, Any]) -> None:
    parts = planted["procedural"]["parts"]
    assert list(parts) == ["unseen"]
    seen, unseen = (parts["unseen"][label]["rows"]["seen_is_truth"] for label in ("false", "true"))
    assert parts["unseen"]["false"]["clips"] == parts["unseen"]["true"]["clips"] == 20
    assert seen["mpjpe_abs_mm"] == pytest.approx(0.0, abs=1e-3)
    assert unseen["mpjpe_abs_mm"] > 5
    assert seen["r_precision_top3"] > unseen["r_precision_top3"] + 0.3
    assert seen["fid"] == pytest.approx(0.0, abs=1e-3)
    assert parts["unseen"]["false"]["rows"]["chance"]["r_precision_full_top1"] == 1 / 20


def test_an_arm_is_measured_against_the_captions_that_it_was_given(evaluator: Evaluator, clips: Clips) -> None:
    others = [clips[j]["features"] for j in _others(clips)]
    said = [clips[j]["captions"][-1] for j in _others(clips)]
    samples = [[f] for f in others]
    texts = {"": [c["captions"][-1] for c in clips], "asked_for_it": said}
    rows = evaluate_t2m(evaluator, clips, {"asked_for_it": samples, "not_asked": samples}, texts=texts)["procedural"][
        "rows"
    ]
    assert rows["asked_for_it"]["r_precision_full_top3"] > rows["not_asked"]["r_precision_full_top3"] + 0.3
    assert rows["asked_for_it"]["mm_dist"] < rows["not_asked"]["mm_dist"]


def test_fid_and_kid_are_taken_at_equal_numbers_of_motions(evaluator: Evaluator, clips: Clips) -> None:
    own = clips[:40]
    one = [[c["features"]] for c in own]
    four = [[c["features"]] * 4 for c in own]
    found = evaluate_t2m(evaluator, own, {"one": one, "four": four}, pool_clips=make_clips(12, first=6000))
    rows = found["procedural"]["rows"]
    assert found["procedural"]["compared"] == 12
    others = [[clips[j]["features"]] for j in _others(own)]
    few, many = (
        evaluate_t2m(evaluator, own, others, pool_clips=make_clips(n, first=6000))["procedural"]["rows"]["generated"]
        for n in (12, 40)
    )
    assert few["fid"] > 1.2 * many["fid"]  # as many true motions as made ones, 12: a rougher estimate than of 40
    assert few["mm_dist"] == many["mm_dist"]
    assert rows["four"]["fid"] == pytest.approx(rows["one"]["fid"])
    assert rows["four"]["kid_mean"] == pytest.approx(rows["one"]["kid_mean"])


def test_captions_that_are_the_truth_and_those_of_other_clips_are_told_apart(
    evaluator: Evaluator, clips: Clips
) -> None:
    texts = {
        "is_truth": [c["captions"][-1] for c in clips],
        "is_another": [clips[j]["captions"][-1] for j in _others(clips)],
    }
    for k, clip in enumerate(clips):
        clip["attributes"]["unseen"] = bool(k % 2)
    texts["seen_is_truth"] = [texts[("is_truth", "is_another")[k % 2]][k] for k in range(len(clips))]
    found = evaluate_m2t(evaluator, clips, texts, split_by=["unseen"], group_size=16)["procedural"]
    rows = found["rows"]
    assert rows["is_truth"]["retrieval_top3"] > 2 * rows["is_another"]["retrieval_top3"]
    assert rows["is_truth"]["bleu_4"] == pytest.approx(1.0)
    assert rows["is_another"]["bleu_4"] < 0.9
    assert rows["is_truth"]["cider"] > 2 * rows["is_another"]["cider"]
    parts = {label: found["parts"]["unseen"][label]["rows"]["seen_is_truth"] for label in ("true", "false")}
    assert parts["false"]["bleu_4"] == pytest.approx(1.0)
    assert parts["true"]["bleu_4"] < 0.9
