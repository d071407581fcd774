"""Text of captions brought to one form before it is parsed: case, hyphens, contractions, digits, slips."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from hiw_data.captioning.lexicon import KNOWN_WORDS, REAL_WORDS

_REPLACEMENTS = (
    (r"\b(?:counter|anti)[ -]?clock[ -]?wise\b", "counterclockwise"),
    (r"\bclock[ -]wise\b", "clockwise"),
    (r"\b(do|does|did|is|are|was|were|has|have)n'?t\b", r"\1 not"),
    (r"\bcan'?t\b|\bcannot\b", "can not"),
    (r"\bwon't\b", "will not"),
    (r"\b(\d+)\s*x\b", r"\1 times"),
    (r"(?<=\w)-(?=\w)", " "),
    (r"'s\b", " "),
    (r"[^a-z0-9.,;: ]", " "),
    (r"([.,;:])", r" \1 "),
    (r"\s+", " "),
)
_COMPILED = [(re.compile(pattern), replacement) for pattern, replacement in _REPLACEMENTS]
_PHRASES = (
    (r"\b(?:the )?(?:left|right) (?:hand )?and (?:the )?(?:left|right) hands?\b", "both hands"),
    (r"\ba (?:couple of|pair of) times\b", "two times"),
    (r"\bthrice\b", "three times"),
    (r"\blittle finger\b", "pinky finger"),
    (r"\b(?:pointer|fore) ?finger\b", "index finger"),
)
_COMPILED_PHRASES = [(re.compile(pattern), replacement) for pattern, replacement in _PHRASES]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def normalise(text: str) -> str:
    """Lower-case words with single spaces, marks apart, known slips mended.

    >>> normalise("The RIGHT hand slowly wvaes counter-clockwise, 3x.")
    'the right hand slowly waves counterclockwise , 3 times .'
    """
    plain = _ascii(text).lower()
    for pattern, replacement in _COMPILED:
        plain = pattern.sub(replacement, plain)
    words = " ".join(mended(word) for word in plain.split())
    for pattern, replacement in _COMPILED_PHRASES:
        words = pattern.sub(replacement, words)
    return words


def _ascii(text: str) -> str:
    """Accents dropped, typographic quotes and dashes kept as plain ones."""
    table = {0x2018: "'", 0x2019: "'", **dict.fromkeys(range(0x2010, 0x2016), "-")}
    folded = unicodedata.normalize("NFKD", text.translate(table))
    return "".join(c if c.isascii() else "" if unicodedata.combining(c) else " " for c in folded)


@lru_cache(maxsize=65536)
def mended(word: str) -> str:
    """The word of the lexicon that a word is one slip away from, or the word itself.

    A slip is a letter too many, too few or wrong, or two exchanged, not at the first letter, in a word of five letters
    or more (four, for exchanged ones). A word that is English in its own right is never changed, nor is one with two
    neighbours of different meaning.

    >>> mended("rigth"), mended("there"), mended("clokwise")
    ('right', 'there', 'clockwise')
    """
    if len(word) < 4 or word in KNOWN_WORDS or word in REAL_WORDS or not word.isalpha():
        return word
    swapped = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, len(word) - 1)}
    near = swapped & KNOWN_WORDS
    if not near and len(word) >= 5:
        dropped = {word[:i] + word[i + 1 :] for i in range(1, len(word))}
        changed = {word[:i] + c + word[i + 1 :] for i in range(1, len(word)) for c in _LETTERS}
        added = {word[:i] + c + word[i:] for i in range(1, len(word) + 1) for c in _LETTERS}
        near = {w for w in (dropped | changed | added) & KNOWN_WORDS if len(w) >= 4}
    return min(near) if len({w[:4] for w in near}) == 1 else word
