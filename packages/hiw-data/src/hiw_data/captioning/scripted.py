"""What the scripted source's attributes mean as claims: the truth that captions and motion codes are held against.

Only attributes are read, never the motion. Speed and size are classes relative to the family's own rate and reach, so
their claims need a norm of the action (see ``norms``); a rate in repetitions a second is absolute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hand_geometry.codes import Claim
from hand_geometry.codes.claims import SWINGS

_SWINGS = {"from side to side": SWINGS[0], "up and down": SWINGS[1], "back and forth": SWINGS[2]}
_SAME_HAND = {
    "fist": ("palm", ""),
    "point": ("direction", ""),
    "pinch": ("pointing", ""),
    "clap": ("pointing", ""),
    "stir": ("circling", ""),
    "knead": ("direction", ""),
    "screw": ("turn", ""),
    "knock": ("direction", ""),
    "lift": ("direction", ""),
    "push": ("direction", ""),
    "pull": ("direction", ""),
    "throw": ("direction", ""),
    "beckon": ("palm", ""),
    "turn": ("palm", "turns"),
}
"""Families whose direction is, as it stands, the value of one kind of claim: kind and subject."""


def direction_claim(family: str, direction: str, hand: str, repetitions: int) -> Claim:
    """The claim that a scripted clip's direction is.

    Args:
        family: Name of the family.
        direction: Its stored direction.
        hand: "left", "right" or "both".
        repetitions: Their number (counting up to three is about three fingers).
    """
    if family in _SAME_HAND:
        kind, subject = _SAME_HAND[family]
        return Claim(kind, hand, direction, subject)
    if family == "roll" and direction in ("clockwise", "counterclockwise"):
        return Claim("circling", hand, direction)
    if direction in _SWINGS:
        return Claim("direction", hand, _SWINGS[direction])
    if family == "thumb":
        return Claim("handshape", hand, f"thumbs-{direction}")
    if family == "count":
        return Claim("number", hand, str(repetitions), "", "end" if direction == "up to" else "start")
    if family == "drum":
        return Claim("relation", "both", {"together": "mirrored", "alternately": "alternating"}[direction])
    if family == "wring":
        return Claim("turn", "right", {"forward": "pitch-forward", "back": "pitch-back"}[direction])
    if family == "pour":
        return Claim("turn", hand, {"left": "counterclockwise", "right": "clockwise"}[direction])
    if family == "piano":
        return Claim("direction", hand, {"up the keys": "right", "down the keys": "left"}[direction])
    shapes = {"in circles": "circle", "a circle": "circle", "a horizontal line": "horizontal-line"}
    if direction in (*shapes, "a vertical line"):
        return Claim("shape", hand, shapes.get(direction, "vertical-line"))
    return Claim("direction", hand, {"in place": "in-place"}.get(direction, direction.removeprefix("moving ")))


def true_claims(attributes: Mapping[str, Any]) -> dict[str, Claim]:
    """Claims of a scripted clip by fact: hand, idle, direction, count, speed, size; "contact" where there is one."""
    family, hand, direction = attributes["family"], attributes["hand"], attributes["direction"]
    count = attributes["repetitions"]
    claims = {"hand": Claim("hands", hand, "moves")}
    if hand != "both":
        claims["idle"] = Claim("hands", "right" if hand == "left" else "left", "still")
    claims["direction"] = direction_claim(family, direction, hand, count)
    if family != "count":
        claims["count"] = Claim("count", hand, str(count))
    claims["speed"] = Claim("speed", hand, attributes["speed"])
    if family != "count":  # the size of counting is how high a hand was raised before the clip begins
        claims["size"] = Claim("size", hand, attributes["size"])
    if family == "pinch":
        claims["contact"] = Claim("contact", hand, "approach", "thumb+index")
    if family == "clap":
        claims["contact"] = Claim("relation", "both", "approach")
    if family == "fist":
        claims["fingers"] = Claim("fingers", hand, "bends", "fingers")
    if family in ("point", "draw"):
        claims["fingers"] = Claim("handshape", hand, "point")
    return claims
