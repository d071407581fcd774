"""Looking things up in motion codes: the movements, states and events that a claim is about."""

from __future__ import annotations

import numpy as np

from hand_geometry.codes.api import MotionCodes
from hand_geometry.codes.claims import Claim
from hand_geometry.codes.movement import Movement
from hand_geometry.codes.vocabulary import DIRECTIONS, EVENT, STATE, SUBJECT, VALUE

Answer = tuple[bool | None, str]
"""True, False, or None where it cannot be told, and the evidence."""

SIDES = ("left", "right")
_VALUE_NAMES = {index: name for name, index in VALUE.items()}


def movements(claim: Claim, codes: MotionCodes, hand: int) -> list[Movement]:
    """Movements of a hand that overlap the claim's time by a third of the shorter of the two."""
    first, last = claim.window(codes.seconds)
    out = []
    for m in codes.movements:
        overlap = min(m.end, last) - max(m.start, first)
        if m.hand == SIDES[hand] and overlap > 0 and overlap >= min(m.end - m.start, last - first) / 3:
            out.append(m)
    return out


def main_movement(claim: Claim, codes: MotionCodes, hand: int) -> Movement | None:
    """The largest of them."""
    return max(movements(claim, codes, hand), key=lambda m: m.spans, default=None)


def busy_hands(claim: Claim, codes: MotionCodes) -> tuple[int, ...]:
    """The hands that a claim without a certain hand is about."""
    if claim.hand in ("left", "right"):
        return (SIDES.index(claim.hand),)
    busy = tuple(hand for hand in (0, 1) if movements(claim, codes, hand)) or (0, 1)
    if claim.hand == "one" and len(busy) == 2:
        sizes = [getattr(main_movement(claim, codes, hand), "spans", 0.0) for hand in busy]
        return (int(sizes[1] > sizes[0]),)
    return busy


def upper_hand(claim: Claim, codes: MotionCodes) -> tuple[int, ...]:
    """Of two hands that circle in different senses the one above the other; else both."""
    senses = {getattr(main_movement(claim, codes, hand), "circling", "") for hand in (0, 1)}
    lower = codes.hands[1].position[1] - codes.hands[0].position[1]  # y points down
    if len(senses) == 1 or abs(lower) < 0.01:
        return (0, 1)
    return (0,) if lower > 0 else (1,)


def state_shares(codes: MotionCodes, claim: Claim, kind: str, hand: int, subject: str = "") -> dict[str, float]:
    """Share of the claim's time that each value of a state holds for."""
    table = codes.state_table
    first, last = claim.window(codes.seconds)
    rows = (table["kind"] == STATE[kind]) & (table["hand"] == hand) & (table["subject"] == SUBJECT[subject])
    start, stop, value = (table[name][rows] for name in ("start", "stop", "value"))
    overlap = np.clip(np.minimum(stop, last * codes.fps) - np.maximum(start, first * codes.fps), 0, None)
    length = max((last - first) * codes.fps, 1e-9)
    out: dict[str, float] = {}
    for index, frames in zip(value.tolist(), overlap.tolist(), strict=True):
        name = _VALUE_NAMES[index]
        out[name] = out.get(name, 0.0) + frames / length
    return out


def event_times(
    codes: MotionCodes, claim: Claim, kind: str, hand: int | None, subject: str, value: str | None = None
) -> list[float]:
    """Start times of the events of a kind that overlap the claim's time."""
    table = codes.event_table
    first, last = claim.window(codes.seconds)
    rows = (table["kind"] == EVENT[kind]) & (table["subject"] == SUBJECT[subject])
    rows &= (table["start"] < last * codes.fps) & (table["stop"] > first * codes.fps)
    if hand is not None:
        rows &= table["hand"] == hand
    if value is not None:
        rows &= table["value"] == VALUE[value]
    return [float(x) for x in table["start"][rows] / codes.fps]


def share_answer(share: float, yes: float, no: float) -> bool | None:
    """True from `yes` on, False below `no`, None between."""
    return True if share >= yes else False if share < no else None


def axis_of(name: str) -> np.ndarray:
    """The unit vector of a direction, shape (3,)."""
    index = DIRECTIONS.index(name)
    axis = np.zeros(3)
    axis[index // 2] = -1.0 if index % 2 else 1.0
    return axis


def vector_text(values: np.ndarray | tuple[float, ...]) -> str:
    """A vector as text."""
    return "(" + ", ".join(f"{v:+.3f}" for v in values) + ")"
