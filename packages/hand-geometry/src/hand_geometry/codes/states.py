"""From measurements to tables of states: labels that hold for some time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.contact import ContactDistances
from hand_geometry.codes.events import hand_validity
from hand_geometry.codes.geometry import FINGERS, Measurements
from hand_geometry.codes.handshape import FINGER_STATES, HANDSHAPES, finger_states, handshapes
from hand_geometry.codes.runs import runs_of
from hand_geometry.codes.table import Columns, columns
from hand_geometry.codes.thresholds import CodeThresholds
from hand_geometry.codes.vocabulary import AXES, BOTH, DIRECTIONS, NEIGHBOURS, RELATIVE, STATE, SUBJECT, VALUE

Labels = NDArray[np.int16]
_SPACING = ("closed", "ajar", "open")
_PALMS = ("contact", "near", "medium", "far")


def state_runs(
    m: Measurements, contact: ContactDistances, active: NDArray[np.bool_], fps: float, t: CodeThresholds
) -> Columns:
    """All states of at least ``state_s``; frames in which a hand was not seen have none.

    Args:
        m: Measurements of N clips of T frames.
        contact: Distances of the same.
        active: Where each hand is at work, shape (2, N, T).
        fps: Frames a second.
        t: Thresholds.
    """
    fingers = finger_states(m, t)
    shapes = handshapes(m, fingers, contact, t)
    angles = np.array([t.together_deg, t.open_deg], np.float32)
    rows: list[tuple[str, str, int, Labels]] = []  # kind, subject, hand, (N, T) indices of VALUES
    for hand in (0, 1):
        for k, finger in enumerate(FINGERS):
            rows.append(("finger", finger, hand, _named(fingers[k, hand], FINGER_STATES)))
        for k, pair in enumerate(NEIGHBOURS):
            rows.append(("spacing", pair, hand, _named(np.searchsorted(angles, m.spacing[k, hand]), _SPACING)))
        rows.append(("handshape", "", hand, _named(shapes[hand], HANDSHAPES)))
        rows.append(("palm", "", hand, _named(main_direction(m.palm[:, hand]), DIRECTIONS)))
        rows.append(("pointing", "", hand, _named(main_direction(m.fingers[:, hand]), DIRECTIONS)))
        rows.append(
            ("thumb", "", hand, _named(main_direction(m.joints[:, 4, hand] - m.joints[:, 2, hand]), DIRECTIONS))
        )
        rows.append(("motion", "", hand, _named(active[hand], ("still", "moving"))))
    limits = np.array([t.palms_contact_m, t.palms_near_m, t.palms_medium_m], np.float32)
    rows.append(("palms", "palms", BOTH, _named(np.searchsorted(limits, contact.palms), _PALMS)))
    apart = m.center[:, 1] - m.center[:, 0]
    side = (apart > t.aligned_m).astype(np.int8) - (apart < -t.aligned_m) + 1
    rows += [("relative", axis, BOTH, _named(side[k], RELATIVE[k])) for k, axis in enumerate(AXES)]

    hands = np.array([row[2] for row in rows], np.int16)
    labels = np.where(hand_validity(m, hands), np.stack([row[3] for row in rows]), -1)
    clips, frames = labels.shape[1:]
    found = runs_of(labels.reshape(-1, frames))
    long = (found.value >= 0) & (found.stop - found.start >= min(t.state_s * fps, frames))
    row, clip = np.divmod(found.row[long], clips)
    return columns(
        clip=clip,
        kind=np.array([STATE[r[0]] for r in rows], np.int16)[row],
        hand=hands[row],
        subject=np.array([SUBJECT[r[1]] for r in rows], np.int16)[row],
        value=found.value[long],
        start=found.start[long],
        stop=found.stop[long],
    )


def main_direction(vectors: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index of DIRECTIONS of the axis that vectors (3, ...) are closest to."""
    axis = np.abs(vectors).argmax(0)
    value = np.take_along_axis(vectors, axis[None], 0)[0]
    return 2 * axis + (value < 0)


def _named(indices: NDArray[np.generic], names: tuple[str, ...]) -> Labels:
    return np.array([VALUE[name] for name in names], np.int16)[indices.astype(np.intp)]
