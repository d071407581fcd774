"""The steps of cleaning in their order, over a data set of small summaries; what each dropped, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.cleaning.activity import activity_clusters, activity_vector, balanced, near_duplicates
from hiw_data.cleaning.outliers import outliers, peak_accelerations
from hiw_data.cleaning.visibility import not_visible

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
        counts: clips before, dropped by each step, and kept.
        config: what it was made with.
    """

    dropped: dict[str, tuple[str, str]]
    counts: dict[str, int]
    config: dict[str, Any]

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
    left = list(clips)

    def drop(step: str, reasons: Sequence[str | None]) -> None:
        nonlocal left
        dropped.update((c.clip_id, (step, r)) for c, r in zip(left, reasons, strict=True) if r is not None)
        left = [c for c, r in zip(left, reasons, strict=True) if r is None]

    drop("visibility", [not_visible(c.valid, hands=config.hands, share=config.visible) for c in left])
    drop("outliers", outliers([c.peaks for c in left], most_z=config.most_z))
    if left:
        same = near_duplicates(np.stack([c.activity for c in left]), nearest=config.duplicate)
        drop("near-duplicates", [None if i is None else f"Repeats {left[i].clip_id}." for i in same])
    if config.most_clips is not None and len(left) > config.most_clips:
        labels = activity_clusters(np.stack([c.activity for c in left]), config.clusters, config.seed)
        stays = balanced(labels, config.most_clips, config.seed)
        reasons = [f"Its activity (cluster {n}) has enough clips in the sample." for n in labels]
        drop("balance", [None if s else r for s, r in zip(stays, reasons, strict=True)])
    by_step = Counter(step for step, _ in dropped.values())
    counts = {"clips": len(clips), **{step: by_step[step] for step in STEPS}, "kept": len(left)}
    return CleaningReport(dropped, counts, asdict(config))
