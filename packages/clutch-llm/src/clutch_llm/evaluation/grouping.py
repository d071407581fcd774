"""Clips by source and by what they say of themselves: metrics are never averaged over sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Clip = Mapping[str, Any]
"""A clip as the packages pass it: ``clip_id``, ``source``, ``fps``, ``features`` (T, 198), ``valid`` (T, 2) bool,
``captions`` (from the shortest to the most detailed) and ``attributes``."""


def by_source(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """Indices of the clips of each source, sources in alphabetical order."""
    return {s: [i for i, c in enumerate(clips) if c["source"] == s] for s in sorted({c["source"] for c in clips})}


def parts(clips: Sequence[Clip], split_by: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    """Indices of the clips by boolean attributes.

    Args:
        clips: of one source.
        split_by: names of boolean attributes, such as one that tells combinations that training has not seen.

    Returns:
        ``{name: {"true": indices, "false": indices}}`` for the names that at least one clip has; a clip without the
        attribute is in neither part, and a part without a clip is left out.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for name in split_by:
        values = [c.get("attributes", {}).get(name) for c in clips]
        own = {
            label: [i for i, v in enumerate(values) if isinstance(v, bool | np.bool_) and bool(v) is flag]
            for label, flag in (("true", True), ("false", False))
        }
        if any(own.values()):
            found[name] = {label: members for label, members in own.items() if members}
    return found


def require_one_per_clip(what: str, values: Sequence[Any], clips: Sequence[Clip]) -> None:
    """Raises ValueError unless there are as many values as clips."""
    if len(values) != len(clips):
        raise ValueError(
            f"Expected one entry of {what} per clip, got {len(values)} for {len(clips)} clips. Keep one order."
        )


def is_synthetic(clips: Sequence[Clip]) -> bool:
    """Whether every clip says of itself that it is synthetic."""
    return bool(clips) and all(bool(c.get("attributes", {}).get("synthetic", False)) for c in clips)


def head(clips: Sequence[Clip]) -> dict[str, Any]:
    """What every source's metrics begin with: counts and whether the source is synthetic."""
    return {
        "synthetic": is_synthetic(clips),
        "clips": len(clips),
        "seconds": round(sum(len(c["features"]) / c["fps"] for c in clips), 1),
    }


def other_indices(clips: Sequence[Clip], *, seed: int) -> list[int]:
    """For each clip, another one whose captions differ, drawn at random.

    Itself only if there is no such clip.
    """
    rng = np.random.default_rng(seed)
    captions = [set(c["captions"]) for c in clips]
    picks = []
    for i in range(len(clips)):
        order = rng.permutation(len(clips))
        picks.append(int(next((j for j in order if not captions[i] & captions[j]), i)))
    return picks
