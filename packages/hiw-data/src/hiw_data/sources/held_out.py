"""What training never sees: combinations of scripted actions, and sign languages, kept for val and test alone.

A combination is (family, hand, direction), what every caption of a scripted clip tells. Each is held out together with
its mirror image, since training mirrors clips. Every family keeps each of its hands and each of its directions in
train, in other combinations: what is asked for is new as a whole, not in its parts. They are a tenth of all
combinations, half of them in val and half in test.
"""

from __future__ import annotations

from hand_geometry import mirror_text

Combination = tuple[str, str, str]

_ONE_OF_EACH_PAIR: dict[Combination, str] = {
    ("lift", "left", "right"): "val",
    ("screw", "left", "counterclockwise"): "val",
    ("type", "left", "moving left"): "val",
    ("draw", "both", "a circle"): "val",
    ("shake", "both", "from side to side"): "val",
    ("point", "left", "left"): "test",
    ("stir", "left", "clockwise"): "test",
    ("piano", "left", "up the keys"): "test",
    ("push", "both", "down"): "test",
    ("wave", "both", "up and down"): "test",
}


def mirror_combination(combination: Combination) -> Combination:
    """The combination that the mirror image shows.

    >>> mirror_combination(("piano", "left", "up the keys"))
    ('piano', 'right', 'down the keys')
    """
    family, hand, direction = combination
    return family, mirror_text(hand), mirror_text(direction)


HELD_OUT_COMBINATIONS = _ONE_OF_EACH_PAIR | {mirror_combination(c): split for c, split in _ONE_OF_EACH_PAIR.items()}
"""The split of each combination of scripted actions that is in no clip of train."""

HELD_OUT_LANGUAGES = {"bzs": "val", "mfs": "test", "tsm": "test"}
"""The split of each sign language (ISO 639-3) that is in no clip of train: Brazilian; Mexican and Turkish."""
