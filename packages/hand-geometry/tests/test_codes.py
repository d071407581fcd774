from types import SimpleNamespace

import numpy as np
import pytest
from code_motions import FPS, along, bumps, hand, moved, random_motion, two_hands
from hand_geometry import MotionCodes, load_pose, motion_codes
from hand_geometry.codes import CodeThresholds, Movement, codes_of_clips
from hand_geometry.codes.relation import _pair
from hand_geometry.errors import InputError, ShapeError

UP, RIGHT, FORWARD = (0, -1, 0), (1, 0, 0), (0, 0, 1)


def code(right: np.ndarray, valid: np.ndarray | None = None, left: np.ndarray | None = None) -> MotionCodes:
    codes = motion_codes(two_hands(right, left), valid, FPS)
    assert isinstance(codes, MotionCodes)
    return codes


def the_movement(codes: MotionCodes) -> Movement:
    assert len(codes.movements) == 1
    return codes.movements[0]


def events(codes: MotionCodes, kind: str, hand: str = "right") -> list[tuple[str, str]]:
    return [(e.subject, e.value) for e in codes.events if e.kind == kind and e.hand == hand]


def states(codes: MotionCodes, kind: str, hand: str = "right") -> list[str]:
    return [s.value for s in codes.states if s.kind == kind and s.hand == hand]


def test_a_still_hand_has_states_and_no_event() -> None:
    codes = code(moved(np.zeros((30, 3))))
    assert codes.events == []
    assert codes.movements == ()
    assert states(codes, "palm") == ["down"]
    assert states(codes, "pointing") == ["forward"]
    assert states(codes, "motion") == ["still"]
    assert [s.value for s in codes.states if s.kind == "relative" and s.subject == "x"] == ["right-of"]


def test_the_wrist_goes_up_by_ten_centimetres_in_one_event() -> None:
    rise = np.clip((np.arange(45) - 15) / 15, 0, 1) * 0.10
    codes = code(moved(along(UP, rise)))
    assert events(codes, "move") == [("y", "up")]
    (event,) = [e for e in codes.events if e.kind == "move"]
    assert event.amount == pytest.approx(-0.10, abs=1e-3)
    assert event.start == pytest.approx(1.0, abs=0.15)
    assert event.end == pytest.approx(2.0, abs=0.2)
    assert event.speed == pytest.approx(0.10, abs=0.01)
    movement = the_movement(codes)
    assert movement.one_way
    assert movement.count == 0
    assert movement.travel == pytest.approx((0, -0.10, 0), abs=2e-3)
    assert movement.path == "line"


def test_in_the_palms_own_axes_a_palm_down_hand_that_rises_goes_backward_of_its_palm() -> None:
    codes = code(moved(along(UP, np.clip((np.arange(45) - 15) / 15, 0, 1) * 0.10)))
    assert events(codes, "body-move") == [("palmward", "backward")]
    assert the_movement(codes).travel_body == pytest.approx((0, 0, -0.10), abs=2e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_bumps_are_counted(count: int) -> None:
    frames = 24 if count == 1 else 64
    movement = the_movement(code(moved(along(FORWARD, 0.1 * bumps(count, 80, 8, 8 + frames)))))
    assert (movement.count_low, movement.count, movement.count_high) == (count, count, count)
    assert movement.tempo_hz == pytest.approx(count / (frames / FPS), rel=0.08)
    assert not movement.two_sided
    assert not movement.one_way


@pytest.mark.parametrize("count", [1, 2, 3])
def test_swings_to_both_sides_are_counted_once_a_period(count: int) -> None:
    swing = 0.06 * np.sin(2 * np.pi * count * np.clip((np.arange(64) - 8) / 48, 0, 1))
    movement = the_movement(code(moved(along(RIGHT, swing))))
    assert movement.count == count
    assert movement.two_sided
    assert abs(movement.travel[0]) == pytest.approx(0.12, abs=0.02)


@pytest.mark.parametrize(
    ("first", "second", "sense", "plane"),
    [
        (RIGHT, (0, 1, 0), "clockwise", "z"),  # right, then down: on a wall, as the wearer sees it
        (RIGHT, UP, "counterclockwise", "z"),
        (FORWARD, RIGHT, "clockwise", "y"),  # ahead, then right: on a table, seen from above
        (RIGHT, FORWARD, "counterclockwise", "y"),
        (UP, FORWARD, "forward", "x"),  # over the top away from the wearer
    ],
)
def test_circles_have_a_sense_as_the_wearer_sees_them(first: tuple, second: tuple, sense: str, plane: str) -> None:
    angle = 2 * np.pi * 2 * np.clip((np.arange(64) - 8) / 48, 0, 1)
    path = along(first, 0.05 * np.cos(angle)) + along(second, 0.05 * np.sin(angle))
    movement = the_movement(code(moved(path)))
    assert (movement.path, movement.circling, movement.plane, movement.count) == ("circle", sense, plane, 2)
    assert movement.tempo_hz == pytest.approx(2 / (48 / FPS), rel=0.05)


def test_an_arc_and_a_zigzag_are_told_from_a_line() -> None:
    go = np.clip((np.arange(64) - 8) / 48, 0, 1)
    shapes = {
        "line": along(RIGHT, 0.2 * go),
        "arc": along(RIGHT, 0.2 * go) + along(UP, 0.3 * go * (1 - go)),
        "zigzag": along(RIGHT, 0.2 * go) + along(UP, 0.04 * np.sin(2 * np.pi * 3 * go)),
    }
    assert {name: the_movement(code(moved(path))).path for name, path in shapes.items()} == {n: n for n in shapes}


def test_handshapes_are_named() -> None:
    shapes = {"flat": {"flat", "open"}, "fist": {"fist"}, "pinch": {"pinch", "ok"}}
    for pose, names in shapes.items():
        assert set(states(code(moved(np.zeros((20, 3)), pose)), "handshape")) <= names


def test_a_pinch_touches_thumb_and_index_and_a_flat_hand_touches_nothing() -> None:
    weight = np.clip((np.arange(45) - 15) / 10, 0, 1)
    pinch = hand(np.multiply.outer(weight, load_pose("pinch").numpy()), frames=45)
    codes = code(pinch)
    (touch,) = [e for e in codes.events if e.kind == "contact"]
    assert (touch.hand, touch.subject, touch.value) == ("right", "thumb+index", "touch")
    assert touch.start > 1.0
    assert touch.end == pytest.approx(3.0)
    assert touch.amount < 0.02
    assert ("thumb+index", "approach") in events(codes, "thumb-distance")
    assert not [e for e in code(moved(np.zeros((20, 3)))).events if e.kind == "contact"]


def test_fingers_that_close_bend_all_five() -> None:
    weight = np.clip((np.arange(45) - 15) / 15, 0, 1)
    codes = code(hand(np.multiply.outer(weight, load_pose("fist").numpy()), frames=45))
    assert sorted(events(codes, "flex")) == [(f, "bend") for f in ("index", "middle", "pinky", "ring", "thumb")]
    assert states(codes, "handshape")[-1] == "fist"
    assert the_movement(codes).channel == "flex"


def test_hands_that_do_the_same_are_mirrored_and_in_turn_are_alternating() -> None:
    right = moved(along(UP, 0.1 * bumps(2)))
    left = np.repeat(hand(side="left"), 64, 0)
    together = code(right, left=left + along(UP, 0.1 * bumps(2))[:, None])
    in_turn = code(right, left=left + along(UP, 0.1 * bumps(2, start=20, stop=68))[:, None])
    assert [p.pattern for p in together.pairings] == ["mirrored"]
    assert [p.first for p in together.pairings] == ["together"]
    assert [p.pattern for p in in_turn.pairings] == ["alternating"]
    assert [p.first for p in in_turn.pairings] == ["right"]


def test_palms_that_meet_touch() -> None:
    right = hand("flat")[:, :, [1, 0, 2]] * [-1, -1, 1]  # palm to the left
    gap = 0.12 - 0.105 * bumps(2)
    path = along(RIGHT, gap - 0.13)
    joints = np.stack([(right + path[:, None] + [0.13, 0, 0]) * [-1, 1, 1], right + path[:, None] + [0.13, 0, 0]], 1)
    codes = motion_codes(joints, None, FPS)
    assert isinstance(codes, MotionCodes)
    assert [e.subject for e in codes.events if e.kind == "contact" and e.subject == "palms"] == ["palms"] * 2
    assert [e.value for e in codes.events if e.kind == "palms-distance"] == ["approach", "part"] * 2


def test_frames_in_which_a_hand_was_not_seen_make_no_event_whatever_stands_in_them() -> None:
    joints = two_hands(moved(along(UP, 0.1 * bumps(2))))
    valid = np.ones((64, 2), bool)
    valid[30:, 1] = False
    dirty = [joints.copy() for _ in range(3)]
    dirty[0][30:, 1] = np.nan
    dirty[1][30:, 1] = 0.0
    dirty[2][30:, 1] = np.random.default_rng(0).normal(size=(34, 21, 3)) * 1e6
    texts = {motion_codes(x, valid, FPS).to_json() for x in dirty}
    assert len(texts) == 1
    codes = MotionCodes.from_json(texts.pop())
    assert codes.hands[1].seen == pytest.approx(30 / 64, abs=1e-4)
    times = [x.end for x in (*codes.events, *codes.states, *codes.movements) if x.hand in ("right", "both")]
    assert times
    assert max(times) <= 2.0


def test_a_hand_that_was_never_seen_has_nothing() -> None:
    joints = two_hands(moved(along(UP, 0.1 * bumps(2))))
    codes = motion_codes(joints, np.array([[False, True]] * 64), FPS)
    assert isinstance(codes, MotionCodes)
    assert {x.hand for x in (*codes.events, *codes.states, *codes.movements)} == {"right"}
    assert codes.hands[0].palm == (0.0, 0.0, 0.0)


def test_a_batch_gives_what_its_clips_give_alone() -> None:
    clips = np.stack([random_motion(seed) for seed in range(6)])
    valid = np.ones((6, 48, 2), bool)
    valid[2, 10:20, 0] = False
    alone = [motion_codes(x, v, FPS).to_json() for x, v in zip(clips, valid, strict=True)]
    nested = motion_codes(clips.reshape(2, 3, 48, 2, 21, 3), valid.reshape(2, 3, 48, 2), FPS)
    assert [c.to_json() for row in nested for c in row] == alone


def test_clips_of_many_lengths_and_rates_give_what_they_give_alone() -> None:
    clips = [random_motion(seed, frames) for seed, frames in enumerate((20, 31, 20, 45))]
    seen = [np.random.default_rng(k).random((len(clip), 2)) < 0.8 for k, clip in enumerate(clips)]
    rates = [15.0, 15.0, 30.0, 15.0]
    alone = [motion_codes(clip, mask, rate).to_json() for clip, mask, rate in zip(clips, seen, rates, strict=True)]
    assert [codes.to_json() for codes in codes_of_clips(clips, seen, rates)] == alone
    whole = [motion_codes(clip, None, 30.0).to_json() for clip in clips]
    assert [codes.to_json() for codes in codes_of_clips(clips, None, 30)] == whole
    assert codes_of_clips([]) == []


def test_json_gives_equal_codes_back() -> None:
    codes = motion_codes(random_motion(1), None, FPS)
    assert isinstance(codes, MotionCodes)
    again = MotionCodes.from_json(codes.to_json())
    assert again == codes
    assert again.events == codes.events
    assert again.states == codes.states
    assert again.to_json() == codes.to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', "null", '{"schema":1,"fps":15}', "[" * 100000])
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="Motion codes: Expected"):
        MotionCodes.from_json(text)


def test_wrong_input_is_refused() -> None:
    joints = two_hands(moved(np.zeros((8, 3))))
    with pytest.raises(ShapeError, match="joints: Expected shape"):
        motion_codes(joints[:, :1], None, FPS)
    with pytest.raises(ShapeError, match="valid: Expected shape"):
        motion_codes(joints, np.ones(8, bool), FPS)
    with pytest.raises(InputError, match="fps: Expected a positive rate"):
        motion_codes(joints, None, 0.0)
    with pytest.raises(InputError, match="at least one frame"):
        motion_codes(joints[:0], None, FPS)
    joints[3, 0, 2, 1] = np.nan
    with pytest.raises(InputError, match="Mark them in `valid`"):
        motion_codes(joints, None, FPS)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_very_short_clips_have_codes(frames: int) -> None:
    codes = motion_codes(two_hands(moved(np.zeros((frames, 3)))), None, FPS)
    assert isinstance(codes, MotionCodes)
    assert codes.movements == ()


def test_thresholds_are_checked() -> None:
    with pytest.raises(InputError, match=r"CodeThresholds\.move_m: Expected a positive number"):
        CodeThresholds(move_m=-1.0)
    with pytest.raises(InputError, match="Expected slow_hz < fast_hz"):
        CodeThresholds(slow_hz=3.0)


def test_a_larger_threshold_leaves_a_small_event_out() -> None:
    joints = two_hands(moved(along(UP, np.clip((np.arange(45) - 15) / 15, 0, 1) * 0.10)))
    codes = motion_codes(joints, None, FPS, CodeThresholds(move_m=0.2))
    assert isinstance(codes, MotionCodes)
    assert not [e for e in codes.events if e.kind == "move"]


def test_a_pairing_lasts_while_both_hands_are_at_work() -> None:
    common = {"channel": "travel", "fluttering": False, "two_sided": False}
    left = SimpleNamespace(hand="left", start=0.0, end=2.0, **common)
    right = SimpleNamespace(hand="right", start=1.0, end=3.0, **common)
    pair = _pair(left, right, np.zeros((12, 2, 45), np.float32), CodeThresholds())  # type: ignore[arg-type]
    assert (pair.start, pair.end, pair.first) == (1.0, 2.0, "left")
