"""Each baseline learns what captions ask for, keeps their order and lengths, and follows its seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.baselines.base import Baseline
from pipelines.baselines.plan import TITLES
from pipelines.baselines.retrieval import Retrieval, hold
from tests.baseline_clips import STEPS, WAYS, Steps, made, moving_clip

CLIPS = [moving_clip(k) for k in range(len(WAYS))]
TEXTS = [caption for caption, _, _ in WAYS]
RIGHT_WRIST = slice(99 + 96, 99 + 99)
LANGUAGE_MODELS = ("plain_language_model", "shift_language_model")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Baseline]:
    """Baselines that have learnt the four clips, each once; they share their tokenizers."""
    folder, known = tmp_path_factory.mktemp("tokenizers"), {}

    def get(name: str) -> Baseline:
        if name not in known:
            known[name] = made(name, folder)()
            known[name].fit(CLIPS, Steps(STEPS[name]), seed=0)
        return known[name]

    return get


def named(*slow: str) -> list:
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in TITLES]


@pytest.mark.parametrize("name", [name for name in TITLES if name not in LANGUAGE_MODELS])
def test_the_motion_of_a_caption_is_nearer_to_its_own_than_to_any_other(name, fitted):
    """Where there is a tokenizer, to what it keeps of them: one stream of plain codes keeps little so soon."""
    order, frames = [2, 0, 3, 1], [16, 12, 16, 16]
    motions = fitted(name).generate([TEXTS[i] for i in order], frames, seed=3)
    kept = fitted(name).reconstruct(CLIPS) or [clip["features"] for clip in CLIPS]
    assert [motion.shape for motion in motions] == [(count, 198) for count in frames]
    for motion, own in zip(motions, order, strict=True):
        far = [np.abs(motion - clip[: len(motion)]).mean() for clip in kept]
        assert int(np.argmin(far)) == own


@pytest.mark.parametrize("name", [n for n in TITLES if n not in (*LANGUAGE_MODELS, "retrieval")])
def test_one_seed_makes_one_motion_and_another_seed_another(name, fitted):
    baseline = fitted(name)
    ambiguous = ["the right hand moves"] * 8
    first, again, other = (baseline.generate(ambiguous, [16] * 8, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize("name", named(*LANGUAGE_MODELS))
def test_training_follows_its_seed_and_all_that_it_learns_from_is_what_it_is_given(name, tmp_path: Path):
    drawn = []
    for k, (seed, clips) in enumerate([(5, CLIPS), (5, CLIPS), (6, CLIPS), (5, CLIPS[:3])]):
        baseline = made(name, tmp_path / str(k))()
        baseline.fit(clips, Steps(3, tokenizer=3), seed=seed)
        drawn.append(np.stack(baseline.generate(TEXTS, [16] * 4, seed=0)))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[3])
    assert name == "retrieval" or not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("name", named(*LANGUAGE_MODELS))
def test_parameters_and_steps_of_all_parts_are_counted(name, fitted):
    baseline = fitted(name)
    if name == "retrieval":
        assert (baseline.parameters, baseline.steps) == (0, {})
        return
    assert baseline.parameters > 10_000
    parts = {"tokenizer": 300} if "diffusion" not in name else {}
    assert {part: n for part, n in baseline.steps.items() if part == "tokenizer"} == parts
    assert [n for part, n in baseline.steps.items() if part != "tokenizer"] == [STEPS[name]]


@pytest.mark.parametrize("name", ["residual_masked", "fsq_decoder"])
def test_a_reconstruction_is_of_its_own_clip(name, fitted):
    made_again = fitted(name).reconstruct(CLIPS)
    assert made_again is not None
    for k, motion in enumerate(made_again):
        far = [np.abs(motion - c["features"])[:, RIGHT_WRIST].mean() for c in CLIPS]
        assert int(np.argmin(far)) == k


def test_retrieval_takes_the_nearest_caption_and_the_nearest_motion():
    retrieval = Retrieval()
    retrieval.fit(CLIPS, Steps(0), seed=0)
    (motion,) = retrieval.generate(["please let the right hand sink, it sinks"], [20], seed=0)
    np.testing.assert_array_equal(motion, hold(CLIPS[1]["features"], 20))
    (mirrored,) = retrieval.generate(["the left hand is pulled back"], [16], seed=0)
    assert mirrored[-1, 96 + 2] - mirrored[0, 96 + 2] == pytest.approx(-0.3, abs=1e-5)
    noisy = [{**c, "features": c["features"] + np.float32(0.003)} for c in reversed(CLIPS)]
    assert retrieval.caption(noisy) == TEXTS[::-1]


def test_retrieval_compares_hands_that_are_seen_alone():
    retrieval = Retrieval()
    retrieval.fit(CLIPS, Steps(0), seed=0)
    clip = {**CLIPS[2], "features": CLIPS[2]["features"].copy(), "valid": CLIPS[2]["valid"].copy()}
    clip["valid"][:, 0], clip["features"][:, :99] = False, np.nan
    assert retrieval.caption([clip]) == [TEXTS[2]]


@pytest.mark.parametrize("stand_in", [np.nan, 0.0, CLIPS[3]["features"][4:13, 99:]])
def test_retrieval_compares_a_hand_where_it_is_seen_whatever_stands_elsewhere(stand_in):
    retrieval = Retrieval()
    retrieval.fit(CLIPS, Steps(0), seed=0)
    clip = {**CLIPS[2], "features": CLIPS[2]["features"].copy(), "valid": CLIPS[2]["valid"].copy()}
    clip["valid"][4:13, 1], clip["features"][4:13, 99:] = False, stand_in
    assert retrieval.caption([clip]) == [TEXTS[2]]


def test_equally_near_captions_are_told_apart_by_the_seed_alone():
    retrieval = Retrieval()
    retrieval.fit(CLIPS, Steps(0), seed=0)
    found = {retrieval.generate(["the right hand moves"], [16], seed=k)[0].tobytes() for k in range(20)}
    assert len(found) == 4


def test_a_motion_is_cut_or_its_last_frame_held():
    motion = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert hold(motion, 2).tolist() == [[0, 1], [2, 3]]
    assert hold(motion, 5).tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]
