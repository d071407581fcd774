from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, MotionCodes, load_pose, motion_codes, parse_claim
from hand_geometry.codes import evaluate
from hiw_data.captions import describe_hands, measure_shape
from hiw_data.sources.fingerspelling import Entry, write_captions
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

FIRST_JOINT = {"index": 0, "middle": 3, "pinky": 6, "ring": 9, "thumb": 12}
UP_PALM_TO_VIEWER = Rotation.from_matrix([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""Right hand: fingers (-x of the model) up (-y), palm (-y of the model) toward the camera (-z)."""


def hand(
    curled: tuple[str, ...] = (), *, side: str = "right", turn: Rotation | None = None, frames: int = 9
) -> np.ndarray:
    """Joints (T, 21, 3) of a still hand, the named fingers in a fist."""
    pose, fist = torch.zeros(15, 3), load_pose("fist", side=side)
    for finger in curled:
        k = FIRST_JOINT[finger]
        pose[k : k + 3] = fist[k : k + 3]
    orient = (turn or Rotation.identity()) * UP_PALM_TO_VIEWER
    vector = torch.tensor(orient.as_rotvec() * ([1, -1, -1] if side == "left" else [1, 1, 1]))
    joints = HandModel.load("default", side=side)(vector.float(), pose, vertices=False).joints
    return np.repeat(joints.numpy()[None], frames, 0)


def codes_of(joints: np.ndarray) -> MotionCodes:
    """Motion codes of a right hand (T, 21, 3) that alone is seen."""
    codes = motion_codes(np.stack([joints, joints], 1), np.tile([False, True], (len(joints), 1)), 15.0)
    assert isinstance(codes, MotionCodes)
    return codes


def fanned(degrees: float) -> np.ndarray:
    """An open right hand (T, 21, 3), so many degrees between index and middle finger, 5 between the others."""
    joints = hand()
    for base, angle in ((5, degrees), (9, 0.0), (13, -5.0), (17, -10.0)):
        way = np.array([np.sin(np.radians(angle)), -np.cos(np.radians(angle)), 0.0])
        joints[:, base + 1 : base + 4] = joints[:, base, None] + np.outer([0.04, 0.065, 0.085], way)
    return joints


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("curled", "states"),
    [
        ((), ("extended",) * 4),
        (("index", "middle", "ring", "pinky"), ("curled",) * 4),
        (("middle", "ring", "pinky"), ("extended", "curled", "curled", "curled")),
        (("ring", "pinky"), ("extended", "extended", "curled", "curled")),
        (("index", "middle", "ring"), ("curled", "curled", "curled", "extended")),
    ],
)
def test_fingers_are_told_apart(side: str, curled: tuple[str, ...], states: tuple[str, ...]) -> None:
    measured = measure_shape(hand(curled, side=side), np.ones(9, bool), 0 if side == "left" else 1)
    assert measured.fingers == states
    assert measured.palm == "toward the viewer"
    assert measured.pointing == "up"
    assert measured.movement == "held still"


@pytest.mark.parametrize(
    ("axis", "degrees", "palm", "pointing"),
    [
        ("y", 180, "away", "up"),
        ("y", 90, "left", "up"),
        ("y", -90, "right", "up"),
        ("z", 90, "toward the viewer", "right"),
        ("z", 180, "toward the viewer", "down"),
        ("x", 90, "down", "toward the viewer"),
    ],
)
def test_palm_and_fingers_point_where_they_are_turned(axis: str, degrees: float, palm: str, pointing: str) -> None:
    measured = measure_shape(hand(turn=Rotation.from_euler(axis, degrees, degrees=True)), np.ones(9, bool), 1)
    assert (measured.palm, measured.pointing) == (palm, pointing)


def test_diagonals_name_both_directions() -> None:
    measured = measure_shape(hand(turn=Rotation.from_euler("z", 45, degrees=True)), np.ones(9, bool), 1)
    assert set(measured.pointing.split(" and ")) == {"up", "right"}


@pytest.mark.parametrize(
    ("axis", "step", "words"),
    [(0, 0.2, "moving right"), (0, -0.2, "moving left"), (1, 0.2, "moving down"), (1, -0.2, "moving up")],
)
def test_movement_is_named(axis: int, step: float, words: str) -> None:
    joints = hand(frames=20)
    joints[:, :, axis] += np.linspace(0, step, 20)[:, None]
    assert measure_shape(joints, np.ones(20, bool), 1).movement == words


def test_a_movement_may_waver_on_its_way() -> None:
    joints = hand(frames=20)
    joints[:, :, 0] += (np.linspace(0, 0.2, 20) + 0.004 * (-1.0) ** np.arange(20))[:, None]
    assert measure_shape(joints, np.ones(20, bool), 1).movement == "moving right"


def test_turning_and_swinging_are_named() -> None:
    turns = [hand(turn=Rotation.from_euler("y", a, degrees=True), frames=1)[0] for a in np.linspace(0, 120, 20)]
    assert measure_shape(np.stack(turns), np.ones(20, bool), 1).movement == "turning"
    swinging = hand(frames=40)
    swinging[:, :, 0] += 0.08 * np.sin(np.linspace(0, 6 * np.pi, 40))[:, None]
    assert measure_shape(swinging, np.ones(40, bool), 1).movement == "moving from side to side"


def test_the_held_shape_counts_not_the_way_to_it() -> None:
    opening, held = hand(), hand(("middle", "ring", "pinky"), frames=1)[0]
    joints = np.concatenate([opening[:6] * np.linspace(1, 0.9, 6)[:, None, None], np.repeat(held[None], 12, 0)])
    joints[:6] += np.linspace(0.2, 0, 6)[:, None, None]
    assert measure_shape(joints, np.ones(18, bool), 1).fingers == ("extended", "curled", "curled", "curled")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_frames_that_were_not_seen_do_not_matter(seed: int) -> None:
    joints, valid = hand(("ring",), frames=14), np.ones(14, bool)
    valid[::3] = False
    before = measure_shape(joints, valid, 1)
    joints[~valid] = np.random.default_rng(seed).normal(size=(5, 21, 3))
    assert measure_shape(joints, valid, 1) == before


@pytest.mark.parametrize(
    ("millimetres", "thumb", "status"),
    [(18, "touching the index finger", "fulfilled"), (25, None, "not measurable"), (35, None, "contradicted")],
)
def test_thumb_and_finger_touch_where_the_motion_codes_say_so(
    millimetres: float, thumb: str | None, status: str
) -> None:
    """Near (25 mm) is not touching: it was said of up to 30 mm, and the codes could not tell it."""
    joints = hand(("index", "middle", "ring", "pinky"))
    joints[:, 4] = joints[:, 8] + [millimetres / 1000, 0.0, 0.0]
    said = measure_shape(joints, np.ones(9, bool), 1).thumb
    assert (said == thumb) if thumb else ("touching" not in said)
    assert evaluate(parse_claim("contact:right/thumb+index=touch"), codes_of(joints)).status == status


@pytest.mark.parametrize(
    ("degrees", "words"),
    [(14.0, "fingers together"), (18.0, None), (22.0, "fingers spread")],
)
def test_fingers_are_spread_or_together_where_the_motion_codes_say_so(degrees: float, words: str | None) -> None:
    joints = fanned(degrees)
    shape = measure_shape(joints, np.ones(9, bool), 1)
    assert shape.fingers == ("extended",) * 4
    assert [w for w in ("fingers together", "fingers spread") if w in shape.words()] == ([words] if words else [])
    said = {
        value: evaluate(parse_claim(f"fingers:right/fingers={value}"), codes_of(joints)).status
        for value in ("together", "spread")
    }
    fulfilled = [f"fingers {value}" for value, status in said.items() if status == "fulfilled"]
    assert fulfilled == ([words] if words else [])


def test_two_hands_are_described_the_longer_seen_first() -> None:
    joints = np.stack([hand(side="left"), hand(("index", "middle", "ring", "pinky"))], 1)
    valid = np.ones((9, 2), bool)
    valid[:4, 1] = False
    words = describe_hands(joints, valid)
    assert words.startswith("the left hand all fingers extended")
    assert "; the right hand all fingers curled" in words
    assert describe_hands(joints, valid & [False, True]).startswith("all fingers curled")
    with pytest.raises(ValueError, match="at least one hand"):
        describe_hands(joints, np.zeros((9, 2), bool))


def test_captions_of_letters_agree_in_number() -> None:
    entry = Entry("x.pose", "fsl", "B")
    assert write_captions(entry, "right", "all fingers extended") == [
        "the right hand spells the letter B in French Sign Language",
        "the right hand spells the letter B in French Sign Language: all fingers extended",
    ]
    assert write_captions(entry, "both", "s")[0] == "both hands spell the letter B in French Sign Language"


def test_the_shape_is_that_of_a_third_of_the_frames_in_which_the_hand_is_seen() -> None:
    """Of 12 seen frames among 36 four count: the open hand that is held, not the fist that moves on."""
    fist = hand(("index", "middle", "ring", "pinky"), frames=36)
    joints = fist + 0.02 * np.arange(36)[:, None, None] * [1.0, 0.0, 0.0]
    joints[:6] = hand(frames=6)
    valid = np.arange(36) < 12
    assert measure_shape(joints, valid, 1).fingers == ("extended",) * 4
