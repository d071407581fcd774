"""How models are asked when they are measured: which clips, which sentences, which settings and seeds."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from clutch_llm import Clutch
from hiw_data import Clip, HiwStore
from hiw_data.sources.phrasing import TELLS
from hiw_data.sources.procedural import held_out_phrasing

Clips = list[Clip]
Motions = list[list[np.ndarray]]


@dataclass(frozen=True)
class Protocol:
    """How the models are asked.

    Attributes:
        split: the split that is measured.
        samples: motions for each caption.
        temperature: of sampling.
        guidance: classifier-free guidance of sampling; 1 is none.
        seed: of sampling and of every random choice of the metrics.
        max_clips: at most so many clips of each source; 0 for all.
        shown: clips of each source that the page shows.
        split_by: boolean attributes of clips, such as whether training has seen their combination of attributes: the
            clips that have it and those that do not are reported apart as well.
        group_by: attributes of clips, such as one that says slow or fast: speeds are reported by their values.
        bert_model: folder of a model for BERTScore of captions, such as a RoBERTa; None leaves it out.
        held_out_phrasings: also ask for each clip in a phrasing that training never saw, where its source has such: for
            all that its caption tells, and tersely (see `TERSE`).
    """

    split: str = "test"
    samples: int = 2
    temperature: float = 1.0
    guidance: float = 1.0
    seed: int = 0
    max_clips: int = 0
    shown: int = 6
    split_by: list[str] = field(default_factory=list)
    group_by: list[str] = field(default_factory=list)
    held_out_phrasings: bool = True
    bert_model: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("max_clips", 0), ("shown", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"Expected evaluation.protocol.{name} of at least {least}, got {getattr(self, name)}.")
        for name in ("temperature", "guidance"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"Expected a positive evaluation.protocol.{name}, got {getattr(self, name)}.")

    @property
    def generation(self) -> dict[str, float]:
        """What generation is asked with, wherever a model is measured: what a saved model has as its default."""
        return {"temperature": self.temperature, "guidance": self.guidance}

    def clips(self, store: HiwStore, split: str | None = None, limit: int = 0) -> Clips:
        """Return the clips to measure on (or of another split), in the store's order, at most `limit` a source."""
        clips = store.clips(split=split or self.split)
        sources = dict.fromkeys(clip["source"] for clip in clips)
        limit = limit or self.max_clips or len(clips)
        return [c for s in sources for c in [c for c in clips if c["source"] == s][:limit]]


TERSE = ("repetitions",)
"""What a terse sentence tells beside the action, as "clap your hands three times" does: which hand moves, where to, how
fast and how far is left open."""

LEAST_FRAMES = 4  # of a motion that evaluator and judge can look at


def texts_of(clips: Clips, level: int = -1) -> list[str]:
    """Return each clip's caption of a level: -1 the most detailed, 0 the high-level one."""
    return [clip["captions"][level] for clip in clips]


def seed_of(clip: Clip, protocol: Protocol) -> int:
    """A clip's own seed: clips of one caption are asked for different motions."""
    return protocol.seed + zlib.crc32(clip["clip_id"].encode())


def generate(
    clutch: Clutch,
    clips: Clips,
    protocol: Protocol,
    *,
    level: int = -1,
    texts: list[str] | None = None,
    length: float | None = 1.0,
    samples: int | None = None,
    temperature: float | None = None,
) -> Motions:
    """Return motions for a caption of each clip.

    Args:
        clutch: the model.
        clips: whose captions are asked for.
        protocol: how.
        level: of the caption, see `texts_of`.
        texts: one for each clip, instead of its caption.
        length: as a share of the clip's, see `seconds_of`; None: the model decides.
        samples: motions a caption, instead of the protocol's.
        temperature: instead of the protocol's.
    """
    settings: dict[str, Any] = protocol.generation | {"samples": samples or protocol.samples}
    if temperature is not None:
        settings["temperature"] = temperature
    texts = texts_of(clips, level) if texts is None else texts
    seconds = None if length is None else [seconds_of(clip, length, clutch.max_seconds) for clip in clips]
    drawn = clutch.generate(texts, seconds=seconds, seed=[seed_of(clip, protocol) for clip in clips], **settings)
    return [[motion["features"] for motion in several] for several in drawn]


def seconds_of(clip: Clip, length: float, longest: float) -> float:
    """A share of a clip's length: of `LEAST_FRAMES` at least where the clip has as many, and no more than longest."""
    frames = len(clip["features"])
    return float(min(max(length * frames, min(frames, LEAST_FRAMES)) / clip["fps"], max(longest, frames / clip["fps"])))


def phrasings_of(clips: Clips, tells: Collection[str] = TELLS) -> dict[int, str]:
    """The held-out phrasing of each clip by its index, of the sources all of whose clips have one.

    It tells all that the detailed caption does beside the action, or some of it.
    """
    found = [held_out_phrasing(clip, tells) for clip in clips]
    without = {clip["source"] for clip, text in zip(clips, found, strict=True) if text is None}
    return {i: text for i, text in enumerate(found) if text is not None and clips[i]["source"] not in without}
