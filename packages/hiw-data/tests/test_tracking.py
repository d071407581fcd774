"""Which hand is which, gaps, fragments, second looks, cameras: on hands that are made up."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_geometry.errors import HandGeometryError
from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.tracking import CameraModel, Detections, Frame, even_hands, fit, second_look, two_hands
from hiw_data.tracking.fragments import without_fragments

_SPEC = importlib.util.spec_from_file_location("hands_in_view", Path(__file__).parent / "hands_in_view.py")
view = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(view)
hand, seen = view.hand, view.seen


def place(hands, side):
    """The wrist's x of a hand in each frame, NaN where it is not seen."""
    return hands.landmarks[:, side, 0, 0]


def test_wrong_labels_in_single_frames_are_outvoted():
    frames = [[hand(0, 300), hand(1, 100, label=0 if k in (4, 5, 11) else 1)] for k in range(20)]
    hands = two_hands(seen(frames))
    assert hands.seen.all()
    assert hands.counts["relabelled"] == 3
    np.testing.assert_allclose(place(hands, 1), 100 + 0.5 * 80)
    np.testing.assert_allclose(place(hands, 0), 300 + 0.4 * 80)


def test_labels_that_swap_halfway_do_not_swap_the_hands():
    frames = [[hand(0, 300, label=int(k >= 14)), hand(1, 100, label=int(k < 14))] for k in range(20)]
    hands = two_hands(seen(frames))
    assert hands.counts["relabelled"] == 12
    assert (place(hands, 1) < 200).all()
    assert (place(hands, 0) > 200).all()


def test_two_hands_that_both_vote_left_get_different_sides_the_surer_one_first():
    frames = [[hand(0, 300, score=0.99), hand(1, 100, label=0, score=0.6)] for _ in range(20)]
    hands = two_hands(seen(frames))
    assert hands.seen.all()
    assert (place(hands, 0) > 200).all()


def test_a_hand_that_is_reported_several_times_has_the_side_that_most_of_them_say():
    """The surest of three reports says right, the two others together are surer that it is a left hand."""
    reports = [hand(0, 100, label=1, score=0.6), hand(0, 103, 102, score=0.5), hand(0, 101, 99, score=0.4)]
    hands = two_hands(seen([reports] * 20))
    assert hands.counts["doubles"] == 40
    assert hands.counts["relabelled"] == 20
    assert (hands.seen == [True, False]).all()


def test_hands_that_cross_keep_their_sides():
    frames = [[hand(0, 300 - 12 * k, 60), hand(1, 60 + 12 * k, 200)] for k in range(20)]
    hands = two_hands(seen(frames))
    np.testing.assert_allclose(np.diff(place(hands, 0)), -12)
    np.testing.assert_allclose(np.diff(place(hands, 1)), 12)


def test_a_hand_that_is_reported_twice_counts_once():
    frames = [[hand(1, 100), hand(1, 104, 102, score=0.6, label=0)] for _ in range(20)]
    hands = two_hands(seen(frames))
    assert hands.counts["doubles"] == 20
    assert hands.seen.sum(0).tolist() == [0, 20]


def test_a_third_hand_is_counted_and_left_out():
    frames = [[hand(0, 300), hand(1, 100)] + ([hand(1, 500, 300)] if k >= 12 else []) for k in range(20)]
    hands = two_hands(seen(frames))
    assert hands.counts["other_hands"] == 8
    assert hands.seen.all()
    assert (place(hands, 1) < 200).all()


def test_a_third_hand_with_a_sure_label_does_not_push_out_one_of_the_two_that_are_seen_most():
    frames = [[hand(0, 300, label=k % 2), hand(1, 100)] + ([hand(0, 500, 300)] if k >= 12 else []) for k in range(20)]
    hands = two_hands(seen(frames))
    assert hands.seen.all()
    assert hands.counts["other_hands"] == 8
    assert (place(hands, 0) < 400).all()


def test_a_hand_that_comes_back_elsewhere_is_the_same_hand():
    frames = [[hand(1, 100)] if k < 15 else [] if k < 45 else [hand(1, 400)] for k in range(60)]
    hands = two_hands(seen(frames))
    assert hands.seen.sum(0).tolist() == [0, 30]


def test_a_flicker_is_not_trusted_beside_a_hand():
    frames = [[hand(1, 100)] + ([hand(0, 400)] if k == 7 else []) for k in range(20)]
    hands = two_hands(seen(frames))
    assert hands.counts["short"] == 1
    assert hands.seen.sum(0).tolist() == [0, 20]


def test_fingers_taken_for_a_hand_are_dropped_and_a_hand_that_is_far_away_is_not():
    frames = [[hand(1, 100, 100, 100)] if k != 9 else [hand(1, 130, 100, 40)] for k in range(20)]
    kept, dropped = without_fragments(frames, np.arange(20) / 30)
    assert (dropped, len(kept[9]), len(kept[8])) == (1, 0, 1)
    far = [[hand(1, 100, 100, 100), hand(0, 500, 100, 40)] for _ in range(20)]
    assert without_fragments(far, np.arange(20) / 30)[1] == 0


def test_short_gaps_are_filled_and_flagged_and_long_ones_stay():
    absent = {5, 6, 7, *range(12, 24)}
    frames = [[hand(1, 100 + 2 * k)] if k not in absent else [] for k in range(30)]
    even = even_hands(two_hands(seen(frames)), fill_seconds=0.1)
    assert np.flatnonzero(even.filled[:, 1]).tolist() == [5, 6, 7]
    assert np.flatnonzero(~even.valid[:, 1]).tolist() == list(range(12, 24))
    np.testing.assert_allclose(even.landmarks[5:8, 1, 0, 0], [150, 152, 154])
    assert not even.valid[:, 0].any()
    assert not even_hands(two_hands(seen(frames)), fill_seconds=0.0).filled.any()


def test_uneven_times_are_honoured():
    times = np.array([0, 1, 2, 3, 5, 6, 7, 9, 10]) / 10  # frames 4 and 8 of an even clip were left out
    frames = tuple((hand(1, 100 + 100 * t),) for t in times)
    even = even_hands(two_hands(Detections(times, frames, 640, 480)))
    assert even.fps == 10
    assert len(even.valid) == 11
    np.testing.assert_allclose(even.landmarks[:, 1, 0, 0], 140 + 10 * np.arange(11))
    assert even.valid[:, 1].all()
    assert not even.filled.any()  # no picture without the hand


@pytest.mark.parametrize(
    ("fps", "expected"), [(15, (0.1, 0.2, 0.02)), (30, (0.05, 0.1, 0.01)), (60, (0.025, 0.05, 0.005))]
)
def test_a_hand_may_move_as_much_in_a_second_at_any_rate(fps, expected, monkeypatch):
    """From frame to frame: radians of the wrist, radians of the fingers, metres."""
    given = []

    def fitted(*_, smoothness, **__):
        given.append(smoothness)
        raise HandGeometryError("seen enough")

    monkeypatch.setattr(fit, "fit_keypoints", fitted)
    even = even_hands(two_hands(seen([[hand(1, 100)]] * 20, fps=fps)))
    with pytest.raises(ClipError, match="seen enough"):
        fit.fit_hands(even, np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]))
    assert even.fps == fps
    assert given == [pytest.approx(expected)]


def test_senseless_gap_options_are_refused():
    with pytest.raises(OptionError, match="fill_seconds"):
        even_hands(two_hands(seen([[hand()]])), fill_seconds=-1)


def test_a_second_look_finds_a_hand_before_and_after_it_was_found():
    blank = np.zeros((480, 640, 3), np.uint8)
    true = [100.0 + 4 * k for k in range(12)]  # where the hand is
    pictures = []
    for x in true:
        image = blank.copy()
        image[100:180, int(x) : int(x) + 72] = 255
        pictures.append(image)

    def look(part):
        rows, columns = np.nonzero(part[..., 0])
        return [hand(1, columns.min(), rows.min())] if len(columns) > 2000 else []

    frames = [Frame(k / 30, image) for k, image in enumerate(pictures)]
    first = [[hand(1, true[k], 100)] if k == 5 else [] for k in range(12)]
    found = second_look(frames, first, look)
    assert [len(row) for row in found] == [1] * 12
    assert [row[0].second_look for row in found] == [k != 5 for k in range(12)]
    np.testing.assert_allclose([row[0].landmarks[0, 0] for row in found], np.array(true) + 40, atol=1)


def test_a_second_look_does_not_take_the_other_hand_or_another_place():
    ramp = np.broadcast_to((np.arange(640) // 3)[None, :, None], (480, 640, 3)).astype(np.uint8)  # tells mirrors
    frames = [Frame(k / 30, ramp) for k in range(4)]
    first = [[hand(1, 300, 200), hand(0, 320, 200)], [hand(0, 320, 200)], [hand(0, 320, 200)], [hand(0, 320, 200)]]
    corners = {160: (256, 160), 240: (216, 120)}  # of the squares around the lost hand, two and three times its size

    def sees_only_the_other(part):
        x, y = corners.get(part.shape[1], (0, 0))
        return [hand(0, 320 - x, 200 - y)] if part[0, 0, 0] < part[0, -1, 0] else []

    assert [len(row) for row in second_look(frames, first, sees_only_the_other)] == [2, 1, 1, 1]
    assert [len(row) for row in second_look(frames, first, lambda part: [hand(1, 0, 0, 20)])] == [2, 1, 1, 1]


def test_a_hand_that_is_seen_in_the_mirror_alone_has_its_own_side_and_place():
    ramp = np.broadcast_to((np.arange(640) // 3)[None, :, None], (480, 640, 3)).astype(np.uint8)  # tells mirrors
    frames = [Frame(k / 30, ramp) for k in range(2)]
    right = hand(1, 300, 200)

    def sees_mirrored(part):
        if part.shape[1] != 160 or part[0, 0, 0] < part[0, -1, 0]:
            return []
        corner, mirror = np.array([256.0, 160, 0]), np.array([-1.0, 1, 1])
        return [replace(right, side=0, landmarks=(right.landmarks - corner) * mirror + [160.0, 0, 0])]

    ((_,), (found,)) = second_look(frames, [[right], []], sees_mirrored)
    assert (found.side, found.second_look) == (1, True)
    np.testing.assert_allclose(found.landmarks, right.landmarks)


def test_cameras_by_field_of_view_focal_length_file_and_guess(tmp_path):
    assert CameraModel().guessed
    assert CameraModel().pinhole(1280, 720).tolist() == [[1280, 0, 640], [0, 1280, 360], [0, 0, 1]]
    assert CameraModel(fov=90).pinhole(1280, 720)[0, 0] == pytest.approx(640)
    assert CameraModel(focal=1000).pinhole(960, 540, scale=0.5)[0, 0] == 500
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"fx": 900, "fy": 910, "cx": 630, "cy": 350, "width": 1280, "height": 720}))
    loaded = CameraModel.load(path)
    assert not loaded.guessed
    assert loaded.pinhole(640, 360).tolist() == [[450, 0, 315], [0, 455, 175], [0, 0, 1]]
    with pytest.raises(OptionError, match="field of view"):
        CameraModel(fov=90, focal=500)
    path.write_text('{"fx": 900}')
    with pytest.raises(SourceError, match="fy"):
        CameraModel.load(path)


def test_detections_come_back_from_arrays():
    before = seen([[hand(0, 300), hand(1)], [], [hand(1, 110)]])
    after = Detections.from_arrays(before.to_arrays())
    assert [len(row) for row in after.frames] == [2, 0, 1]
    assert after.frames[0][1].side == 1
    np.testing.assert_array_equal(after.frames[2][0].landmarks, before.frames[2][0].landmarks)
    assert (after.width, after.height) == (640, 480)


def test_hands_of_the_same_frame_do_not_witness_that_one_of_them_is_a_fragment():
    crowd = [hand(1, 100, 100, 100) for _ in range(6)]
    small = hand(1, 130, 100, 40)
    assert without_fragments([[*crowd, small]], np.zeros(1)) == ([[*crowd, small]], 0)
    kept, dropped = without_fragments([[h] for h in crowd] + [[small]], np.arange(7) / 30)
    assert (dropped, kept[6]) == (1, [])


def test_a_second_look_has_half_a_vote():
    frames = [[hand(1, 100)] if k < 6 else [replace(hand(1, 100, label=0), second_look=True)] for k in range(16)]
    hands = two_hands(seen(frames))  # 6 votes for the right, and 10 halves for the left
    assert hands.seen.sum(0).tolist() == [0, 16]
    assert hands.counts["relabelled"] == 10


@pytest.mark.parametrize("label", [0, 1])
def test_a_hand_midway_between_two_goes_on_with_the_one_of_its_label(label):
    both = [[hand(1, 100, label=0), hand(1, 140, label=1)] for _ in range(10)]
    hands = two_hands(seen([*both, [hand(1, 120, label=label)]]))
    assert hands.seen[10].tolist() == [label == 0, label == 1]
