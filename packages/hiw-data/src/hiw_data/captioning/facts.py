"""What can be said of a clip: each fact a claim that the codes clearly fulfil, with phrases that say it.

A fact is left out where the measurement is near a border (speed, size), uncertain (repetitions) or shared between two
directions, so that what is said is what was measured. Verbs stand in [brackets], for conjugation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hand_geometry.codes import FULFILLED, Claim, MotionCodes, Movement, evaluate
from hand_geometry.codes.claims import SWINGS
from hand_geometry.codes.geometry import FINGERS
from hand_geometry.codes.lookup import state_shares
from hand_geometry.codes.vocabulary import DIRECTIONS

SIDES = ("left", "right")
_MARGIN, _WIDE_MARGIN = 0.10, 0.25
"""A speed or size this near to a border is not said; the tempo of a single stroke is known less well."""
_HELD, _SHAPED = 0.75, 0.6
_MOST_COUNTED = 10

WORDS = {
    "left": "to the left",
    "right": "to the right",
    "up": "up",
    "down": "down",
    "forward": "forward",
    "back": "toward the body",
}
FACING = {**WORDS, "back": "back"}
SWING_WORDS = {
    "side-to-side": ("from side to side", "left and right"),
    "up-and-down": ("up and down",),
    "back-and-forth": ("back and forth", "forward and back"),
}
SHAPE_WORDS = {
    "fist": ("in a fist", "closed into a fist"),
    "flat": ("held flat, fingers together",),
    "open": ("open, fingers extended", "with all fingers extended"),
    "point": ("with the index finger extended and the others closed",),
    "victory": ("in a victory sign", "with index and middle extended"),
    "claw": ("in a claw shape",),
    "c-shape": ("in a c shape",),
    "l-shape": ("in an l shape",),
    "ok": ("in an ok sign",),
}


@dataclass(frozen=True)
class Fact:
    """A claim, and phrases that say it."""

    claim: Claim
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class HandFacts:
    """What can be said of one hand, or of both where they do the same.

    Attributes:
        hand: "left", "right" or "both".
        way: What it does, the most visible first; empty if it rests.
        count, speed, size: Of the movement; None if they are not clear.
        posture: Where palm and fingers face, the handshape, contacts.
        spans: How large the movement is; 0 at rest.
    """

    hand: str
    way: tuple[Fact, ...]
    count: Fact | None
    speed: Fact | None
    size: Fact | None
    posture: tuple[Fact, ...]
    spans: float


def hand_facts(codes: MotionCodes, hand: str) -> HandFacts | None:
    """Facts of one hand; None if it was not seen half of the time."""
    side = SIDES.index(hand)
    if codes.hands[side].seen < 0.5:
        return None
    own = [m for m in codes.movements if m.hand == hand]
    posture = tuple(_true(codes, [*_facing(codes, side), *_shape(codes, side), *_contacts(codes, hand)]))
    if not own:
        still = Fact(
            Claim("hands", hand, "still"), ("[stay] still", "[do] not move", "[remain] motionless", "[keep] still")
        )
        return HandFacts(hand, tuple(_true(codes, [still])), None, None, None, posture, 0.0)
    m = max(own, key=lambda movement: movement.spans)
    one = len(own) == 1
    count, speed, size = (
        next(iter(_true(codes, facts)), None)
        for facts in (_count(m) if one else [], _speed(codes, m) if one else [], _size(codes, m))
    )
    return HandFacts(hand, tuple(_true(codes, _ways(m))), count, speed, size, posture, m.spans)


def joint_facts(codes: MotionCodes, left: HandFacts, right: HandFacts) -> HandFacts | None:
    """Facts of both hands as one, where the first thing to say is the same of each; None where it is not."""
    if not (left.way and right.way and _same(left.way[0], right.way[0])):
        return None
    shared = [f for f in left.way if any(_same(f, g) for g in right.way)]
    posture = [f for f in left.posture if any(_same(f, g) for g in right.posture)]

    def both(fact: Fact | None, other: Fact | None) -> Fact | None:
        return next(iter(_true(codes, [_of_both(fact)])), None) if fact and other and _same(fact, other) else None

    return HandFacts(
        "both",
        tuple(_true(codes, [_of_both(f) for f in shared])),
        both(left.count, right.count),
        both(left.speed, right.speed),
        both(left.size, right.size),
        tuple(_true(codes, [_of_both(f) for f in posture])),
        max(left.spans, right.spans),
    )


def relation_facts(codes: MotionCodes) -> list[Fact]:
    """Facts of the two hands together."""
    if min(hand.seen for hand in codes.hands) < 0.5:
        return []
    phrases = {
        "mirrored": ("as mirror images", "symmetrically", "in unison"),
        "parallel": ("in parallel", "the same way"),
        "alternating": ("in turn", "alternately", "one after the other"),
        "opposed": ("in opposite directions",),
        "approach": ("[come] together", "[approach] each other"),
        "part": ("[move] apart",),
        "above": ("the right hand above the left",),
        "below": ("the left hand above the right",),
        "in-front-of": ("the right hand in front of the left",),
        "behind": ("the left hand in front of the right",),
    }
    patterns = {p.pattern for p in codes.pairings}
    candidates = [Fact(Claim("relation", "both", value), words) for value, words in phrases.items()]
    moving = ("mirrored", "parallel", "alternating", "opposed")
    kept = [
        f
        for f in candidates
        if (f.claim.value not in moving or patterns == {f.claim.value})
        and (f.claim.value not in ("approach", "part") or patterns)
    ]
    return _true(codes, kept)


def _same(a: Fact, b: Fact) -> bool:
    return (a.claim.kind, a.claim.value, a.claim.subject) == (b.claim.kind, b.claim.value, b.claim.subject)


def _of_both(fact: Fact) -> Fact:
    claim = fact.claim
    return Fact(Claim(claim.kind, "both", claim.value, claim.subject), fact.phrases)


def _true(codes: MotionCodes, facts: list[Fact]) -> list[Fact]:
    return [fact for fact in facts if evaluate(fact.claim, codes).status == FULFILLED]


def moving(hand: str) -> Fact:
    """That a hand moves, and no more."""
    return Fact(Claim("hands", hand, "moves"), ("[move]", "[make] a movement"))


def _ways(m: Movement) -> list[Fact]:
    """What the movement is, the channel that shows most first."""
    ways = {"travel": _travel(m), "turn": _turn(m), "flex": _flex(m)}
    order = [m.channel, *(name for name in ways if name != m.channel)]
    found = [fact for name in order for fact in ways[name]]
    if m.fluttering:
        flutter = Fact(Claim("hands", m.hand, "moves"), ("[flutter] the fingers", "[wiggle] the fingers"))
        net = Claim("direction", m.hand, "in-place")
        found = [flutter, Fact(net, ("[stay] in place",)), *(f for f in found if f.claim.kind == "direction")]
    return found or [moving(m.hand)]


def _travel(m: Movement) -> list[Fact]:
    if m.circling in ("clockwise", "counterclockwise"):
        verbs = ("[circle]", "[move] in circles", "[go] round")
        return [Fact(Claim("circling", m.hand, m.circling), tuple(f"{verb} {m.circling}" for verb in verbs))]
    travel = np.array(m.net if m.fluttering or m.one_way else m.travel)
    axis, share = int(np.abs(travel).argmax()), np.sort(np.abs(travel))
    if m.path == "circle" or share[2] < 0.025 or share[2] < 1.3 * share[1]:
        return []
    if m.two_sided:
        words = tuple(f"[{verb}] {way}" for way in SWING_WORDS[SWINGS[axis]] for verb in ("move", "swing", "go"))
        return [Fact(Claim("direction", m.hand, SWINGS[axis]), words)]
    name = DIRECTIONS[2 * axis + int(travel[axis] < 0)]
    back = "" if m.one_way or m.fluttering else " and [return]"
    words = tuple(f"[{verb}] {WORDS[name]}{back}" for verb in ("move", "go", "travel"))
    return [Fact(Claim("direction", m.hand, name), words)]


def _turn(m: Movement) -> list[Fact]:
    change, world = np.array(m.palm_change), np.array(m.turn_world)
    axis = int(np.abs(change).argmax())
    found = []
    if abs(change[axis]) > 0.7 and not m.two_sided:
        name = DIRECTIONS[2 * axis + int(change[axis] < 0)]
        found.append(
            Fact(
                Claim("palm", m.hand, name, "turns"),
                (f"[tilt] the palm {WORDS[name]}", f"[bring] the palm to face {FACING[name]}"),
            )
        )
    size = float(np.linalg.norm(world))
    if size > 25 and abs(world[2]) > 0.75 * size and not m.two_sided:
        sense = "clockwise" if world[2] > 0 else "counterclockwise"
        found.append(Fact(Claim("turn", m.hand, sense), (f"[turn] {sense}", f"[rotate] {sense}", f"[twist] {sense}")))
    return found


def _flex(m: Movement) -> list[Fact]:
    flex = np.array(m.flex)
    if m.fluttering:
        return []
    if (np.abs(flex[1:]) > 30).all() and len(set(np.sign(flex[1:]))) == 1:
        closing = flex[1] > 0
        again = "" if m.one_way else " and [open] them again" if closing else " and [close] them again"
        verbs = ("close", "bend", "curl") if closing else ("open", "extend", "straighten")
        claim = Claim("fingers", m.hand, "bends" if closing else "extends", "fingers")
        return [Fact(claim, tuple(f"[{verb}] the fingers{again}" for verb in verbs))]
    names = [name for name, value in zip(FINGERS[1:], flex[1:], strict=True) if abs(value) > 45]
    if not names or len({bool(flex[FINGERS.index(n)] > 0) for n in names}) > 1:
        return []
    closing = flex[FINGERS.index(names[0])] > 0
    ways = ("bend", "curl") if closing else ("extend", "straighten")
    claim = Claim("fingers", m.hand, "bends" if closing else "extends", "+".join(names))
    said = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return [Fact(claim, tuple(f"[{verb}] the {said} finger{'s' * (len(names) > 1)}" for verb in ways))]


def _count(m: Movement) -> list[Fact]:
    if not 1 <= m.count <= _MOST_COUNTED or m.count_low != m.count_high:
        return []
    words = {1: ("once", "one time"), 2: ("twice", "two times"), 3: ("three times",)}
    named = words.get(m.count, (f"{_NUMBERS[m.count]} times",))
    return [Fact(Claim("count", m.hand, str(m.count)), named)]


_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _speed(codes: MotionCodes, m: Movement) -> list[Fact]:
    t = codes.thresholds
    margin = _MARGIN if m.count > 1 or m.circling or m.fluttering else _WIDE_MARGIN
    if any(abs(m.tempo_hz / border - 1) < margin for border in (t.slow_hz, t.fast_hz)):
        return []
    words = {
        "slow": ("slowly", "unhurriedly", "at a slow pace"),
        "medium": ("steadily", "at a moderate pace", "at a steady pace"),
        "fast": ("quickly", "rapidly", "briskly", "at a quick pace"),
    }
    return [Fact(Claim("speed", m.hand, m.speed), words[m.speed])]


def _size(codes: MotionCodes, m: Movement) -> list[Fact]:
    t = codes.thresholds
    if any(abs(m.spans / border - 1) < _MARGIN for border in (t.small_spans, t.large_spans)):
        return []
    words = {
        "small": ("with small movements", "with slight movements", "in a small movement"),
        "medium": ("with medium movements", "with moderate movements", "in a medium sized movement"),
        "large": ("with large movements", "with wide movements", "in a large movement"),
    }
    return [Fact(Claim("size", m.hand, m.size), words[m.size])]


def _facing(codes: MotionCodes, side: int) -> list[Fact]:
    found = []
    for kind, words in (
        ("palm", ("the palm facing {}", "palm {}")),
        ("pointing", ("the fingers pointing {}", "fingers pointing {}")),
    ):
        shares = state_shares(codes, Claim("hands", SIDES[side], "moves"), kind, side)
        for name in DIRECTIONS:
            if shares.get(name, 0.0) > _HELD:
                found.append(Fact(Claim(kind, SIDES[side], name), tuple(w.format(FACING[name]) for w in words)))
    return found


def _shape(codes: MotionCodes, side: int) -> list[Fact]:
    shares = state_shares(codes, Claim("hands", SIDES[side], "moves"), "handshape", side)
    name = max(shares, key=lambda n: shares[n], default="other")
    if shares.get(name, 0.0) < _SHAPED or name not in SHAPE_WORDS:
        return []
    return [Fact(Claim("handshape", SIDES[side], name), SHAPE_WORDS[name])]


def _contacts(codes: MotionCodes, hand: str) -> list[Fact]:
    found = {}
    for event in codes.events:
        if (
            event.kind == "contact"
            and event.hand == hand
            and event.subject == "thumb+index"
            and event.end - event.start > codes.thresholds.state_s
        ):
            words = ("thumb and index finger touching", "the thumb touching the index finger")
            found[event.subject] = Fact(Claim("contact", hand, "touch", event.subject), words)
    return list(found.values())
