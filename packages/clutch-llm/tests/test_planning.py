import numpy as np
import pytest
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, build_corpus, planning
from clutch_llm.corpus import mirror_clip
from clutch_llm.planning import FIELDS, NONE, PLAN_NAMES, claims_in, codes_of, field_names, fulfilled, plan_of, plans_of
from clutch_llm.ranking import best_of
from clutch_llm.step_batches import StepBatches, planned
from hand_geometry import params_to_features, relaxed_hand
from hand_geometry.codes import parse_claim


def motion(left: np.ndarray, right: np.ndarray) -> dict:
    """Two relaxed hands, 60 frames at 15 a second, whose wrists go up and down as told, in metres."""
    T = len(left)
    hands = [relaxed_hand(side) for side in ("left", "right")]
    lift = np.stack([left, right], 1)[..., None] * np.array([0.0, -1.0, 0.0])
    at = np.array([[-0.2, 0.0, 0.0], [0.2, 0.0, 0.0]])
    params = {
        name: np.repeat(np.stack([np.asarray(hand[name]) for hand in hands])[None], T, 0).astype(np.float32)
        for name in ("global_orient", "hand_pose")
    }
    params["transl"] = (lift + at).astype(np.float32)
    features = np.asarray(params_to_features(params), np.float32)
    return {"features": features, "valid": np.ones((T, 2), bool), "fps": 15.0}


def lifts(times: int) -> np.ndarray:
    """A hand lifted by 20 cm so many times, each in a second, then at rest."""
    t = np.arange(60) / 15.0
    return np.where(t < times, 0.1 * (1 - np.cos(2 * np.pi * t)), 0.0)


STILL = np.zeros(60)


def test_names_are_claims_each_once_and_none_comes_first() -> None:
    assert PLAN_NAMES[0] == NONE
    assert len(set(PLAN_NAMES)) == len(PLAN_NAMES)
    assert all(str(parse_claim(name)) == name for name in PLAN_NAMES[1:])
    assert {name for field in FIELDS for name in field_names(field)} == set(PLAN_NAMES)


def test_a_plan_tells_which_hand_moves_and_how_often() -> None:
    plans = plans_of([motion(lifts(2), STILL), motion(STILL, lifts(3)), motion(lifts(2), lifts(2))])
    told = [dict(zip(FIELDS, plan, strict=True)) for plan in plans]
    assert [plan["hands"] for plan in told] == ["hands:left=moves", "hands:right=moves", "hands:both=moves"]
    assert [plan["count"] for plan in told] == ["count:left=2", "count:right=3", "count:both=2"]
    assert [plan["direction"] for plan in told][:2] == ["direction:left=up", "direction:right=up"]
    assert told[2]["relation"].startswith("relation:both=")


def test_of_a_hand_at_rest_beside_one_that_moves_a_plan_says_nothing() -> None:
    for plan, other in zip(
        plans_of([motion(lifts(2), STILL), motion(STILL, lifts(3))]), ("right", "left"), strict=True
    ):
        assert not [name for name in plan if f":{other}" in name]
        assert any(name.startswith("palm:") for name in plan)  # which the hand at rest has as well


def test_a_hand_at_rest_beside_one_that_is_not_seen_is_said_to_be_still() -> None:
    clip = motion(STILL, STILL)
    clip["valid"][:, 1] = False
    (plan,) = plans_of([clip])
    assert plan[0] == "hands:left=still"
    assert plan[0] in field_names("hands")


def test_claims_that_no_plan_looks_at_change_none(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    clips = [motion(lifts(int(rng.integers(4))), lifts(int(rng.integers(4)))) for _ in range(12)]
    for clip in clips:
        turned = rng.normal(size=(1, 198)) * np.sin(np.arange(60) / rng.uniform(2, 9))[:, None]
        clip["features"] = (clip["features"] + 0.3 * turned).astype(np.float32)
    codes = codes_of(clips)
    few, looked_at = [plan_of(own) for own in codes], sum(len(own.claims(wanted=planning._answers)) for own in codes)
    monkeypatch.setattr(planning, "_answers", lambda claim: not claim.when)
    assert [plan_of(own) for own in codes] == few
    assert looked_at < 0.6 * sum(len(own.claims()) for own in codes)
    assert len({tuple(plan) for plan in few}) > 8


def test_hands_at_rest_are_said_to_be_still() -> None:
    assert plans_of([motion(STILL, STILL)])[0][0] == "hands:both=still"


def test_a_motion_fulfils_its_own_plan_and_not_that_of_another() -> None:
    (mine,) = codes_of([motion(lifts(2), STILL)])
    (other,) = codes_of([motion(STILL, lifts(3))])
    assert fulfilled(plan_of(mine), mine) == 1.0
    assert fulfilled(plan_of(mine), other) < 0.7
    assert fulfilled([NONE, NONE], mine) == 1.0
    assert fulfilled(["count:left=2", "count:left=3", NONE], mine) == 0.5


def test_claims_that_cannot_be_measured_count_neither_way() -> None:
    clip = motion(lifts(2), lifts(3))
    clip["valid"][:, 1] = False
    (codes,) = codes_of([clip])
    assert fulfilled(["count:left=2", "count:right=3"], codes) == 1.0
    assert fulfilled(["count:left=3", "count:right=3"], codes) == 0.0
    assert fulfilled(["count:right=3"], codes) == 1.0


def test_claims_are_what_a_plan_says_without_its_gaps() -> None:
    assert claims_in([NONE, "count:left=2", NONE]) == ["count:left=2"]


def test_plans_of_clips_of_several_lengths_stand_in_their_places() -> None:
    clips = [motion(lifts(2), STILL), motion(STILL[:40], lifts(2)[:40]), motion(lifts(3), STILL)]
    assert plans_of(clips) == [plans_of([clip])[0] for clip in clips]


def test_what_stands_where_a_hand_is_not_seen_changes_nothing() -> None:
    clip = motion(lifts(2), lifts(3))
    clip["valid"][:, 1] = False
    clip["features"][:, 99:] = np.nan
    plan = plans_of([clip])[0]
    assert plan[0] == "hands:left=moves"
    assert not any("right" in name for name in plan)


def test_the_mirror_image_has_the_plan_of_the_other_hand() -> None:
    clip = {**motion(lifts(2), STILL), "clip_id": "a", "captions": ["the left hand lifts"]}
    assert plans_of([mirror_clip(clip)])[0][:2] == ["hands:right=moves", "count:right=2"]


def test_training_measures_plans_where_the_vocabulary_has_them(tokenizer, clutch) -> None:
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=16, motion_form="step", plan=True)
    with_plans = Clutch.create(config, tokenizer=tokenizer, captions=["clap"])
    examples = [motion(lifts(2), STILL)]
    assert planned(examples, with_plans.vocabulary)[0]["plan"][:2] == ["hands:left=moves", "count:left=2"]
    assert planned(examples, clutch.vocabulary) is examples


def test_the_best_of_several_motions_is_that_which_does_what_was_planned() -> None:
    candidates = [{**motion(lifts(n), STILL), "plan": ["hands:left=moves", "count:left=2"], "k": n} for n in (3, 2, 1)]
    best = best_of(candidates)
    assert best["k"] == 2
    assert best["score"] == pytest.approx(1.0)


def test_mirrored_examples_of_training_have_the_plan_of_their_own_motion(tokenizer) -> None:
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=16, motion_form="step", plan=True)
    with_plans = Clutch.create(config, tokenizer=tokenizer, captions=["clap"])
    about = {"clip_id": "a", "source": "made", "captions": ["the left hand lifts"]}
    examples = build_corpus([{**motion(lifts(2), STILL), **about}], tokenizer)
    batches = StepBatches(examples, PretrainConfig(batch_size=1, mirror=1.0), tokenizer, with_plans.vocabulary)
    assert batches.examples[0]["plan"][:2] == ["hands:left=moves", "count:left=2"]
    assert batches.images[0]["plan"][:2] == ["hands:right=moves", "count:right=2"]


def test_the_same_frames_at_another_rate_have_a_plan_of_their_own() -> None:
    clip = motion(lifts(2), STILL)
    quick, slow = (dict(zip(FIELDS, plans_of([{**clip, "fps": fps}])[0], strict=True)) for fps in (30.0, 7.5))
    assert (quick["speed"], slow["speed"]) == ("speed:left=fast", "speed:left=slow")
