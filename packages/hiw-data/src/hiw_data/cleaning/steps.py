"""The steps of cleaning in their order, over a data set of small summaries; what each dropped, and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.cleaning.activity import activity_clusters, activity_vector, balanced, near_duplicates, nearest_earlier
from hiw_data.cleaning.outliers import jerk_scores, outliers, peak_accelerations
from hiw_data.cleaning.visibility import not_visible, seen_share

STEPS = ("visibility", "outliers", "near-duplicates", "balance")


@dataclass(frozen=True)
class CleaningConfig:
    """What is kept.

    Attributes:
        hands: "both": clips need both hands; "one": a hand will do.
        visible: share of the frames in which they must be visible.
        most_z: robust z-score of the peak accelerations up to which a clip is kept.
        duplicate: clips whose wrists and fingertips are this near on average (metres) are the same; 0 keeps all.
        most_clips: keep at most so many, balanced over activities; None keeps all.
        clusters: of activities.
        seed: draws who stays.
    """

    hands: str = "one"
    visible: float = 0.8
    most_z: float = 4.0
    duplicate: float = 0.004
    most_clips: int | None = None
    clusters: int = 50
    seed: int = 0


@dataclass(frozen=True)
class ClipSummary:
    """What cleaning needs to know of a clip, small enough to be kept for all.

    Attributes:
        clip_id: of the clip.
        valid: (T, 2) bool.
        peaks: see `peak_accelerations`.
        activity: see `activity_vector`.
    """

    clip_id: str
    valid: NDArray[np.bool_]
    peaks: tuple[float, float]
    activity: NDArray[np.float64]

    @classmethod
    def of(cls, clip_id: str, features: NDArray[np.float32], valid: NDArray[np.bool_], fps: float) -> ClipSummary:
        """The summary of a clip."""
        return cls(clip_id, valid, peak_accelerations(features, valid, fps), activity_vector(features, valid))


@dataclass(frozen=True)
class CleaningReport:
    """What was dropped.

    Attributes:
        dropped: clip_id -> (step, reason).
        margins: step -> clip_id -> by how much a clip is within the step's limit; below 0 it is beyond, and dropped.
            Seen share above the limit, robust z-score below it, metres from the nearest clip before it. Of clips that
            the step looked at and could judge: with a clip before it that is near, for one. Balance judges none.
        counts: clips before, dropped by each step, and kept.
        config: what it was made with.
    """

    dropped: dict[str, tuple[str, str]]
    margins: dict[str, dict[str, float]]
    counts: dict[str, int]
    config: dict[str, Any]

    def borderline(self, step: str) -> tuple[str | None, str | None]:
        """The worst clip that a step kept, and the best one that it dropped; None where it dropped or kept none."""
        gone = {name for name, (by, _) in self.dropped.items() if by == step}
        margins = self.margins.get(step, {})
        best = max((name for name in margins if name in gone), key=margins.__getitem__, default=None)
        return min((name for name in margins if name not in gone), key=margins.__getitem__, default=None), best

    def lines(self) -> list[str]:
        """For people, one line a step."""
        rows = [f"{self.counts['clips']} clips"]
        rows += [f"  {step}: {self.counts[step]} dropped" for step in STEPS if self.counts[step]]
        return [*rows, f"  {self.counts['kept']} kept"]


def clean(clips: Sequence[ClipSummary], config: CleaningConfig | None = None) -> CleaningReport:
    """Decides which clips stay: visible, no outlier, no repetition, and balanced; each step sees what the last left.

    Args:
        clips: of the whole data set.
        config: what is kept.
    """
    config = config or CleaningConfig()
    dropped: dict[str, tuple[str, str]] = {}
    margins: dict[str, dict[str, float]] = {}
    left = list(clips)

    def judge(step: str, values: Iterable[float]) -> None:
        judged = {clip.clip_id: float(value) for clip, value in zip(left, values, strict=True)}
        margins[step] = {name: round(value, 6) for name, value in judged.items() if math.isfinite(value)}

    def drop(step: str, reasons: Sequence[str | None]) -> None:
        nonlocal left
        dropped.update((c.clip_id, (step, r)) for c, r in zip(left, reasons, strict=True) if r is not None)
        left = [c for c, r in zip(left, reasons, strict=True) if r is None]

    judge("visibility", [seen_share(c.valid, hands=config.hands) - config.visible for c in left])
    drop("visibility", [not_visible(c.valid, hands=config.hands, share=config.visible) for c in left])
    z = jerk_scores([c.peaks for c in left])
    if z is not None:
        judge("outliers", config.most_z - z.max(1))
    drop("outliers", outliers([c.peaks for c in left], most_z=config.most_z))
    if left:
        vectors = np.stack([c.activity for c in left])
        same = near_duplicates(vectors, nearest=config.duplicate)
        if config.duplicate > 0:
            near = nearest_earlier(vectors, np.array([i is None for i in same]), within=5 * config.duplicate)
            judge("near-duplicates", near - config.duplicate)
        drop("near-duplicates", [None if i is None else f"Repeats {left[i].clip_id}." for i in same])
    if config.most_clips is not None and len(left) > config.most_clips:
        labels = activity_clusters(np.stack([c.activity for c in left]), config.clusters, config.seed)
        stays = balanced(labels, config.most_clips, config.seed)
        reasons = [f"Its activity (cluster {n}) has enough clips in the sample." for n in labels]
        drop("balance", [None if s else r for s, r in zip(stays, reasons, strict=True)])
    by_step = Counter(step for step, _ in dropped.values())
    counts = {"clips": len(clips), **{step: by_step[step] for step in STEPS}, "kept": len(left)}
    return CleaningReport(dropped, margins, counts, asdict(config))
