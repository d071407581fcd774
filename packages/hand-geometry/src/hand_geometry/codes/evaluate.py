"""Holding a claim against motion codes: fulfilled, contradicted, or not measurable, with the evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hand_geometry.codes import lookup, measures, posture
from hand_geometry.codes.api import MotionCodes
from hand_geometry.codes.claims import Claim

FULFILLED, CONTRADICTED, NOT_MEASURABLE = STATUSES = ("fulfilled", "contradicted", "not measurable")
_LEAST_SEEN = 0.5
_HANDS = ("left", "right")
_POOLED = ("count", "speed", "size")


@dataclass(frozen=True)
class Norm:
    """What counts as slow, fast, small and large for some action; "slowly" is relative to what is done.

    Attributes:
        slow_hz, fast_hz: Repetitions a second below and above which it is slow and fast.
        small, large: The same for its size.
        size_by: What tells its size: "spans", "travel", "turn" or "flex", see ``measures.SIZES``; "" if nothing does.
    """

    slow_hz: float
    fast_hz: float
    small: float
    large: float
    size_by: str = "spans"


@dataclass(frozen=True)
class Verdict:
    """One of STATUSES, and the measurement that it rests on."""

    status: str
    evidence: str


def evaluate(claim: Claim, codes: MotionCodes, norm: Norm | None = None) -> Verdict:
    """Holds a claim against codes.

    Args:
        claim: The claim.
        codes: Of one clip.
        norm: For speed and size claims: what is normal for the action; None for the thresholds of the codes.

    Returns:
        "fulfilled", "contradicted", or "not measurable" (a hand was not seen, or the measurement lies
        between the two), with the evidence.
    """
    if claim.kind in _BOTH_HANDS:
        if unseen := [hand for hand in (0, 1) if codes.hands[hand].seen < _LEAST_SEEN]:
            return Verdict(NOT_MEASURABLE, f"{_HANDS[unseen[0]]} hand not seen")
        return _BOTH_HANDS[claim.kind](claim, codes)
    if claim.kind == "contact" and claim.subject in ("palms", "tips", "tip+palm"):
        return _verdict(posture.two_hand_contact(claim, codes), codes, (0, 1))
    if claim.kind in _POOLED and claim.hand != "left" and claim.hand != "right":
        return _pooled(claim, codes, norm)
    if claim.kind == "hands" and claim.hand == "one":
        moving = [measures.moves(claim, codes, hand) for hand in (0, 1)]
        return _verdict((moving[0][0] != moving[1][0], f"{moving[0][1]}; {moving[1][1]}"), codes, (0, 1))
    return _each_hand(claim, codes, norm)


def holds(claim: Claim, codes: MotionCodes, norm: Norm | None = None) -> str:
    """The status alone: "fulfilled", "contradicted" or "not measurable"."""
    return evaluate(claim, codes, norm).status


def _each_hand(claim: Claim, codes: MotionCodes, norm: Norm | None) -> Verdict:
    hands = {"left": (0,), "right": (1,), "both": (0, 1)}.get(claim.hand) or lookup.busy_hands(claim, codes)
    if claim.kind == "circling" and len(hands) == 2:
        hands = lookup.upper_hand(claim, codes)
    verdicts = [_one_hand(claim, codes, hand, norm) for hand in hands]
    statuses = [verdict.status for verdict in verdicts]
    order = (CONTRADICTED, NOT_MEASURABLE, FULFILLED)
    if claim.hand == "either":
        order = (FULFILLED, NOT_MEASURABLE, CONTRADICTED)
    status = next(s for s in order if s in statuses)
    return Verdict(status, "; ".join(dict.fromkeys(v.evidence for v in verdicts)))


def _one_hand(claim: Claim, codes: MotionCodes, hand: int, norm: Norm | None) -> Verdict:
    if codes.hands[hand].seen < _LEAST_SEEN:
        return Verdict(NOT_MEASURABLE, f"{_HANDS[hand]} hand not seen")
    if claim.kind in _POOLED:
        return _pooled(claim, codes, norm, hands=(hand,))
    answer, evidence = _ONE_HAND[claim.kind](claim, codes, hand)
    return _verdict((answer, f"{_HANDS[hand]} hand: {evidence}"), codes, (hand,))


def _pooled(claim: Claim, codes: MotionCodes, norm: Norm | None, hands: tuple[int, ...] | None = None) -> Verdict:
    hands = hands or lookup.busy_hands(claim, codes)
    if not any(codes.hands[hand].seen >= _LEAST_SEEN for hand in hands):
        return Verdict(NOT_MEASURABLE, "hand not seen")
    t = codes.thresholds
    if claim.kind == "count":
        return _verdict(measures.counted(claim, codes, hands), codes, hands)
    if claim.kind == "speed":
        limits = (norm.slow_hz, norm.fast_hz) if norm else (t.slow_hz, t.fast_hz)
        return _verdict(measures.classed(claim, codes, hands, "tempo_hz", limits), codes, hands)
    if norm is not None and not norm.size_by:
        return Verdict(NOT_MEASURABLE, "the size of this action does not show")
    norm = norm or Norm(t.slow_hz, t.fast_hz, t.small_spans, t.large_spans)
    return _verdict(measures.classed(claim, codes, hands, norm.size_by, (norm.small, norm.large)), codes, hands)


def _verdict(answer: tuple[bool | None, str], codes: MotionCodes, hands: tuple[int, ...]) -> Verdict:
    if any(codes.hands[hand].seen < _LEAST_SEEN for hand in hands):
        return Verdict(NOT_MEASURABLE, "hand not seen")
    status = {True: FULFILLED, False: CONTRADICTED, None: NOT_MEASURABLE}[answer[0]]
    return Verdict(status, answer[1])


def _relation(claim: Claim, codes: MotionCodes) -> Verdict:
    return _verdict(posture.related(claim, codes), codes, (0, 1))


def _order(claim: Claim, codes: MotionCodes) -> Verdict:
    return _verdict(posture.ordered(claim, codes), codes, (0, 1))


_BOTH_HANDS: dict[str, Callable[[Claim, MotionCodes], Verdict]] = {"relation": _relation, "order": _order}
_ONE_HAND: dict[str, Callable[[Claim, MotionCodes, int], tuple[bool | None, str]]] = {
    "hands": measures.moves,
    "fingers": posture.finger_state,
    "number": posture.number_extended,
    "handshape": posture.handshape,
    "contact": posture.thumb_contact,
    "direction": measures.direction,
    "palm": posture.palm,
    "pointing": posture.pointing,
    "turn": measures.turn,
    "shape": measures.shape,
    "circling": measures.circling,
    "rest": measures.rest,
}
