"""The words that captions use for hands, fingers, actions, directions, speed, size and number."""

from __future__ import annotations

import re
from importlib import resources

NUMBERS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10,
}  # fmt: skip
NUMBER = r"(?:" + "|".join(NUMBERS) + r"|\d{1,2})"

FINGER = r"(?:index|middle|ring|pinky|thumb)"
FINGER_LIST = rf"{FINGER}(?: finger)?(?:(?: ,)?(?: and)?(?: the)? {FINGER}(?: finger)?)*"

ADVERBS = {
    "slow": r"slow(?:ly|er)?|leisurely|unhurriedly|at a slow (?:pace|speed)",
    "medium": r"steadily|moderately|at a (?:steady|medium|moderate|normal) (?:pace|speed|tempo)|at medium speed",
    "fast": r"quick(?:ly)?|fast(?:er)?|rapid(?:ly)?|swiftly|briskly|hurriedly|at a (?:fast|quick|high) (?:pace|speed)",
}
_SIZED = r"(?:movements?|motions?|strokes?|gestures?|swings?|circles?|steps?|amplitudes?|arcs?)"
SIZES = {
    "small": rf"(?:small|tiny|little|short|slight|narrow|minimal) (?:\w+ )?{_SIZED}",
    "medium": rf"(?:medium|moderate|average|medium sized|mid sized) (?:\w+ )?{_SIZED}",
    "large": rf"(?:large|big|wide|broad|long|sweeping|huge|expansive) (?:\w+ )?{_SIZED}",
}

_BODY = (
    r"(?:the |their |his |her |its |my |your )?(?:body|chest|wearer|person|viewer|camera|self|oneself|themselves|me|us)"
)
PHRASES_OF_DIRECTION = (
    (r"up and (?:then )?down(?:wards?)?|vertically|down and (?:then )?up", "updown"),
    (r"(?:from )?side to side|sideways|left and (?:then )?right|right and (?:then )?left|horizontally", "sideways"),
    (r"back and forth|forwards? and (?:then )?back(?:wards?)?|to and fro|in and out", "foreback"),
    (rf"(?:back )?(?:towards?|near|closer to) {_BODY}", "back"),
    (rf"away(?: from {_BODY})?|ahead|forwards?|in front|outwards? ahead", "forward"),
    (r"(?:to|towards?) (?:the|its|their|his|her) (left|right)(?: side)?", r"\1"),
    (r"leftwards?|left", "left"),
    (r"rightwards?|right", "right"),
    (r"upwards?|up|skywards?", "up"),
    (r"downwards?|down", "down"),
    (r"backwards?|back", "back"),
)
"""Patterns and the tokens that replace them, ``<token>``."""
DIRECTION = r"<(?:up|down|left|right|forward|back)>"

ACTIONS = (
    ("wave", r"wav(?:e|es|ing|ed)(?: hello| goodbye)?"),
    ("fist", r"(?:make|makes|making|form|forms|forming|close|closes|closing|clench|clenches|clenching|ball|balls)"
             r"(?: (?:up|into|to))?(?: (?:a|an|the|their|his|her))? fists?"),
    ("screw", r"(?:turn|turns|turning|rotat(?:e|es|ing)|twist|twists|twisting)(?: (?:a|the|an))?"
              r" (?:screwdriver|screw|knob|bolt|lid|key|cap|nut|dial)"),
    ("wring", r"(?:wring|wrings|wringing)(?: out)?(?: (?:a|the))?(?: (?:towel|cloth|rag))?"
              r"|(?:twist|twists|twisting) (?:a|the) (?:cloth|towel|rag)"),
    ("clap", r"(?:clap|claps|clapping|applaud\w*)(?: hands)?(?: palm to palm)?"),
    ("pinch", r"pinch(?:es|ing)?(?: the)?(?: thumb and (?:the )?index(?: finger)?(?: together)?)?"),
    ("pour", r"pour(?:s|ing)?(?: (?:from )?(?:a|the) \w+)?"),
    ("stir", r"stir(?:s|ring)?(?: (?:a|the) pot| with a spoon)?"),
    ("knead", r"knead(?:s|ing)?(?: (?:the )?dough)?(?: ,? ?pressing it)?|press(?:es|ing)?(?: the)? dough"),
    ("type", r"typ(?:e|es|ing)(?: on)?(?: (?:a|the) keyboard)?"),
    ("piano", r"play(?:s|ing)? (?:the piano|a run)"),
    ("cut", r"(?:cut|cuts|cutting|slic(?:e|es|ing)|chop|chops|chopping|saw|saws|sawing)(?: with a knife)?"),
    ("knock", r"(?:knock|knocks|knocking|rap|raps|rapping)"),
    ("wipe", r"wip(?:e|es|ing)(?: (?:a|the) (?:table|surface))?"),
    ("roll", r"roll(?:s|ing)?(?: (?:a|the) ball| dough into a ball)(?: between the palms)?"),
    ("count", r"count(?:s|ing)?"),
    ("thumb", r"(?:give|gives|giving|show|shows|showing|make|makes|making)(?: (?:a|the))?(?= thumbs?\b)"),
    ("lift", r"(?:grab|grabs|grabbing)(?: (?:an|the) object)? and (?:lift|lifts|lifting)(?: it)?"
             r"|pick(?:s|ing)? (?:something |it |an object |the object |things? )?<up>"
             r"(?: and (?:move|moves|moving) it)?"
             r"|(?:lift|lifts|lifting)(?: (?:it|something|an object))?"),
    ("push", r"push(?:es|ing)?(?: (?:something|it|an object))?"),
    ("pull", r"(?:grab|grabs|grabbing) (?:a|the) handle and pull(?:s|ing)?(?: it)?"
             r"|pull(?:s|ing)?(?: (?:a|the) handle)?"),
    ("throw", r"(?:throw|throws|throwing|toss|tosses|tossing)(?: (?:a ball|something|it|an object))?"),
    ("beckon", r"beckon(?:s|ing)?|call(?:s|ing)? somebody near"),
    ("turn", r"(?:turn|turns|turning|rotat(?:e|es|ing))(?: to face)?"
             r"(?: (?:the|its|their|his|her|both))?"
             r"(?= palms?\b)"),
    ("drum", r"drum(?:s|ming)?(?: on (?:a|the) table)?|beat(?:s|ing)? (?:a|the) drum"),
    ("shake", r"shak(?:e|es|ing)(?: (?:a bottle|something|the bottle|it))?"),
    ("draw", r"(?:draw|draws|drawing|trac(?:e|es|ing))"),
    ("point", r"point(?:s|ed)?\b|(?<!fingers )pointing"),
)  # fmt: skip
"""Actions by the name of their norm, tried in this order; the words are taken out of the sentence."""

OTHER_VERBS = (
    r"(?:"
    r"mov(?:e|es|ing|ed)|rotat(?:e|es|ing)|swing(?:s|ing)?|sway(?:s|ing)?|go(?:es|ing)?|"
    r"rais(?:e|es|ing)|lower(?:s|ing)?|turn(?:s|ing)?|twist(?:s|ing)?|tap(?:s|ping)?|slid(?:e|es|ing)|"
    r"sweep(?:s|ing)?|travel(?:s|ling)?|glid(?:e|es|ing)|bend(?:s|ing)?|flex(?:es|ing)?|"
    r"open(?:s|ing)?|clos(?:e|es|ing)|flutter(?:s|ing)?|wiggl(?:e|es|ing)|gestur(?:e|es|ing)|"
    r"reach(?:es|ing)?|drop(?:s|ping)?|rise(?:s)?|rising"
    r")"
)

STILL = (
    r"(?:is |are |stays? |remains? |kept |keeps? |holds? |held |hanging |lies )"
    r"(?:completely |very |perfectly )?(?:still|motionless|idle|at rest)"
    r"|(?:do|does|did|is|are) not (?:move|moving)|never moves?|rests?\b|resting|motionless|(?:stays?|remains?) in place"
)
WHENS = {
    "start": r"at first|first|initially|at the (?:start|beginning)|in the beginning|to begin with",
    "middle": r"midway|halfway|in the middle of the clip",
    "end": r"at the end|towards? the end|finally|in the end|at last|lastly",
    "throughout": r"throughout|the whole time|all the time|the entire time",
}
PATTERNS = {
    "alternating": r"alternat(?:e|es|ing|ely|ingly)|in turns?|taking turns|"
    r"takes? turns|one after the other|in alternation",
    "mirrored": r"in unison|symmetrically|in symmetry|"
    r"mirror(?:s|ed|ing)?(?: each other)?|as mirror images|in sync|together",
    "parallel": r"in parallel|the same way",
    "opposed": r"in opposite directions|against each other",
}
HANDSHAPES = {
    "open": r"(?:an )?open (?:hand|palm)",
    "flat": r"(?:a )?flat (?:hand|palm)",
    "victory": r"victory(?: sign)?|peace sign|v sign|v shape",
    "ok": r"ok(?:ay)? sign",
    "l-shape": r"l shape",
    "c-shape": r"c shape",
    "claw": r"claw(?: shape)?",
    "thumbs-up": r"thumbs? <up>",
    "thumbs-down": r"thumbs? <down>",
    "fist": r"fists?",
}


def _words(name: str) -> frozenset[str]:
    return frozenset((resources.files("hiw_data.captioning") / name).read_text("utf-8").split())


KNOWN_WORDS = _words("known_words.txt")
"""Words that a slip may have been meant for."""

_PATTERNS = (
    *(pattern for pattern, _ in PHRASES_OF_DIRECTION),
    *(pattern for _, pattern in ACTIONS),
    *(p for group in (ADVERBS, SIZES, WHENS, PATTERNS, HANDSHAPES) for p in group.values()),
    *(OTHER_VERBS, STILL),
)
REAL_WORDS = _words("real_words.txt") | {w for pattern in _PATTERNS for w in re.findall(r"[a-z]{4,}", pattern)}
"""English words near a word of the lexicon, and all words of the patterns; none of them is taken for a slip."""
