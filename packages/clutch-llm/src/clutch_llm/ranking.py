"""Choosing among motions by what their plans or captions say and what is measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from hand_geometry.codes import Claim, Norm

from clutch_llm.evaluation.claims import Stated, is_met
from clutch_llm.planning import codes_of, fulfilled

M = TypeVar("M", bound=Mapping[str, Any])


def best_of(motions: Sequence[M]) -> M:
    """The motion that fulfils most of its plan, the first of equals, with that share as its ``score``.

    Args:
        motions: with ``features`` (T, 198), ``fps`` and ``plan``, the claims that they set out to fulfil.
    """
    return _first_of_best(motions, [fulfilled(motion["plan"], codes_of([motion])[0]) for motion in motions])


def best_by_claims(motions: Sequence[M], stated: Sequence[tuple[Claim, bool, Norm | None]]) -> M:
    """The motion that fulfils most of what a caption states, the first of equals, with that share as its ``score``.

    Args:
        motions: with ``features`` (T, 198) and ``fps``.
        stated: as a reader of captions gives them (`evaluation.claim_reader`): for each claim whether it is denied,
            and its norm. Where there are none every motion has the score 1.
    """
    asked = [Stated(*one) for one in stated]
    if not asked:
        return _first_of_best(motions, [1.0] * len(motions))
    codes = [codes_of([motion])[0] for motion in motions]
    return _first_of_best(motions, [sum(is_met(one, code) for one in asked) / len(asked) for code in codes])


def _first_of_best(motions: Sequence[M], scores: Sequence[float]) -> M:
    best = max(range(len(motions)), key=scores.__getitem__)
    return {**motions[best], "score": scores[best]}  # type: ignore[return-value]
