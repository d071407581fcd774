"""Contacts, speeds and limits of motions of which they are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm.evaluation import measure_motions
from clutch_llm.evaluation.grouping import seen_like
from clutch_llm.evaluation.judge import joints_of
from clutch_llm.evaluation.motion_measures import (
    contact_figures,
    joint_speeds,
    plausibility,
    speed_by_quarter,
    touching_pairs,
)
from clutch_llm.evaluation.padding import padded_batches
from evaluation_clips import make_clips, relaxed_features
from hand_geometry import features_to_params, hand_penetration, limit_violation, params_to_features, self_penetration
from hand_geometry.contact_metrics import Where, contact_mask, contact_scores

ALL = np.ones((16, 2), dtype=bool)
THUMB, INDEX, MIDDLE, RING = 4, 8, 12, 16


def touching(*tips: int, frames: int = 16, until: int | None = None) -> np.ndarray:
    """Joints at rest with some of the left hand's fingertips 8 mm from its thumb's, from the start until a frame."""
    (joints,) = joints_of([relaxed_features(frames)])
    for k, tip in enumerate(tips):
        joints[:until, 0, tip] = joints[:until, 0, THUMB] + np.array([0.008, 0.0, 0.0]) * (-1) ** k
    return joints


def contacts(made: np.ndarray, true: np.ndarray, valid: np.ndarray, where: Where = "within") -> np.ndarray:
    """The figures of joints of one motion against the true one's; hands are seen as in the true one."""
    told, wanted = touching_pairs([made, true], [seen_like(valid, len(made)), valid])
    return contact_figures(told[where], wanted[where])


def test_contacts_of_one_pair_right_one_missed_and_one_too_many() -> None:
    made, true = touching(INDEX, RING), touching(INDEX, MIDDLE)
    figures = contacts(made, true, ALL)
    np.testing.assert_allclose(figures, [0.5, 0.5, 0.5, 0.5])
    scores = contact_scores(made, true, ALL, where="within")
    np.testing.assert_allclose(figures[:3], [scores.precision, scores.recall, scores.f1])
    assert np.isnan(contacts(made, true, ALL, "across")).all()


def test_contacts_that_are_never_there_are_not_counted_but_missed_ones_are() -> None:
    nothing = contacts(touching(), touching(INDEX), ALL)
    assert np.isnan(nothing[0])
    np.testing.assert_allclose(nothing[1:], 0.0)
    invented = contacts(touching(INDEX), touching(), ALL)
    assert np.isnan(invented[1])
    np.testing.assert_allclose(invented[[0, 2, 3]], 0.0)
    hidden = ALL.copy()
    hidden[:, 0] = False
    assert np.isnan(contacts(touching(INDEX), touching(INDEX), hidden)).all()


def test_a_contact_at_another_time_is_right_by_clip_and_wrong_by_frame() -> None:
    late = touching(INDEX, until=8)[::-1].copy()
    figures = contacts(late, touching(INDEX, until=8), ALL)
    np.testing.assert_allclose(figures[:3], 1.0)
    assert figures[3] < 0.2
    longer = contacts(touching(INDEX, frames=20), touching(INDEX), ALL)
    np.testing.assert_allclose(longer, 1.0)


def test_speed_is_the_mean_over_both_hands_and_the_motion_has_four_quarters() -> None:
    features = relaxed_features(17)
    features[:9, 96] += np.arange(9, dtype=np.float32) * 0.01  # the left hand: 0.15 m/s for half of the motion
    features[9:, 96] += 0.08
    (joints,) = joints_of([features])
    valid = np.ones((17, 2), dtype=bool)
    np.testing.assert_allclose(speed_by_quarter(joints, valid, 15.0), [0.0375, 0.075, 0.075, 0.0, 0.0], atol=1e-5)
    valid[:, 1] = False
    valid[2, 0] = False
    speeds = joint_speeds(joints, valid, 15.0)
    assert np.isnan(speeds[[1, 2]]).all()
    np.testing.assert_allclose(speeds[[0, 3]], 0.15, atol=1e-5)
    assert np.isnan(speed_by_quarter(joints, np.zeros((17, 2), bool), 15.0)).all()


def test_a_finger_bent_backwards_is_beyond_its_limits() -> None:
    rest = relaxed_features(16)
    params = {k: torch.as_tensor(v).clone() for k, v in features_to_params(torch.from_numpy(rest)).items()}
    before = plausibility([rest], joints_of([rest]), [ALL])[0]
    params["hand_pose"][:, 0, :3] = -torch.as_tensor(params["hand_pose"][:, 0, :3]) * 8 + 0.9
    bent = np.asarray(params_to_features(params), dtype=np.float32)
    after = plausibility([bent], joints_of([bent]), [ALL])[0]
    assert before[0] < 0.01 < after[0]
    assert before[1] < 0.1 < after[1]
    closer = rest.copy()
    closer[:, 96:99] = closer[:, 195:198]  # one hand in the other
    inside = plausibility([closer], joints_of([closer]), [ALL])[0]
    assert before[3] == 0.0
    assert inside[3] > 5.0  # mm
    blind = plausibility([rest], joints_of([rest]), [~ALL])[0]
    assert np.isnan(blind).all()


def half_as_fast(features: np.ndarray) -> np.ndarray:
    """The motion with every deviation from its first frame halved: all joints at about half the speed."""
    return (features[:1] + (features - features[:1]) / 2).astype(np.float32)


def test_figures_stand_beside_the_truth_with_intervals_by_value_and_by_quarter() -> None:
    clips = make_clips(24, first=3000, source="hands")
    for clip in clips:
        features = relaxed_features(len(clip["features"]))
        translation = (slice(96, 99), slice(195, 198))
        for part in translation:
            features[:, part] = clip["features"][:, part]
        clip["features"] = features
    slower = {"half": [[half_as_fast(c["features"])] for c in clips], "two": [[c["features"]] * 2 for c in clips]}
    found = measure_motions(clips, slower, [c["features"] for c in clips], group_by=["speed", "nothing"])["hands"]
    assert found["clips"] == 24
    speeds: dict[str, Any] = found["speeds"]
    for name in ("all", "quarter_1", "quarter_4"):
        assert speeds["half"][f"{name}_of_truth"] == pytest.approx(0.5, abs=0.01)
        assert speeds["two"][f"{name}_of_truth"] == speeds["reconstruction"][f"{name}_of_truth"] == pytest.approx(1.0)
        assert speeds["half"][f"{name}_of_truth_ci95_low"] > 0.49
        assert speeds["half"][f"{name}_of_truth_ci95_high"] < 0.51
    by_speed = found["speeds_by"]["speed"]
    assert set(found["speeds_by"]) == {"speed"}
    assert by_speed["truth"]["quickly"] > 1.5 * by_speed["truth"]["slowly"]
    assert by_speed["half"]["quickly_of_truth"] == pytest.approx(0.5, abs=0.01)
    assert by_speed["random_caption"]["quickly_of_truth"] < 0.9
    own = [i for i, c in enumerate(clips) if c["attributes"]["speed"] == "slowly"]
    by_hand = [speed_by_quarter(joints_of([clips[i]["features"]])[0], clips[i]["valid"], 15.0)[0] for i in own]
    assert by_speed["truth"]["slowly"] == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert set(found["rows"]) == {"truth", "reconstruction", "half", "two", "random_caption"}
    assert "contact_within_f1" not in found["rows"]["truth"]
    assert found["rows"]["half"]["beyond_limits_share_ci95_low"] is not None


def test_a_hand_counts_as_the_true_one_does_and_goes_on_past_its_end() -> None:
    valid = np.array([[True, False], [True, False], [False, False]])
    assert seen_like(valid, 2).tolist() == [[True, False], [True, False]]
    assert seen_like(valid, 5).tolist() == [*valid.tolist(), [True, False], [True, False]]


def test_batches_are_of_neighbours_in_length_padded_with_zeros() -> None:
    motions = [torch.full((n, 2), float(n)) for n in (5, 2, 4, 3, 1)]
    batches = list(padded_batches(motions, 2, torch.device("cpu")))
    assert [picks for picks, _, _ in batches] == [[4, 1], [3, 2], [0]]
    assert [lengths.tolist() for _, _, lengths in batches] == [[1, 2], [3, 4], [5]]
    assert batches[0][1].tolist() == [[[1.0, 1.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]


def test_another_clips_motion_is_measured_where_its_own_hands_are_seen() -> None:
    """Clip 0 rests; of clip 1 the right hand alone is seen, and moves: with a hand at rest it would be half as fast."""
    seen = ALL.copy()
    seen[:, 0] = False
    rest, moving = relaxed_features(16), relaxed_features(16)
    moving[:, 99 + 97] += 0.01 * np.arange(16)  # 1 cm a frame, 0.15 m/s
    about = {"source": "made", "fps": 15.0, "attributes": {}}
    clips: list[dict[str, Any]] = [
        {**about, "clip_id": "0", "features": rest, "valid": ALL, "captions": ["rest"]},
        {**about, "clip_id": "1", "features": moving, "valid": seen, "captions": ["move"]},
    ]
    speeds = measure_motions(clips, [[rest], [moving]])["made"]["speeds"]
    assert speeds["truth"]["all"] == pytest.approx(0.075, rel=1e-3)  # of 0 and 0.15
    assert speeds["random_caption"]["all"] == pytest.approx(0.075, rel=1e-3)


def test_contacts_of_another_clips_motion_are_of_hands_that_both_clips_see() -> None:
    """Both clips show the same two hands, which touch; of clip 0 both are seen, of clip 1 the right one alone.

    So the motion of 1 has no contacts across hands to show for caption 0, and that of 0 none that caption 1 asks for.
    """
    seen = ALL.copy()
    seen[:, 0] = False
    joined = relaxed_features(16)
    joined[:, 96:99] = joined[:, 195:198] + np.array([0.0, 0.06, 0.0])  # where a joint of each meets one of the other
    about = {"source": "made", "fps": 15.0, "attributes": {}, "features": joined}
    clips: list[dict[str, Any]] = [
        {**about, "clip_id": str(k), "valid": valid, "captions": [str(k)]} for k, valid in enumerate((ALL, seen))
    ]
    rows = measure_motions(clips, [[joined], [joined]])["made"]["rows"]
    assert rows["generated"]["contact_across_recall"] == rows["generated"]["contact_across_precision"] == 1.0
    assert rows["random_caption"]["contact_across_recall"] == 0.0  # of caption 0; caption 1 has none
    assert rows["random_caption"]["contact_across_precision"] is None  # neither has any that both would see


def random_motions(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Features of five motions that touch, bend too far and interlock, and which hands count."""
    rng = np.random.default_rng(seed)
    motions, seen = [], []
    for frames in (16, 9, 16, 5, 4):
        features = relaxed_features(frames) + 0.3 * rng.normal(size=(frames, 198)).astype(np.float32)
        features[:, 96:99] = features[:, 195:198]
        motions.append(features.astype(np.float32))
        seen.append(rng.random((frames, 2)) < 0.8)
        seen[-1][0] = True  # of the frames on which penetration is taken
    seen[1][:, 0] = False
    seen[4][:] = False
    return motions, seen


@pytest.mark.parametrize("seed", range(5))
def test_motions_measured_together_are_measured_as_alone(seed: int) -> None:
    """Contacts to the bit; of the others the last digits may differ, as a processor takes many numbers at once."""
    motions, seen = random_motions(seed)
    joints = joints_of(motions)
    for own, valid, masks in zip(joints, seen, touching_pairs(joints, seen), strict=True):
        for where, mask in masks.items():
            np.testing.assert_array_equal(mask, contact_mask(own, valid, where=where))
    found = plausibility(motions, joints, seen)
    assert np.isnan(found).tolist() == [[False] * 4, [False] * 3 + [True], [False] * 4, [False] * 4, [True] * 4]
    for k in (0, 1, 2, 3):
        pose = features_to_params(torch.from_numpy(motions[k]))["hand_pose"]
        limits, few, some = limit_violation(pose, seen[k]), joints[k][::4], seen[k][::4]
        by_hand = [limits.share, torch.rad2deg(limits.excess), 1e3 * self_penetration(few, some)]
        np.testing.assert_allclose(found[k, :3], [float(value) for value in by_hand], rtol=1e-5)
        np.testing.assert_allclose(found[k, 3], 1e3 * float(hand_penetration(few, some)), rtol=1e-5)


def test_the_first_sample_alone_is_measured_for_what_hands_can_do() -> None:
    (rest,) = [relaxed_features(16)]
    inside = rest.copy()
    inside[:, 96:99] = inside[:, 195:198]  # one hand in the other
    about = {"source": "made", "fps": 15.0, "attributes": {}, "features": rest, "valid": ALL}
    clips = [{**about, "clip_id": str(k), "captions": [str(k)]} for k in range(2)]
    rows = measure_motions(clips, {"first": [[inside, rest]] * 2, "second": [[rest, inside]] * 2})["made"]["rows"]
    assert rows["first"]["hand_penetration_mm"] > 5.0
    assert rows["second"]["hand_penetration_mm"] == 0.0
