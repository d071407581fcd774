"""A caption cut into clauses, each with the hand that it speaks of, and what of its words is still unread."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hiw_data.captioning.lexicon import DIRECTION, PHRASES_OF_DIRECTION

_NOUN = r"(?:hands?|palms?|fists?|wrists?|arms?|fingers?|fingertips?|thumbs?|index|middle|ring|pinky|knuckles)"
_BOTH = (
    rf"\b(?:both|two|each|all)(?: of)?(?: (?:the|his|her|their))? (?:hands?|palms?|fists?|wrists?|arms?)\b"
    rf"|\bleft and right {_NOUN}|\b(?:the|his|her|their) (?:hands|palms|fists|wrists)\b|^(?:hands|palms|fists)\b"
)
_SIDE = rf"\b(?:the |his |her |their |its |a )?(left|right)(?: handed)? (?={_NOUN}\b)(?:hands? ?|arms? ?|wrists? ?)?"
_WITH_SIDE = r"\b(?:with|by|using|on) (?:the|his|her|their) (left|right)\b(?! side)"
_ONE = r"\b(?:one|a single|only one) (?:hand|palm|fist|arm)\b"
_OTHER = r"\b(?:the )?other (?:hand|palm|fist|arm|one)?\b"
_MENTION = re.compile(rf"(?P<both>{_BOTH})|(?P<side>{_SIDE}|{_WITH_SIDE})|(?P<one>{_ONE})|(?P<other>{_OTHER})")
_SPLIT = re.compile(r" (?:[.;:]|, (?:and )?then|then|while|whereas|after which|, but|but) ")
_HAND_AGAIN = re.compile(
    rf" (?:, and|,|and|as) (?=(?:the |his |her |their )?(?:left|right|other) {_NOUN}\b|the other\b)"
)
_LETTER = re.compile(
    r"\b(?:spells?|spelling|signs?|signing) (?:the )?letters? .*?sign language|\bthe letter \w+\b|sign language"
)
_TURNED_TOWEL = re.compile(r"\b(left|right) hand (?:forwards?|back(?:wards?)?)\b")


@dataclass
class Clause:
    """A stretch of a caption about one hand.

    Attributes:
        hand: A claim's hand: "left", "right", "both", "one", "either".
        named: Whether the clause names it itself.
        text: Words with directions as ``<up>``; what was read is overwritten by "#".
        said: The same words as they were.
    """

    hand: str
    named: bool
    text: str
    said: str = field(default="")

    def find(self, pattern: str) -> re.Match[str] | None:
        """The first match of whole words."""
        return re.search(rf"(?<![\w<])(?:{pattern})(?![\w>])", self.text)

    def blank(self, match: re.Match[str]) -> None:
        """Takes a match out of the text."""
        self.text = self.text[: match.start()] + "#" * (match.end() - match.start()) + self.text[match.end() :]

    def take(self, pattern: str) -> re.Match[str] | None:
        """The first match of whole words, which is then out of the text."""
        match = self.find(pattern)
        if match is not None:
            self.blank(match)
        return match

    def negated(self, match: re.Match[str]) -> bool:
        """Whether "not", "without", "never" or "no" stands in a match or at most three words before it."""
        if re.search(r"\b(?:not|never)\b", match[0]):
            return True
        return bool(re.search(r"\b(?:not|without|never|no)\s+(?:[\w<>]+\s+){0,3}$", self.said[: match.start()]))

    def directions(self) -> list[str]:
        """Directions that nothing has taken yet, in order; they are then out of the text."""
        found = []
        while match := self.take(DIRECTION):
            found.append(match[0][1:-1])
        return found


def clauses_of(words: str) -> list[Clause]:
    """The clauses of normalised words.

    A clause that names no hand is about the hand of the one before; one that is only circumstance ("with large
    movements,") belongs to the one after.
    """
    words = _LETTER.sub(lambda m: " " * len(m[0]), words)
    pieces = []
    for piece in _SPLIT.split(f" {words} "):
        start = 0
        for cut in _HAND_AGAIN.finditer(piece):
            towel = _TURNED_TOWEL.match(piece[cut.end() :].removeprefix("the "))
            if _MENTION.search(piece[start : cut.start()]) and not towel:
                pieces.append(piece[start : cut.start()])
                start = cut.end()
        pieces.append(piece[start:])
    clauses: list[Clause] = []
    hand = ""
    for piece in pieces:
        if not piece.strip(" ,."):
            continue
        found, text = _hand_of(piece, hand)
        hand = found or hand
        text = _with_directions(text)
        clauses.append(Clause(hand or "either", bool(found), text, text))
    first = next((clause.hand for clause in clauses if clause.named), "either")
    for clause in clauses:
        if clause.named:
            break
        clause.hand = first
    return clauses


def _hand_of(piece: str, before: str) -> tuple[str, str]:
    """The first hand that a piece names, and the piece without the words for hands."""
    piece = f" {piece.strip()} "
    towel = _TURNED_TOWEL.search(piece)
    hand = ""
    masked = piece
    if towel and re.search(r"wring|cloth|towel", piece):
        masked = piece.replace(towel[0], " " * len(towel[0]))
    for match in _MENTION.finditer(masked):
        if hand:
            break
        if match["both"]:
            hand = "both"
        elif match["side"]:
            hand = next(group for group in match.groups()[2:4] if group)
        elif match["one"]:
            hand = "one"
        else:
            hand = {"left": "right", "right": "left"}.get(before, "either")
    text = piece
    if towel and masked is not piece:
        side, way = towel[0].split(" hand ")
        text = text.replace(towel[0], f"{side}hand{'forward' if way.startswith('forward') else 'back'}")
    text = re.sub(
        rf"{_BOTH}", lambda m: " palms " if "palm" in m[0] else " fists " if "fist" in m[0] else " HAND ", text
    )
    text = re.sub(rf"{_SIDE}|{_WITH_SIDE}|{_ONE}|{_OTHER}", lambda m: " palm " if "palm" in m[0] else " HAND ", text)
    return hand, re.sub(r"\s+", " ", text)


def _with_directions(text: str) -> str:
    for pattern, token in PHRASES_OF_DIRECTION:
        text = re.sub(rf"(?<![\w<])(?:{pattern})(?![\w>])", rf"<{token}>", text)
    return text


def words_of(match: re.Match[str]) -> str:
    """The words of a match as a reader would write them."""
    words = re.sub(r"<(\w+)>", lambda m: _SPOKEN.get(m[1], m[1]), match[0])
    return re.sub(r"\s+", " ", words.replace("#", "")).replace(" ,", ",").strip(" ,")


_SPOKEN = {"updown": "up and down", "sideways": "from side to side", "foreback": "back and forth"}
