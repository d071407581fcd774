"""Calibration on hands that are known exactly: no error where there is none, and each error where it was put."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_geometry.fitting.table import mediapipe_table
from hiw_data.calibration import Scene, closed_loop, draw, hand_errors, in_camera, known_motion, summary_of, wide_angle
from hiw_data.calibration.conditions import CONDITIONS, PLAIN, chosen
from hiw_data.calibration.landmarks import expected_landmarks, perfect_table
from hiw_data.calibration.looks import DARK_SKIN, Look
from hiw_data.calibration.loop import Condition, LoopConfig, run_scene
from hiw_data.calibration.measures import joints_of
from hiw_data.errors import ClipError, OptionError
from hiw_data.tracking.camera import doubt_of_guess
from scipy.spatial.transform import Rotation

from .known_hands import ExactTracker, landmarks_of, mislabelled, without_left

FRAMES = 30
SMALL = replace(PLAIN, size=(160, 120))  # pictures that nobody looks at


def figures(tracker, scene=SMALL, frames=FRAMES, seed=101):
    pytest.importorskip("numba")
    return Condition(scene, (run_scene(tracker, scene, seed, frames),)).figures()


@pytest.fixture(scope="module")
def exact():
    return landmarks_of(SMALL, 101, FRAMES)


def test_exact_landmarks_leave_no_error(exact):
    found = figures(ExactTracker(exact))
    assert found["frames"] == FRAMES
    assert (found["both"], found["found"], found["labels"], found["sides"]) == (1, 1, 1, 1)
    assert found["mpjpe_mm"] < 4
    assert found["pa_mpjpe_mm"] < 3
    assert found["wrist_deg"] < 2
    assert found["reprojection_px"] < 0.5


def test_the_motion_is_the_same_from_a_camera_that_stands_elsewhere():
    scene = Scene("elsewhere", pitch=10, yaw=-8, roll=20, back=0.3, fov=80)
    found = figures(ExactTracker(landmarks_of(scene, 101, FRAMES)), scene)
    assert found["mpjpe_mm"] < 4
    assert found["absolute_mm"] < 12


def test_wrong_labels_are_counted_and_mended_by_identity(exact):
    found = figures(ExactTracker(exact, mislabelled(range(10, 19))))
    assert found["labels"] == pytest.approx(0.7)
    assert found["sides"] == 1
    assert found["mpjpe_mm"] < 4


def test_a_lost_hand_lowers_detection_and_nothing_else(exact):
    found = figures(ExactTracker(exact, without_left(range(9, 24))))
    assert found["both"] == pytest.approx(0.5)
    assert found["found"] == pytest.approx(0.75)
    assert found["mpjpe_mm"] < 4


def test_no_hand_at_all_is_a_result_without_errors():
    found = figures(ExactTracker(np.zeros((FRAMES, 2, 21, 3)), lambda k, hands: []))
    assert found["found"] == 0
    assert np.isnan([found[name] for name in ("mpjpe_mm", "wrist_deg", "labels", "sides", "reprojection_px")]).all()


def test_landmarks_of_turned_hands_show_in_the_wrist_and_not_in_pa(exact):
    truth = in_camera(known_motion(FRAMES, 101), SMALL)
    turned = {name: values.copy() for name, values in truth.items()}
    for hand in range(2):
        turn = Rotation.from_rotvec([0, np.radians(15), 0]) * Rotation.from_rotvec(turned["global_orient"][:, hand])
        turned["global_orient"][:, hand] = turn.as_rotvec()
    found = figures(ExactTracker(expected_landmarks(turned, SMALL.matrix, mediapipe_table())))
    assert found["wrist_deg"] == pytest.approx(15, abs=2)
    assert found["mpjpe_mm"] > 15
    assert found["pa_mpjpe_mm"] < 3


def test_jumping_landmarks_show_in_the_acceleration(exact):
    still = figures(ExactTracker(exact))
    rng = np.random.default_rng(0)
    shaky = exact + np.repeat(rng.normal(size=(FRAMES, 2, 1, 3)), 21, 2) * [2, 2, 0]
    assert figures(ExactTracker(shaky))["acceleration_m_s2"] > 2 * still["acceleration_m_s2"]


def test_a_tracker_that_skips_pictures_is_refused():
    pytest.importorskip("numba")

    class Half(ExactTracker):
        def track(self, frames):
            return super().track(list(frames)[: FRAMES // 2])

    with pytest.raises(ClipError, match="each of 30 pictures"):
        run_scene(Half(landmarks_of(SMALL, 101, FRAMES)), SMALL, 101, FRAMES)


def test_every_condition_is_run_with_every_seed(exact):
    pytest.importorskip("numba")
    scenes = (SMALL, replace(SMALL, name="again"))
    done = closed_loop(ExactTracker(exact), LoopConfig(scenes=scenes, seeds=(101, 101), frames=FRAMES))
    assert [(condition.scene.name, len(condition.runs)) for condition in done] == [("plain", 2), ("again", 2)]
    assert done[0].figures()["hand_frames"] == 4 * FRAMES


def test_conditions_are_chosen_by_name_and_each_differs_from_the_plain_one():
    assert [scene.name for scene in chosen(["far away", "plain"])] == ["far away", "plain"]
    assert len({repr(replace(scene, name="")) for scene in CONDITIONS}) == len(CONDITIONS)
    with pytest.raises(OptionError, match="'foggy'"):
        chosen(["foggy"])
    with pytest.raises(OptionError, match="field of view"):
        Scene("narrow", fov=5)
    with pytest.raises(OptionError, match="exposure"):
        Look(exposure=0)


def test_a_camera_sees_the_points_where_the_geometry_says():
    scene = Scene("elsewhere", pitch=10, yaw=-8, roll=20, back=0.3)
    motion = known_motion(6, 7)
    moved = joints_of(in_camera(motion, scene))
    np.testing.assert_allclose(moved, (joints_of(motion) - [0, 0, -0.3]) @ scene.rotation.T, atol=1e-5)
    seen = expected_landmarks(in_camera(motion, scene), scene.matrix, perfect_table())
    np.testing.assert_allclose(seen[..., :2], (moved / moved[..., 2:] @ scene.matrix.T)[..., :2], atol=1e-2)
    up = joints_of(in_camera(motion, Scene("up", pitch=10)))
    assert (up[..., 1] > joints_of(motion)[..., 1]).all()  # a camera that looks up sees them lower


def test_pictures_show_what_the_scene_says():
    pytest.importorskip("numba")
    motion = known_motion(2, 101)
    plain = draw(motion, SMALL)
    assert plain.shape == (2, 120, 160, 3)
    x, y = expected_landmarks(motion, SMALL.matrix, perfect_table())[0, 1, 9, :2].round().astype(int)
    desk = draw(motion, replace(SMALL, look=Look(background="desk")), seed=3)
    assert np.abs(desk[0, y, x].astype(int) - plain[0, y, x]).max() <= 2  # the hand is the same
    assert desk[0, :5].std((0, 1)).min() > 5 > plain[0, :5].std((0, 1)).max()  # the background is not
    np.testing.assert_array_equal(desk, draw(motion, replace(SMALL, look=Look(background="desk")), seed=3))
    dark = draw(motion, replace(SMALL, look=Look(skin=DARK_SKIN)))
    assert dark[0, y, x].mean() < 0.7 * plain[0, y, x].mean()
    dim = draw(motion, replace(SMALL, look=Look(exposure=0.5, noise=5)))
    assert dim[0].mean() == pytest.approx(plain[0].mean() / 2, rel=0.03)
    assert dim[0, :5].std((0, 1)).min() > 4
    bare = draw(motion, replace(SMALL, forearms=False))
    assert (bare != plain).any()


def test_errors_are_those_that_were_put_in():
    joints = joints_of(known_motion(12, 3))
    valid = np.ones((12, 2), bool)
    valid[4, 0] = False
    moved = joints + np.array([0.003, 0.0, 0.004])
    moved[4, 0] = np.nan
    errors = hand_errors(moved, joints, valid, 30.0)
    assert np.isnan(errors.root[4, 0])
    summary = summary_of([errors])
    assert summary["hand_frames"] == 23
    assert summary["absolute_mm"] == pytest.approx(5)
    assert summary["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert summary["acceleration_m_s2"] == pytest.approx(0, abs=1e-6)
    turn = Rotation.from_rotvec([0.2, 0, 0]).as_matrix()
    bent = joints @ turn.T + 0.5 * 2.0 * (np.arange(12) / 30.0)[:, None, None, None] ** 2 * [0, 0, 1]
    summary = summary_of([hand_errors(bent, joints @ turn.T, valid, 30.0), errors])
    assert summary["acceleration_m_s2"] == pytest.approx(1.0)  # 2 m/s^2 in one clip, 0 in the other
    palms = summary_of([hand_errors(joints @ turn.T, joints, valid, 30.0)])
    assert palms["wrist_deg"] == pytest.approx(np.degrees(0.2))
    assert palms["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-6)


def test_the_doubt_of_a_guessed_camera_is_what_a_wide_angle_would_turn_the_hands_by():
    scene = Scene("edge", fov=105.0, pitch=25.0)
    truth = in_camera(known_motion(12, 101), scene)
    seen = expected_landmarks(truth, scene.matrix, perfect_table())
    doubt = doubt_of_guess(seen, *scene.size)
    rows = {
        (row.landmarks, row.camera): row.figures() for row in wide_angle(None, scenes=[scene], seeds=[101], frames=12)
    }
    assert doubt == pytest.approx(rows["true", "guessed"]["wrist_deg"], abs=6)
    assert doubt > 10
    middle = seen - seen.mean(2, keepdims=True) + [320, 240, 0]
    assert doubt_of_guess(middle, 640, 480) == pytest.approx(0, abs=1e-6)  # there nothing depends on it
    assert np.isnan(doubt_of_guess(np.full((2, 21, 3), np.nan), 640, 480))


def test_a_wide_angle_is_no_fault_of_table_or_fit_and_a_guessed_camera_is():
    scene = Scene("edge", fov=105.0, pitch=25.0)
    rows = {
        (row.landmarks, row.camera): row.figures() for row in wide_angle(None, scenes=[scene], seeds=[101], frames=12)
    }
    assert {landmarks for landmarks, _ in rows} == {"true", "expected", "fisheye"}
    assert rows["true", "known"]["off_axis_deg"] > 25
    assert rows["true", "known"]["wrist_deg"] < 2
    assert rows["expected", "known"]["wrist_deg"] < 2
    assert rows["expected", "guessed"]["wrist_deg"] > 15
    assert rows["expected", "guessed"]["pa_mpjpe_mm"] < 6
    assert 2 < rows["fisheye", "known"]["wrist_deg"] < 10
