"""The run and its data as short lines of text for the top of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.tables import MISSING

_FIRST = ("revision", "data_hash", "machine", "environment", "started")
_SUMMARY = ("sources", "skipped", "letter_overlap")
_MOST_SKIPPED = 12


def _scalars(mapping: Mapping[str, Any], known: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (
            key.replace("_", " "),
            f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value),
        )
        for key, value in mapping.items()
        if key not in known and isinstance(value, str | int | float)
    ]


def run_facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of what was run: the well-known ones first, then every other scalar."""
    facts = [(key.replace("_", " "), str(run[key])) for key in _FIRST if run.get(key)]
    return facts + _scalars(run, (*_FIRST, "seconds", "durations"))


def _share(value: float | None) -> str:
    return MISSING if value is None or value != value else f"{100 * value:.0f}%"


def _letters(overlap: Mapping[str, Any]) -> str:
    """How letters recur across languages and splits, as a sentence; empty without letters."""
    if not overlap.get("letters"):
        return ""
    text = (
        f"{overlap['letters']} letters, {overlap.get('letters_in_several_languages', 0)} of them in several languages"
    )
    shared, same = (overlap.get(f"test_clips_with_{what}_in_train") for what in ("letter", "letter_and_language"))
    if shared is not None:
        text += f"; {100 * shared:.0f}% of the test clips spell a letter that also occurs in training"
    if same is not None:
        text += f", {100 * same:.0f}% in the same language"
    return text + "."


def data_facts(summary: Mapping[str, Any], synthetic: Mapping[str, bool]) -> dict[str, Any]:
    """Rows per source, scalars, letters shared between splits, and what was skipped.

    Args:
        summary: ``HiwStore.summary()``.
        synthetic: by source, as the metrics say; what the source says of itself comes first.
    """
    sources = []
    for name, source in summary.get("sources", {}).items():
        seen, about = source.get("valid_share"), source.get("info") or {}
        sources.append(
            {
                "name": name,
                "title": about.get("title", name),
                "synthetic": about.get("synthetic", synthetic.get(name)),
                "clips": source.get("clips"),
                "split": dict(source.get("clips_by_split", {})),
                "frames": source.get("frames"),
                "seconds": source.get("seconds"),
                "seen": {side: _share(share) for side, share in seen.items()} if seen else {},
                "residual": (source.get("fit_residual_mm") or {}).get("median"),
                "two_handed": source.get("two_handed_clips"),
            }
        )
    skipped = summary.get("skipped") or {}
    listed = [f"{s['clip_id']} ({s['source']}): {s['reason']}" for s in skipped.get("clips", [])]
    return {
        "sources": sources,
        "facts": _scalars(summary, _SUMMARY),
        "letters": _letters(summary.get("letter_overlap") or {}),
        "skipped_count": skipped.get("count", len(listed)),
        "skipped": listed[:_MOST_SKIPPED],
    }
