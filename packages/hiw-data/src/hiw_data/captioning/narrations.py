"""Verb, objects and hands of a narration, by a few rules of English; no model.

Made for narrations as egocentric datasets have them ("#C C picks up the knife with her right hand") and for short
answers ("holds the bowl"). What the rules cannot read gives an empty part, never an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

_LINES = (files("hiw_data.captioning") / "narration_words.txt").read_text(encoding="utf-8").splitlines()
_WORDS = {name: frozenset(words.split()) for name, _, words in (line.partition(":") for line in _LINES)}
_MARK = re.compile(r"#\w+")
_WORD = re.compile(r"[a-z][a-z'-]*")
_SUBJECTS = _WORDS["subjects"]
_SKIPPED = _WORDS["skipped"]
_PARTICLES = _WORDS["particles"]
_DETERMINERS = _WORDS["determiners"]
_ENDS = _WORDS["ends"]
_IRREGULAR = {
    "picks": "pick", "does": "do", "goes": "go", "has": "have", "lies": "lie", "ties": "tie", "dies": "die",
    "unties": "untie", "lying": "lie", "tying": "tie", "untying": "untie", "using": "use", "uses": "use",
    "passes": "pass", "presses": "press", "took": "take", "held": "hold", "cut": "cut", "put": "put", "made": "make",
    "freezes": "freeze", "seizes": "seize",
}  # fmt: skip
_PLURAL_ONLY = _WORDS["plural-only"]
_E_VERBS = _WORDS["verbs-in-e"]


@dataclass(frozen=True)
class Narration:
    """What a narration says.

    Attributes:
        verb: Its base form, with its particle ("pick up"); "" if there is none.
        objects: Heads of the noun phrases after it, in order.
        hands: "left", "right" or "both", those that are named.
    """

    verb: str
    objects: tuple[str, ...]
    hands: tuple[str, ...]


def parse_narration(text: str) -> Narration:
    """Reads a narration.

    >>> parse_narration("#C C picks up the kitchen knife with her right hand")
    Narration(verb='pick up', objects=('knife',), hands=('right',))
    """
    words = _WORD.findall(_MARK.sub(" ", text).lower())
    hands = _hands(words)
    start = next((i for i, w in enumerate(words) if w not in _SUBJECTS and w not in _SKIPPED), None)
    if start is None:
        return Narration("", (), hands)
    verb, rest = base_form(words[start]), words[start + 1 :]
    objects = _objects(rest)
    if rest and rest[0] in _PARTICLES:
        verb, objects = f"{verb} {rest[0]}", _objects(rest[1:])
    return Narration(verb, objects, hands)


def base_form(word: str) -> str:
    """A verb's base form, by rules of spelling.

    >>> [base_form(word) for word in ("washes", "carries", "cutting", "taking", "holds", "wiped", "rolling")]
    ['wash', 'carry', 'cut', 'take', 'hold', 'wipe', 'roll']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("shes", "ches", "sses", "xes", "zzes", "oes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1 and re.search("[aeiouy]", stem):
            return _stem(stem)
    return word


def singular(noun: str) -> str:
    """A noun's singular, by rules of spelling.

    >>> [singular(noun) for noun in ("cups", "tomatoes", "berries", "glass", "scissors")]
    ['cup', 'tomato', 'berry', 'glass', 'scissors']
    """
    return noun if noun in _PLURAL_ONLY or not noun.endswith("s") else base_form(noun)


def _stem(stem: str) -> str:
    if stem + "e" in _E_VERBS:
        return stem + "e"
    if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "lsz":
        return stem[:-1]
    if stem.endswith("i"):
        return stem[:-1] + "y"
    return stem


def _hands(words: list[str]) -> tuple[str, ...]:
    named = {
        side
        for i, side in enumerate(words)
        if side in ("left", "right", "both") and any(w in ("hand", "hands") for w in words[i + 1 : i + 4])
    }
    return tuple(side for side in ("left", "right", "both") if side in named)


def _objects(words: list[str]) -> tuple[str, ...]:
    """The heads: the last word of each run between determiners, prepositions and "and"."""
    found: list[str] = []
    run: list[str] = []
    for word in [*words, "and"]:
        if word in _DETERMINERS or word in _ENDS:
            if run:
                found.append(run[-1])
            run = []
        elif word not in _SKIPPED:
            run.append(word)
    kept = [word for word in found if word not in ("hand", "hands", "left", "right", "both")]
    return tuple(dict.fromkeys(singular(word) for word in kept))
