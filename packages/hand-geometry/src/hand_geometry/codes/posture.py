"""What a claim about fingers, facing, contact and the two hands together looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hand_geometry.codes.api import MotionCodes
from hand_geometry.codes.claims import ALL_FINGERS, Claim
from hand_geometry.codes.geometry import FINGERS
from hand_geometry.codes.lookup import SIDES, Answer, axis_of, event_times, main_movement, share_answer, state_shares
from hand_geometry.codes.vocabulary import NEIGHBOURS, SUBJECT

_INSTANT_S = 0.2


def palm(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """Where the palm faces, or (subject "turns") to where it turns."""
    return _facing(claim, codes, hand, "palm", np.array(codes.hands[hand].palm), only_change=claim.subject == "turns")


def pointing(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """Where the fingers point, or to where they turn."""
    return _facing(claim, codes, hand, "pointing", np.array(codes.hands[hand].fingers))


def _facing(
    claim: Claim, codes: MotionCodes, hand: int, kind: str, mean: np.ndarray, *, only_change: bool = False
) -> Answer:
    m, axis = main_movement(claim, codes, hand), axis_of(claim.value)
    change = float(np.array(getattr(m, f"{kind}_change")) @ axis) if m else 0.0
    if only_change:
        return share_answer(change, 0.35, 0.1), f"{kind} turns by {change:+.2f} to {claim.value}"
    share = state_shares(codes, claim, kind, hand).get(claim.value, 0.0)
    cosine = float(mean @ axis)
    said = f"{kind} {claim.value} in {share:.0%} of the time, cosine {cosine:.2f}"
    if claim.subject == "partly":
        return (True if share > 0.15 else share_answer(cosine, 0.25, 0.1)), said
    if share > 0.4 or cosine > codes.thresholds.facing_share:
        return True, said
    return (False if share < 0.25 and cosine < 0.4 else None), said


def finger_state(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """The state of fingers in a good part of the time, or that they bend, extend, spread or close."""
    names = FINGERS[1:] if claim.subject == ALL_FINGERS else tuple(claim.subject.split("+"))
    if claim.value in ("bends", "extends"):
        m = main_movement(claim, codes, hand)
        sign = 1 if claim.value == "bends" else -1
        bend = [sign * m.flex[FINGERS.index(name)] for name in names] if m else [0.0]
        return share_answer(min(bend) / 30, 0.6, 0.2), f"bend by {min(bend) * sign:.0f} degrees or more"
    if claim.value in ("spread", "together"):
        pairs = [state_shares(codes, claim, "spacing", hand, pair) for pair in _extended_pairs(claim, codes, hand)]
        apart, closed = max(s.get("open", 0.0) for s in pairs), min(s.get("closed", 0.0) for s in pairs)
        yes, no = (apart, closed) if claim.value == "spread" else (closed, apart)
        return (True if yes > 0.5 else False if no > 0.7 else None), f"apart in {apart:.0%}, closed in {closed:.0%}"
    wanted = {
        "straight": ("extended", "hyperextended"),
        "closed": ("curled",),
        "extended": ("extended", "hyperextended"),
    }
    values = wanted.get(claim.value, (claim.value,))
    shares = [sum(state_shares(codes, claim, "finger", hand, name).get(v, 0.0) for v in values) for name in names]
    return share_answer(min(shares), 0.3, 0.1), f"{claim.value} in {min(shares):.0%} of the time"


def _extended_pairs(claim: Claim, codes: MotionCodes, hand: int) -> list[str]:
    """Neighbours that are both extended for most of the claim's time; all neighbours where none are."""
    shares = {name: state_shares(codes, claim, "finger", hand, name) for name in FINGERS[1:]}
    straight = [name for name, s in shares.items() if s.get("extended", 0.0) + s.get("hyperextended", 0.0) > 0.5]
    return [pair for pair in NEIGHBOURS[1:] if set(pair.split("+")) <= set(straight)] or list(NEIGHBOURS[1:])


def number_extended(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """How many fingers are extended for most of the claim's time; "start" and "end" are the very first and last."""
    instant = {"start": f"0.0-{_INSTANT_S}", "end": f"{codes.seconds - _INSTANT_S:.1f}-{codes.seconds:.1f}"}
    claim = replace(claim, when=instant.get(claim.when, claim.when))
    states = [state_shares(codes, claim, "finger", hand, name) for name in FINGERS]
    out = [s.get("extended", 0.0) + s.get("hyperextended", 0.0) for s in states]
    number = sum(share > 0.5 for share in out)
    unsure = sum(0.3 < share <= 0.7 for share in out)
    wanted = int(claim.value)
    return (True if wanted == number else None if abs(wanted - number) <= unsure else False), f"{number} extended"


def handshape(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """Whether a hand takes a named shape for a while."""
    name = "thumb-out" if claim.value.startswith("thumbs-") else claim.value
    shares = state_shares(codes, claim, "handshape", hand)
    share = shares.get(name, 0.0)
    said = f"{name} in {share:.0%} of the time"
    if name == claim.value:
        return share_answer(share, 0.1, 0.02), said
    up = state_shares(codes, claim, "thumb", hand).get(claim.value.removeprefix("thumbs-"), 0.0)
    return share_answer(min(up, share * 3), 0.1, 0.03), f"{said}, thumb {claim.value[7:]} in {up:.0%}"


def thumb_contact(claim: Claim, codes: MotionCodes, hand: int) -> Answer:
    """Contact of the thumb's tip with a fingertip of the same hand."""
    touch = event_times(codes, claim, "contact", hand, claim.subject)
    if claim.value != "approach":
        close = event_times(codes, claim, "near", hand, claim.subject)
        return _touching(claim.value, len(touch), len(close)), f"{len(touch)} contacts, {len(close)} times near"
    near = event_times(codes, claim, "thumb-distance", hand, claim.subject, "approach")
    return bool(touch or near), f"{len(touch)} contacts, {len(near)} approaches"


def _touching(value: str, touch: int, close: int) -> bool | None:
    """Whether a pair touches (or is apart); what is only near may be either."""
    return (value == "touch") if touch else None if close else value == "apart"


def two_hand_contact(claim: Claim, codes: MotionCodes) -> Answer:
    """Contact of the palms, of tips across hands, or of tips with the other palm."""
    names = {"palms": ("palms",), "tips": tuple(n for n in SUBJECT if n.startswith("left-"))}
    names["tip+palm"] = tuple(n for n in SUBJECT if n.endswith("+palm"))
    wanted = names.get(claim.subject) or names["palms"] + names["tips"] + names["tip+palm"]
    touch = sum(len(event_times(codes, claim, "contact", None, name)) for name in wanted)
    if claim.value != "approach":
        close = sum(len(event_times(codes, claim, "near", None, name)) for name in wanted)
        return _touching(claim.value, touch, close), f"{touch} contacts, {close} times near"
    kinds = ("palms-distance", "palm-distance")
    near = sum(len(event_times(codes, claim, kind, None, name, "approach")) for name in wanted for kind in kinds)
    return touch + near > 0, f"{touch} contacts, {near} approaches"


def related(claim: Claim, codes: MotionCodes) -> Answer:
    """How the hands move together, how far apart they are, and which is where."""
    if claim.value in ("approach", "part"):
        times = event_times(codes, claim, "palms-distance", 2, "palms", claim.value)
        return bool(times), f"{len(times)} times"
    if claim.value in ("near", "far"):
        shares = state_shares(codes, claim, "palms", 2, "palms")
        share = shares.get("near", 0) + shares.get("contact", 0)
        return share_answer(share if claim.value == "near" else 1 - share, 0.5, 0.2), f"near in {share:.0%} of the time"
    axis = {"left-of": "x", "right-of": "x", "above": "y", "below": "y"}.get(claim.value)
    if axis or claim.value in ("behind", "in-front-of"):
        share = state_shares(codes, claim, "relative", 2, axis or "z").get(claim.value, 0.0)
        return share_answer(share, 0.5, 0.2), f"{claim.value} in {share:.0%} of the time"
    if not codes.pairings:
        return False, "the hands do not move at the same time"
    pair = max(codes.pairings, key=lambda p: p.end - p.start)
    said = f"{pair.pattern} (mirrored {pair.mirrored:+.2f}, parallel {pair.parallel:+.2f})"
    if claim.value == "parallel":
        return (True if pair.parallel > 0.5 else False if pair.parallel < 0.2 else None), said
    if claim.value == "mirrored":
        return share_answer(pair.mirrored, 0.35, 0.1), said
    if {pair.pattern, claim.value} == {"alternating", "opposed"}:
        return None, said  # of a swing half a period late they are the same
    return pair.pattern == claim.value or (None if abs(pair.mirrored) < 0.2 else False), said


def ordered(claim: Claim, codes: MotionCodes) -> Answer:
    """Which hand begins."""
    starts = [min((m.start for m in codes.movements if m.hand == hand), default=None) for hand in SIDES]
    if starts[0] is None or starts[1] is None:
        return None, "one hand does not move"
    lead = starts[1] - starts[0]
    said = f"left begins at {starts[0]:.1f} s, right at {starts[1]:.1f} s"
    if claim.value == "together":
        return (True if abs(lead) < 0.25 else False if abs(lead) > 0.35 else None), said
    lead = lead if claim.value == "left-first" else -lead
    return (True if lead >= 0.25 else False if lead < 0.15 else None), said
