"""A closer look for hands that a tracker lost: where the hand was a moment before or after, at a larger scale.

A detector sees the whole picture in a few hundred pixels; a small, blurred or half-covered hand gets lost in it, and
one that is found late was there before. So frames are gone through forwards and then backwards, and wherever a hand of
the neighbouring frame is missing, the detector looks again at the part of the picture around its last place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hiw_data.frames import Frame
from hiw_data.tracking.detections import Detection
from hiw_data.tracking.fragments import without_fragments

Look = Callable[[NDArray[np.uint8]], Sequence[Detection]]
"""Hands in a small picture, in its own pixels."""

_ROUNDS = 2
"""What looks like a hand may turn out as its fingers once the hand is found beside; then it is looked for again."""


@dataclass(frozen=True)
class SecondLookConfig:
    """Where to look again and what to believe.

    Attributes:
        enlarge: side of the square that is looked at, in sizes of the hand.
        moved: how far a hand may have moved in a frame, in its sizes.
        shrunk, grown: by which factors its size may differ from when it was last seen in a whole picture. A detector
            likes to take fingers for a hand, so the whole hand may be much larger than what was seen of it.
        apart: another hand of the frame that is nearer than this (mean over landmarks, in sizes) is the same hand.
        patience: seconds after which a lost hand is no longer looked for.
        most_hands: frames that have so many hands are not looked at again.
    """

    enlarge: tuple[float, ...] = (2.0, 3.0)
    moved: float = 0.6
    shrunk: float = 0.62
    grown: float = 2.6
    apart: float = 0.35
    patience: float = 0.7
    most_hands: int = 2


def second_look(
    frames: Sequence[Frame],
    hands: Sequence[Sequence[Detection]],
    look: Look,
    config: SecondLookConfig | None = None,
) -> list[list[Detection]]:
    """Looks again for hands that neighbouring frames have.

    Args:
        frames: T pictures in order.
        hands: what was found in each.
        look: a detector for a part of a picture.
        config: what to believe.

    Returns:
        For each frame what was given, less fragments of hands, and what was found besides, marked `second_look`.
    """
    config = config or SecondLookConfig()
    times = np.array([frame.time for frame in frames])
    order = list(range(len(frames)))
    found, dropped = without_fragments(hands, times)
    for _ in range(_ROUNDS):
        for sweep in (order, order[::-1]):
            _sweep(frames, found, sweep, look, config)
        found, dropped = without_fragments(found, times)
        if not dropped:
            break
    return found


@dataclass
class _Sought:
    """A hand on its way through the frames: as last seen, when, and its size as seen in a whole picture."""

    hand: Detection
    time: float
    size: float


def _sweep(
    frames: Sequence[Frame], found: list[list[Detection]], order: list[int], look: Look, config: SecondLookConfig
) -> None:
    sought: list[_Sought] = []
    for k in order:
        time = frames[k].time
        present = list(found[k])
        here = _present(sought, present, 2 * config.moved)
        missing = []
        for index, hand in enumerate(sought):
            nearest = here.get(index)
            if nearest is not None:
                hand.hand, hand.time = nearest, time
                hand.size = hand.size if nearest.second_look else nearest.size
            elif abs(time - hand.time) <= config.patience:
                missing.append(hand)
        continued = {id(hand) for hand in here.values()}
        present = [hand for hand in present if id(hand) not in continued]
        for hand in missing:
            if len(found[k]) >= config.most_hands:
                break
            again = _look_for(hand, frames[k].image, found[k], look, config)
            if again is not None:
                found[k].append(again)
                hand.hand, hand.time, hand.size = again, time, max(hand.size, again.size)
        sought = [hand for hand in sought if abs(time - hand.time) <= config.patience]
        sought += [_Sought(hand, time, hand.size) for hand in present]


def _present(sought: Sequence[_Sought], present: Sequence[Detection], reach: float) -> dict[int, Detection]:
    """Which hand of a frame continues which that is sought: the nearest pair first, each hand once."""
    pairs = [(s.hand.distance(p), i, j) for i, s in enumerate(sought) for j, p in enumerate(present)]
    here: dict[int, Detection] = {}
    taken: set[int] = set()
    for distance, i, j in sorted(pairs):
        if distance < reach and i not in here and j not in taken:
            here[i] = present[j]
            taken.add(j)
    return here


def _look_for(
    lost: _Sought, image: NDArray[np.uint8], others: Sequence[Detection], look: Look, config: SecondLookConfig
) -> Detection | None:
    for enlarge in config.enlarge:
        part, corner = _square(image, lost.hand.centre, enlarge * lost.size)
        if min(part.shape[:2]) < 16:
            continue
        for mirrored in (False, True):  # a detector does not see the same in a mirror
            found = _mirror_look(part, look) if mirrored else look(part)
            seen = [replace(h, landmarks=h.landmarks + np.array([*corner, 0.0]), second_look=True) for h in found]
            likely = [hand for hand in seen if _could_be(hand, lost, others, config)]
            if likely:
                return min(likely, key=lost.hand.distance)
    return None


def _mirror_look(part: NDArray[np.uint8], look: Look) -> list[Detection]:
    found = look(np.ascontiguousarray(part[:, ::-1]))
    flip, shift = np.array([-1.0, 1.0, 1.0]), np.array([part.shape[1], 0.0, 0.0])
    return [replace(hand, side=1 - hand.side, landmarks=hand.landmarks * flip + shift) for hand in found]


def _could_be(hand: Detection, lost: _Sought, others: Sequence[Detection], config: SecondLookConfig) -> bool:
    ratio = hand.size / lost.size
    near = np.linalg.norm(hand.centre - lost.hand.centre) <= config.moved * lost.size
    alike = config.shrunk <= ratio <= config.grown
    return bool(near and alike and all(hand.distance(other) > config.apart for other in others))


def _square(
    image: NDArray[np.uint8], centre: NDArray[np.float64], side: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of a picture within a square, and its corner (x, y)."""
    height, width = image.shape[:2]
    low = np.clip(np.round(centre - side / 2), 0, [width, height]).astype(int)
    high = np.clip(np.round(centre + side / 2), 0, [width, height]).astype(int)
    return np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), low.astype(np.float64)
