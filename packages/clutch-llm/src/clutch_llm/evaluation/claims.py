"""Claims: whether a motion does what its caption says, measured on motion codes. No learned judge.

The claims of a clip are those that its caption states and that its true motion fulfils: what the caption says wrongly,
or motion codes cannot tell, counts for nobody. A motion is given the share of them that it fulfils; what cannot be
measured on it is not fulfilled.

What can be said of a moment (`TIMED` kinds) is also asked of every second in which the true motion does it. A hand that
the caption says moves is to move in the seconds in which the true one does, and to be still in those in which it is.

clutch-llm reads no English: a reader of captions comes from a package that does (entry point `READERS`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Any, NamedTuple

import numpy as np
from hand_geometry.codes import CONTRADICTED, FULFILLED, Claim, MotionCodes, Norm, codes_of_clips, holds
from hand_geometry.codes.relation import PATTERNS
from numpy.typing import NDArray

from clutch_llm.evaluation.arms import Samples
from clutch_llm.evaluation.grouping import (
    Clip,
    by_source,
    checked_arms,
    head,
    motions_by_row,
    other_indices,
    parts,
    seen_like,
    texts_of,
)
from clutch_llm.evaluation.intervals import with_interval
from clutch_llm.evaluation.judge import joints_of
from clutch_llm.evaluation.motion_errors import Motion
from clutch_llm.evaluation.unseen import NOTHING, filled

READERS = "clutch_llm.caption_claims"
"""Entry points that read captions: a callable of a text, see `ClaimReader`."""

ClaimReader = Callable[[str], Sequence[tuple[Claim, bool, Norm | None]]]
"""Of a caption its claims, each with whether it is denied, and of speed and size what is normal for the action."""

TIMED = ("hands", "fingers", "handshape", "palm", "pointing", "contact", "relation")
"""Kinds of claims that can be measured on a second."""

LEAST_SECONDS = 0.5
"""A stretch shorter than this is no second of its own."""

_WHOLE = -1
_HANDS = ("left", "right")


class Stated(NamedTuple):
    """A claim of a caption, whether it is denied, and its norm; of a second, or `_WHOLE`."""

    claim: Claim
    negated: bool = False
    norm: Norm | None = None
    second: int = _WHOLE


def claim_reader() -> ClaimReader | None:
    """The reader of captions of whichever installed package has one; None where none has."""
    found = list(entry_points(group=READERS))
    reader: ClaimReader | None = found[0].load() if found else None
    return reader


def is_met(said: Stated, codes: MotionCodes) -> bool:
    """Whether a motion fulfils a claim, or, of one that is denied, contradicts it."""
    return holds(said.claim, codes, said.norm) == (CONTRADICTED if said.negated else FULFILLED)


def claims_of(reader: ClaimReader, text: str, truth: MotionCodes) -> list[Stated]:
    """What a caption states and its true motion does: of the whole motion, then second by second.

    Args:
        reader: of captions.
        text: the caption.
        truth: codes of the motion that it describes.
    """
    said = [Stated(*one) for one in reader(text)]
    candidates = (*said, *(one for k in range(seconds_in(truth.seconds)) for one in _of_second(said, k, truth.seconds)))
    return [one for one in dict.fromkeys(candidates) if is_met(one, truth)]


def seconds_in(seconds: float) -> int:
    """How many seconds a motion is measured in: the last may be shorter, but not under `LEAST_SECONDS`."""
    return math.floor(round(seconds + 1 - LEAST_SECONDS, 6))


def _of_second(said: Sequence[Stated], second: int, length: float) -> Iterator[Stated]:
    when = f"{second:.1f}-{min(second + 1.0, math.floor(10 * length + 1e-6) / 10):.1f}"
    for claim, negated, _, _ in said:
        if claim.kind not in TIMED or negated or claim.when not in ("", "throughout") or claim.value in PATTERNS:
            continue
        if claim.kind != "hands":
            yield Stated(replace(claim, when=when), second=second)
        elif claim.value in ("moves", "still"):
            for hand in _HANDS if claim.hand == "both" else (claim.hand,):
                for value in ("moves", "still"):
                    yield Stated(Claim("hands", hand, value, "", when), second=second)


def codes_of(motions: Sequence[Motion], valid: Sequence[NDArray[np.bool_]], fps: Sequence[float]) -> list[MotionCodes]:
    """Motion codes of features (T_i, 198).

    Args:
        motions: finite where a hand is seen.
        valid: (T_i, 2) of each.
        fps: of each.
    """
    return codes_of_clips(joints_of(motions), valid, fps)


@dataclass(frozen=True)
class ClaimTable:
    """Claims of N clips and how a system met them, a row a claim.

    Attributes:
        clip: (C,) index of its clip.
        kind: (C,) its kind.
        second: (C,) its second from 0, or -1 for a claim of the whole motion.
        met: (C,) the share of the clip's motions that meet it; NaN where all of them end before its second.
    """

    clip: NDArray[np.int64]
    kind: NDArray[np.str_]
    second: NDArray[np.int64]
    met: NDArray[np.float64]

    def by_clip(self, clips: int) -> NDArray[np.float64]:
        """(N,) share of the claims of the whole motion that each clip's motions meet; NaN for a clip without any."""
        sums, counts = self._sums((self.second == _WHOLE) & np.isfinite(self.met), clips)
        return np.divide(sums, counts, out=np.full(clips, np.nan), where=counts > 0)

    def share(self, rows: NDArray[np.bool_], members: Sequence[int], key: str, seed: int) -> dict[str, float | None]:
        """The share of some claims that is met, as ``key``, with its interval over the clips of ``members``."""
        sums, counts = self._sums(rows & np.isfinite(self.met), int(max(self.clip, default=0)) + 1)
        own = [i for i in members if i < len(counts) and counts[i]]
        return with_interval(key, sums[own] / counts[own], counts[own], seed=seed)

    def _sums(self, rows: NDArray[np.bool_], clips: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums = np.bincount(self.clip[rows], weights=self.met[rows], minlength=clips).astype(np.float64)
        return sums, np.bincount(self.clip[rows], minlength=clips).astype(np.float64)


def claim_table(
    claims: Sequence[Sequence[Stated]], clips: Sequence[Clip], samples: Samples, valid: Sequence[NDArray[np.bool_]]
) -> ClaimTable:
    """Hold motions against claims.

    Args:
        claims: of each clip, see ``claims_of``.
        clips: N clips, for their rates.
        samples: N lists of motions (T, 198); a motion may be of another length than its clip.
        valid: (T, 2) of each clip: frames in which a hand of the true motion is not seen count for no motion.
    """
    flat = [(i, motion) for i, many in enumerate(samples) for motion in many]
    codes = codes_of(
        [m for _, m in flat], [seen_like(valid[i], len(m)) for i, m in flat], [clips[i]["fps"] for i, _ in flat]
    )
    drawn: dict[int, list[MotionCodes]] = {}
    for (i, _), code in zip(flat, codes, strict=True):
        drawn.setdefault(i, []).append(code)
    rows = [(i, one, [_met(one, code) for code in drawn[i]]) for i, own in enumerate(claims) for one in own]
    return ClaimTable(
        np.array([i for i, _, _ in rows], np.int64),
        np.array([one.claim.kind for _, one, _ in rows], np.str_),
        np.array([one.second for _, one, _ in rows], np.int64),
        np.array([_mean([m for m in met if m is not None]) for _, _, met in rows], np.float64),
    )


def _met(said: Stated, codes: MotionCodes) -> bool | None:
    """Whether it is met; None where the motion ends before the second in question."""
    return None if said.second >= 0 and said.second >= seconds_in(codes.seconds) else is_met(said, codes)


def _mean(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


def measure_claims(
    reader: ClaimReader,
    clips: Sequence[Clip],
    generated: Samples | Mapping[str, Samples],
    reconstructions: Sequence[Motion] | None = None,
    *,
    texts: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    split_by: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The share of the captions' claims that motions fulfil, by kind and by second, per source.

    Args:
        reader: of captions, such as ``claim_reader()``.
        clips: held-out clips.
        generated: per clip a list of motions (T, 198) for its caption; or several such, by name. An arm without any
            motion of a source is left out there.
        reconstructions: the tokenizer's reconstruction of each clip.
        texts: the captions that were generated from; by arm where they differ (``texts_of``): an arm is held against
            what it was asked. Each clip's first where None.
        split_by: names of boolean attributes: the same rows again for the clips that have it and those that do not.
        seed: of the random captions and the intervals.

    Returns:
        ``{source: {"clips", "seconds", "synthetic", "stated", "claims", "kinds": {kind: claims}, "in_second":
        {"second_1": claims}, "rows": {row: {"claims", kind, each with "_ci95_low" and "_ci95_high"}}, "by_second":
        {row: {"second_1": share, ...}}, "parts"}}``. ``stated`` counts what the captions of "" state, ``claims``
        those of them that the true motions fulfil: the true motion's row is 1. Rows: truth, reconstruction, the
        generated ones and ``random_caption``, the true motion of another clip, whose captions differ. A claim counts
        as much as any other of its source; intervals (95%) are over clips. A source whose captions state nothing that
        its motions do is left out.
    """
    arms = checked_arms(generated, reconstructions, clips)
    asked = texts_of(texts, list(arms), clips)
    reader = cache(reader)  # clips and arms share captions
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        valid = [np.asarray(c["valid"], dtype=bool) for c in own]
        truth = filled(own, NOTHING)
        codes = codes_of(truth, valid, [c["fps"] for c in own])

        def claims(name: str, members: Sequence[int] = members, codes: Any = codes) -> list[list[Stated]]:
            return [claims_of(reader, asked[name][i], codes[k]) for k, i in enumerate(members)]

        common = claims("")
        if not any(common):
            continue
        others = other_indices(own, seed=seed)
        tables = {}
        for name, many in motions_by_row(truth, reconstructions, arms, members, others).items():
            own_texts = name in asked and [asked[name][i] for i in members] != [asked[""][i] for i in members]
            seen = [valid[j] for j in others] if name == "random_caption" else valid
            tables[name] = claim_table(claims(name) if own_texts else common, own, many, seen)
        everything = range(len(own))
        result[source] = head(own) | {
            "stated": sum(len(reader(asked[""][i])) for i in members),
            **_counts(tables["truth"]),
            "rows": _rows(tables, everything, seed),
            "by_second": _by_second(tables, everything, seed),
            "parts": {
                attribute: {label: {"clips": len(w), "rows": _rows(tables, w, seed)} for label, w in split.items()}
                for attribute, split in parts(own, split_by).items()
            },
        }
    return result


def _counts(truth: ClaimTable) -> dict[str, Any]:
    whole = truth.second == _WHOLE
    kinds = Counter(str(kind) for kind in truth.kind[whole])
    seconds = Counter(int(k) for k in truth.second[~whole])
    return {
        "claims": int(whole.sum()),
        "kinds": dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
        "in_second": {f"second_{k + 1}": seconds[k] for k in sorted(seconds)},
    }


def _rows(tables: Mapping[str, ClaimTable], members: Sequence[int], seed: int) -> dict[str, dict[str, float | None]]:
    rows = {}
    for name, table in tables.items():
        whole = table.second == _WHOLE
        rows[name] = table.share(whole, members, "claims", seed)
        for kind in _counts(tables["truth"])["kinds"]:
            rows[name] |= table.share(whole & (table.kind == kind), members, kind, seed)
    return rows


def _by_second(
    tables: Mapping[str, ClaimTable], members: Sequence[int], seed: int
) -> dict[str, dict[str, float | None]]:
    rows: dict[str, dict[str, float | None]] = {name: {} for name in tables}
    for name, table in tables.items():
        for second in sorted(set(tables["truth"].second.tolist()) - {_WHOLE}):
            rows[name] |= table.share(table.second == second, members, f"second_{second + 1}", seed)
    return rows
