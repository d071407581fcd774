"""Free phrasings of scripted actions: other words and word orders, imperative and gerund, politeness, typing errors.

A *phrasing* is a pair of a verb phrase of the family and a sentence form (see `phrases`). A fifth of the pairs is held
out of training, so that a model can be asked in sentences that nobody has shown it. A sentence may leave open which
hand moves and where to, as people do who ask for a clip.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np

from hiw_data.sources.phrases import (
    BOTH,
    FORMS,
    HANDLESS_FORMS,
    NUMBERS,
    ONE_HAND,
    PHRASES,
    SIZE_WORDS,
    SPEED_WORDS,
    TIMES,
)
from hiw_data.sources.wording import gerund, third_person

T = TypeVar("T")

#: What a sentence may tell beside the action: attributes of scripted clips.
TELLS = ("hand", "direction", "speed", "size", "repetitions")

#: Of one pair in so many, all paraphrases are held out of training.
HELD_OUT_SHARE = 5

_OPEN: tuple[tuple[str, ...], ...] = (("hand",), ("direction",), (), ())
"""What sentences tell that leave something open."""
_ALL_FORMS = FORMS + HANDLESS_FORMS
_VERB = re.compile(r"\[(\w+)\]")
_OPTIONAL = re.compile(r"\(([^()]*)\)")
_KEPT = 0.4
"""Share of the adverbs that a terse sentence keeps."""
_LISTED = 0.3
"""Share of the sentences whose adverbs stand between commas."""


def held_out(family: str, phrase: int, form: int) -> bool:
    """Whether a pair is kept out of training: a fixed fifth of them.

    Args:
        family: of the action.
        phrase: its place in `PHRASES` of the family.
        form: its place in `FORMS` and then `HANDLESS_FORMS`.
    """
    return zlib.crc32(f"{family}/{phrase}/{form}".encode()) % HELD_OUT_SHARE == 0


@cache
def phrasings(
    family: str, *, unseen: bool, direction: bool = True, hands: bool = True, adverbs: bool = True
) -> tuple[tuple[int, int], ...]:
    """The pairs of a family that training may see, or those that are held out, as `held_out` numbers them.

    Args:
        family: of the action.
        unseen: those that are held out.
        direction: of sentences that tell it: of all phrases; else of those that can do without.
        hands: of sentences that tell which hands move; else of those that leave it open.
        adverbs: of sentences with any; else without the forms that would then read as another form does.
    """
    all_forms = range(len(FORMS)) if hands else range(len(FORMS), len(_ALL_FORMS))
    forms = [k for k in all_forms if adverbs or not _ALL_FORMS[k].startswith("{a} {v}")]
    phrases = [k for k, phrase in enumerate(PHRASES[family]) if direction or _OPTIONAL.search(phrase)]
    return tuple((k, form) for k in phrases for form in forms if held_out(family, k, form) == unseen)


def paraphrase(
    attributes: Mapping[str, Any],
    directions: Mapping[str, str],
    rng: np.random.Generator,
    *,
    tells: Collection[str] | None = None,
    unseen: bool = False,
    typo: float = 0.05,
    terse: float = 0.3,
    open_share: float = 0.5,
) -> str:
    """A free sentence, in small letters, that asks for a scripted action.

    Args:
        attributes: of the clip: family, hand, direction, speed, size, repetitions.
        directions: stored value -> words, of the family.
        rng: draws the phrasing.
        tells: what the sentence tells beside the action, names of `TELLS`; None draws it by `terse` and `open_share`.
        unseen: take a phrasing that is held out of training rather than one that is not.
        typo: share of the sentences with one letter dropped, doubled or changed with its neighbour.
        terse: share of the sentences that leave out some of speed, size and repetitions.
        open_share: share of the sentences that leave open which hand moves, where to, or (half of them) both, as people
            ask. They are terse too.
    """
    family = attributes["family"]
    told = _draw_told(rng, terse, open_share) if tells is None else tells
    aims, adverbs = "direction" in told, _adverbs(attributes, rng, told)
    pairs = phrasings(family, unseen=unseen, direction=aims, hands="hand" in told, adverbs=bool(adverbs))
    phrase, form = _any(pairs, rng)
    words = {"d": directions[attributes["direction"]], "n": _any(NUMBERS[attributes["repetitions"]], rng)}
    hands = BOTH if attributes["hand"] == "both" else ONE_HAND
    verbs = _OPTIONAL.sub(r"\1" if aims else "", PHRASES[family][phrase]).format(**words)
    sentence = _ALL_FORMS[form].format(
        v=_VERB.sub(r"\1", verbs),
        g=_VERB.sub(lambda match: gerund(match[1]), verbs),
        s=_VERB.sub(lambda match: third_person(match[1]), verbs),
        h=_any(hands, rng).format(h=attributes["hand"]),
        a=adverbs,
    )
    sentence = re.sub(r"\s+", " ", re.sub(r"\s*(,\s*)+", ", ", sentence)).strip(" ,").replace(", :", ":")
    return _mistyped(sentence, rng) if rng.random() < typo else sentence


def _draw_told(rng: np.random.Generator, terse: float, open_share: float) -> set[str]:
    is_open = rng.random() < open_share
    told = {"speed", "size", "repetitions"}
    if is_open or rng.random() < terse:
        told = {name for name in sorted(told) if rng.random() < _KEPT}
    return told | set(_any(_OPEN, rng) if is_open else ("hand", "direction"))


def _adverbs(attributes: Mapping[str, Any], rng: np.random.Generator, told: Collection[str]) -> str:
    """Speed, repetitions and size in words, in any order, as far as they are told."""
    times = () if attributes["family"] == "count" else TIMES[attributes["repetitions"]]
    words = {
        "speed": SPEED_WORDS[attributes["speed"]],
        "repetitions": times,
        "size": SIZE_WORDS[attributes["size"]],
    }
    said = [_any(options, rng) for name, options in words.items() if options and name in told]
    said = [said[k] for k in rng.permutation(len(said)) if said[k]]
    return (", " if rng.random() < _LISTED else " ").join(said)


def _mistyped(sentence: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, max(2, len(sentence) - 2)))
    before, letter, after = sentence[:at], sentence[at : at + 1], sentence[at + 1 :]
    return _any((before + after[:1] + letter + after[1:], before + after, before + letter + letter + after), rng)


def _any(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]
