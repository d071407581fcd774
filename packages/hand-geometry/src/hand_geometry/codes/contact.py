"""Distances that decide contact: thumb to fingertips, tips across hands, tip to palm, palm to palm.

The palm is the rectangle between the wrist's third and the knuckles, from the little finger's to the index knuckle:
a shape, not sampled points, so that the same motion always has the same distances.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.geometry import TIPS, Measurements

Floats = NDArray[np.float32]
PALM_POINTS = np.array([0, 5, 9, 13, 17])
_PALM_START = np.float32(0.33)


class ContactDistances(NamedTuple):
    """Metres; N clips of T frames.

    Attributes:
        thumb_tips: (4, 2, N, T) thumb tip to index, middle, ring and pinky tip of the same hand.
        tips: (5, 5, N, T) left tip to right tip.
        tip_palm: (5, 2, N, T) tips of one hand to the other hand's palm.
        palms: (N, T) mean distance of each palm's five points to the other palm.
    """

    thumb_tips: Floats
    tips: Floats
    tip_palm: Floats
    palms: Floats


def contact_distances(m: Measurements) -> ContactDistances:
    """All distances of every frame."""
    tips = m.joints[:, TIPS]  # (3, 5, 2, N, T)
    points = m.joints[:, PALM_POINTS]
    to_palm = np.stack([_to_palm(tips[:, :, hand], m, 1 - hand) for hand in (0, 1)], axis=1)
    palms = [_to_palm(points[:, :, hand], m, 1 - hand).mean(0) for hand in (0, 1)]
    return ContactDistances(
        thumb_tips=_length(tips[:, 1:] - tips[:, :1]),
        tips=_length(tips[:, :, None, 0] - tips[:, None, :, 1]),
        tip_palm=to_palm,
        palms=(palms[0] + palms[1]) / 2,
    )


def _to_palm(points: Floats, m: Measurements, hand: int) -> Floats:
    """Distance of points (3, K, N, T) to the palm of a hand, (K, N, T)."""
    wrist = m.joints[:, 0, hand]
    axes = (m.fingers[:, hand], m.thumb[:, hand], m.palm[:, hand])
    along, across, out = (_dot(points - wrist[:, None], axis[:, None]) for axis in axes)
    length = _dot(m.joints[:, 9, hand] - wrist, axes[0])
    low, high = (_dot(m.joints[:, k, hand] - wrist, axes[1]) for k in (17, 5))
    beyond = along - np.clip(along, _PALM_START * length, length)
    beside = across - np.clip(across, low, high)
    return np.sqrt(beyond**2 + beside**2 + out**2)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def _length(v: Floats) -> Floats:
    return np.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
