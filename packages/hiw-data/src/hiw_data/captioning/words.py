"""Captions from motion alone: facts said in varied, grammatical English, at three lengths.

Only what was measured is said (see ``facts``). Synonyms and word order are drawn by seed; the same codes and seed give
the same words, and the codes of a mirrored clip give the mirrored words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from hand_geometry.codes import Claim, MotionCodes

from hiw_data.captioning.facts import SIDES, Fact, HandFacts, hand_facts, joint_facts, moving, relation_facts
from hiw_data.sources.wording import gerund, third_person

LENGTHS = ("short", "medium", "long")
VARIANTS = 5
_VERB = re.compile(r"\[(\w+)\]")
_NAMES = {
    "left": ("the left hand", "the person's left hand", "the wearer's left hand"),
    "right": ("the right hand", "the person's right hand", "the wearer's right hand"),
    "both": ("both hands", "the two hands", "the hands"),
}
_OPENINGS = ("here, ", "in this clip, ", "in this motion, ", "we see that ", "one sees that ")
_THIRD = {"do": "does", "go": "goes"}
_GERUND = {"swing": "swinging", "do": "doing", "flutter": "fluttering", "travel": "travelling"}


@dataclass(frozen=True)
class MotionCaption:
    """A sentence and the claims that it makes, each fulfilled by the codes."""

    text: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class MotionCaptions:
    """Captions of one clip, five variants of each, no two alike.

    Attributes:
        short, medium, long: Of the whole clip.
        left, right: Of each hand; empty if it was not seen.
        relation: Of the two hands together; empty if nothing can be said of them.
    """

    short: tuple[MotionCaption, ...]
    medium: tuple[MotionCaption, ...]
    long: tuple[MotionCaption, ...]
    left: tuple[MotionCaption, ...]
    right: tuple[MotionCaption, ...]
    relation: tuple[MotionCaption, ...]

    def texts(self) -> list[str]:
        """The whole clip's captions, from general to fine-grained."""
        return [caption.text for length in LENGTHS for caption in getattr(self, length)]


def describe_motion(
    codes: MotionCodes, seed: int = 0, variants: int = VARIANTS, tells: Callable[[Claim], bool] | None = None
) -> MotionCaptions:
    """Captions of a clip from its motion codes alone.

    Args:
        codes: Of one clip.
        seed: Draws synonyms and word order.
        variants: How many of each kind.
        tells: Which claims may be made, such as those that hold whatever the world's axes are; None for all.

    Returns:
        The captions; every one of them says only what the codes fulfil. Where no hand was seen half of the time all
        are empty.
    """
    left, right, relations = _facts(codes, tells)
    taken: set[str] = set()
    whole = _three_lengths(_subjects(codes, left, right), relations, seed, variants, taken)

    def draw(write: Callable[[np.random.Generator], MotionCaption], kind: int) -> tuple[MotionCaption, ...]:
        return _distinct(write, np.random.default_rng([seed, kind]), variants, taken)

    hands = [draw(partial(_sentence, facts, "long"), 3) if facts else () for facts in (left, right)]
    related = draw(partial(_relation, relations), 4) if relations else ()
    return MotionCaptions(whole[0], whole[1], whole[2], hands[0], hands[1], related)


def describe_whole(
    codes: MotionCodes, seed: int = 0, tells: Callable[[Claim], bool] | None = None
) -> tuple[MotionCaption, ...]:
    """A short, a middle and a long caption of the whole clip, no two alike; less than `describe_motion`, and sooner.

    Args:
        codes: Of one clip.
        seed: Draws synonyms and word order.
        tells: Which claims may be made, such as those that hold whatever the world's axes are; None for all.

    Returns:
        The three; none where no hand was seen half of the time.
    """
    left, right, relations = _facts(codes, tells)
    whole = _three_lengths(_subjects(codes, left, right), relations, seed, 1, set())
    return tuple(caption for length in whole for caption in length)


def _three_lengths(
    subjects: Sequence[HandFacts], relations: Sequence[Fact], seed: int, variants: int, taken: set[str]
) -> list[tuple[MotionCaption, ...]]:
    """Captions of the whole clip by length; what is `taken` is not said again."""
    writers = [partial(_whole, subjects, relations, length) for length in LENGTHS] if subjects else []
    drawn = [_distinct(w, np.random.default_rng([seed, k]), variants, taken) for k, w in enumerate(writers)]
    return drawn or [()] * len(LENGTHS)


def _facts(
    codes: MotionCodes, tells: Callable[[Claim], bool] | None
) -> tuple[HandFacts | None, HandFacts | None, list[Fact]]:
    """What may be told of the left hand, of the right, and of both together."""
    left, right = (_telling(hand_facts(codes, hand), tells) for hand in SIDES)
    return left, right, [fact for fact in relation_facts(codes) if tells is None or tells(fact.claim)]


def _telling(facts: HandFacts | None, tells: Callable[[Claim], bool] | None) -> HandFacts | None:
    """The facts that may be told; of a movement of which nothing is left, that there is one."""
    if facts is None or tells is None:
        return facts
    way = tuple(fact for fact in facts.way if tells(fact.claim))
    if facts.spans and not way:
        way = (moving(facts.hand),)
    count, speed, size = (
        fact if fact and tells(fact.claim) else None for fact in (facts.count, facts.speed, facts.size)
    )
    posture = tuple(fact for fact in facts.posture if tells(fact.claim))
    return HandFacts(facts.hand, way, count, speed, size, posture, facts.spans)


def _subjects(codes: MotionCodes, left: HandFacts | None, right: HandFacts | None) -> list[HandFacts]:
    """Whom the whole caption is about, the busier hand first; both as one where they do the same."""
    seen = [facts for facts in (left, right) if facts is not None]
    if left and right and (both := joint_facts(codes, left, right)):
        return [both]
    return sorted(seen, key=lambda facts: -facts.spans)


def _distinct(
    write: Callable[[np.random.Generator], MotionCaption], rng: np.random.Generator, variants: int, taken: set[str]
) -> tuple[MotionCaption, ...]:
    """So many captions that differ from each other and from those that are there."""
    found: list[MotionCaption] = []
    for attempt in range(400):
        caption = write(rng)
        if attempt >= 60:  # few things to say: say them with another opening
            caption = MotionCaption(_OPENINGS[attempt % len(_OPENINGS)] + caption.text, caption.claims)
        if caption.text not in taken:
            taken.add(caption.text)
            found.append(caption)
        if len(found) == variants:
            break
    return tuple(found)


def _whole(
    subjects: Sequence[HandFacts], relations: Sequence[Fact], length: str, rng: np.random.Generator
) -> MotionCaption:
    caption = _sentence(subjects[0], length, rng, relations)
    if len(subjects) == 1 or (length == "short" and subjects[1].spans < 0.25 * subjects[0].spans):
        return caption
    other = _sentence(subjects[1], "short" if length != "long" else "medium", rng, plain=True)
    joint = _any((", while ", "; ", " while "), rng)
    return MotionCaption(caption.text + joint + other.text, caption.claims + other.claims)


def _sentence(
    facts: HandFacts, length: str, rng: np.random.Generator, relations: Sequence[Fact] = (), *, plain: bool = False
) -> MotionCaption:
    """One clause with its circumstances; a plain one has its subject first."""
    said: list[Fact | None] = [facts.way[0] if facts.way else None]
    phrase = _pick(facts.way[0], rng) if facts.way else "[be] seen"
    times = adverb = size = ""
    if length != "short":
        said += [facts.count, facts.speed]
        times, adverb = _pick(facts.count, rng), _pick(facts.speed, rng)
    extras: list[str] = []
    if length == "long":
        said.append(facts.size)
        size = _pick(facts.size, rng)
        more = [f for f in facts.way[1:2] if f.claim.kind != facts.way[0].claim.kind]
        chosen = [*more, *facts.posture]
        said += chosen
        extras = [_extra(f, facts.hand, rng) for f in chosen]
    if facts.hand == "both" and length != "short":
        together = [f for f in relations if f.claim.value in ("mirrored", "alternating", "parallel", "opposed")][:1]
        said += together
        extras += [_pick(f, rng) for f in together]
    text = _ordered(facts.hand, phrase, adverb, times, size, extras, rng, plain)
    moves = [Claim("hands", facts.hand, "moves")] if facts.spans else []
    claims = dict.fromkeys([*moves, *(fact.claim for fact in said if fact)])
    return MotionCaption(text, tuple(claims))


def _ordered(
    hand: str, phrase: str, adverb: str, times: str, size: str, extras: list[str], rng: np.random.Generator, plain: bool
) -> str:
    name = _any(_NAMES[hand], rng)
    does = _inflect(phrase, "base" if hand == "both" else "third")
    doing = _inflect(phrase, "gerund")
    single = adverb if " " not in adverb else ""
    late = adverb if " " in adverb else ""
    tail = ", ".join(part for part in (size, *extras) if part)
    orders = [
        f"{name} {single} {does} {times} {late}, {tail}",
        f"{name} {does} {times} {adverb}, {tail}",
        f"{name} {'are' if hand == 'both' else 'is'} {single} {doing} {times} {late}, {tail}",
        f"{single} {doing} {times} {late} with {name}, {tail}",
    ]
    if plain:
        orders = orders[:3]
    elif size:
        rest = ", ".join(extras)
        orders.append(f"{size}, {name} {single} {does} {times} {late}, {rest}")
    if "not " in phrase or "still" in phrase or "motionless" in phrase:
        orders = orders[:1]
    return _tidy(orders[int(rng.integers(len(orders)))])


def _extra(fact: Fact, hand: str, rng: np.random.Generator) -> str:
    words = _inflect(_pick(fact, rng), "gerund")
    if hand == "both":
        words = re.sub(r"\bpalm\b", "palms", words)
    return words


def _relation(relations: Sequence[Fact], rng: np.random.Generator) -> MotionCaption:
    chosen = relations[: int(rng.integers(1, min(len(relations), 3) + 1))]
    parts = []
    for fact in chosen:
        words = _pick(fact, rng)
        if " hand " in words:
            parts.append(words.replace(" hand ", " hand is ", 1))
        elif "[" in words:
            parts.append(f"{_any(_NAMES['both'], rng)} {_inflect(words, 'base')}")
        else:
            parts.append(f"{_any(_NAMES['both'], rng)} {_any(('move', 'work'), rng)} {words}")
    return MotionCaption(_tidy(", and ".join(parts)), tuple(fact.claim for fact in chosen))


def _pick(fact: Fact | None, rng: np.random.Generator) -> str:
    return _any(fact.phrases, rng) if fact else ""


def _any(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _inflect(phrase: str, form: str) -> str:
    def conjugated(match: re.Match[str]) -> str:
        verb = match[1]
        if form == "third":
            return _THIRD.get(verb, third_person(verb))
        return _GERUND.get(verb, gerund(verb)) if form == "gerund" else verb

    return _VERB.sub(conjugated, phrase)


def _tidy(sentence: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"(\s*,)+", ",", sentence)).strip(" ,")
