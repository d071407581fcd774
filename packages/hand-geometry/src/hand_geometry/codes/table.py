"""Events and states as columns, and one of them as a record."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.vocabulary import EVENT_KINDS, HANDS, STATE_KINDS, SUBJECTS, VALUES

Columns = dict[str, NDArray[Any]]
"""clip, kind, hand, subject, value, start, stop (frames, exclusive), first, amount, speed; each shape (K,)."""

COLUMNS = ("clip", "kind", "hand", "subject", "value", "start", "stop", "first", "amount", "speed")
_DECIMALS = 4


@dataclass(frozen=True)
class Event:
    """Something that happens.

    Attributes:
        kind: One of EVENT_KINDS.
        hand: "left", "right" or "both".
        subject: The finger, pair or axis.
        value: What it does.
        start, end: Seconds from the clip's first frame; ``end`` is the end of the last frame.
        first: The measurement at the start (degrees or metres).
        amount: Its signed change; of a contact, the least distance.
        speed: Its greatest speed, a second.
    """

    kind: str
    hand: str
    subject: str
    value: str
    start: float
    end: float
    first: float
    amount: float
    speed: float


@dataclass(frozen=True)
class State:
    """Something that holds from ``start`` to ``end`` (seconds); the other attributes are as those of an Event."""

    kind: str
    hand: str
    subject: str
    value: str
    start: float
    end: float


def columns(**arrays: NDArray[Any]) -> Columns:
    """A table of the given columns; the missing ones are zero."""
    size = len(arrays["clip"])
    table: Columns = {}
    for name in COLUMNS:
        value = arrays.get(name, np.zeros(size))
        if name in ("first", "amount", "speed"):
            table[name] = np.round(value.astype(np.float64), _DECIMALS)
        else:
            table[name] = value.astype(np.int32 if name in ("clip", "start", "stop") else np.int16)
    return table


def joined(tables: list[Columns]) -> Columns:
    """One table, sorted by clip, start, kind, hand, subject and value."""
    whole = {name: np.concatenate([table[name] for table in tables]) for name in COLUMNS}
    order = np.lexsort([whole[k] for k in ("value", "subject", "hand", "kind", "stop", "start", "clip")])
    return {name: value[order] for name, value in whole.items()}


def split_by_clip(table: Columns, clips: int) -> list[Columns]:
    """Views of a sorted table, one a clip."""
    edges = np.searchsorted(table["clip"], np.arange(clips + 1)).tolist()
    return [{name: value[a:b] for name, value in table.items()} for a, b in pairwise(edges)]


def events_of(table: Columns, fps: float) -> list[Event]:
    """The records of one clip's events."""
    rows = zip(*(table[name].tolist() for name in COLUMNS[1:]), strict=True)
    return [
        Event(EVENT_KINDS[k], HANDS[h], SUBJECTS[s], VALUES[v], round(a / fps, 4), round(b / fps, 4), x, d, w)
        for k, h, s, v, a, b, x, d, w in rows
    ]


def states_of(table: Columns, fps: float) -> list[State]:
    """The records of one clip's states."""
    rows = zip(*(table[name].tolist() for name in COLUMNS[1:7]), strict=True)
    return [
        State(STATE_KINDS[k], HANDS[h], SUBJECTS[s], VALUES[v], round(a / fps, 4), round(b / fps, 4))
        for k, h, s, v, a, b in rows
    ]
