"""The table of scripted actions: one row per family, with its directions and wordings.

Verbs stand in [brackets] so that captions can conjugate them; {direction} and {number} are filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hiw_data.sources import actions as act
from hiw_data.sources.choreography import Cue, HandTrack


@dataclass(frozen=True)
class Family:
    """A family of actions.

    Attributes:
        name: of the family, stored with each clip.
        act: writes what one hand does.
        rate: repetitions a second at medium speed.
        directions: stored value -> words; the words fill {direction} in the phrases. `hand_geometry.mirror_text` of
            a stored value is the stored value of the mirror image.
        phrases: several wordings, verbs in [brackets].
        hands: who may do it.
        most: the largest number of repetitions.
        counts_itself: the phrase says {number}; no "twice" is added.
    """

    name: str
    act: Callable[[HandTrack, Cue], None]
    rate: float
    directions: dict[str, str]
    phrases: tuple[str, ...]
    hands: tuple[str, ...] = ("left", "right", "both")
    most: int = 4
    counts_itself: bool = False


ONE = ("left", "right")
TWO = ("both",)
SIDE = {"from side to side": "from side to side"}
TURNS = {"clockwise": "clockwise", "counterclockwise": "counterclockwise"}
TO_SIDES = {"left": "to the left", "right": "to the right"}


def _same(*words: str) -> dict[str, str]:
    return {word: word for word in words}


FAMILIES = (
    Family("wave", act.wave, 1.1, SIDE | _same("up and down"), ("[wave] {direction}", "[wave] hello {direction}")),
    Family(
        "fist",
        act.fist,
        1.0,
        _same("up", "down", "forward"),
        ("[make] a fist with the palm facing {direction}", "[close] into a fist, palm facing {direction},"),
    ),
    Family(
        "point",
        act.point,
        0.8,
        TO_SIDES | _same("up", "down", "forward"),
        ("[point] {direction}", "[point] {direction} with the index finger"),
        most=3,
    ),
    Family(
        "pinch",
        act.pinch,
        1.0,
        _same("up", "forward", "down"),
        (
            "[pinch] with the fingers pointing {direction}",
            "[pinch] thumb and index finger together, pointing {direction},",
        ),
    ),
    Family(
        "clap",
        act.clap,
        1.2,
        _same("up", "forward"),
        (
            "[clap] with the fingers pointing {direction}",
            "[clap] palm to palm, fingers pointing {direction},",
        ),
        TWO,
    ),
    Family("stir", act.stir, 1.0, TURNS, ("[stir] a pot {direction}", "[stir] with a spoon {direction}"), ONE),
    Family(
        "pour",
        act.pour,
        0.5,
        TO_SIDES,
        ("[pour] from a cup {direction}", "[tilt] a cup {direction} and [pour]"),
        ONE,
        2,
    ),
    Family(
        "knead",
        act.knead,
        0.9,
        _same("forward", "down"),
        ("[knead] dough, pressing it {direction},", "[press] dough {direction} in turn"),
        TWO,
    ),
    Family(
        "type",
        act.type_keys,
        0.6,
        _same("in place", "moving left", "moving right"),
        ("[type] on a keyboard, {direction},",),
        most=2,
    ),
    Family(
        "piano",
        act.piano,
        0.55,
        _same("up the keys", "down the keys"),
        ("[play] the piano {direction}", "[play] a run {direction} of a piano"),
        most=2,
    ),
    Family("screw", act.screw, 0.9, TURNS, ("[turn] a screwdriver {direction}", "[turn] a screw {direction}"), ONE),
    Family(
        "cut",
        act.cut,
        1.1,
        _same("back and forth", "down"),
        ("[cut] {direction} with a knife", "[slice] {direction} with a knife"),
        ONE,
    ),
    Family(
        "knock",
        act.knock,
        1.5,
        {"forward": "on a door ahead", "down": "down on a table"},
        ("[knock] {direction}", "[rap] {direction}"),
    ),
    Family(
        "wipe",
        act.wipe,
        0.9,
        SIDE | _same("in circles", "back and forth"),
        ("[wipe] a table {direction}", "[wipe] a surface {direction}"),
    ),
    Family(
        "roll",
        act.roll,
        1.0,
        TURNS | _same("back and forth"),
        ("[roll] a ball between the palms {direction}", "[roll] dough into a ball {direction}"),
        TWO,
    ),
    Family(
        "count",
        act.count,
        1.8,
        _same("up to", "down from"),
        ("[count] {direction} {number} on the fingers", "[count] {direction} {number}"),
        most=5,
        counts_itself=True,
    ),
    Family(
        "thumb",
        act.thumb,
        0.7,
        _same("up", "down"),
        ("[give] a thumbs {direction}", "[show] a thumbs {direction}"),
        most=2,
    ),
    Family(
        "lift",
        act.lift,
        0.55,
        TO_SIDES | _same("up"),
        ("[grab] an object and [lift] it {direction}", "[pick] something up and [move] it {direction}"),
        most=2,
    ),
    Family(
        "push",
        act.push,
        0.8,
        TO_SIDES | _same("forward", "down"),
        ("[push] {direction}", "[push] something {direction} with a flat palm"),
        most=3,
    ),
    Family(
        "pull",
        act.pull,
        0.8,
        {"back": "toward the body", "down": "down"},
        ("[pull] a handle {direction}", "[grab] a handle and [pull] it {direction}"),
        most=3,
    ),
    Family(
        "throw",
        act.throw,
        0.8,
        _same("forward", "up"),
        ("[throw] a ball {direction}", "[toss] something {direction}"),
        most=3,
    ),
    Family(
        "beckon",
        act.beckon,
        1.1,
        _same("up", "down"),
        ("[beckon] with the palm facing {direction}", "[call] somebody near, palm facing {direction},"),
    ),
    Family(
        "wring",
        act.wring,
        0.8,
        _same("right hand forward", "left hand forward"),
        ("[wring] a towel, {direction},", "[twist] a cloth, {direction},"),
        TWO,
        3,
    ),
    Family(
        "turn",
        act.turn,
        0.7,
        _same("up", "down"),
        ("[turn] the palm {direction}", "[rotate] to face the palm {direction}"),
        most=3,
    ),
    Family(
        "drum",
        act.drum,
        1.2,
        _same("together", "alternately"),
        ("[drum] on a table {direction}", "[beat] a drum {direction}"),
        TWO,
    ),
    Family(
        "shake",
        act.shake,
        1.6,
        SIDE | _same("up and down"),
        ("[shake] a bottle {direction}", "[shake] something {direction}"),
    ),
    Family(
        "draw",
        act.draw,
        0.8,
        _same("a circle", "a horizontal line", "a vertical line"),
        ("[draw] {direction} in the air", "[trace] {direction} with the index finger"),
        most=3,
    ),
)
