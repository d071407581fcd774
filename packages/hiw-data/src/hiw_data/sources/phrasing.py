"""Free phrasings of scripted actions: other words and word orders, imperative and gerund, politeness, typing errors.

A *phrasing* is a pair of a verb phrase of the family and a sentence form. A fifth of the pairs is held out of training,
so that a model can be asked in sentences that nobody has shown it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from hiw_data.sources.wording import gerund, third_person

T = TypeVar("T")

#: A family's verb phrases, other than those of its captions: verbs in [brackets] are inflected, {d} is the direction in
#: words, {n} the number.
PHRASES: dict[str, tuple[str, ...]] = {
    "wave": (
        "[wave] goodbye {d}",
        "[greet] somebody by waving {d}",
        "[swing] an open palm {d} in greeting",
        "[say] hello with a wave {d}",
        "[flap] an open hand {d}",
    ),
    "fist": (
        "[clench] a fist, palm {d}",
        "[ball] the fingers into a fist facing {d}",
        "[curl] all fingers into a fist, palm facing {d}",
        "[squeeze] the hand shut with the palm {d}",
        "[tighten] into a fist, palm towards {d}",
    ),
    "point": (
        "[indicate] {d} with the forefinger",
        "[stretch] out the index finger {d}",
        "[aim] the index finger {d}",
        "[show] the way {d} with one finger",
        "[direct] a finger {d}",
    ),
    "pinch": (
        "[bring] thumb and index fingertips together, fingers {d}",
        "[squeeze] something tiny between thumb and forefinger, pointing {d}",
        "[touch] the thumb to the index finger, fingers {d}",
        "[nip] with thumb and index, pointing {d}",
        "[press] thumb and forefinger together, directed {d}",
    ),
    "clap": (
        "[applaud] with the fingers {d}",
        "[slap] the palms together, fingers {d}",
        "[strike] palm against palm, fingers pointing {d}",
        "[give] applause, fingers {d}",
        "[bring] the palms together with a clap, fingers {d}",
    ),
    "stir": (
        "[mix] the soup {d}",
        "[move] a spoon round in a pot {d}",
        "[swirl] a spoon {d}",
        "[whisk] a pan {d}",
        "[go] round in a bowl {d}",
    ),
    "pour": (
        "[empty] a glass {d}",
        "[tip] a cup over {d}",
        "[serve] water from a jug {d}",
        "[tilt] a mug {d} to pour",
        "[fill] a glass by pouring {d}",
    ),
    "knead": (
        "[work] a dough, pushing it {d}",
        "[squash] bread dough {d}",
        "[massage] dough {d}",
        "[push] into dough {d}, hand after hand",
        "[press] clay {d} in turns",
    ),
    "type": (
        "[write] on a computer, {d}",
        "[tap] on the keys of a keyboard {d}",
        "[enter] text on a keyboard, {d}",
        "[hit] keyboard keys, {d}",
        "[drum] the fingers over a keyboard {d}",
    ),
    "piano": (
        "[run] over piano keys {d}",
        "[perform] a scale {d} on the piano",
        "[practise] piano scales {d}",
        "[press] one piano key after the other {d}",
        "[ripple] over the keyboard of a piano {d}",
    ),
    "screw": (
        "[drive] a screw {d}",
        "[twist] a screwdriver {d}",
        "[fasten] something with a screwdriver {d}",
        "[rotate] a screwdriver {d}",
        "[use] a screwdriver {d}",
    ),
    "cut": (
        "[saw] through bread {d}",
        "[chop] vegetables {d}",
        "[carve] {d} with a blade",
        "[use] a knife {d}",
        "[slice] something {d}",
    ),
    "knock": (
        "[bang] {d} with the knuckles",
        "[tap] {d} with a fist",
        "[thump] {d}",
        "[strike] {d} with the knuckles",
        "[hammer] {d} with a fist",
    ),
    "wipe": (
        "[clean] a table {d}",
        "[rub] a surface {d}",
        "[polish] the table {d}",
        "[dust] a board {d}",
        "[sweep] a flat hand over the table {d}",
    ),
    "roll": (
        "[form] a ball between the palms {d}",
        "[shape] clay into a ball {d}",
        "[rub] a ball between flat hands {d}",
        "[roll] clay between the hands {d}",
        "[turn] a ball of dough between both palms {d}",
    ),
    "count": (
        "[number] {d} {n} with the fingers",
        "[tell] {d} {n} on the fingers",
        "[show] the numbers {d} {n} by fingers",
        "[enumerate] {d} {n}",
        "[tick] off {d} {n} on the hand",
    ),
    "thumb": (
        "[stick] the thumb {d}",
        "[make] a thumbs-{d} sign",
        "[signal] with the thumb {d}",
        "[hold] a thumb {d}",
        "[vote] with a thumb {d}",
    ),
    "lift": (
        "[raise] an object {d}",
        "[take] hold of a thing and [carry] it {d}",
        "[hoist] something {d}",
        "[pick] up an item and [bring] it {d}",
        "[grasp] a box and [shift] it {d}",
    ),
    "push": (
        "[shove] {d}",
        "[press] against something {d}",
        "[thrust] a flat hand {d}",
        "[drive] something {d} with the palm",
        "[move] something away {d} with a flat hand",
    ),
    "pull": (
        "[tug] on a handle {d}",
        "[draw] a lever {d}",
        "[drag] a handle {d}",
        "[yank] a rope {d}",
        "[haul] something {d}",
    ),
    "throw": (
        "[fling] a ball {d}",
        "[hurl] something {d}",
        "[pitch] a ball {d}",
        "[chuck] a stone {d}",
        "[cast] something {d}",
    ),
    "beckon": (
        "[wave] someone over, palm {d}",
        "[invite] somebody nearer with the palm {d}",
        "[motion] to come here, palm {d}",
        "[gesture] come closer with the palm facing {d}",
        "[summon] someone, palm {d}",
    ),
    "wring": (
        "[squeeze] water out of a cloth, {d}",
        "[wring] out a wet towel, {d}",
        "[twist] a rag dry, {d}",
        "[screw] up a wet cloth, {d}",
        "[turn] a towel between two fists, {d}",
    ),
    "turn": (
        "[flip] the palm {d}",
        "[roll] the hand so that the palm is {d}",
        "[turn] the hand over to palm {d}",
        "[rotate] the forearm until the palm faces {d}",
        "[show] the palm {d} by rotating",
    ),
    "drum": (
        "[bang] on a drum {d}",
        "[hit] the table {d} like a drum",
        "[play] the drums {d}",
        "[pound] a drum {d}",
        "[tap] a drum {d} with flat hands",
    ),
    "shake": (
        "[rattle] a bottle {d}",
        "[agitate] a bottle {d}",
        "[jiggle] something {d}",
        "[mix] a shaker {d}",
        "[move] a bottle rapidly {d}",
    ),
    "draw": (
        "[sketch] {d} in the air",
        "[outline] {d} with a finger",
        "[paint] {d} in the air",
        "[write] {d} in the air with the index finger",
        "[describe] {d} with the fingertip",
    ),
}

SPEED_WORDS = {
    "slow": ("slowly", "at a slow pace", "unhurriedly", "in slow motion", "leisurely"),
    "medium": ("", "at a normal pace", "steadily", "at a moderate speed", "calmly"),
    "fast": ("quickly", "fast", "rapidly", "swiftly", "at high speed", "briskly"),
}
SIZE_WORDS = {
    "small": ("with small movements", "with tiny motions", "only a little", "with little movements", "subtly"),
    "medium": ("", "with medium movements", "with ordinary movements", "with moderate movements"),
    "large": ("with large movements", "with big motions", "broadly", "with wide movements", "in large gestures"),
}
TIMES = {
    1: ("once", "one time", "a single time", "1 time"),
    2: ("twice", "two times", "2 times", "2x"),
    3: ("three times", "3 times", "thrice", "3x"),
    4: ("four times", "4 times", "4x"),
    5: ("five times", "5 times", "5x"),
}
ONE_HAND = ("the {h} hand", "your {h} hand", "one hand, the {h} one,", "the {h}", "a {h} hand")
BOTH = ("both hands", "two hands", "your two hands", "both of your hands", "the left and the right hand")
NUMBERS = {1: ("one", "1"), 2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4"), 5: ("five", "5")}

#: Sentence forms: {v} base verb phrase, {g} gerund, {s} third person; {h} the hands, {a} adverbs.
FORMS = (
    "{v} with {h} {a}",
    "please {v} with {h} {a}",
    "{g} with {h} {a}",
    "{a} {v} with {h}",
    "{a} {g}, using {h}",
    "somebody {s} with {h} {a}",
    "use {h} to {v} {a}",
    "{h}: {v} {a}",
    "a person is {g} with {h} {a}",
    "can you {v} with {h} {a}",
    "i want {h} to {v} {a}",
    "with {h}, {v} {a}",
    "someone who is {g} {a} with {h}",
    "let {h} {v} {a}",
    "show {h} {g} {a}",
)

#: Of one pair in so many, all paraphrases are held out of training.
HELD_OUT_SHARE = 5

_VERB = re.compile(r"\[(\w+)\]")
_KEPT = 0.4
"""Share of the adverbs that a terse sentence keeps."""
_LISTED = 0.3
"""Share of the sentences whose adverbs stand between commas."""


def held_out(family: str, phrase: int, form: int) -> bool:
    """Whether a pair, by its places in `PHRASES` and `FORMS`, is kept out of training: a fixed fifth of them."""
    return zlib.crc32(f"{family}/{phrase}/{form}".encode()) % HELD_OUT_SHARE == 0


def phrasings(family: str, *, unseen: bool) -> list[tuple[int, int]]:
    """The pairs of a family that training may see, or those that are held out."""
    pairs = [(phrase, form) for phrase in range(len(PHRASES[family])) for form in range(len(FORMS))]
    return [pair for pair in pairs if held_out(family, *pair) == unseen]


def paraphrase(
    attributes: Mapping[str, Any],
    directions: Mapping[str, str],
    rng: np.random.Generator,
    *,
    unseen: bool = False,
    typo: float = 0.05,
    terse: float = 0.3,
) -> str:
    """A free sentence, in small letters, that asks for a scripted action.

    Args:
        attributes: of the clip: family, hand, direction, speed, size, repetitions.
        directions: stored value -> words, of the family.
        rng: draws the phrasing.
        unseen: take a phrasing that is held out of training rather than one that is not.
        typo: share of the sentences with one letter dropped, doubled or changed with its neighbour.
        terse: share of the sentences that leave out some of speed, size and repetitions.
    """
    family = attributes["family"]
    phrase, form = _any(phrasings(family, unseen=unseen), rng)
    words = {"d": directions[attributes["direction"]], "n": _any(NUMBERS[attributes["repetitions"]], rng)}
    hands = BOTH if attributes["hand"] == "both" else ONE_HAND
    verbs = PHRASES[family][phrase].format(**words)
    sentence = FORMS[form].format(
        v=_VERB.sub(r"\1", verbs),
        g=_VERB.sub(lambda match: gerund(match[1]), verbs),
        s=_VERB.sub(lambda match: third_person(match[1]), verbs),
        h=_any(hands, rng).format(h=attributes["hand"]),
        a=_adverbs(attributes, rng, terse),
    )
    sentence = re.sub(r"\s+", " ", re.sub(r"\s*(,\s*)+", ", ", sentence)).strip(" ,").replace(", :", ":")
    return _mistyped(sentence, rng) if rng.random() < typo else sentence


def _adverbs(attributes: Mapping[str, Any], rng: np.random.Generator, terse: float) -> str:
    """Speed, repetitions and size in words, in any order."""
    times = () if attributes["family"] == "count" else TIMES[attributes["repetitions"]]
    options = (SPEED_WORDS[attributes["speed"]], times, SIZE_WORDS[attributes["size"]])
    said = [_any(words, rng) for words in options if words]
    if rng.random() < terse:
        said = [words for words in said if rng.random() < _KEPT]
    said = [said[k] for k in rng.permutation(len(said)) if said[k]]
    return (", " if rng.random() < _LISTED else " ").join(said)


def _mistyped(sentence: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, max(2, len(sentence) - 2)))
    before, letter, after = sentence[:at], sentence[at : at + 1], sentence[at + 1 :]
    return _any((before + after[:1] + letter + after[1:], before + after, before + letter + letter + after), rng)


def _any(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]
