"""Motion codes as JSON and back, without loss."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from hand_geometry.codes.api import MotionCodes
from hand_geometry.codes.movement import Movement
from hand_geometry.codes.relation import Pairing
from hand_geometry.codes.summary import HandSummary
from hand_geometry.codes.table import Columns, columns
from hand_geometry.codes.thresholds import CodeThresholds
from hand_geometry.codes.vocabulary import (
    EVENT,
    EVENT_KINDS,
    HANDS,
    STATE,
    STATE_KINDS,
    SUBJECT,
    SUBJECTS,
    VALUE,
    VALUES,
)
from hand_geometry.errors import InputError

SCHEMA = 1
_EVENT_FIELDS = ("kind", "hand", "subject", "value", "start", "stop", "first", "amount", "speed")
_STATE_FIELDS = _EVENT_FIELDS[:6]


def to_json(codes: MotionCodes) -> str:
    """JSON text; frames for events and states (``stop`` exclusive), seconds for movements and pairings."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "fps": codes.fps,
            "frames": codes.frames,
            "hands": [asdict(hand) for hand in codes.hands],
            "event_fields": _EVENT_FIELDS,
            "events": _rows(codes.event_table, EVENT_KINDS, _EVENT_FIELDS),
            "state_fields": _STATE_FIELDS,
            "states": _rows(codes.state_table, STATE_KINDS, _STATE_FIELDS),
            "movements": [asdict(movement) for movement in codes.movements],
            "pairings": [asdict(pairing) for pairing in codes.pairings],
            "thresholds": asdict(codes.thresholds),
        },
        separators=(",", ":"),
    )


def from_json(text: str) -> MotionCodes:
    """Codes of ``to_json``.

    Raises:
        InputError: If the text is no JSON, of another schema, or lacks a part.
    """
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise InputError(f"Motion codes: Expected schema {SCHEMA}, got {data['schema']!r}. Make them again.")
        return MotionCodes(
            fps=float(data["fps"]),
            frames=int(data["frames"]),
            event_table=_table(data["events"], EVENT, _EVENT_FIELDS),
            state_table=_table(data["states"], STATE, _STATE_FIELDS),
            movements=tuple(_record(Movement, movement) for movement in data["movements"]),
            pairings=tuple(_record(Pairing, pairing) for pairing in data["pairings"]),
            hands=(_record(HandSummary, data["hands"][0]), _record(HandSummary, data["hands"][1])),
            thresholds=_record(CodeThresholds, data["thresholds"]),
        )
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(
            f"Motion codes: Expected the JSON of MotionCodes.to_json, got text that is not ({error!r})."
        ) from error


def _rows(table: Columns, kinds: tuple[str, ...], names: tuple[str, ...]) -> list[list[Any]]:
    words = {"kind": kinds, "hand": HANDS, "subject": SUBJECTS, "value": VALUES}
    lists = [[words[n][i] for i in table[n].tolist()] if n in words else table[n].tolist() for n in names]
    return [list(row) for row in zip(*lists, strict=True)]


def _table(rows: list[list[Any]], kinds: dict[str, int], names: tuple[str, ...]) -> Columns:
    words = {"kind": kinds, "hand": {h: i for i, h in enumerate(HANDS)}, "subject": SUBJECT, "value": VALUE}
    lists = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    arrays = {
        n: np.array([words[n][word] for word in values] if n in words else values)
        for n, values in zip(names, lists, strict=True)
    }
    return columns(clip=np.zeros(len(rows)), **arrays)


def _record(kind: Any, values: dict[str, Any]) -> Any:
    if set(values) != {field.name for field in fields(kind)}:
        raise KeyError(f"fields of {kind.__name__}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
