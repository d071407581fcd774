"""Captions of scripted actions: phrases with [verbs] become sentences in several wordings."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

NUMBERS = ("zero", "one", "two", "three", "four", "five")
TIMES = ("", "once", "twice", "three times", "four times", "five times")
ADVERBS = {"slow": "slowly", "medium": "steadily", "fast": "quickly"}
MOVEMENTS = {
    "small": "with small movements",
    "medium": "with medium movements",
    "large": "with large movements",
}
HANDS = {"left": "the left hand", "right": "the right hand", "both": "both hands"}

_DOUBLED = {
    *("chop", "clap", "cut", "drag", "drum", "flap", "flip", "grab", "hit", "nip", "rap", "rub", "run", "shut", "slap"),
    *("stir", "tap", "tip", "tug"),
}
_VERB = re.compile(r"\[(\w+)\]")


def third_person(verb: str) -> str:
    """ "wave" -> "waves", "push" -> "pushes", "carry" -> "carries".

    >>> third_person("push"), third_person("wave"), third_person("play")
    ('pushes', 'waves', 'plays')
    """
    if verb.endswith(("s", "sh", "ch", "x", "o", "z")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


def gerund(verb: str) -> str:
    """ "wave" -> "waving", "cut" -> "cutting".

    >>> gerund("wave"), gerund("cut"), gerund("push")
    ('waving', 'cutting', 'pushing')
    """
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + "ing"


def _inflect(phrase: str, form: str) -> str:
    forms: dict[str, Callable[[str], str]] = {"base": str, "third": third_person, "gerund": gerund}
    return _VERB.sub(lambda match: forms[form](match[1]), phrase)


def _tidy(sentence: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"(\s*,)+", ",", sentence)).strip(" ,")


def short_caption(phrase: str, hand: str, rng: np.random.Generator) -> str:
    """A high-level sentence: hands, action and direction."""
    name = HANDS[hand]
    doing = _inflect(phrase, "gerund")
    does = _inflect(phrase, "base" if hand == "both" else "third")
    wordings = (f"{name} {does}", f"{doing} with {name}", f"a person {_inflect(phrase, 'third')} with {name}")
    return _tidy(str(rng.choice(wordings)))


def fine_caption(phrase: str, hand: str, *, speed: str, size: str, times: str, rng: np.random.Generator) -> str:
    """A finer sentence: also speed, size and repetitions; `times` may be empty."""
    name, how, move = HANDS[hand], ADVERBS[speed], MOVEMENTS[size]
    doing = _inflect(phrase, "gerund")
    does = _inflect(phrase, "base" if hand == "both" else "third")
    wordings = (
        f"{name} {how} {does} {times}, {move}",
        f"{how} {doing} {times} with {name}, {move}",
        f"{move}, {name} {how} {does} {times}",
    )
    return _tidy(str(rng.choice(wordings)))
