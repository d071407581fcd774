"""Every metric against cases worked out by hand, and what must not change it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from clutch_llm.errors import ConfigError
from clutch_llm.evaluation import metrics
from clutch_llm.evaluation.arms import Arm, RowOptions, arm_row
from clutch_llm.evaluation.intervals import bootstrap_interval, interval_over_clips_and_seeds
from clutch_llm.evaluation.text_metrics import bert_score, bleu, caption_overlap, cider, meteor, rouge_l
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, BertTokenizer


def _points(seed: int, n: int = 40, d: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def _rotation(seed: int, d: int = 6) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_distances_of_a_right_triangle() -> None:
    np.testing.assert_allclose(metrics.distance_matrix([[0, 0], [3, 0]], [[0, 4]]), [[4.0], [5.0]])


def test_top_k_credit_counts_nearer_columns() -> None:
    distances = [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    np.testing.assert_array_equal(metrics.top_k_credit(distances, 1), [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(metrics.top_k_credit(distances, 2), [1.0, 1.0, 0.0])


def test_top_k_credit_splits_ties() -> None:
    # tied with one other for the first place: half a hit; three ways over places 2-4: a third
    np.testing.assert_allclose(metrics.top_k_credit([[1.0, 1.0], [0.0, 0.0]], 1), [0.5, 0.5])
    tied = np.array([[2.0, 1.0, 2.0, 2.0]] * 4)
    np.testing.assert_allclose(metrics.top_k_credit(tied, 2)[0], 1 / 3)


def test_r_precision_of_a_match_that_is_always_second() -> None:
    queries = np.eye(4)
    candidates = np.roll(np.eye(4), 1, axis=0) * 0.9 + np.eye(4) * 0.3
    found = metrics.r_precision(queries, candidates, group_size=4, groupings=3)
    assert found["top1"] == 0.0
    assert found["top2"] == 1.0
    assert found["groups"] == 1
    assert found["overlap"] is False


def test_r_precision_of_identical_captions_is_chance() -> None:
    same = np.ones((64, 5))
    found = metrics.r_precision(same, _points(0, 64, 5), group_size=32)
    assert found["top1"] == pytest.approx(1 / 32)
    assert found["top3"] == pytest.approx(3 / 32)
    assert metrics.r_precision(_points(0, 64, 5), same)["top1"] == pytest.approx(1 / 32)


def test_r_precision_says_when_there_are_too_few() -> None:
    found = metrics.r_precision(_points(0, 31), _points(0, 31))
    assert found["top1"] is None
    assert found["top3_std"] is None
    assert found["groups"] == 0
    assert metrics.r_precision(_points(0, 45), _points(0, 45))["overlap"] is True


def test_chance_is_k_over_the_group() -> None:
    assert metrics.chance_r_precision(32) == {"top1": 1 / 32, "top2": 2 / 32, "top3": 3 / 32}


def test_mm_dist_is_the_mean_over_pairs() -> None:
    assert metrics.mm_dist([[0.0, 0.0], [1.0, 1.0]], [[3.0, 4.0], [1.0, 1.0]]) == pytest.approx(2.5)


def test_fid_of_two_gaussians_by_hand() -> None:
    # one dimension: means 0 and 3, variances (n - 1) 2 and 8: 9 + (sqrt 2 - sqrt 8)^2 = 11
    assert metrics.fid([[-1.0], [1.0]], [[1.0], [5.0]]) == pytest.approx(11.0)


def test_fid_is_zero_on_the_same_set_even_with_fewer_samples_than_dimensions() -> None:
    x = _points(1, n=5, d=20)
    assert metrics.fid(x, x) == pytest.approx(0.0, abs=1e-6)
    assert metrics.fid(x, x[:1]) is None


def test_polynomial_mmd_by_hand() -> None:
    # kernel (xy + 1)^3: within x = {0, 1}: 1; within y = {2, 3}: 343; across: (1 + 1 + 27 + 64) / 4
    assert metrics.polynomial_mmd([[0.0], [1.0]], [[2.0], [3.0]]) == pytest.approx(1 + 343 - 2 * 23.25)


def test_kid_of_one_distribution_is_near_zero_and_of_two_is_not() -> None:
    near = metrics.kid(_points(0, 200), _points(1, 200))
    far = metrics.kid(_points(0, 200), _points(1, 200) + 1.0)
    assert abs(near["mean"]) < 0.3 < 3.0 < far["mean"]
    assert near["subset_size"] == 100
    assert metrics.kid(_points(0, 60), _points(1, 60))["subset_size"] == 30
    assert metrics.kid(_points(0, 3), _points(1, 60))["mean"] is None


def test_kid_draws_the_same_subsets_again() -> None:
    a, b = _points(0, 50), _points(1, 50)
    np.testing.assert_array_equal(metrics.kid_values(a, b, seed=3)[0], metrics.kid_values(a, b, seed=3)[0])


def test_diversity_of_two_points_is_their_distance() -> None:
    assert metrics.diversity([[0.0, 0.0], [3.0, 4.0]]) == pytest.approx(5.0)
    assert metrics.diversity([[0.0, 0.0]]) is None


def test_multimodality_is_the_mean_of_pairs_then_of_captions() -> None:
    spread = [
        [[0.0], [2.0], [4.0]],
        [[1.0], [1.0]],
        [[9.0]],
    ]  # pairs 2, 2, 4 -> 8/3; 0; a single sample: left out
    assert metrics.multimodality(spread) == pytest.approx((8 / 3 + 0) / 2)
    assert metrics.multimodality([[[1.0]]]) is None


def test_bootstrap_interval_holds_the_mean_and_closes_on_a_constant() -> None:
    values = np.arange(100.0)
    low, high = bootstrap_interval(values)
    assert 40 < low < values.mean() < high < 60
    assert bootstrap_interval(np.full(10, 7.0), np.arange(1.0, 11.0)) == (
        pytest.approx(7.0),
        pytest.approx(7.0),
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.5, 3.0))
def test_turning_the_space_changes_nothing_and_scaling_it_scales_distances(seed: int, scale: float) -> None:
    a, b, turn = _points(seed), _points(seed + 1), _rotation(seed)
    assert metrics.fid(a @ turn, b @ turn) == pytest.approx(metrics.fid(a, b), rel=1e-6)
    assert metrics.polynomial_mmd(a @ turn, b @ turn) == pytest.approx(metrics.polynomial_mmd(a, b), rel=1e-6)
    assert metrics.r_precision(a @ turn * scale, b @ turn * scale) == metrics.r_precision(a, b)
    assert metrics.mm_dist(a * scale, b * scale) == pytest.approx(scale * metrics.mm_dist(a, b))
    assert metrics.diversity(a * scale) == pytest.approx(scale * metrics.diversity(a))
    assert metrics.fid(a, b) == pytest.approx(metrics.fid(b, a), rel=1e-6)


@pytest.mark.parametrize("broken", [np.zeros(3), np.full((2, 2), np.nan)])
def test_broken_embeddings_are_refused(broken: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected"):
        metrics.fid(broken, np.zeros((2, 2)))


def test_unpaired_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="Pair them"):
        metrics.mm_dist(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="same evaluator"):
        metrics.fid(np.zeros((2, 3)), np.zeros((2, 4)))


def test_bleu_by_hand() -> None:
    # 2 of 4 words right, same length: BLEU-1 = 1/2
    assert bleu(["the left hand waves"], [["the right hand points"]], order=1) == pytest.approx(0.5)
    assert bleu(["The left hand waves slowly"], [["the left hand waves slowly"]]) == pytest.approx(1.0)
    assert bleu([], []) is None


def test_bleu_takes_the_best_of_several_references() -> None:
    references = [["a fist closes", "the left hand waves"], ["something else entirely"]]
    assert bleu(["the left hand waves", "something else entirely"], references, order=1) == pytest.approx(1.0)


def test_rouge_l_by_hand() -> None:
    # common subsequence "the hand waves" of 3; precision 3/4, recall 3/3
    assert rouge_l(["the left hand waves"], [["the hand waves"]]) == pytest.approx(2 * 0.75 / 1.75)
    assert rouge_l(["a b"], [["c d", "a b"]]) == pytest.approx(1.0)


def test_captions_without_references_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        caption_overlap(["a"], [[]])
    with pytest.raises(ValueError, match="one list of references"):
        caption_overlap(["a"], [])


# Written by hand: what each number must be


def test_kid_and_fid_grow_with_the_distance_and_have_a_sign() -> None:
    # one dimension, kernel (xy + 1)^3: see test_polynomial_mmd_by_hand; swapped sides give the same
    assert metrics.polynomial_mmd([[0.0], [1.0]], [[2.0], [3.0]]) == pytest.approx(297.5)
    assert metrics.polynomial_mmd([[2.0], [3.0]], [[0.0], [1.0]]) == pytest.approx(297.5)
    # equal sets: the unbiased estimate is negative: 1 + 1 - 2 (1 + 1 + 1 + 8) / 4
    assert metrics.polynomial_mmd([[0.0], [1.0]], [[0.0], [1.0]]) == pytest.approx(-3.5)
    assert metrics.kid(_points(0, 200), _points(1, 200) + 1.0)["mean"] > 3.0


def test_fid_agrees_with_torchmetrics() -> None:
    fid_module = pytest.importorskip("torchmetrics.image.fid")
    torch = pytest.importorskip("torch")
    x, y = _points(0, 50), _points(1, 60) @ np.diag([1, 2, 3, 1, 1, 0.5]) + 0.3
    theirs = fid_module._compute_fid(
        torch.from_numpy(x.mean(0)),
        torch.from_numpy(np.cov(x, rowvar=False)),
        torch.from_numpy(y.mean(0)),
        torch.from_numpy(np.cov(y, rowvar=False)),
    )
    assert metrics.fid(x, y) == pytest.approx(float(theirs), rel=1e-6)


def test_polynomial_mmd_agrees_with_torchmetrics() -> None:
    kid_module = pytest.importorskip("torchmetrics.image.kid")
    torch = pytest.importorskip("torch")
    x, y = _points(0, 40), _points(1, 40) + 0.5
    theirs = kid_module.poly_mmd(torch.from_numpy(x), torch.from_numpy(y), degree=3, gamma=None, coef=1.0)
    assert metrics.polynomial_mmd(x, y) == pytest.approx(float(theirs), rel=1e-9)


def test_r_precision_agrees_with_torchmetrics_on_one_group() -> None:
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    torch = pytest.importorskip("torch")
    q, c = _points(0, 32), _points(0, 32) + 0.7 * _points(9, 32)
    distances = np.linalg.norm(q[:, None] - c[None], axis=-1)
    for k in (1, 2, 3):
        hits = [
            float(retrieval.retrieval_recall(torch.from_numpy(np.exp(-row)), torch.arange(32) == i, top_k=k))
            for i, row in enumerate(distances)
        ]
        assert 0 < np.mean(hits) < 1
        assert metrics.r_precision(q, c)[f"top{k}"] == pytest.approx(np.mean(hits))
        assert metrics.r_precision_full(q, c)[f"top{k}"] == pytest.approx(np.mean(hits))


def test_r_precision_over_the_full_set_by_hand() -> None:
    # candidates on a line at 0, 1, 2, 3; query 0 finds its own first, query 1 second, 2 third, 3 fourth
    found = metrics.r_precision_full([[0.1], [0.1], [0.1], [0.1]], [[0.0], [1.0], [2.0], [3.0]])
    assert found == {"top1": 0.25, "top2": 0.5, "top3": 0.75}


def test_credits_of_queries_average_to_r_precision() -> None:
    q, c = _points(0, 64), _points(0, 64) + 0.8 * _points(9, 64)
    credits = metrics.r_precision_credit(q, c, k=3)
    assert credits.mean() == pytest.approx(metrics.r_precision(q, c)["top3"])
    assert np.isnan(metrics.r_precision_credit(q[:20], c[:20])).all()


def test_mm_dist_takes_every_pair() -> None:
    # 0 for the first pair: a measure of it alone would be 0
    assert metrics.mm_dist([[1.0], [1.0], [1.0]], [[1.0], [4.0], [7.0]]) == pytest.approx(3.0)


def test_what_clips_add_to_a_change_of_kid_is_the_change_exactly() -> None:
    truth, before = _points(0, 30), _points(1, 30) + 0.5
    after = _points(2, 30)
    by_clip = metrics.mmd_change_by_clip(truth, before, after)
    change = metrics.polynomial_mmd(truth, after) - metrics.polynomial_mmd(truth, before)
    assert by_clip.mean() == pytest.approx(change)
    assert change < 0
    np.testing.assert_allclose(metrics.mmd_change_by_clip(truth, before, before), 0.0, atol=1e-12)


def test_what_each_of_three_clips_adds_by_hand() -> None:
    """Of kernels (x y + 1)^3: within after 1, 1 and 27, so that clips have 1, 14 and 14; across 1, but 1, 8, 27."""
    truth, before, after = np.array([[0.0], [0], [1]]), np.zeros((3, 1)), np.array([[0.0], [1], [2]])
    slope_after = [2 - 2 - 2, 28 - 20 / 3 - 2, 28 - 58 / 3 - 24]
    slope = np.array(slope_after) - (2 - 2 - 2)
    change = (29 / 3 - 28 / 3) - (1 - 2)
    by_clip = metrics.mmd_change_by_clip(truth, before, after)
    np.testing.assert_allclose(by_clip, slope - slope.mean() + change, atol=1e-9)
    np.testing.assert_allclose(by_clip, [-4 / 3, 20, -44 / 3], atol=1e-9)


def test_their_spread_is_that_of_leaving_one_clip_out() -> None:
    truth, before, after = _points(0, 60), _points(1, 60), _points(2, 60) + 0.1
    n = len(truth)

    def change(kept: np.ndarray) -> float:
        return metrics.polynomial_mmd(truth[kept], after[kept]) - metrics.polynomial_mmd(truth[kept], before[kept])

    left_out = [change(np.arange(n) != i) for i in range(n)]
    jackknife = np.sqrt((n - 1) * np.var(left_out))
    assert metrics.mmd_change_by_clip(truth, before, after).std() / np.sqrt(n) == pytest.approx(jackknife, rel=0.15)


def test_an_interval_over_clips_and_seeds_is_wider_than_over_clips_where_seeds_differ() -> None:
    clips = np.random.default_rng(0).normal(0, 1, 100)
    alike = np.stack([clips, clips, clips])
    apart = np.stack([clips - 3, clips, clips + 3])
    one = bootstrap_interval(clips)
    same = interval_over_clips_and_seeds(alike)
    wide = interval_over_clips_and_seeds(apart)
    assert same is not None
    assert wide is not None
    assert same == pytest.approx(one, abs=0.05)
    assert wide[1] - wide[0] > 8 * (same[1] - same[0])
    assert wide[0] == pytest.approx(-3, abs=0.5)  # a draw of the first seed three times is one in 27
    assert wide[1] == pytest.approx(3, abs=0.5)


def test_a_relative_interval_closes_on_the_ratio_of_proportional_arms() -> None:
    control = np.random.default_rng(0).uniform(1, 9, (3, 40))
    weights = np.random.default_rng(1).uniform(1, 9, 40)
    found = interval_over_clips_and_seeds(0.8 * control, baseline=control, weights=weights)
    assert found == (pytest.approx(-0.2), pytest.approx(-0.2))


def test_weights_and_unknown_values_reach_the_interval() -> None:
    values = [[1.0, 5.0, np.nan]]
    assert interval_over_clips_and_seeds(values, weights=[1.0, 0.0, 1.0]) == (1.0, 1.0)
    assert interval_over_clips_and_seeds([[np.nan]]) is None
    with pytest.raises(ValueError, match=r"\(seeds, clips\)"):
        interval_over_clips_and_seeds([1.0, 2.0])
    with pytest.raises(ValueError, match="Pair clips and seeds"):
        interval_over_clips_and_seeds([[1.0, 2.0]], baseline=[[1.0]])


def test_cider_by_hand() -> None:
    # "fist" and "wave" are in one clip of two each: weight log 2; "hand" is in both: weight 0
    references = [["hand fist"], ["hand wave"]]
    # 1-grams: right 1, wrong 0; 2-grams: the same; no 3- or 4-grams
    assert cider(["hand fist", "hand fist"], references) == pytest.approx(10 * (1 + 0 + 1 + 0) / (4 * 2))
    # one of two references hit: half
    assert cider(["a b c d", "x"], [["a b c d", "z"], ["y"]]) == pytest.approx(10 * (4 * 0.5) / (4 * 2))
    # 1-grams of "hand fist now" against "hand fist": (0, log 2 / 3, log 2 / 3) and (0, log 2 / 2): cos = 1 / sqrt 2;
    # 2-grams (hand fist), (fist now) against (hand fist): 1 / sqrt 2; the other caption has nothing in common
    half = 10 * 2 * 2**-0.5 / (4 * 2)
    assert cider(["hand fist now", "x"], references) == pytest.approx(half)
    assert cider(["hand fist"], [["hand fist"]]) is None
    assert cider(["", "x"], references) == 0.0


def test_meteor_by_hand() -> None:
    # three matches, one of them of stems, in one chunk: P = R = 1, and 0.5 * (1 / 3) ** 3 is lost
    assert meteor(["The hand waves."], [["the hand waved"]]) == pytest.approx(1 - 0.5 / 27)
    # P = 1, R = 3 / 5: 10 * 0.6 / 9.6 = 0.625; three matches in three chunks lose a half
    assert meteor(["the left hand"], [["the hand of it left"]]) == pytest.approx(0.3125)
    # the better of two references; a synonym is none
    assert meteor(["big fist", "fist"], [["large fist", "big fist"], ["wave"]]) == pytest.approx((1 - 0.5 / 8) / 2)
    assert meteor(["big"], [["large"]]) == 0.0
    assert meteor([], []) is None


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of five words."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "left", "right", "hand", "waves"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_bert_score_by_hand(encoder: Path) -> None:
    """Each token finds the likest of the other text; the marks around a text are none."""

    def states(text: str) -> np.ndarray:
        tokens = BertTokenizer.from_pretrained(encoder)(text, return_tensors="pt")
        with torch.no_grad():
            found = BertModel.from_pretrained(encoder).eval()(**tokens).last_hidden_state[0, 1:-1].numpy()
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def f1(said: str, true: str) -> float:
        cosines = states(said) @ states(true).T
        precision, recall = cosines.max(1).mean(), cosines.max(0).mean()
        return float(2 * precision * recall / (precision + recall))

    said, true, other = "the left hand", "the right hand waves", "waves"
    assert bert_score([said], [[true]], encoder) == pytest.approx(f1(said, true), rel=1e-4)
    best = max(f1(said, true), f1(said, other))
    found = bert_score([said, true], [[other, true], [true]], encoder)
    assert found == pytest.approx((best + 1) / 2, rel=1e-4)
    assert bert_score([], [], encoder) is None
    assert caption_overlap([said], [[true]], bert_model=encoder)["bert_score"] == pytest.approx(
        f1(said, true), rel=1e-4
    )
    assert "bert_score" not in caption_overlap([said], [[true]])


def test_no_model_for_bert_score_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Expected the folder of a model for BERTScore, got roberta-large"):
        bert_score(["a"], [["a"]], "roberta-large")


def test_fid_and_kid_take_as_many_drawn_motions_as_true_ones() -> None:
    """Where only some clips are compared, the others change nothing of either set."""
    rng = np.random.default_rng(4)
    said, truth = (rng.normal(size=(40, 8)).astype(np.float32) for _ in range(2))
    made = rng.normal(size=(40, 2, 8)).astype(np.float32)
    kept = np.arange(0, 40, 3)
    row = arm_row(Arm(said, made, None), truth, RowOptions(), compared=kept)
    alone = arm_row(Arm(said[kept], made[kept], None), truth[kept], RowOptions())
    for figure in ("fid", "kid_mean", "kid_std"):
        assert row[figure] == pytest.approx(alone[figure])
