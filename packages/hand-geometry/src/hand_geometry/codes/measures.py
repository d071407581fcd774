"""What a claim about a movement looks at: whether, how often, how fast, how far, where to, along which path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hand_geometry.codes.api import MotionCodes
from hand_geometry.codes.claims import SWINGS, Claim
from hand_geometry.codes.lookup import SIDES, Answer, axis_of, main_movement, movements, share_answer, vector_text
from hand_geometry.codes.movement import SIZE_CLASSES, SPEED_CLASSES, Movement

_TURNED_DEG = 8.0
_LEAST_TRAVEL_M, _FINGER_M = 0.012, 0.09
_TURNS = {"clockwise": (2, 1), "counterclockwise": (2, -1), "pitch-forward": (0, -1), "pitch-back": (0, 1)}
"""World axis and sense of a rotation."""


def moves(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """Whether a hand moves."""
    found = movements(claim, codes, hand)
    spans = max((m.spans for m in found), default=0.0)
    if claim.value == "alone":
        other = max((m.spans for m in movements(claim, codes, 1 - hand)), default=0.0)
        said = f"moves by {spans:.1f} spans, the other hand by {other:.1f}"
        return (None if codes.hands[1 - hand].seen < 0.5 else share_answer(spans / max(other, 1e-9), 4.0, 1.6)), said
    return bool(found) == (claim.value == "moves"), f"moves by {spans:.1f} spans" if found else "still"


def counted(claim: Claim, codes: MotionCodes, hands: tuple[int, ...]) -> Answer:
    """Repetitions of all movements, of the hand that has most of them."""
    found = [movements(claim, codes, hand) for hand in hands]
    low = max(sum(max(m.count_low, 1) for m in several) for several in found)
    high = max(sum(max(m.count_high, 1) for m in several) for several in found)
    count = max(sum(max(m.count, 1) for m in several) for several in found)
    if claim.value == "several":
        return (True if low > 1 else False if high < 2 else None), f"{count} times"
    number = int(claim.value)
    return low <= number <= high, f"{count} times" + ("" if low == high else f" ({low} to {high})")


def classed(claim: Claim, codes: MotionCodes, hands: tuple[int, ...], name: str, limits: tuple[float, float]) -> Answer:
    """Whether tempo or size lies in a class, or so near its border that both classes are true."""
    found = [m for hand in hands if (m := main_movement(claim, codes, hand))]
    if not found:
        return None, "no movement"
    value = float(np.mean([SIZES[name](m) if name in SIZES else m.tempo_hz for m in found]))
    classes = SIZE_CLASSES if name in SIZES else SPEED_CLASSES
    low, high = (np.searchsorted(limits, value * factor) for factor in (1 - _TOLERANCE, 1 + _TOLERANCE))
    return int(low) <= classes.index(claim.value) <= int(high), f"{value:.3g} {_UNITS.get(name, name)}"


SIZES: dict[str, Callable[[Movement], float]] = {
    "spans": lambda m: m.spans,
    "travel": lambda m: float(np.linalg.norm(m.travel)),
    "turn": lambda m: float(np.linalg.norm(m.turn)),
    "flex": lambda m: float(np.linalg.norm(m.flex)),
}
"""Ways to say how large a movement is: its range in spans, its travel (m), its turn or its flexing (degrees)."""
_UNITS = {"tempo_hz": "repetitions a second", "travel": "m of travel", "turn": "degrees", "flex": "degrees of flexing"}
_TOLERANCE = 0.03


def direction(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """Where a hand moves, or along which line to and fro."""
    m = main_movement(claim, codes, hand)
    if m is None:
        return False, "no movement"
    travel, net = _travel(m), np.array(m.net)
    length, ends = float(np.linalg.norm(travel)), float(np.linalg.norm(net))
    said = f"{m.path} path, {vector_text(travel)} m" + (", to both sides" if m.two_sided else "")
    if claim.value == "in-place":
        return share_answer(0.035 - ends, 0.010, 0.0), f"net displacement {ends:.3f} m"
    if m.path == "circle":
        return False, said
    if claim.value in SWINGS:
        if length < codes.thresholds.travel_m:
            return None, "hardly travels"
        axis = {"side-to-side": 0, "up-and-down": 1, "back-and-forth": 2}[claim.value]
        return share_answer(abs(float(travel[axis])) / length, 0.55, 0.45), said
    far = [v for v, size, least in ((travel, length, 0.015), (net, ends, 0.03)) if size >= least]
    if not far:
        return (False if m.fluttering else None), "hardly travels"
    shares = []
    for v in far:
        v = v if v is net or not m.two_sided else v * np.sign(v @ axis_of(claim.value))
        along, across = float(v @ axis_of(claim.value)), float(np.abs(v * (1 - np.abs(axis_of(claim.value)))).max())
        shares.append(along / float(np.linalg.norm(v)) if claim.subject == "partly" else along / max(across, 1e-9))
    if claim.subject == "partly":
        return share_answer(max(shares), 0.35, 0.15), said
    return share_answer(max(shares), 0.95, 0.88), said


def _travel(m: Movement) -> np.ndarray:
    """The displacement that a movement shows: of the wrist, or of the fingertips where the wrist hardly moves."""
    if m.fluttering:
        return np.array(m.net)
    travel = np.array(m.travel)
    return travel if np.linalg.norm(travel) >= _LEAST_TRAVEL_M else _FINGER_M * np.array(m.pointing_change)


def turn(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """The sense of a rotation: about the line ahead, about the line across, or of the forearm."""
    m = main_movement(claim, codes, hand)
    if m is None:
        return False, "no movement"
    world, body = np.array(m.turn_world), np.array(m.turn)
    if claim.value == "none":
        return bool(np.linalg.norm(world) < codes.thresholds.turn_deg), f"turns by {np.linalg.norm(world):.0f} degrees"
    if claim.value in _TURNS:
        axis, sign = _TURNS[claim.value]
        part, whole = world[axis] * sign, np.linalg.norm(world)
    else:
        part, whole = body[0] * (1 if claim.value == "outward" else -1), np.linalg.norm(body)
    said = f"{part:+.0f} of {whole:.0f} degrees {claim.value}"
    return (None if whole < _TURNED_DEG else share_answer(float(part / whole), 0.5, 0.2)), said


def shape(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """The shape of the wrist's path."""
    m = main_movement(claim, codes, hand)
    if m is None:
        return False, "no movement"
    said = f"path: {m.path}, {vector_text(m.travel)} m"
    if m.path == "none":
        return None, said
    if not claim.value.endswith("-line"):
        return (m.path == claim.value) or (None if {m.path, claim.value} <= {"arc", "curve", "zigzag"} else False), said
    travel = np.abs(m.travel)
    vertical = travel[1] / max(float(np.linalg.norm(travel)), 1e-9)
    if m.path == "circle":
        return False, said
    return share_answer(vertical if claim.value == "vertical-line" else 1 - vertical, 0.55, 0.45), said


def circling(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """The sense of a circle."""
    m = main_movement(claim, codes, hand)
    if m is None or not m.circling:
        clear = m is None or m.path == "line"
        return (False if clear else None), "no circle"
    return m.circling == claim.value, f"{m.count} turns {m.circling}"


def rest(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """Held still, returning to where it began, or ending elsewhere."""
    if claim.value == "hold":
        travel, angle = _moved_by(claim, codes, hand)
        most = max(travel / codes.thresholds.move_m, angle / codes.thresholds.turn_deg)
        said = f"moves by {travel:.3f} m and {angle:.0f} degrees"
        return (True if most < 0.8 else False if most > 1.5 else None), said
    m = main_movement(claim, codes, hand)
    if m is None:
        return None, "no movement"
    return m.one_way == (claim.value == "one-way"), "ends elsewhere" if m.one_way else "returns"


def _moved_by(claim: Claim, codes: MotionCodes, hand: int) -> tuple[float, float]:
    """The largest travel (m) and turn (degrees) of an event within the claim's time, each by its share in it."""
    first, last = claim.window(codes.seconds)
    most = {"move": 0.0, "turn": 0.0}
    for event in codes.events:
        if event.kind in most and event.hand == SIDES[hand]:
            inside = max(min(event.end, last) - max(event.start, first), 0.0) / (event.end - event.start)
            most[event.kind] = max(most[event.kind], abs(event.amount) * inside)
    return most["move"], most["turn"]
