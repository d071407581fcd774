"""From measurements to tables of events: changes in one direction, and contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.contact import ContactDistances
from hand_geometry.codes.geometry import FINGERS, Measurements
from hand_geometry.codes.runs import changes_of, runs_of
from hand_geometry.codes.table import Columns, columns
from hand_geometry.codes.thresholds import CodeThresholds
from hand_geometry.codes.vocabulary import (
    ACROSS,
    AXES,
    BODY_DIRECTIONS,
    BOTH,
    DIRECTIONS,
    EVENT,
    NEIGHBOURS,
    SUBJECT,
    THUMB_PAIRS,
    TO_PALM,
    TURNS,
    VALUE,
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int16]


@dataclass(frozen=True)
class _Group:
    """Signals of one kind, shape (S, N, T), and what each row means."""

    kind: str
    signals: Floats
    subjects: Sequence[str]
    hands: Sequence[int]
    rising: Sequence[str]
    falling: Sequence[str]
    still: float
    least: float


def change_events(m: Measurements, contact: ContactDistances, fps: float, t: CodeThresholds) -> Columns:
    """All events that are a change in one direction."""
    groups = _change_groups(m, contact, t)
    signals = np.concatenate([group.signals for group in groups])  # (S, N, T)
    clips, frames = signals.shape[1:]
    counts = [len(group.signals) for group in groups]

    def per_row(values: list[float]) -> Floats:
        return np.repeat(np.repeat(np.array(values, np.float32), counts), clips)

    hand = np.array([h for group in groups for h in group.hands], np.int16)
    found = changes_of(
        signals.reshape(-1, frames),
        hand_validity(m, hand).reshape(-1, frames),
        fps,
        still=per_row([group.still for group in groups]),
        least=per_row([group.least for group in groups]),
        seconds=t.event_s,
        gap=t.gap_s,
    )
    signal, clip = np.divmod(found.row, clips)
    value = np.array([[VALUE[f], VALUE[r]] for g in groups for r, f in zip(g.rising, g.falling, strict=True)], np.int16)
    return columns(
        clip=clip,
        kind=np.repeat([EVENT[group.kind] for group in groups], counts)[signal],
        hand=hand[signal],
        subject=np.array([SUBJECT[s] for g in groups for s in g.subjects], np.int16)[signal],
        value=value[signal, (found.amount > 0).astype(int)],
        start=found.start,
        stop=found.stop,
        first=found.first,
        amount=found.amount,
        speed=found.speed,
    )


def contact_events(m: Measurements, contact: ContactDistances, t: CodeThresholds) -> list[Columns]:
    """Every run of contact, and of being near: thumb tip to tip, tips across hands, tip to palm, palm to palm."""
    clips, frames = contact.palms.shape
    distances = np.concatenate(
        [
            _rows(contact.thumb_tips),
            contact.tips.reshape(-1, clips, frames),
            _rows(contact.tip_palm),
            contact.palms[None],
        ]
    )
    near = np.repeat(
        np.array([t.tip_contact_m, t.palm_contact_m, t.palms_contact_m], np.float32), [8 + len(ACROSS), 10, 1]
    )
    hand = np.array([0, 1] * 4 + [BOTH] * len(ACROSS) + [0, 1] * 5 + [BOTH], np.int16)
    needs = hand.copy()
    needs[-11:] = BOTH  # a tip at the other palm needs both hands
    subject = [SUBJECT[s] for s in (*np.repeat(THUMB_PAIRS, 2), *ACROSS, *np.repeat(TO_PALM, 2), "palms")]
    hidden = ~hand_validity(m, needs)
    tables = []
    for kind, factor in (("contact", 1.0), ("near", t.near_factor)):
        mask = distances < near[:, None, None] * np.float32(factor)
        mask[hidden] = False
        found = runs_of(mask.reshape(-1, frames).view(np.int8))
        on = found.value == 1
        least = np.minimum.reduceat(distances.ravel(), found.row * frames + found.start)[on]
        row, clip = np.divmod(found.row[on], clips)
        tables.append(
            columns(
                clip=clip,
                kind=np.full(len(row), EVENT[kind]),
                hand=hand[row],
                subject=np.array(subject, np.int16)[row],
                value=np.full(len(row), VALUE["touch" if kind == "contact" else "near"]),
                start=found.start[on],
                stop=found.stop[on],
                first=distances.reshape(-1, frames)[found.row[on], found.start[on]],
                amount=least,
            )
        )
    return tables


def hand_validity(m: Measurements, hand: Ints) -> NDArray[np.bool_]:
    """Where the hand of each row (0, 1, or both) was seen, shape (S, N, T)."""
    return np.stack([m.valid[0], m.valid[1], m.valid[0] & m.valid[1]])[hand]


def _rows(signals: Floats) -> Floats:
    """(S, 2, N, T) to (2S, N, T), the hands in turn."""
    return signals.reshape(-1, *signals.shape[2:])


def _change_groups(m: Measurements, contact: ContactDistances, t: CodeThresholds) -> list[_Group]:
    def each(kind: str, signals: Floats, names: Sequence[str], up: Sequence[str], down: Sequence[str], *limits: float):  # type: ignore[no-untyped-def]
        two = [[name for name in group for _ in (0, 1)] for group in (names, up, down)]
        return _Group(kind, _rows(signals), two[0], [0, 1] * len(names), two[1], two[2], *limits)

    relative = m.center[:, 1] - m.center[:, 0]
    palms = contact.palms[None]
    far = (t.move_still_m_s, t.palms_change_m)
    return [
        each("flex", m.flex, FINGERS, ["bend"] * 5, ["extend"] * 5, t.flex_still_deg_s, t.flex_deg),
        each("spacing", m.spacing, NEIGHBOURS, ["spread"] * 4, ["close"] * 4, t.spacing_still_deg_s, t.spacing_deg),
        each("move", m.wrist, AXES, DIRECTIONS[::2], DIRECTIONS[1::2], t.move_still_m_s, t.move_m),
        each(
            "body-move", m.body_path, BODY_DIRECTIONS[::2], BODY_DIRECTIONS[::2], BODY_DIRECTIONS[1::2],
            t.move_still_m_s, t.move_m,
        ),
        each(
            "turn", m.turn, TURNS, ("supinate", "radial", "flexion"), ("pronate", "ulnar", "extension"),
            t.turn_still_deg_s, t.turn_deg,
        ),
        each(
            "thumb-distance", contact.thumb_tips, THUMB_PAIRS, ["part"] * 4, ["approach"] * 4,
            t.move_still_m_s, t.pinch_m,
        ),
        _Group(
            "palm-distance", _rows(contact.tip_palm), np.repeat(TO_PALM, 2).tolist(), [BOTH] * 10, ["part"] * 10,
            ["approach"] * 10, t.move_still_m_s, t.move_m,
        ),
        _Group("palms-distance", palms, ["palms"], [BOTH], ["part"], ["approach"], *far),
        _Group("relative", relative, AXES, [BOTH] * 3, DIRECTIONS[::2], DIRECTIONS[1::2], *far),
    ]  # fmt: skip
