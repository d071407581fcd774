"""What a clause says of palms, pointing, fingers, contact and handshapes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hand_geometry.codes import Claim

from hiw_data.captioning import lexicon as lex
from hiw_data.captioning.clauses import Clause, words_of

Said = tuple[Claim | None, str, bool]

_STATES = {
    "extended": r"extended|straight(?:ened)?|outstretched|stretched(?: out)?|open",
    "closed": r"curled(?: in)?|closed|folded|clenched|tucked",
    "bent": r"bent",
    "hooked": r"hooked",
    "curved": r"curved",
}
_STATE = "(?P<state>" + "|".join(_STATES.values()) + ")"
_TWO = rf"(?P<first>{lex.DIRECTION})(?:(?: ,)? and (?P<second>{lex.DIRECTION}))?"
_TOUCHES = r"(?:touch(?:es|ing)?|meet(?:s|ing)?|in contact|contacts?|tap(?:s|ping)?)"
_TIP = r"(?:the )?(index|middle|ring|pinky)(?: finger)?(?: ?tip)?"


def read_posture(clause: Clause, action: str, when: str) -> Iterator[Said]:
    """Claims and their words, taken out of the clause."""
    yield from _facing(clause, action, when)
    yield from _contact(clause, when)
    yield from _fingers(clause, when)
    yield from _shapes(clause, action, when)


def _facing(clause: Clause, action: str, when: str) -> Iterator[Said]:
    hand = clause.hand
    if action == "turn" and (match := clause.take(rf"palms?(?: to)?(?: face)?(?: to)? {_TWO}")):
        yield Claim("palm", hand, match["first"][1:-1], "turns", when), words_of(match), clause.negated(match)
    if match := clause.take(
        rf"(?:tilt(?:s|ing)?|bring(?:s|ing)?)(?: (?:the|its|their|both))* palms?(?: to face)? {_TWO}"
    ):
        yield Claim("palm", hand, match["first"][1:-1], "turns", when), words_of(match), clause.negated(match)
    face = r"(?:facing|faces?|turned|towards?|pointing|points?|directed)"
    patterns = (
        ("palm", rf"(?:the )?palms?(?: (?:is|are|was|being|held))?(?: {face})?(?: to)? {_TWO}"),
        ("palm", rf"(?:with (?:the )?)?(?:a )?{_TWO} facing palms?"),
        ("pointing", rf"(?:the )?fingers?(?: (?:is|are|held))? {face} {_TWO}"),
        ("palm", rf"facing {_TWO}"),
        ("pointing", rf"pointing {_TWO}"),
    )
    for kind, pattern in patterns:
        if match := clause.take(pattern):
            oblique = "partly" if match["second"] else ""
            for value in (match["first"], match["second"]):
                if value:
                    yield Claim(kind, hand, value[1:-1], oblique, when), words_of(match), clause.negated(match)


def _contact(clause: Clause, when: str) -> Iterator[Said]:
    hand = clause.hand
    patterns = (
        rf"(?:the )?thumb(?: finger)?(?: ?tip)? and {_TIP}(?: tips)?"
        rf"(?: (?:are|come|stay|pressed|brought|to|do|does|is|not|never))* (?P<how>{_TOUCHES}|together|apart)",
        rf"(?:the )?thumb(?: ?tip)?(?: is)? {_TOUCHES}(?: the tip of)? {_TIP}",
        rf"{_TOUCHES} {_TIP}(?: with| to)(?: the)? thumb",
        rf"{_TIP}(?: is)? {_TOUCHES} (?:the )?thumb",
        rf"(?:the )?thumb and {_TIP}(?: tips)? pinch\w*",
    )
    for pattern in patterns:
        while match := clause.take(pattern):
            how = match.groupdict().get("how") or "touch"
            value = "approach" if how == "together" else "apart" if how == "apart" else "touch"
            finger = next(group for group in match.groups() if group in ("index", "middle", "ring", "pinky"))
            yield Claim("contact", hand, value, f"thumb+{finger}", when), words_of(match), clause.negated(match)
    if match := clause.take(rf"palms (?:are |come )?(?P<how>{_TOUCHES}|pressed together|together|apart)"):
        value = {"together": "approach", "apart": "apart"}.get(match["how"], "touch")
        yield Claim("contact", "both", value, "palms", when), words_of(match), clause.negated(match)
    if match := clause.take(rf"(?:fingertips|finger tips|tips)(?: of HAND)? {_TOUCHES}"):
        yield Claim("contact", "both", "touch", "tips", when), words_of(match), clause.negated(match)


def _fingers(clause: Clause, when: str) -> Iterator[Said]:
    hand = clause.hand
    if match := clause.take(
        r"index and middle(?: fingers?)? crossed|fingers crossed|thumb (?:along the side|across the palm)"
    ):
        yield None, words_of(match), clause.negated(match)
    if match := clause.take(r"thumb(?: is)? (?:<\w+> )?out"):
        yield Claim("fingers", hand, "extended", "thumb", when), words_of(match), clause.negated(match)
    if match := clause.take(r"index(?: finger)? extended and the others (?:closed|curled)"):
        yield Claim("handshape", hand, "point", "", when), words_of(match), clause.negated(match)
    every = r"(?P<all>all (?:the |four |five |of the )?fingers|(?:the )?four fingers|(?:the )?fingers)"
    some = rf"(?P<some>{lex.FINGER_LIST})(?: fingers)?"
    while match := clause.take(rf"(?:{every}|{some})(?: (?:is|are|stay|stays|held|being|fully))* {_STATE}"):
        names = re.findall(lex.FINGER, match["some"] or "") or ["fingers"]
        value = next(name for name, pattern in _STATES.items() if re.fullmatch(pattern, match["state"]))
        for name in names:
            yield Claim("fingers", hand, value, name, when), words_of(match), clause.negated(match)
    if match := clause.take(r"fingers(?: (?:are|held|kept))? (spread|together|apart)(?: apart)?"):
        value = "together" if match[1] == "together" else "spread"
        yield Claim("fingers", hand, value, "fingers", when), words_of(match), clause.negated(match)
    verbs = {"bends": r"bend(?:s|ing)?|curl(?:s|ing)?|clos(?:e|es|ing)|flex(?:es|ing)?|fold(?:s|ing)?"}
    verbs["extends"] = r"extend(?:s|ing)?|straighten(?:s|ing)?|open(?:s|ing)?|uncurl(?:s|ing)?"
    for value, verb in verbs.items():
        many = rf"(?:all |all the |the |its |their )?(?:(?P<some>{lex.FINGER_LIST})(?: fingers?)?|fingers)"
        match = clause.take(rf"(?:{verb}) {many}") or clause.take(rf"{many} (?:{verb})")
        if match:
            for name in re.findall(lex.FINGER, match["some"] or "") or ["fingers"]:
                yield Claim("fingers", hand, value, name, when), words_of(match), clause.negated(match)


def _shapes(clause: Clause, action: str, when: str) -> Iterator[Said]:
    for value, pattern in lex.HANDSHAPES.items():
        if value in ("open", "flat"):
            if match := clause.take(pattern):
                yield Claim("fingers", clause.hand, "extended", "fingers", when), words_of(match), clause.negated(match)
        elif (action != "fist" or value != "fist") and (match := clause.take(pattern)):
            yield Claim("handshape", clause.hand, value, "", when), words_of(match), clause.negated(match)
