"""Which hand is which, over time: from detections to a left and a right hand.

Detections are linked into tracklets by continuity of motion; a tracklet's side is the vote of all its detections, and
two tracklets that are seen at the same time cannot be the same side. So a wrong label in a frame, a hand that is
reported twice, and a third person's hand are mended, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hiw_data.tracking.detections import Detection, Detections
from hiw_data.tracking.fragments import without_fragments


@dataclass(frozen=True)
class IdentityConfig:
    """How detections become hands.

    Attributes:
        double: detections of a frame whose landmarks are nearer than this (mean, in hand sizes) are one hand.
        reach: how far the landmarks of a hand may be from where they are expected, in its sizes.
        gap: seconds for which a tracklet may be lost and still go on.
        shortest: seconds; shorter tracklets are not trusted, unless nothing else is there.
        overlap: share of a tracklet that may be seen together with another of the same side.
    """

    double: float = 0.25
    reach: float = 0.9
    gap: float = 0.4
    shortest: float = 0.1
    overlap: float = 0.2


@dataclass(frozen=True)
class TwoHands:
    """The two hands of a video.

    Attributes:
        times: (T,), seconds.
        landmarks: (T, 2, 21, 3), pixels and depths, hand 0 left, 1 right; NaN where a hand was not seen.
        seen: (T, 2) bool.
        width, height: of the picture, pixels.
        counts: what was mended: `fragments` (fingers taken for a hand, dropped), `doubles` (detections dropped),
            `relabelled` (detections whose label was outvoted), `short` (those of tracklets too short to trust),
            `other_hands` (detections of third hands), `second_look` (detections kept that only a closer look found).
        points: (T, 2, 21, 3), metres, NaN where a hand was not seen; None if the tracker knows none.
        focal, along_ray: as of `Detections`.
    """

    times: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    seen: NDArray[np.bool_]
    width: int
    height: int
    counts: dict[str, int]
    points: NDArray[np.float64] | None = None
    focal: float | None = None
    along_ray: bool = False


@dataclass
class _Tracklet:
    frames: list[int] = field(default_factory=list)
    hands: list[Detection] = field(default_factory=list)
    votes: float = 0.0  # above 0: right

    def expected(self, times: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """Where its landmarks should be in a frame, (21, 2), by its last speed."""
        last = self.hands[-1].landmarks[:, :2]
        if len(self.frames) < 2 or self.frames[-1] != frame - 1:
            return last
        spent = times[self.frames[-1]] - times[self.frames[-2]]
        share = min((times[frame] - times[self.frames[-1]]) / max(spent, 1e-6), 1.0)
        return np.asarray(last + share * (self.hands[-1].centre - self.hands[-2].centre))


def two_hands(detections: Detections, config: IdentityConfig | None = None) -> TwoHands:
    """Decides which hand is which.

    Args:
        detections: of one video.
        config: what to believe.

    Returns:
        The two hands that were seen most, left and right.
    """
    config = config or IdentityConfig()
    whole, fragments = without_fragments(detections.frames, detections.times)
    frames, doubles, doubled_votes = _without_doubles(whole, config.double)
    tracklets = _link(frames, detections.times, config, doubled_votes)
    step = float(np.median(np.diff(detections.times))) if len(detections.times) > 1 else 1.0
    enough = [t for t in tracklets if len(t.frames) * step >= config.shortest]
    kept = enough or tracklets
    short = sum(len(t.frames) for t in tracklets) - sum(len(t.frames) for t in kept)
    sides = _sides(kept, len(frames), config.overlap)
    landmarks, points = np.full((2, len(frames), 2, 21, 3), np.nan)
    counts = {"fragments": fragments, "doubles": doubles, "short": short}
    counts |= {"relabelled": 0, "other_hands": 0, "second_look": 0}
    taken = np.zeros((len(frames), 2), bool)
    order = sorted(range(len(kept)), key=lambda i: -len(kept[i].frames))
    for index in order:
        side, tracklet = sides[index], kept[index]
        for frame, hand in zip(tracklet.frames, tracklet.hands, strict=True):
            if side is None or taken[frame, side]:
                counts["other_hands"] += 1
                continue
            landmarks[frame, side], taken[frame, side] = hand.landmarks, True
            if hand.points is not None:
                points[frame, side] = hand.points
            counts["relabelled"] += hand.side != side
            counts["second_look"] += hand.second_look
    return TwoHands(
        detections.times,
        landmarks,
        taken,
        detections.width,
        detections.height,
        counts,
        points if np.isfinite(points).any() else None,
        detections.focal,
        detections.along_ray,
    )


def _without_doubles(
    frames: Sequence[Sequence[Detection]], nearest: float
) -> tuple[list[list[Detection]], int, dict[tuple[int, int], float]]:
    """Each hand of a frame once; how many went, and their votes by (frame, index of the one that stays)."""
    kept: list[list[Detection]] = []
    votes: dict[tuple[int, int], float] = {}
    dropped = 0
    for number, hands in enumerate(frames):
        row: list[Detection] = []
        for hand in sorted(hands, key=lambda h: (h.second_look, -h.score)):
            same = next((i for i, other in enumerate(row) if hand.distance(other) < nearest), None)
            if same is None:
                row.append(hand)
            else:
                dropped += 1
                votes[number, same] = votes.get((number, same), 0.0) + _vote(hand)
        kept.append(row)
    return kept, dropped, votes


def _vote(hand: Detection) -> float:
    weight = hand.score * (0.5 if hand.second_look else 1.0)
    return weight if hand.side else -weight


def _link(
    frames: Sequence[Sequence[Detection]],
    times: NDArray[np.float64],
    config: IdentityConfig,
    doubled: dict[tuple[int, int], float],
) -> list[_Tracklet]:
    done: list[_Tracklet] = []
    live: list[_Tracklet] = []
    for frame, hands in enumerate(frames):
        done += [t for t in live if times[frame] - times[t.frames[-1]] > config.gap]
        live = [t for t in live if times[frame] - times[t.frames[-1]] <= config.gap]
        chosen = _match(live, hands, times, frame, config.reach)
        for index, hand in enumerate(hands):
            tracklet = chosen.get(index)
            if tracklet is None:
                tracklet = _Tracklet()
                live.append(tracklet)
            tracklet.frames.append(frame)
            tracklet.hands.append(hand)
            tracklet.votes += _vote(hand) + doubled.get((frame, index), 0.0)
    return done + live


def _match(
    live: Sequence[_Tracklet], hands: Sequence[Detection], times: NDArray[np.float64], frame: int, reach: float
) -> dict[int, _Tracklet]:
    """Index of a hand -> the tracklet that it continues."""
    if not live or not hands:
        return {}
    far = 1e6
    costs = np.full((len(live), len(hands)), far)
    for row, tracklet in enumerate(live):
        expected, size = tracklet.expected(times, frame), tracklet.hands[-1].size
        for column, hand in enumerate(hands):
            apart = np.linalg.norm(hand.landmarks[:, :2] - expected, axis=-1).mean() / max(size, hand.size)
            leans = tracklet.votes / max(len(tracklet.hands), 1)
            disagrees = 0.1 * abs(leans) if (hand.side == 1) != (leans > 0) else 0.0
            if apart < reach:
                costs[row, column] = apart + disagrees
    rows, columns = linear_sum_assignment(costs)
    return {int(c): live[r] for r, c in zip(rows, columns, strict=True) if costs[r, c] < far}


def _sides(tracklets: Sequence[_Tracklet], frames: int, overlap: float) -> list[int | None]:
    """0, 1 or None (neither) for each tracklet.

    The two most seen at any time stay. Of these the surest vote first: each takes the side that it votes for, or the
    other if that one is taken by a tracklet that is seen at the same time.
    """
    rank = sorted(range(len(tracklets)), key=lambda i: -len(tracklets[i].frames))
    crowd = np.zeros(frames, int)
    stays: list[int] = []
    for index in rank:
        at = tracklets[index].frames
        if (crowd[at] >= 2).mean() <= overlap:
            crowd[at] += 1
            stays.append(index)
    sides: list[int | None] = [None] * len(tracklets)
    taken = np.zeros((2, frames), bool)
    for index in sorted(stays, key=lambda i: -abs(tracklets[i].votes)):
        at = tracklets[index].frames
        wanted = int(tracklets[index].votes > 0)
        for side in (wanted, 1 - wanted):
            if taken[side, at].mean() <= overlap:
                sides[index] = side
                taken[side, at] = True
                break
    return sides
