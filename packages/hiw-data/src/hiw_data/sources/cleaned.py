"""From fitted stretches of many recordings to clean clips: summaries of all first, then the clips that stay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hiw_data.annotation import AnnotationConfig, FittedPieces, make_clip
from hiw_data.cleaning import ClipSummary, clean
from hiw_data.cleaning.pictures import Cleaned, Shown
from hiw_data.clips import Clip, SkippedClip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stretch:
    """One stretch of a recording.

    Attributes:
        stem: names it.
        load: gives its fitted pieces.
        attributes: of its clips.
        caption: from elsewhere, or None.
        group: of its clips.
    """

    stem: str
    load: Callable[[], FittedPieces]
    attributes: Mapping[str, Any]
    caption: str | None
    group: str


def cleaned_clips(
    stretches: Sequence[Stretch], config: AnnotationConfig, *, source: str, fps: float, cleaned: Cleaned
) -> Iterator[Clip | SkippedClip]:
    """The clips that stay, and those that go with the step and the reason; `cleaned` gets what each step did."""
    summaries = []
    for stretch in stretches:
        for piece in stretch.load().pieces:
            name = f"{source}/{stretch.stem}{piece.suffix()}"
            summaries.append(ClipSummary.of(name, piece.features, piece.valid, fps))
    cleaning = clean(summaries, config.cleaning)
    cleaned.report = cleaning
    wanted = cleaned.wanted()
    for stretch in stretches:
        fitted = stretch.load()
        for index, piece in enumerate(fitted.pieces):
            name = f"{source}/{stretch.stem}{piece.suffix()}"
            if name in wanted:
                cleaned.clips[name] = Shown(piece.features, piece.valid, fps)
            if name in cleaning.dropped:
                step, reason = cleaning.dropped[name]
                yield SkippedClip(name, source, f"{step}: {reason}")
                continue
            yield make_clip(
                fitted,
                index,
                config,
                source=source,
                stem=stretch.stem,
                fps=fps,
                caption=stretch.caption,
                attributes=stretch.attributes,
                group=stretch.group,
            )
