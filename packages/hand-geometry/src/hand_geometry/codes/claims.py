"""Claims: what a sentence says of a motion, one fact each, with a short canonical text form.

A claim is ``kind:hand[/subject]=value[@when]``: ``count:right=3``, ``contact:left/thumb+index=touch@start``,
``relation:both=mirrored``. Kinds, hands, subjects and values are a closed vocabulary (``VOCABULARY``), so that claims
can be plan tokens and a language model can write nothing that cannot be checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hand_geometry.codes.geometry import FINGERS
from hand_geometry.codes.handshape import FINGER_STATES, HANDSHAPES
from hand_geometry.codes.movement import SIZE_CLASSES, SPEED_CLASSES
from hand_geometry.codes.paths import PATHS
from hand_geometry.codes.relation import PATTERNS
from hand_geometry.codes.vocabulary import DIRECTIONS, RELATIVE, THUMB_PAIRS
from hand_geometry.errors import InputError

CLAIM_HANDS = ("left", "right", "both", "either", "one")
"""``both``: each of them (or the two together); ``either``: at least one; ``one``: exactly one."""

MOST_COUNTED = 20
ALL_FINGERS = "fingers"
WHENS = ("start", "middle", "end", "throughout")
"""The first, second and last third of the clip, and all of it; or seconds, ``1.0-2.5``."""

SWINGS = ("side-to-side", "up-and-down", "back-and-forth")
TURN_VALUES = ("clockwise", "counterclockwise", "pitch-forward", "pitch-back", "outward", "inward", "none")
_LEVELS = tuple(dict.fromkeys(word for axis in RELATIVE for word in axis if word != "level"))

_FINGER_SUBJECTS = (*FINGERS, ALL_FINGERS)
VOCABULARY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hands": (("",), ("moves", "still", "alone")),
    "fingers": (_FINGER_SUBJECTS, (*FINGER_STATES[:5], "straight", "closed", "bends", "extends", "spread", "together")),
    "number": (("",), tuple(str(n) for n in range(6))),
    "handshape": (("",), (*HANDSHAPES[1:], "thumbs-up", "thumbs-down")),
    "contact": (("palms", "tips", "tip+palm", *THUMB_PAIRS), ("touch", "approach", "apart")),
    "direction": (("", "partly"), (*DIRECTIONS, *SWINGS, "in-place")),
    "palm": (("", "turns", "partly"), DIRECTIONS),
    "pointing": (("", "partly"), DIRECTIONS),
    "turn": (("",), TURN_VALUES),
    "shape": (("",), (*PATHS[1:5], "horizontal-line", "vertical-line")),
    "circling": (("",), ("clockwise", "counterclockwise", "forward", "back")),
    "speed": (("",), SPEED_CLASSES),
    "size": (("",), SIZE_CLASSES),
    "count": (("",), (*(str(n) for n in range(MOST_COUNTED + 1)), "several")),
    "relation": (("",), (*PATTERNS, "approach", "part", "near", "far", *_LEVELS)),
    "order": (("",), ("left-first", "right-first", "together")),
    "rest": (("",), ("hold", "returns", "one-way")),
}
"""Kind -> its subjects and values. A hand
moves "alone" if the other one does nothing like it; "several" is more than once. "partly" is one of the
directions of an oblique movement. The ``relation`` words of place say where the right hand is, seen from the left."""

KINDS = tuple(VOCABULARY)
_FORM = re.compile(
    r"(?P<kind>[a-z]+):(?P<hand>[a-z]+)(?:/(?P<subject>[a-z+]+))?=(?P<value>[a-z0-9-]+)(?:@(?P<when>[a-z0-9.-]+))?"
)
_SECONDS = re.compile(r"(\d+(?:\.\d)?)-(\d+(?:\.\d)?)")


@dataclass(frozen=True, order=True)
class Claim:
    """One fact.

    Attributes:
        kind: One of KINDS.
        hand: One of CLAIM_HANDS.
        value: One of the kind's values.
        subject: One of the kind's subjects; of fingers several may be joined by "+".
        when: "", one of WHENS, or seconds as "1.0-2.5".

    Raises:
        InputError: If a part is not in the vocabulary.
    """

    kind: str
    hand: str
    value: str
    subject: str = ""
    when: str = ""

    def __post_init__(self) -> None:
        if self.kind not in VOCABULARY:
            raise InputError(f"Claim: Expected a kind of {', '.join(KINDS)}, got {self.kind!r}.")
        subjects, values = VOCABULARY[self.kind]
        if self.hand not in CLAIM_HANDS:
            raise InputError(f"Claim: Expected a hand of {', '.join(CLAIM_HANDS)}, got {self.hand!r}.")
        parts = self.subject.split("+") if self.kind == "fingers" else [self.subject]
        if not all(part in subjects for part in parts):
            raise InputError(f"Claim {self.kind}: Expected a subject of {subjects}, got {self.subject!r}.")
        if self.value not in values:
            raise InputError(f"Claim {self.kind}: Expected a value of {', '.join(values)}, got {self.value!r}.")
        if self.when and self.when not in WHENS and not _SECONDS.fullmatch(self.when):
            raise InputError(f"Claim: Expected when as one of {', '.join(WHENS)} or '1.0-2.5', got {self.when!r}.")

    def __str__(self) -> str:
        subject = f"/{self.subject}" if self.subject else ""
        return f"{self.kind}:{self.hand}{subject}={self.value}" + (f"@{self.when}" if self.when else "")

    def window(self, seconds: float) -> tuple[float, float]:
        """From when to when in a clip of so many seconds."""
        thirds = {"start": (0, 1), "middle": (1, 2), "end": (2, 3)}
        if self.when in thirds:
            first, last = thirds[self.when]
            return first * seconds / 3, last * seconds / 3
        times = _SECONDS.fullmatch(self.when)
        return (float(times[1]), float(times[2])) if times else (0.0, seconds)


def parse_claim(text: str) -> Claim:
    """The claim of its text form.

    Raises:
        InputError: If the text is no claim.

    >>> parse_claim("contact:left/thumb+index=touch@start").subject
    'thumb+index'
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(f"Claim: Expected 'kind:hand[/subject]=value[@when]', got {text!r}.")
    return Claim(**{name: value or "" for name, value in match.groupdict().items()})


def vocabulary_claims() -> Iterator[Claim]:
    """Every claim of the vocabulary without a time, single fingers only, in a fixed order."""
    for kind, (subjects, values) in VOCABULARY.items():
        for hand in CLAIM_HANDS:
            for subject in subjects:
                for value in values:
                    yield Claim(kind, hand, value, subject)
