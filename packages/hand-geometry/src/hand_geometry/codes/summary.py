"""What holds of a hand over a whole clip: how much it was seen, where it faces and points, how its fingers are held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hand_geometry.codes.geometry import Measurements

Vector = tuple[float, ...]


@dataclass(frozen=True)
class HandSummary:
    """One hand over a clip.

    Attributes:
        seen: Share of the frames in which it was seen.
        palm, fingers: (3,) means of the palm's normal and of the fingers' direction, world; zeros if never seen.
        position: (3,) mean of the wrist, world, metres.
        flex: (5,) mean flexing of thumb to pinky, degrees.
        travel: Greatest extent of the wrist along a world axis, metres.
    """

    seen: float
    palm: Vector
    fingers: Vector
    position: Vector
    flex: Vector
    travel: float


def summaries(m: Measurements) -> list[tuple[HandSummary, HandSummary]]:
    """Left and right hand of each of N clips."""
    weight = m.valid.astype(np.float32)
    frames = weight.shape[-1]
    total = np.maximum(weight.sum(-1), 1)
    means = [(x * weight).sum(-1) / total for x in (m.palm, m.fingers, m.wrist, m.flex)]
    low, high = (np.where(m.valid, m.wrist, fill) for fill in (np.float32(np.inf), np.float32(-np.inf)))
    travel = np.maximum((high.max(-1) - low.min(-1)).max(0), 0)
    seen = weight.sum(-1) / frames

    def one(hand: int, clip: int) -> HandSummary:
        palm, fingers, wrist, flex = (tuple(np.round(x[:, hand, clip].astype(float), 4).tolist()) for x in means)
        extent = round(float(travel[hand, clip]), 4)
        return HandSummary(round(float(seen[hand, clip]), 4), palm, fingers, wrist, flex, extent)

    return [(one(0, clip), one(1, clip)) for clip in range(weight.shape[1])]
