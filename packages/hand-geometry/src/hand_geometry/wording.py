"""Words of the mirror image: what a text says once the motion it describes is reflected in the plane x = 0.

The one place for these rules; `mirror_features` does the same to the motion. English only. Three rules:

- sides change: left and right, with their derivations, and LH and RH;
- senses of rotation change: clockwise and counterclockwise (anticlockwise, counter-clockwise), cw and ccw;
- runs along a keyboard change: up the keys (to the right) and down the keys.

Idioms in which "right" is no side ("all right", "right away", "right angle") stay.
"""

from __future__ import annotations

import re

_PAIRS = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("leftmost", "rightmost"),
    ("lefthand", "righthand"),
    ("lefthanded", "righthanded"),
    ("lefthander", "righthander"),
    ("leftie", "rightie"),
    ("lh", "rh"),
    ("clockwise", "counterclockwise"),
    ("cw", "ccw"),
)
_SWAPS = dict(_PAIRS) | {after: before for before, after in _PAIRS}
_TURN = r"(?P<turn>(?:counter|anti)[-\s]?clockwise|acw)"
_RUN = r"(?P<run>up|down)(?=\s+the\s+(?:keys|keyboard|piano)\b)"
_IDIOM = r"(?P<idiom>all\s+right|right\s+(?:away|now)|right[-\s]angle[ds]?)"
_SWAP = r"(?P<swap>" + "|".join(sorted(_SWAPS, key=len, reverse=True)) + r")"
_RULE = re.compile(rf"(?<!\w)(?:{_IDIOM}|{_TURN}|{_RUN}|{_SWAP})(?!\w)", re.IGNORECASE)


def mirror_text(text: str) -> str:
    """The text of the mirrored motion.

    Args:
        text: A caption, or any English words. Case is kept where a word is lower case, Capitalised or UPPER CASE.

    Returns:
        The same text with sides, senses of rotation and runs along keys changed. Applied twice it is the identity,
        but that every spelling of "anticlockwise" comes back as "counterclockwise".

    Example:
        >>> mirror_text("Left-handed, she stirs counter-clockwise")
        'Right-handed, she stirs clockwise'
        >>> mirror_text("a run up the keys with the LH, moving leftwards")
        'a run down the keys with the RH, moving rightwards'
    """
    return _RULE.sub(_mirror_match, text)


def _mirror_match(match: re.Match[str]) -> str:
    found = match.group()
    if match["idiom"]:
        return found
    if match["turn"]:
        return _cased("cw" if found.casefold() == "acw" else "clockwise", found)
    if match["run"]:
        return _cased("down" if found.casefold() == "up" else "up", found)
    return _cased(_SWAPS[found.casefold()], found)


def _cased(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
