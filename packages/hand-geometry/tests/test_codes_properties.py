"""What must hold of motion codes whatever the motion: mirrors, shifts, turns, time backwards, unseen frames."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from code_motions import FPS, mirrored, random_motion
from hand_geometry import MotionCodes, motion_codes
from hand_geometry.codes import Event, State
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

SEEDS = st.integers(0, 10_000)
MANY = settings(max_examples=20, deadline=None)
BODY_KINDS = {
    "flex",
    "spacing",
    "contact",
    "body-move",
    "turn",
    "thumb-distance",
    "palm-distance",
    "palms-distance",
    "near",
}
OTHER = {"left": "right", "right": "left", "both": "both"}
SWAP = {"up": "down", "forward": "back", "above": "below", "behind": "in-front-of"}
SWAP |= {b: a for a, b in SWAP.items()}


def coded(joints: np.ndarray, valid: np.ndarray | None = None) -> MotionCodes:
    codes = motion_codes(joints, valid, FPS)
    assert isinstance(codes, MotionCodes)
    return codes


def in_the_mirror(record: Event | State) -> tuple[str, str, str, str, float, float]:
    subject, value = record.subject, record.value
    if "left-" in subject:
        left, right = subject.removeprefix("left-").split("+right-")
        subject = f"left-{right}+right-{left}"
    if record.kind == "relative":  # the right hand from the left one: x stays, y and z turn round
        value = value if subject == "x" else SWAP.get(value, value)
    elif value in ("left", "right"):
        value = OTHER[value]
    return record.kind, OTHER[record.hand], subject, value, record.start, record.end


def plain(record: Event | State) -> tuple[str, str, str, str, float, float]:
    return record.kind, record.hand, record.subject, record.value, record.start, record.end


@MANY
@given(SEEDS)
def test_a_mirrored_motion_has_the_mirrored_codes(seed: int) -> None:
    joints = random_motion(seed)
    one, other = coded(joints), coded(mirrored(joints))
    assert Counter(map(in_the_mirror, one.events)) == Counter(map(plain, other.events))
    assert Counter(map(in_the_mirror, one.states)) == Counter(map(plain, other.states))
    by_hand = {(OTHER[m.hand], m.start): m for m in one.movements}
    assert len(by_hand) == len(other.movements)
    for m in other.movements:
        twin = by_hand[m.hand, m.start]
        assert (m.count, m.speed, m.path, m.plane) == (twin.count, twin.speed, twin.path, twin.plane)
        sense = {"clockwise": "counterclockwise", "counterclockwise": "clockwise"}
        assert m.circling == sense.get(twin.circling, twin.circling)
        assert m.turn == pytest.approx(twin.turn, abs=0.05)
        assert m.flex == pytest.approx(twin.flex, abs=0.05)
        assert m.travel == pytest.approx((-twin.travel[0], *twin.travel[1:]), abs=1e-3)


@MANY
@given(SEEDS, st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_where_the_origin_is_changes_no_event(seed: int, shift: list[float]) -> None:
    joints = random_motion(seed)
    assert clear(coded(joints).events) <= Counter(map(plain_rough, coded(joints + shift).events))


@MANY
@given(SEEDS, st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_codes_of_the_body_frame_do_not_change_when_the_world_is_turned(
    seed: int, rotvec: list[float], shift: list[float]
) -> None:
    joints = random_motion(seed)
    turned = joints @ Rotation.from_rotvec(rotvec).as_matrix().T + shift
    one, other = (
        [e for e in coded(x).events if e.kind in BODY_KINDS] for x in (joints, turned)
    )  # an event at a threshold may go either way by rounding: all clear ones must be there
    assert clear(one) <= Counter(map(plain_rough, other))
    assert clear(other) <= Counter(map(plain_rough, one))


@MANY
@given(SEEDS)
def test_time_backwards_gives_the_same_changes_the_other_way_round(seed: int) -> None:
    joints = random_motion(seed)
    one, other = coded(joints), coded(joints[::-1].copy())
    opposite = {"bend": "extend", "spread": "close", "supinate": "pronate", "radial": "ulnar", "flexion": "extension"}
    opposite |= {"part": "approach", "right": "left", "down": "up", "forward": "back", "touch": "touch", "near": "near"}
    opposite |= {"fingerward": "wristward", "thumbward": "littleward", "palmward": "backward"}
    opposite |= {b: a for a, b in opposite.items()}
    backwards = [
        replace(e, value=opposite[e.value], start=one.seconds - e.end, end=one.seconds - e.start) for e in one.events
    ]
    assert clear(backwards) <= Counter(map(plain_rough, other.events))
    assert [s.value for s in one.states if s.kind == "palm" and s.hand == "left"] == [
        s.value for s in other.states if s.kind == "palm" and s.hand == "left"
    ][::-1]


@MANY
@given(SEEDS, st.integers(0, 47), st.integers(0, 47), st.integers(0, 1))
def test_unseen_frames_are_in_no_event_state_or_movement(seed: int, a: int, b: int, hand: int) -> None:
    joints, valid = random_motion(seed), np.ones((48, 2), bool)
    first, last = sorted((a, b))
    valid[first : last + 1, hand] = False
    clean, dirty = joints.copy(), joints.copy()
    clean[~valid], dirty[~valid] = 0.0, np.nan
    codes = coded(clean, valid)
    assert codes.to_json() == coded(dirty, valid).to_json()
    for record in (*codes.events, *codes.states, *codes.movements):
        if record.hand in (("left", "right")[hand], "both"):
            assert record.end <= first / FPS + 1e-3 or record.start >= (last + 1) / FPS - 1e-3


def plain_rough(e: Event) -> tuple[str, str, str, str]:
    """An event without its time: rounding may move an end by a frame."""
    return e.kind, e.hand, e.subject, e.value


def clear(events: Iterable[Event]) -> "Counter[tuple[str, str, str, str]]":
    """Events well above their thresholds."""
    least = {"flex": 40.0, "spacing": 24.0, "turn": 33.0, "thumb-distance": 0.02, "palm-distance": 0.04}
    least |= {"palms-distance": 0.065, "relative": 0.065, "move": 0.04, "body-move": 0.04}
    kept = [
        e
        for e in events
        if e.kind not in ("contact", "near") and abs(e.amount) > least[e.kind] and e.end - e.start > 0.25
    ]
    kept += [e for e in events if e.kind == "contact" and e.amount < 0.015 and e.end - e.start > 0.2]
    return Counter(plain_rough(e) for e in kept)
