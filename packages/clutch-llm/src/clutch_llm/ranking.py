"""Choosing among motions by what their plans say and what is measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from clutch_llm.planning import codes_of, fulfilled

M = TypeVar("M", bound=Mapping[str, Any])


def best_of(motions: Sequence[M]) -> M:
    """The motion that fulfils most of its plan, the first of equals, with that share as its ``score``.

    Args:
        motions: with ``features`` (T, 198), ``fps`` and ``plan``, the claims that they set out to fulfil.
    """
    scores = [fulfilled(motion["plan"], codes_of([motion])[0]) for motion in motions]
    best = max(range(len(motions)), key=scores.__getitem__)
    return {**motions[best], "score": scores[best]}  # type: ignore[return-value]
