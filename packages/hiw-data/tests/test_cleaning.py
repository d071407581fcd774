"""Each step of cleaning on clips whose fault is known."""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import canonicalize, params_to_features, relaxed_hand
from hiw_data.cleaning import (
    CleaningConfig,
    ClipSummary,
    activity_clusters,
    activity_vector,
    balanced,
    clean,
    near_duplicates,
    not_visible,
    outliers,
    peak_accelerations,
    smooth_motion,
    steps,
)
from hiw_data.cleaning.activity import nearest_earlier
from hiw_data.cleaning.pictures import Cleaned, Shown
from hiw_data.errors import OptionError
from hiw_data.motion import FittedMotion

FPS = 15.0


def motion_of(path, turn=None):
    """Features (T, 198): the right hand's wrist follows a path (T, 3) and turns about z by angles (T,)."""
    frames = len(path)
    rest = [relaxed_hand(side) for side in ("left", "right")]
    params = {
        name: np.stack([np.broadcast_to(r[name].numpy(), (frames, *r[name].shape)) for r in rest], 1).copy()
        for name in ("global_orient", "hand_pose", "transl")
    }
    params["transl"][:, 1] += path
    if turn is not None:
        params["global_orient"][:, 1] = np.stack([0 * turn, 0 * turn, turn], 1)
    return np.asarray(params_to_features(canonicalize(params)), np.float32)


def wave(amplitude=0.05, frames=30, rate=4.0, phase=0.0):
    t = np.arange(frames) / FPS
    return np.stack([amplitude * np.sin(rate * t + phase), 0 * t, 0 * t], 1)


SEEN = np.ones((30, 2), bool)


def test_both_hands_must_be_visible_in_four_of_five_frames():
    valid = SEEN.copy()
    valid[:6, 0] = False
    assert not_visible(valid) is None  # 24 of 30
    valid[6, 0] = False
    assert "77%" in (not_visible(valid) or "")
    assert not_visible(valid, hands="one") is None
    with pytest.raises(OptionError, match="hands"):
        not_visible(valid, hands="three")


def test_peak_accelerations_are_in_metres_and_radians_per_second_squared():
    t = np.arange(30) / FPS
    place, turn = peak_accelerations(motion_of(np.stack([2.0 * t**2, 0 * t, 0 * t], 1), 1.5 * t**2), SEEN, FPS)
    assert place == pytest.approx(4.0, rel=1e-3)
    assert turn == pytest.approx(3.0, rel=1e-2)


def test_a_jump_across_frames_that_were_not_seen_is_no_acceleration():
    path = np.zeros((30, 3))
    path[15:] = 0.5
    valid = SEEN.copy()
    assert peak_accelerations(motion_of(path), valid, FPS)[0] > 50
    valid[14:16, 1] = False
    assert peak_accelerations(motion_of(path), valid, FPS)[0] < 1e-3
    spike, seen = np.zeros((30, 3)), SEEN.copy()
    spike[15], seen[15, 1] = 5.0, False
    assert peak_accelerations(motion_of(spike), seen, FPS)[0] < 1e-3


def test_a_clip_that_jerks_is_an_outlier_and_a_calm_one_is_not():
    peaks = [(3.0 + 0.1 * k, 20.0 + k) for k in range(20)] + [(300.0, 25.0), (3.0, 9000.0), (0.5, 5.0)]
    reasons = outliers(peaks)
    assert [i for i, reason in enumerate(reasons) if reason] == [20, 21]
    assert "300 m/s^2" in (reasons[20] or "")
    assert "rad/s^2" in (reasons[21] or "")
    few = [(1.0, 1.0)] * 10 + [(1e6, 1e6)]
    assert outliers(few) == [None] * 11  # so few clips have no distribution


def test_a_repeated_motion_is_a_near_duplicate_of_the_first():
    first, second = motion_of(wave()), motion_of(wave(phase=1.5))
    again = motion_of(wave() + 1e-4 * np.random.default_rng(0).normal(size=(30, 3)))
    vectors = np.stack([activity_vector(f, SEEN) for f in (first, second, again)])
    assert near_duplicates(vectors) == [None, None, 0]
    assert near_duplicates(vectors, nearest=0) == [None, None, None]


def test_activity_clusters_hold_the_same_kind_of_motion_and_balance_draws_from_each():
    rng = np.random.default_rng(1)
    kinds = [wave(0.05), wave(0.3), np.linspace(0, 1, 30)[:, None] * [0.0, 0.4, 0.0]]
    counts = [20, 6, 2]
    clips = [k + 0.002 * rng.normal(size=(30, 3)) for k, n in zip(kinds, counts, strict=True) for _ in range(n)]
    labels = activity_clusters(np.stack([activity_vector(motion_of(c), SEEN) for c in clips]), 3)
    groups = np.split(labels, [20, 26])
    assert [len(set(group.tolist())) for group in groups] == [1, 1, 1]
    assert len(set(labels.tolist())) == 3
    stays = balanced(labels, 10)
    assert [int(part.sum()) for part in np.split(stays, [20, 26])] == [4, 4, 2]
    assert balanced(labels, 100).all()
    assert not balanced(labels, 0).any()


def test_smoothing_keeps_a_steady_motion_and_takes_noise_away():
    rng = np.random.default_rng(2)
    motion = FittedMotion.empty(60, 30.0)
    t = np.arange(60) / 30
    motion.transl[:, 1] = np.stack([0.1 * t, 0.2 * t, 0 * t], 1)
    motion.global_orient[:, 1, 2] = 3.0 + 0.5 * t  # beyond pi on the way
    motion.valid[:, 1] = True
    smooth = smooth_motion(motion)
    np.testing.assert_allclose(smooth.transl[10:-10], motion.transl[10:-10], atol=1e-5)
    turned = np.abs(smooth.global_orient[10:-10, 1, 2] - motion.global_orient[10:-10, 1, 2])
    assert np.minimum(turned, np.abs(turned - 2 * np.pi)).max() < 1e-3
    noisy = FittedMotion(
        **{**vars(motion), "transl": motion.transl + rng.normal(0, 0.01, motion.transl.shape).astype("f4")}
    )
    error = np.abs(smooth_motion(noisy).transl[:, 1] - motion.transl[:, 1]).mean()
    assert error < 0.6 * np.abs(noisy.transl[:, 1] - motion.transl[:, 1]).mean()
    same = smooth_motion(noisy, savgol_seconds=0, gaussian_seconds=0)
    np.testing.assert_array_equal(same.transl, noisy.transl)


def test_cleaning_says_what_each_step_dropped_and_why():
    rng = np.random.default_rng(3)
    summaries = [
        ClipSummary.of(f"c{k}", motion_of(wave(0.05 + 0.01 * k, phase=rng.uniform(0, 6))), SEEN, FPS) for k in range(22)
    ]
    hidden = SEEN.copy()
    hidden[:15] = False
    jump = np.zeros((30, 3))
    jump[15:] = 0.8
    summaries += [
        ClipSummary.of("hidden", motion_of(wave()), hidden, FPS),
        ClipSummary.of("jump", motion_of(jump), SEEN, FPS),
        ClipSummary("again", SEEN, summaries[4].peaks, summaries[4].activity),
    ]
    report = clean(summaries, CleaningConfig(hands="both", most_clips=10, clusters=3))
    assert report.dropped["hidden"][0] == "visibility"
    assert report.dropped["jump"][0] == "outliers"
    assert report.dropped["again"] == ("near-duplicates", "Repeats c4.")
    assert report.counts == {
        "clips": 25,
        "visibility": 1,
        "outliers": 1,
        "near-duplicates": 1,
        "balance": 12,
        "kept": 10,
    }
    assert report.lines()[0] == "25 clips"
    assert clean([]).counts["kept"] == 0
    assert report.borderline("visibility") == ("c0", "hidden")
    assert report.margins["visibility"]["hidden"] == pytest.approx(0.5 - 0.8)
    assert report.borderline("outliers")[1] == "jump"
    assert report.margins["outliers"]["jump"] < 0 < min(v for k, v in report.margins["outliers"].items() if k != "jump")
    assert report.borderline("near-duplicates")[1] == "again"
    assert report.margins["near-duplicates"]["again"] == pytest.approx(-0.004)
    assert report.borderline("balance") == (None, None)


def test_how_near_a_clip_is_to_those_before_it():
    vectors = np.array([[0.0, 0], [0.003, 0], [1, 0], [1.01, 0], [5, 0]])
    kept = np.array([True, False, True, True, True])
    near = nearest_earlier(vectors, kept, within=0.02)
    np.testing.assert_allclose(near, [np.inf, 0.003, np.inf, 0.01, np.inf])
    np.testing.assert_allclose(nearest_earlier(vectors[:2], kept[:2], within=1.0), [np.inf, 0.003])


def test_the_worst_kept_and_the_best_dropped_are_drawn(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("numba")
    hidden, hardly = SEEN.copy(), SEEN.copy()
    hidden[:15], hardly[:7] = False, False
    clips = {"a/0": SEEN, "a/1": hidden, "a/2": hardly, "a/3": np.zeros_like(SEEN)}
    motions = {name: motion_of(wave(0.05 + 0.1 * k)) for k, name in enumerate(clips)}
    motions["a/4"], clips["a/4"] = motions["a/0"], SEEN
    cleaned = Cleaned()
    assert (cleaned.lines(), cleaned.to_json("a"), cleaned.wanted()) == ([], {}, set())
    cleaned.report = clean([ClipSummary.of(name, motions[name], seen, FPS) for name, seen in clips.items()])
    assert cleaned.wanted() == {"a/0", "a/2", "a/4"}
    cleaned.clips = {name: Shown(motions[name], clips[name], FPS) for name in cleaned.wanted()}
    told = cleaned.to_json("my source")
    assert (told["clips"], told["kept"]) == (5, 1)
    visibility = told["steps"]["visibility"]
    assert visibility["dropped"] == 3
    assert visibility["worst_kept"] == {"clip_id": "a/0", "told": "Seen in 100% of the frames."}
    assert visibility["best_dropped"]["clip_id"] == "a/2"
    assert visibility["best_dropped"]["told"].startswith("Expected a hand in at least 80% of the frames, got 77%")
    assert told["steps"]["near-duplicates"]["repeated"]["clip_id"] == "a/0"
    assert told["steps"]["outliers"]["picture"] is None
    files = cleaned.draw(tmp_path, "my source")
    assert [path.name for path in files] == ["my_source-visibility.png", "my_source-near-duplicates.png"]
    assert [str(path.relative_to(tmp_path)) for path in files] == [
        step["picture"] for step in told["steps"].values() if step["picture"]
    ]
    sheet = np.asarray(image.open(files[0]))
    assert sheet.shape[1] == 6 * 180
    assert 2 * 150 < len(sheet) < 2 * (150 + 60)  # two rows with a title each
    assert np.asarray(image.open(files[1])).shape == sheet.shape
    row = sheet[-150:].reshape(150, 6, 180, 3).astype(int)  # the first moments of a hand that is hidden are pale
    strength = np.abs(row - row[:1, :, :1]).mean((0, 2, 3))
    assert strength[0] < 0.6 * strength[-1]


def test_the_seed_draws_the_clusters_and_who_stays(monkeypatch):
    asked = {}

    def clusters(vectors, number, seed=0):
        asked["clusters"] = (number, seed)
        return np.arange(len(vectors)) % number

    def stay(labels, most, seed=0):
        asked["stay"] = (most, seed)
        return np.arange(len(labels)) < most

    monkeypatch.setattr(steps, "activity_clusters", clusters)
    monkeypatch.setattr(steps, "balanced", stay)
    summaries = [ClipSummary.of(f"c{k}", motion_of(wave(0.05 + 0.02 * k)), SEEN, FPS) for k in range(6)]
    clean(summaries, CleaningConfig(most_clips=4, clusters=3, seed=7))
    assert asked == {"clusters": (3, 7), "stay": (4, 7)}
