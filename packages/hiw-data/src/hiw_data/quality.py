"""The quality report: what is in a store, how well it was seen and fitted, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.clips import SPLITS, Clip, SkippedClip
from hiw_data.sources.base import SourceInfo
from hiw_data.splits import attribute_overlap

_TRANSLATION = (slice(96, 99), slice(195, 198))
_PERCENTILES = {"median": 50, "p95": 95, "p99": 99}


@dataclass
class SourceTally:
    """Running figures of one source."""

    clips: int = 0
    frames: int = 0
    valid: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    two_handed: int = 0
    captions: list[set[str]] = field(default_factory=list)
    residuals: list[NDArray[np.float32]] = field(default_factory=list)
    accelerations: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, clip: Clip) -> None:
        """Counts one clip."""
        self.clips += 1
        self.frames += len(clip["features"])
        self.valid += clip["valid"].sum(0)
        self.two_handed += int(clip["valid"].any(0).all())
        self.captions.extend(set() for _ in range(len(clip["captions"]) - len(self.captions)))
        for seen, caption in zip(self.captions, clip["captions"], strict=False):
            seen.add(caption)
        if "residual" in clip:
            self.residuals.append(clip["residual"][~np.isnan(clip["residual"])])
        self.accelerations.append(wrist_acceleration(clip["features"], clip["valid"], clip["fps"]))

    def report(self, fps: float) -> dict[str, Any]:
        """The figures as JSON."""
        report: dict[str, Any] = {
            "clips": self.clips,
            "frames": self.frames,
            "seconds": round(self.frames / fps, 1),
            "valid_share": {
                side: round(int(n) / max(1, self.frames), 4)
                for side, n in zip(("left", "right"), self.valid, strict=True)
            },
            "two_handed_clips": self.two_handed,
            "distinct_captions": [len(seen) for seen in self.captions],
            "wrist_acceleration_m_s2": _percentiles(self.accelerations, 1.0),
        }
        if self.residuals:
            report["fit_residual_mm"] = _percentiles(self.residuals, 1e3)
            report["fitted_hand_frames"] = sum(len(r) for r in self.residuals)
        return report


def wrist_acceleration(features: NDArray[np.float32], valid: NDArray[np.bool_], fps: float) -> NDArray[np.float32]:
    """Norm of the wrists' second difference, m/s^2, where three frames in a row are valid; any length."""
    kept = []
    for hand, columns in enumerate(_TRANSLATION):
        acceleration = np.linalg.norm(np.diff(features[:, columns], 2, axis=0), axis=-1) * fps**2
        kept.append(acceleration[valid[2:, hand] & valid[1:-1, hand] & valid[:-2, hand]])
    return np.concatenate(kept).astype(np.float32)


def _percentiles(parts: list[NDArray[np.float32]], scale: float) -> dict[str, float]:
    values = np.concatenate(parts) if parts else np.zeros(0)
    if not len(values):
        return {}
    return {name: round(float(np.percentile(values, q)) * scale, 3) for name, q in _PERCENTILES.items()}


class QualityTally:
    """Collects the report while clips stream by."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.sources: dict[str, SourceTally] = {}
        self.skipped: list[SkippedClip] = []
        self.present = 0
        """Clips that the store had already."""

    def add(self, clip: Clip) -> None:
        """Counts a clip that was stored."""
        self.sources.setdefault(clip["source"], SourceTally()).add(clip)

    def skip(self, skipped: SkippedClip) -> None:
        """Lists a clip that was not."""
        self.skipped.append(skipped)

    def report(
        self, metadata: list[dict[str, Any]], infos: Mapping[str, SourceInfo], notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The whole report as JSON.

        Args:
            metadata: the store's, with splits.
            infos: what each source says of itself, by its name.
            notes: what else a user should know.
        """
        notes = list(notes)
        sources = {name: tally.report(self.fps) for name, tally in self.sources.items()}
        for name, source in sources.items():
            rows, info = [row for row in metadata if row["source"] == name], infos[name]
            source["clips_by_split"] = {split: sum(row["split"] == split for row in rows) for split in SPLITS}
            source["skipped_clips"] = sum(s.source == name for s in self.skipped)
            source["overlap"] = attribute_overlap(rows, info.told)
            source["info"] = asdict(info)
            notes += info.notes
            pieces = [row["origin"] for row in rows if row["attributes"].get("pieces", 1) > 1]
            source["cut"] = {"recordings": len(set(pieces)), "pieces": len(pieces)}
            if pieces:
                notes.append(
                    f"Source '{name}': {len(set(pieces))} recording(s) longer than a clip may be stand here as "
                    f"{len(pieces)} pieces; their attributes say which piece of how many, and its seconds."
                )
        notes += [
            f"Source '{name}': none of its clips could be used; see the reasons under what was left out."
            for name in infos
            if name not in sources
        ]
        return {
            "clips": sum(s["clips"] for s in sources.values()),
            "frames": sum(s["frames"] for s in sources.values()),
            "seconds": round(sum(s["seconds"] for s in sources.values()), 1),
            "sources": sources,
            "notes": notes,
            "skipped": {
                "count": len(self.skipped),
                "clips": [{"clip_id": s.clip_id, "source": s.source, "reason": s.reason} for s in self.skipped],
            },
        }
