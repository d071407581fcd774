"""Plans: what a motion will do, written as claims of motion codes before the motion itself.

A plan answers a fixed list of questions (`FIELDS`), one token each, in this order: which hands move, how often, how
fast, how large, in which direction, along which path or turn, where the palm faces, which handshape, what touches, and
how the hands relate. A token is a claim of `hand_geometry.codes`, in its text form, or ``none`` where nothing can be
said. So every plan has the same length, and all that it says can be measured on the motion that follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hand_geometry import features_to_joints
from hand_geometry.codes import (
    CONTRADICTED,
    FULFILLED,
    VOCABULARY,
    Claim,
    MotionCodes,
    holds,
    motion_codes,
    parse_claim,
)
from hand_geometry.codes.relation import PATTERNS

#: What stands where a plan says nothing.
NONE = "none"

#: Each question with the kinds of claims that answer it, the first that the motion has.
FIELDS: dict[str, tuple[str, ...]] = {
    "hands": ("hands",),
    "count": ("count",),
    "speed": ("speed",),
    "size": ("size",),
    "direction": ("direction",),
    "path": ("circling", "turn", "shape"),
    "palm": ("palm",),
    "handshape": ("handshape",),
    "contact": ("contact",),
    "relation": ("relation",),
}

_HANDS = ("left", "right")
_BOTH = "both"
_SUBJECTS = {"direction": ("",), "palm": ("",)}
_VALUES = {
    "hands": ("moves", "still"),
    "turn": tuple(value for value in VOCABULARY["turn"][1] if value != "none"),
    "count": tuple(str(n) for n in range(1, 21)),
    "contact": ("touch",),
    "relation": (*PATTERNS, "approach", "part"),
}
_TWO_HANDED = ("palms", "tips", "tip+palm")

#: Clips whose joints are measured at once.
_CHUNK = 256

#: Plans that were measured, by `_mark`: a run's stages and arms train on the same clips. Emptied past so many.
_measured: dict[bytes, tuple[str, ...]] = {}
_REMEMBERED = 200_000


def _claims_of(kind: str) -> Iterator[Claim]:
    """The claims of a kind that plans may hold, in a fixed order."""
    subjects, values = VOCABULARY[kind]
    for hand in (_BOTH,) if kind == "relation" else (*_HANDS, _BOTH):
        for subject in _SUBJECTS.get(kind, subjects):
            if subject in _TWO_HANDED and hand != _BOTH:
                continue
            for value in _VALUES.get(kind, values):
                yield Claim(kind, hand, value, subject)


#: Names of the plan tokens: ``none`` first, then every claim that a plan may hold.
PLAN_NAMES: tuple[str, ...] = (NONE, *(str(c) for kinds in FIELDS.values() for kind in kinds for c in _claims_of(kind)))


_KNOWN: dict[str, frozenset[str]] = {
    kind: frozenset(map(str, _claims_of(kind))) for kinds in FIELDS.values() for kind in kinds
}


def field_names(field: str) -> tuple[str, ...]:
    """Names of the tokens that may answer a question: ``none`` and its claims."""
    return (NONE, *(str(c) for kind in FIELDS[field] for c in _claims_of(kind)))


def plan_of(codes: MotionCodes) -> list[str]:
    """The plan that a motion follows: a name of `PLAN_NAMES` for each of `FIELDS`; each claim is fulfilled.

    What both hands do alike is said of both, and otherwise what the hand that moves does, or of two that do, the one
    that the codes tell of first.
    """
    claims = codes.claims(wanted=_answers)
    moving = [c.hand for c in claims if c.kind == "hands" and c.value == "moves"]
    plan = []
    for kinds in FIELDS.values():
        answers = (_answer(kind, claims, moving or list(_HANDS)) for kind in kinds)
        plan.append(next((answer for answer in answers if answer), NONE))
    if len(moving) == 0:
        still = [c.hand for c in claims if c.kind == "hands" and c.value == "still"]
        plan[0] = str(Claim("hands", _BOTH if len(still) == len(_HANDS) else still[0], "still")) if still else NONE
    return plan


def _answers(claim: Claim) -> bool:
    """Whether a claim may have a part in a plan."""
    known = _KNOWN.get(claim.kind)
    return known is not None and not claim.when and (claim.kind != "relation" or str(claim) in known)


def _answer(kind: str, claims: Sequence[Claim], hands: Sequence[str]) -> str | None:
    own = [c for c in claims if c.kind == kind and c.hand in (*hands, _BOTH) and c.value != "still"]
    if len(hands) == len(_HANDS):
        said = {(c.hand, c.subject, c.value) for c in own}
        for c in own:
            if all((hand, c.subject, c.value) in said for hand in _HANDS):
                own.insert(0, Claim(kind, _BOTH, c.value, c.subject))
                break
    return next((str(c) for c in own if str(c) in _KNOWN[kind]), None)


def plans_of(clips: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The plan of each clip, measured on its motion; see `plan_of`.

    Args:
        clips: with features (T, 198), valid (T, 2) and fps. Clips of a length are measured together.
    """
    marks = [_mark(clip) for clip in clips]
    by_length: dict[tuple[int, float], list[int]] = {}
    for k, clip in enumerate(clips):
        if marks[k] not in _measured:
            by_length.setdefault((len(clip["features"]), float(clip["fps"])), []).append(k)
    for alike in by_length.values():
        for start in range(0, len(alike), _CHUNK):
            some = alike[start : start + _CHUNK]
            for k, codes in zip(some, codes_of([clips[k] for k in some]), strict=True):
                _measured[marks[k]] = tuple(plan_of(codes))
    plans = [list(_measured[mark]) for mark in marks]
    if len(_measured) > _REMEMBERED:
        _measured.clear()
    return plans


def _mark(clip: Mapping[str, Any]) -> bytes:
    """A hash of all that decides a clip's plan."""
    digest = hashlib.sha256(str(float(clip["fps"])).encode())
    digest.update(np.ascontiguousarray(clip["features"], dtype=np.float32).tobytes())
    digest.update(np.ascontiguousarray(clip["valid"], dtype=bool).tobytes())
    return digest.digest()


def codes_of(clips: Sequence[Mapping[str, Any]]) -> list[MotionCodes]:
    """Motion codes of clips of one length and rate; ``valid`` may be left out."""
    features = torch.from_numpy(np.stack([np.asarray(clip["features"], dtype=np.float32) for clip in clips]))
    valid = [np.asarray(clip.get("valid", np.ones((features.shape[1], 2), dtype=bool))) for clip in clips]
    with torch.no_grad():
        joints = features_to_joints(torch.nan_to_num(features))
    codes: list[MotionCodes] = motion_codes(joints, np.stack(valid), float(clips[0]["fps"]))  # type: ignore[assignment]
    return codes


def fulfilled(plan: Sequence[str], codes: MotionCodes) -> float:
    """The share of a plan's claims that a motion fulfils, among those that can be measured on it; 1 without any."""
    verdicts = [holds(parse_claim(name), codes) for name in plan if name != NONE]
    told = [verdict for verdict in verdicts if verdict in (FULFILLED, CONTRADICTED)]
    return told.count(FULFILLED) / len(told) if told else 1.0


def claims_in(plan: Sequence[str]) -> list[str]:
    """What a plan says: its claims without the gaps."""
    return [name for name in plan if name != NONE]
