"""Rewards of motions of which it is known what they do, touch, bend and shake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clutch_llm import rewards
from clutch_llm.ranking import best_by_claims
from clutch_llm.rewards import Target, reward_terms, targets_of, weighted
from clutch_llm.stages import REWARD_TERMS
from evaluation_clips import relaxed_features
from hand_geometry import features_to_params, params_to_features
from hand_geometry.codes import Claim, Norm
from hand_geometry.contact_metrics import WHERES

RIGHT_HEIGHT = 99 + 97
FRAMES = 60  # four seconds
MOVES, LEFT_MOVES, LEFT_STILL = (
    Claim("hands", h, v) for h, v in (("right", "moves"), ("left", "moves"), ("left", "still"))
)


def bobbing(seconds: float, frames: int = FRAMES, column: int = RIGHT_HEIGHT) -> np.ndarray:
    """The right hand goes up and down by 10 cm, twice a second, for so many seconds, then rests; the left one rests."""
    features = relaxed_features(frames)
    t = np.arange(frames) / 15.0
    features[:, column] += 0.05 * (1 - np.cos(4 * np.pi * np.minimum(t, seconds))).astype(np.float32)
    return features


def clip(seconds: float = 2.0, **others: Any) -> dict[str, Any]:
    features = bobbing(seconds)
    return {"fps": 15.0, "features": features, "valid": np.ones((len(features), 2), dtype=bool), **others}


def reader(text: str) -> list[tuple[Claim, bool, Norm | None]]:
    """Right moves; left moves, which is false; left does not move; left is still. Of "nothing", nothing."""
    said = [(MOVES, False, None), (LEFT_MOVES, False, None), (LEFT_MOVES, True, None), (LEFT_STILL, False, None)]
    return [] if text == "nothing" else said


def terms_of(motions: list[np.ndarray], target: Target) -> dict[str, list[float]]:
    return {name: own.tolist() for name, own in reward_terms(motions, [target] * len(motions)).items()}


def test_the_true_motion_gets_everything() -> None:
    (target,) = targets_of([clip()], ["bob"], reader)
    assert terms_of([bobbing(2.0)], target) == {name: [1.0] for name in REWARD_TERMS}


def test_claims_are_shares_of_what_is_stated_and_true_whole_and_by_second() -> None:
    """Frozen, two of three claims hold; of the eight of seconds, those that say moves in the first two do not."""
    (target,) = targets_of([clip()], ["bob"], reader)
    found = terms_of([bobbing(0.0), bobbing(4.0), bobbing(2.0, column=97)], target)
    assert found["claims"] == pytest.approx([2 / 3, 1.0, 0.0])
    assert found["seconds"] == pytest.approx([6 / 8, 6 / 8, 4 / 8])
    (nothing,) = targets_of([clip()], ["nothing"], reader)
    found = terms_of([bobbing(2.0)], nothing)
    assert np.isnan(found["claims"][0])
    assert np.isnan(found["seconds"][0])
    assert found["contact"] == [1.0]


def test_without_a_reader_the_plan_of_the_true_motion_is_asked_for() -> None:
    (target,) = targets_of([clip()], ["whatever"], None)
    said = {str(stated.claim) for stated in target.stated}
    assert "hands:right=moves" in said
    assert {stated.second for stated in target.stated} == {-1}
    moving, frozen = reward_terms([bobbing(2.0), bobbing(0.0)], [target] * 2)["claims"]
    assert moving == 1.0
    assert frozen < 0.5


def test_contact_is_f1_of_the_pairs_within_and_across(monkeypatch) -> None:
    """Within: two pairs of the three that are wanted and one beside; across: none wanted, none or one touched."""
    (target,) = targets_of([clip()], ["bob"], reader)
    wanted = Target(target.stated, target.valid, 15.0, (np.arange(8) < 3, np.zeros(10, bool)), 0.0, 0.0)
    touching = np.zeros((2, FRAMES, 8), bool), np.zeros((2, FRAMES, 10), bool)
    for pair in (1, 2, 5):
        touching[0][:, 7 * pair, pair] = True
    touching[1][1, 30, 4] = True
    monkeypatch.setattr(rewards, "contact_masks", lambda points, seen: dict(zip(WHERES, touching, strict=True)))
    found = reward_terms([bobbing(2.0)] * 2, [wanted] * 2)["contact"]
    assert found.tolist() == pytest.approx([(2 / 3 + 1) / 2, (2 / 3 + 0) / 2])


def test_hands_that_touch_where_the_true_ones_do_not_lose_contact() -> None:
    """The right hand is moved into the left one."""
    (target,) = targets_of([clip()], ["bob"], reader)
    together = bobbing(2.0)
    together[:, 99 + 96 :] += (together[:, 96:99] - together[:, 99 + 96 :]).mean(0)
    assert not target.touching[1].any()
    assert terms_of([together], target)["contact"] == [0.5]


def test_limits_fall_with_the_share_of_angles_that_are_beyond_them() -> None:
    """One joint of ninety bent back by 3 radians in every frame or in half of them; the true motion's own are free."""
    (target,) = targets_of([clip()], ["bob"], reader)
    assert target.beyond_limits < 0.01
    params = {k: np.asarray(v) for k, v in features_to_params(bobbing(2.0)).items() if k != "betas"}
    bent, half = ({k: v.copy() for k, v in params.items()} for _ in range(2))
    bent["hand_pose"][:, 1, :3] += [0.0, 0.0, 1.5]
    half["hand_pose"][::2, 1, :3] += [0.0, 0.0, 1.5]
    worst, middle, best = terms_of([*(np.asarray(params_to_features(p)) for p in (bent, half, params))], target)[
        "limits"
    ]
    assert best == pytest.approx(1.0, abs=1e-6)
    assert worst < middle < 1.0
    assert 1 - middle == pytest.approx((1 - worst) / 2, rel=0.05)
    lenient = Target(target.stated, target.valid, 15.0, target.touching, 0.5, target.jitter)
    assert terms_of([np.asarray(params_to_features(bent))], lenient)["limits"] == [1.0]


def test_jitter_is_what_the_true_motion_has_over_what_there_is() -> None:
    (target,) = targets_of([clip()], ["bob"], reader)
    shaking = bobbing(2.0)
    shaking[:, RIGHT_HEIGHT] += 0.01 * (-1.0) ** np.arange(FRAMES, dtype=np.float32)  # its third difference is 8 cm
    calm, true, shaken = terms_of([bobbing(0.0), bobbing(2.0), shaking], target)["jitter"]
    assert (calm, true) == (1.0, 1.0)
    assert shaken == pytest.approx((target.jitter + 0.0005) / (0.04 + 0.0005), rel=0.1)  # one hand of two


def test_what_is_not_seen_of_the_true_motion_is_free() -> None:
    seen = np.ones((FRAMES, 2), dtype=bool)
    seen[:, 0] = False
    unseen = clip(valid=seen)
    unseen["features"] = unseen["features"].copy()
    unseen["features"][:, :99] = np.nan
    (target,) = targets_of([unseen], ["bob"], reader)
    assert {str(s.claim).split("@")[0] for s in target.stated} == {"hands:right=moves", "hands:right=still"}
    wild = bobbing(2.0)
    wild[:, 97] += (-1.0) ** np.arange(FRAMES, dtype=np.float32)
    assert terms_of([wild], target) == {name: [1.0] for name in REWARD_TERMS}


def test_each_motion_is_held_against_its_own_target_whatever_their_lengths() -> None:
    """Two clips of different lengths that do different things, each with its own and with the other's motion."""
    left = bobbing(2.0, 40, column=97)
    clips = [clip(), {"fps": 15.0, "features": left, "valid": np.ones((40, 2), dtype=bool)}]

    def read(text: str) -> list[tuple[Claim, bool, Norm | None]]:
        return [(LEFT_MOVES if text == "left" else MOVES, False, None)]

    targets = targets_of(clips, ["right", "left"], read)
    right = bobbing(2.0)
    pairs = [(right, targets[0]), (left, targets[1]), (left, targets[0]), (right, targets[1])]
    found = reward_terms([motion for motion, _ in pairs], [target for _, target in pairs])
    assert found["claims"].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_reward_is_the_weighted_mean_of_what_is_known() -> None:
    terms = {name: np.array([1.0, np.nan]) for name in ("claims", "seconds")}
    terms |= {"contact": np.array([0.0, 0.5]), "limits": np.array([0.2, 1.0]), "jitter": np.array([0.7, np.nan])}
    weights = {"claims": 2.0, "contact": 1.0, "limits": 1.0}
    assert weighted(terms, weights).tolist() == pytest.approx([(2 + 0 + 0.2) / 4, 1.5 / 2])
    assert weighted(terms, {"seconds": 1.0}).tolist() == [1.0, 0.0]


def test_of_several_motions_the_first_that_fulfils_most_of_the_caption_is_kept() -> None:
    """Of the reader's four claims, bobbing on the right fulfils three, on the left one, and stillness two."""
    still, left, right = bobbing(0.0), bobbing(2.0, column=97), bobbing(2.0)
    motions = [{"features": f, "fps": 15.0, "name": k} for k, f in enumerate((still, left, right, right))]
    best = best_by_claims(motions, reader("bob"))
    assert (best["name"], best["score"]) == (2, 0.75)
    assert best_by_claims(motions[:2], reader("bob"))["score"] == 0.5
    assert best_by_claims(motions, [])["name"] == 0
    assert best_by_claims(motions, [])["score"] == 1.0
