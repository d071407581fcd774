"""What each scripted action does in space, without jitter: axes x right, y down, z away from the wearer."""

from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import features_to_joints
from hiw_data.sources.families import FAMILIES
from hiw_data.sources.procedural import Sketch, _write_tracks, to_features

FPS = 15.0
X, Y, Z = 0, 1, 2
THUMB_TIP, INDEX_BASE, MIDDLE_BASE, PINKY_BASE = 4, 5, 9, 17
TIPS = (4, 8, 12, 16, 20)
SIDES = {"left": (0,), "right": (1,), "both": (0, 1)}


def perform(name: str, direction: str, hand: str, repetitions: int = 1) -> np.ndarray:
    """Joints (T, 2, 21, 3) of an action at one repetition a second."""
    (family,) = [f for f in FAMILIES if f.name == name]
    words = {"hand": hand, "direction": direction, "speed": "medium", "size": "large", "repetitions": repetitions}
    tracks = _write_tracks(family, words, 1.0, 0.29, np.arange(64) / FPS)
    still = np.zeros((2, 51)), np.zeros((14, 2, 51))
    return np.asarray(features_to_joints(to_features([Sketch(64, tracks, *still, [], [], words)])[0]))


def hands_of(name: str) -> tuple[str, ...]:
    (family,) = [f for f in FAMILIES if f.name == name]
    return family.hands


def farthest(path: np.ndarray) -> float:
    """The largest displacement from the first frame, with its sign."""
    moved = path - path[0]
    return float(moved[np.abs(moved).argmax()])


@pytest.mark.parametrize(
    ("name", "direction", "axis", "sign"),
    [
        ("point", "left", X, -1), ("point", "right", X, 1), ("point", "up", Y, -1), ("point", "down", Y, 1),
        ("point", "forward", Z, 1),
        ("knead", "forward", Z, 1), ("knead", "down", Y, 1),
        ("type", "moving left", X, -1), ("type", "moving right", X, 1),
        ("piano", "up the keys", X, 1), ("piano", "down the keys", X, -1),
        ("cut", "down", Y, 1),
        ("knock", "forward", Z, 1), ("knock", "down", Y, 1),
        ("lift", "left", X, -1), ("lift", "right", X, 1), ("lift", "up", Y, -1),
        ("push", "left", X, -1), ("push", "right", X, 1), ("push", "forward", Z, 1), ("push", "down", Y, 1),
        ("pull", "back", Z, -1), ("pull", "down", Y, 1),
        ("throw", "forward", Z, 1), ("throw", "up", Y, -1),
        ("thumb", "up", Y, -1), ("thumb", "down", Y, 1),
        ("beckon", "up", Z, -1), ("beckon", "down", Z, -1),
        ("pinch", "up", Y, -1), ("pinch", "forward", Z, 1), ("pinch", "down", Y, 1),
        ("drum", "together", Y, 1), ("drum", "alternately", Y, 1),
    ],
)  # fmt: skip
def test_the_wrist_goes_where_the_caption_says(name: str, direction: str, axis: int, sign: int) -> None:
    for hand in hands_of(name):
        joints = perform(name, direction, hand)
        for side in SIDES[hand]:
            assert sign * farthest(joints[:, side, 0, axis]) > 0.03


@pytest.mark.parametrize(
    ("name", "direction", "axis"),
    [
        ("wave", "from side to side", X), ("wave", "up and down", Y), ("cut", "back and forth", Z),
        ("wipe", "from side to side", X), ("wipe", "back and forth", Z), ("roll", "back and forth", Z),
        ("shake", "from side to side", X), ("shake", "up and down", Y),
        ("draw", "a horizontal line", X), ("draw", "a vertical line", Y),
    ],
)  # fmt: skip
def test_a_movement_to_and_fro_keeps_to_its_line(name: str, direction: str, axis: int) -> None:
    for hand in hands_of(name):
        wrists = perform(name, direction, hand)[:, SIDES[hand], 0]
        travel = np.ptp(wrists, axis=0)  # (hands, 3)
        assert (travel[:, axis] > 0.05).all()
        assert (travel[:, axis, None] > 5 * np.delete(travel, axis, 1)).all()


@pytest.mark.parametrize(("direction", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
@pytest.mark.parametrize("name", ["stir", "screw", "roll"])
def test_turns_go_round_as_the_wearer_sees_them(name: str, direction: str, sign: int) -> None:
    for hand in hands_of(name):
        joints = perform(name, direction, hand, repetitions=2)
        if name == "screw":  # seen from behind: clockwise, the thumb on top goes right
            for side in SIDES[hand]:
                thumb = joints[:, side, THUMB_TIP, X] - joints[:, side, 0, X]
                assert sign * (thumb[np.abs(thumb - thumb[0]).argmax()] - thumb[0]) > 0.03
            continue
        path = joints[:, SIDES[hand][-1], 0][:, [X, Z]]  # seen from above, the upper hand of a pair
        path = path - path.mean(0)
        area = 0.5 * np.sum(path[:-1, 0] * path[1:, 1] - path[1:, 0] * path[:-1, 1])
        assert -sign * area > 0.001


@pytest.mark.parametrize(("direction", "sign"), [("left", -1), ("right", 1)])
@pytest.mark.parametrize("hand", ["left", "right"])
def test_a_cup_is_tilted_to_the_side_that_it_pours_to(direction: str, sign: int, hand: str) -> None:
    joints = perform("pour", direction, hand)
    (side,) = SIDES[hand]
    top = joints[:, side, INDEX_BASE, X] - joints[:, side, PINKY_BASE, X]  # the thumb's side of the hand is on top
    assert sign * farthest(top) > 0.03


@pytest.mark.parametrize(("direction", "ahead"), [("right hand forward", 1), ("left hand forward", 0)])
def test_one_fist_of_a_wringing_pair_turns_forward_the_other_back(direction: str, ahead: int) -> None:
    joints = perform("wring", direction, "both")
    knuckle = joints[:, :, MIDDLE_BASE, Y] - joints[:, :, 0, Y]
    assert farthest(knuckle[:, ahead]) > 0.03  # its knuckles roll over, forward and down
    assert farthest(knuckle[:, 1 - ahead]) < -0.03


@pytest.mark.parametrize(
    ("direction", "hand", "first_to_last"),
    [
        ("up the keys", "right", (0, 1, 2, 3, 4)), ("down the keys", "right", (4, 3, 2, 1, 0)),
        ("up the keys", "left", (4, 3, 2, 1, 0)), ("down the keys", "left", (0, 1, 2, 3, 4)),
    ],
)  # fmt: skip
def test_a_run_on_the_piano_is_played_finger_by_finger(direction: str, hand: str, first_to_last: tuple) -> None:
    joints = perform("piano", direction, hand)
    (side,) = SIDES[hand]
    reach = np.linalg.norm(joints[:, side, TIPS] - joints[:, side, :1], axis=-1)  # (T, 5)
    assert tuple(np.argsort(reach.argmin(0), kind="stable")) == first_to_last


@pytest.mark.parametrize(
    ("name", "direction", "axis", "sign"),
    [
        ("pinch", "up", Y, -1), ("pinch", "forward", Z, 1), ("pinch", "down", Y, 1),
        ("clap", "up", Y, -1), ("clap", "forward", Z, 1),
    ],
)  # fmt: skip
def test_fingers_point_where_the_caption_says(name: str, direction: str, axis: int, sign: int) -> None:
    for hand in hands_of(name):
        joints = perform(name, direction, hand)[:, SIDES[hand]]
        forward = joints[..., MIDDLE_BASE, :] - joints[..., 0, :]
        assert (sign * forward[..., axis] > 0.85 * np.linalg.norm(forward, axis=-1)).all()


@pytest.mark.parametrize(
    ("name", "direction", "axis", "sign"),
    [
        ("fist", "up", Y, -1), ("fist", "down", Y, 1), ("fist", "forward", Z, 1),
        ("beckon", "up", Y, -1), ("beckon", "down", Y, 1),
        ("push", "forward", Z, 1), ("push", "down", Y, 1), ("push", "left", X, -1), ("push", "right", X, 1),
    ],
)  # fmt: skip
def test_palms_face_where_the_caption_says(name: str, direction: str, axis: int, sign: int) -> None:
    for hand in hands_of(name):
        joints = perform(name, direction, hand)
        for side in SIDES[hand]:
            forward = joints[:, side, MIDDLE_BASE] - joints[:, side, 0]
            normal = np.cross(joints[:, side, INDEX_BASE] - joints[:, side, PINKY_BASE], forward) * (1 if side else -1)
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            assert sign * normal[0, axis] > 0.85
