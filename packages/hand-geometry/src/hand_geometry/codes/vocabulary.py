"""The closed vocabulary of events and states: their kinds, subjects and values, as indices of fixed tuples."""

from __future__ import annotations

from hand_geometry.codes.geometry import FINGERS
from hand_geometry.codes.handshape import FINGER_STATES, HANDSHAPES

HANDS = ("left", "right", "both")
LEFT, RIGHT, BOTH = range(3)

THUMB_PAIRS = tuple(f"thumb+{finger}" for finger in FINGERS[1:])
NEIGHBOURS = ("thumb+index", "index+middle", "middle+ring", "ring+pinky")
ACROSS = tuple(f"left-{a}+right-{b}" for a in FINGERS for b in FINGERS)
TO_PALM = tuple(f"{finger}+palm" for finger in FINGERS)
AXES = ("x", "y", "z")
TURNS = ("twist", "swing", "bend")

DIRECTIONS = ("right", "left", "down", "up", "forward", "back")
"""World directions: +x, -x, +y, -y, +z, -z."""
BODY_DIRECTIONS = ("fingerward", "wristward", "thumbward", "littleward", "palmward", "backward")

EVENT_KINDS = (
    "flex",
    "spacing",
    "contact",
    "near",
    "move",
    "body-move",
    "turn",
    "thumb-distance",
    "palm-distance",
    "palms-distance",
    "relative",
)
"""What changes: a finger's flexing, the angle of two fingers, a touch, and being nearly that near, the wrist in the
world and in the palm's own axes, the palm's direction, the thumb's tip to a tip, a tip to the other palm, palm to
palm, the right hand as seen from the left."""

STATE_KINDS = ("finger", "spacing", "handshape", "palm", "pointing", "thumb", "motion", "palms", "relative")

RELATIVE = (("left-of", "level", "right-of"), ("above", "level", "below"), ("behind", "level", "in-front-of"))
"""The right hand as seen from the left one, by axis."""

SUBJECTS = tuple(
    dict.fromkeys(
        ("", *FINGERS, *THUMB_PAIRS, *NEIGHBOURS, *ACROSS, *TO_PALM, "palms", *AXES, *BODY_DIRECTIONS[::2], *TURNS)
    )
)  # fmt: skip
VALUES = tuple(
    dict.fromkeys(
        (
            *("bend", "extend", "spread", "close", "touch", *DIRECTIONS, *BODY_DIRECTIONS),
            *("supinate", "pronate", "radial", "ulnar", "flexion", "extension", "part", "approach"),
            *(FINGER_STATES), "closed", "ajar", *(HANDSHAPES), "moving", "still",
            *("contact", "near", "medium", "far"), *(word for axis in RELATIVE for word in axis),
        )
    )
)  # fmt: skip

SUBJECT = {name: index for index, name in enumerate(SUBJECTS)}
VALUE = {name: index for index, name in enumerate(VALUES)}
EVENT = {name: index for index, name in enumerate(EVENT_KINDS)}
STATE = {name: index for index, name in enumerate(STATE_KINDS)}
