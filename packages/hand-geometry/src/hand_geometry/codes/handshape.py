"""The state of each finger and the name of the handshape, every frame, by one look-up in a table."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.contact import ContactDistances
from hand_geometry.codes.geometry import Measurements
from hand_geometry.codes.thresholds import CodeThresholds

Labels = NDArray[np.int8]

FINGER_STATES = ("extended", "bent", "hooked", "curved", "curled", "hyperextended")
EXTENDED, BENT, HOOKED, CURVED, CURLED, HYPEREXTENDED = range(6)
HANDSHAPES = (
    "other",
    "fist",
    "open",
    "flat",
    "point",
    "victory",
    "two",
    "three",
    "four",
    "thumb-out",
    "l-shape",
    "pinch",
    "ok",
    "claw",
    "c-shape",
    "horns",
    "i-love-you",
    "pinky",
    "call-me",
    "bent-flat",
)
"""Names of handshapes; "thumb-out" is thumbs up, down or sideways by where the thumb points."""


def finger_states(m: Measurements, t: CodeThresholds) -> Labels:
    """States (5, 2, N, T), thumb to pinky, as indices of FINGER_STATES.

    A finger is "bent" at the knuckle, "hooked" at the outer joints, "curved" at both, "curled" when closed. The thumb
    is extended (out to the side, or straight), bent, or curled.
    """
    knuckle, outer = m.knuckle, m.outer
    total = knuckle + outer
    states = np.where(outer > 3 * np.abs(knuckle), np.int8(HOOKED), np.int8(CURVED))
    states[(outer < t.outer_deg) & (knuckle > t.knuckle_deg)] = BENT
    states[total < t.extended_deg] = EXTENDED
    states[total < t.hyperextended_deg] = HYPEREXTENDED
    states[(outer > t.outer_deg) & (total > t.curled_deg)] = CURLED
    thumb = np.where(m.thumb_out > t.thumb_out_m, np.int8(EXTENDED), np.int8(BENT))
    thumb[(m.flex_raw[0] > t.extended_deg) & (thumb == BENT)] = CURLED
    return np.concatenate([thumb[None], states]).astype(np.int8)


def handshapes(m: Measurements, states: Labels, contact: ContactDistances, t: CodeThresholds) -> Labels:
    """Handshapes (2, N, T) as indices of HANDSHAPES."""
    straight = (states[1:] == EXTENDED) | (states[1:] == HYPEREXTENDED)
    closed = states[1:] == CURLED
    spread = (m.spacing[1:] > t.together_deg).any(0)
    spread_two = m.spacing[1] > t.together_deg
    bits = [
        *straight,
        *closed,
        states[0] == EXTENDED,
        contact.thumb_tips[0] < t.tip_contact_m,
        spread,
        spread_two,
        ((states[1:] == HOOKED) | (states[1:] == CURVED)).all(0),
        (states[1:] == BENT).all(0),
    ]
    key = np.zeros(states.shape[1:], np.int32)
    for place, bit in enumerate(bits):
        key |= bit.astype(np.int32) << place
    return np.asarray(_TABLE[key])


def _name(  # one condition a line, in order of precedence
    straight: tuple[int, ...], closed: tuple[int, ...], thumb: int, pinch: int, spread: int, spread_two: int,
    round_: int, bent: int,
) -> str:  # fmt: skip
    index, *others = straight
    if pinch and not index:
        return "ok" if all(others) else "pinch"
    if all(straight):
        return "open" if spread or thumb else "flat"
    if bent:
        return "bent-flat"
    if round_:
        return "c-shape" if thumb else "claw"
    if all(closed):
        return "thumb-out" if thumb else "fist"
    if any(not (s or c) for s, c in zip(straight, closed, strict=True)):
        return "other"
    names: dict[tuple[int, ...], str] = {
        (1, 0, 0, 0): "l-shape" if thumb else "point",
        (1, 1, 0, 0): "victory" if spread_two else "two",
        (1, 1, 1, 0): "three",
        (1, 1, 1, 1): "four",
        (1, 0, 0, 1): "i-love-you" if thumb else "horns",
        (0, 0, 0, 1): "call-me" if thumb else "pinky",
    }
    return names.get(straight, "other")


def _table() -> Labels:
    table = np.zeros(1 << 14, np.int8)
    for bits in product((0, 1), repeat=14):
        key = sum(bit << place for place, bit in enumerate(bits))
        table[key] = HANDSHAPES.index(_name(bits[:4], bits[4:8], *bits[8:]))
    return table


_TABLE = _table()
