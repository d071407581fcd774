"""The claims that motion codes support: candidates from every movement, state and pairing, each one checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from hand_geometry.codes.api import MotionCodes
from hand_geometry.codes.claims import MOST_COUNTED, SWINGS, VOCABULARY, Claim
from hand_geometry.codes.evaluate import FULFILLED, evaluate
from hand_geometry.codes.movement import Movement
from hand_geometry.codes.relation import PATTERNS
from hand_geometry.codes.table import Columns
from hand_geometry.codes.vocabulary import DIRECTIONS, EVENT_KINDS, HANDS, STATE_KINDS, SUBJECTS, VALUES
from hand_geometry.errors import InputError

_TIMED = ("hands", "fingers", "handshape", "palm", "pointing", "contact", "relation")


def derive_claims(codes: MotionCodes, wanted: Callable[[Claim], bool] | None = None) -> list[Claim]:
    """True claims of a clip in a fixed order, without repetition; each is fulfilled by the codes.

    Args:
        codes: Of the clip.
        wanted: Which claims are looked at; None for all.
    """
    candidates = dict.fromkeys((*_of_hands(codes), *_of_movements(codes), *_of_states(codes), *_of_both(codes)))
    asked = candidates if wanted is None else filter(wanted, candidates)
    return [claim for claim in asked if evaluate(claim, codes).status == FULFILLED]


def claims_by_time(codes: MotionCodes, every: float) -> list[Claim]:
    """True claims of each stretch of ``every`` seconds; the last stretch may be shorter.

    Raises:
        InputError: If ``every`` is below 0.1.
    """
    if not every >= 0.1:
        raise InputError(f"every: Expected at least 0.1 s, got {every}.")
    timeless = dict.fromkeys((*_of_hands(codes), *_of_states(codes), *_of_both(codes)))
    found = []
    for k in range(math.ceil(round(codes.seconds / every, 6))):
        when = f"{k * every:.1f}-{min((k + 1) * every, codes.seconds):.1f}"
        timed = (replace(c, when=when) for c in timeless if c.kind in _TIMED and c.value not in PATTERNS)
        found += [claim for claim in timed if evaluate(claim, codes).status == FULFILLED]
    return found


def _of_hands(codes: MotionCodes) -> Iterator[Claim]:
    for hand in ("left", "right"):
        yield Claim("hands", hand, "moves")
        yield Claim("hands", hand, "still")


def _of_movements(codes: MotionCodes) -> Iterator[Claim]:
    for m in codes.movements:
        several = sum(other.hand == m.hand for other in codes.movements) > 1
        when = f"{m.start:.1f}-{m.end:.1f}" if several else ""
        yield Claim("count", m.hand, str(min(max(m.count, 1), MOST_COUNTED)), "", when)
        yield Claim("speed", m.hand, m.speed, "", when)
        yield Claim("size", m.hand, m.size, "", when)
        yield Claim("rest", m.hand, "one-way" if m.one_way else "returns", "", when)
        yield from (Claim(kind, m.hand, value, "", when) for kind, value in _where(m))
        for value in ("bends", "extends"):
            yield Claim("fingers", m.hand, value, "fingers", when)


def _where(m: Movement) -> Iterator[tuple[str, str]]:
    if m.path in VOCABULARY["shape"][1]:
        yield "shape", m.path
    if m.circling:
        yield "circling", m.circling
    travel = np.array(m.travel)
    axis = int(np.abs(travel).argmax())
    if m.two_sided:
        yield "direction", SWINGS[axis]
    else:
        yield "direction", DIRECTIONS[2 * axis + int(travel[axis] < 0)]
    for value in VOCABULARY["turn"][1]:
        if value != "none" and np.linalg.norm(m.turn) > 20:
            yield "turn", value


def _of_states(codes: MotionCodes) -> Iterator[Claim]:
    for kind, hand, subject, value in _said(codes.state_table, STATE_KINDS):
        if kind in ("handshape", "palm", "pointing") and value != "other":
            yield Claim(kind, hand, value)
            if value == "thumb-out":
                yield Claim("handshape", hand, "thumbs-up")
                yield Claim("handshape", hand, "thumbs-down")
        elif kind == "finger" and value != "hyperextended":
            yield Claim("fingers", hand, value, subject)
    for kind, hand, subject, _ in _said(codes.event_table, EVENT_KINDS):
        if kind == "contact":
            if hand == "both":
                yield Claim("contact", "both", "touch", "palms" if subject == "palms" else "tips")
            elif subject.endswith("+palm"):
                yield Claim("contact", "both", "touch", "tip+palm")
            else:
                yield Claim("contact", hand, "touch", subject)


def _said(table: Columns, kinds: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Kind, hand, subject and value of a table's rows, each once, in the table's order."""
    rows = zip(*(table[name].tolist() for name in ("kind", "hand", "subject", "value")), strict=True)
    for kind, hand, subject, value in dict.fromkeys(rows):
        yield kinds[kind], HANDS[hand], SUBJECTS[subject], VALUES[value]


def _of_both(codes: MotionCodes) -> Iterator[Claim]:
    for value in VOCABULARY["relation"][1]:
        yield Claim("relation", "both", value)
    for value in VOCABULARY["order"][1]:
        yield Claim("order", "both", value)
