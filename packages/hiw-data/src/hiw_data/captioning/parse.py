"""From a caption in English to the claims that it makes of the motion.

The grammar is patterns over normalised words, clause by clause: what is read is taken out, so that no word is read
twice. Words that say nothing measurable (what is held, why) make no claim, or a claim without a measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hand_geometry.codes import Claim

from hiw_data.captioning import lexicon as lex
from hiw_data.captioning.clauses import Clause, clauses_of, words_of
from hiw_data.captioning.normalise import normalise
from hiw_data.captioning.postures import read_posture

_SWINGS = {"sideways": "side-to-side", "updown": "up-and-down", "foreback": "back-and-forth"}
_POUR = {"left": "counterclockwise", "right": "clockwise"}


@dataclass(frozen=True)
class CaptionClaim:
    """A claim that a caption makes.

    Attributes:
        claim: What is claimed; None for something that motion does not show.
        words: The words that say it.
        negated: The caption says that it is not so.
        action: The action that speed and size are relative to; "" for none.
        implied: Not said, but understood: one hand is named, so the other does not do the same.
    """

    claim: Claim | None
    words: str
    negated: bool = False
    action: str = ""
    implied: bool = False


def parse_caption(text: str) -> list[CaptionClaim]:
    """The claims of a caption in order, without repetition.

    Args:
        text: English, any case; slips of the keyboard are mended modestly.

    Returns:
        The claims. Empty if the text claims nothing.
    """
    words, found = _places(normalise(text))
    clauses = clauses_of(words)
    action = ""
    for clause in clauses:
        claims = list(_read(clause, action))
        action = next((c.action for c in claims if c.action), action)
        found += claims
    found = [replace(c, action=c.action or _only_action(found)) if c.claim else c for c in found]
    whole = (*found, *_implied(found, clauses))
    return list({(c.claim or c.words, c.negated): c for c in reversed(whole)}.values())[::-1]


_PLACE = re.compile(
    r"(?:(?:,|and|with) )?(?:the )?(left|right) hand (?:is |are |stays |held |being )*"
    r"(above|over|below|under|in front of|behind)"
    r" (?:the )?(?:left|right|other)(?: hand| one)?"
)
_BEGINS = re.compile(
    r"(?:the )?(left|right) hand (?:first(?= ,| \.|$)|begins|starts|leads)\b"
    r"|(left|right) hand (?:moves|begins|goes) first"
)


def _places(words: str) -> tuple[str, list[CaptionClaim]]:
    """Which hand is where, and which begins: claims that name both hands; and the words without them."""
    found = []
    for match in _PLACE.finditer(words):
        of_right = match[1] == "right"
        near = {"above": "above", "over": "above", "below": "below", "under": "below", "behind": "behind"}
        value = near.get(match[2], "in-front-of")
        opposite = {"above": "below", "below": "above", "behind": "in-front-of", "in-front-of": "behind"}
        claim = Claim("relation", "both", value if of_right else opposite[value])
        found.append(CaptionClaim(claim, match[0].strip(" ,")))
    for match in _BEGINS.finditer(words):
        found.append(CaptionClaim(Claim("order", "both", f"{match[1] or match[2]}-first"), match[0]))
    return _BEGINS.sub(" ", _PLACE.sub(" ", words)), found


def _only_action(claims: list[CaptionClaim]) -> str:
    actions = {c.action for c in claims if c.action}
    return actions.pop() if len(actions) == 1 else ""


def _implied(claims: list[CaptionClaim], clauses: list[Clause]) -> Iterator[CaptionClaim]:
    """A caption that names one hand alone, and says that it moves, implies that the other does not do the same."""
    hands = {clause.hand for clause in clauses}
    moves = [c for c in claims if c.claim and (c.claim.kind, c.claim.value) == ("hands", "moves") and not c.negated]
    if len(hands) == 1 and moves and hands <= {"left", "right"}:
        yield CaptionClaim(Claim("hands", hands.pop(), "alone"), moves[0].words, implied=True)


def _read(clause: Clause, before: str) -> Iterator[CaptionClaim]:
    hand = clause.hand
    when = next((name for name, pattern in lex.WHENS.items() if clause.take(pattern)), "")
    if match := clause.take(lex.STILL):
        held = re.match(r"held|hold|stays? in|remains? in", match[0])
        claim = Claim("rest", hand, "hold", "", when or "middle") if held else Claim("hands", hand, "still", "", when)
        yield CaptionClaim(claim, words_of(match))
    yield from _counting(clause)
    action, match = _action(clause)
    if match is not None:
        yield CaptionClaim(Claim("hands", hand, "moves", "", when), words_of(match), action=action)
        yield from _of_action(clause, action, when)
    for posture, words, negated in read_posture(clause, action, when):
        yield CaptionClaim(posture, words, negated, action)
        if posture and (posture.value in ("bends", "extends") or posture.subject == "turns") and not negated:
            yield CaptionClaim(Claim("hands", hand, "moves", "", when), words)
    yield from _manner(clause, action or before, when)
    verb = clause.take(lex.OTHER_VERBS)
    yield from _way(clause, action, verb is not None, when)
    if verb is not None and not clause.negated(verb):
        yield CaptionClaim(Claim("hands", hand, "moves", "", when), verb[0])
        lifted = (re.match(r"rais|rise|rising", verb[0]) and "up") or (re.match(r"lower|drop", verb[0]) and "down")
        if lifted:
            yield CaptionClaim(Claim("direction", hand, lifted, "partly", when), verb[0])


def _action(clause: Clause) -> tuple[str, re.Match[str] | None]:
    """The first action that is not denied; all are taken out up to it."""
    while True:
        found = []
        for order, (name, pattern) in enumerate(lex.ACTIONS):
            if name == "point" and _POINTING.search(clause.text):
                continue
            if match := clause.find(pattern):
                found.append((match.start(), order, name, match))
        if not found:
            return "", None
        _, _, name, match = min(found, key=lambda item: item[:2])
        clause.blank(match)
        if not clause.negated(match):
            return name, match


_POINTING = re.compile(r"palms?|fingers? pointing|all fingers|# , pointing|extended|curled")
"""Where "pointing" says how a hand is held, not what it does."""


def _of_action(clause: Clause, action: str, when: str) -> Iterator[CaptionClaim]:
    """What an action claims by its very meaning."""
    hand = clause.hand
    meanings = {
        "fist": Claim("fingers", hand, "bends", "fingers", when),
        "pinch": Claim("contact", hand, "approach", "thumb+index", when),
        "point": Claim("handshape", hand, "point", "", when),
    }
    if action in meanings:
        yield CaptionClaim(meanings[action], action, action=action)
    elif action == "clap":
        yield CaptionClaim(Claim("relation", "both", "approach", "", when), action, action=action)
    else:
        yield CaptionClaim(None, action, action=action)


def _counting(clause: Clause) -> Iterator[CaptionClaim]:
    """Counting on the fingers, which is about how many are extended, and repetitions."""
    if match := clause.take(rf"(?:<up> to|<down> from) ({lex.NUMBER})(?: on the fingers)?"):
        number, when = _number(match[1]), "end" if "<up>" in match[0] else "start"
        if number <= 5:
            yield _said(clause, match, Claim("number", clause.hand, str(number), "", when))
    while match := clause.take(
        rf"({lex.NUMBER}) (?:times?|repetitions?|reps?|repeats|cycles)|once|twice|several times|repeatedly|many times"
    ):
        value = {"once": "1", "twice": "2"}.get(match[0]) or (
            str(min(_number(match[1]), 20)) if match[1] else "several"
        )
        yield _said(clause, match, Claim("count", clause.hand, value))


def _manner(clause: Clause, action: str, when: str) -> Iterator[CaptionClaim]:
    """Speed, size, and how the hands move with respect to each other."""
    for kind, words in (("speed", lex.ADVERBS), ("size", lex.SIZES)):
        for value, pattern in words.items():
            if match := clause.take(pattern):
                yield replace(_said(clause, match, Claim(kind, clause.hand, value, "", when)), action=action)
    for value, pattern in (("together", r"simultaneously|at the same time"),):
        if (match := clause.take(pattern)) and clause.hand == "both":
            yield _said(clause, match, Claim("order", "both", value))
    for value, pattern in (
        (
            "approach",
            r"(?:come|comes|coming|move|moves|brought|bring|brings) together|approach(?:es|ing)?(?: each other)?"
            r"|(?:towards?|closer to) each other",
        ),
        ("part", r"(?:move|moves|moving|pull|pulls|come|comes) apart|separat(?:e|es|ing)|away from each other"),
    ):
        if (match := clause.take(pattern)) and clause.hand in ("both", "either"):
            yield _said(clause, match, Claim("relation", "both", value, "", when))
    for value, pattern in lex.PATTERNS.items():
        if (match := clause.take(pattern)) and (match[0] != "together" or clause.hand == "both"):
            yield _said(clause, match, Claim("relation", "both", value))


def _way(clause: Clause, action: str, moving: bool, when: str) -> Iterator[CaptionClaim]:
    """Where a hand goes: lines, circles, directions that nothing else has taken."""
    hand = clause.hand
    if match := clause.take(r"(left|right)hand(forward|back)"):
        yield _said(clause, match, Claim("turn", match[1], f"pitch-{match[2]}"))
    if match := clause.take(r"(counterclockwise|clockwise)"):
        kind = (
            "turn"
            if action == "screw" or (action == "" and re.search(r"turn|twist|rotat", clause.said))
            else "circling"
        )
        yield _said(clause, match, Claim(kind, hand, match[1], "", when))
    if match := clause.take(r"in (?:\w+ )?circles?|(?:a|the) (?:\w+ )?circles?|circular(?:ly)?|circles|circling"):
        yield _said(clause, match, Claim("shape", hand, "circle", "", when))
        if match[0].startswith("circl"):
            yield _said(clause, match, Claim("hands", hand, "moves", "", when))
    if match := clause.take(r"(?:a |in a )?(horizontal|vertical) line"):
        yield _said(clause, match, Claim("shape", hand, f"{match[1]}-line", "", when))
    if match := clause.take(r"in a zig ?zag|zig ?zags?|in an arc|in a straight line"):
        name = "zigzag" if "zag" in match[0] else "arc" if "arc" in match[0] else "line"
        yield _said(clause, match, Claim("shape", hand, name, "", when))
    if match := clause.take(r"<(updown|sideways|foreback)>"):
        yield _said(clause, match, Claim("direction", hand, _SWINGS[match[1]], "", when))
    if match := clause.take(r"in place|on the spot"):
        yield _said(clause, match, Claim("direction", hand, "in-place", "", when))
    if match := clause.take(r"<(up|down)> (?:the keys|of (?:a|the) piano)"):
        yield _said(clause, match, Claim("direction", hand, {"up": "right", "down": "left"}[match[1]], "", when))
    if not (action or moving):
        return
    several = "partly" if len(re.findall(lex.DIRECTION, clause.text)) > 1 else ""
    while match := clause.take(lex.DIRECTION):
        value = match[0][1:-1]
        if action == "pour" and value in _POUR:
            claim = Claim("turn", hand, _POUR[value], "", when)
        elif action == "fist":
            claim = Claim("palm", hand, value, "", when)
        else:
            claim = Claim("direction", hand, value, several, when)
        yield _said(clause, match, claim)


def _said(clause: Clause, match: re.Match[str], claim: Claim) -> CaptionClaim:
    return CaptionClaim(claim, words_of(match), clause.negated(match))


def _number(word: str) -> int:
    return int(word) if word.isdigit() else lex.NUMBERS[word]
