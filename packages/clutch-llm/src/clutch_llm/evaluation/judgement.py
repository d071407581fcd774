"""What the judge says of generated motion: how often it names what the caption's clip is known to be.

It stands beside R-precision, and the lower of the two is to be believed: an evaluator that was trained on captions
forgives what captions do not tell apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
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
)
from clutch_llm.evaluation.intervals import with_interval
from clutch_llm.evaluation.judge import MIN_FRAMES, Judge, joints_of
from clutch_llm.evaluation.motion_errors import Motion
from clutch_llm.evaluation.unseen import filled

Array = NDArray[np.float64]


def right_answers(judge: Judge, clips: Sequence[Clip], samples: Samples) -> dict[str, Array]:
    """Where the judge's answers are what the clips' attributes say.

    Args:
        judge: the judge.
        clips: of one source.
        samples: per clip its motions (T, 198); as many of each as the shortest list has are taken.

    Returns:
        For each attribute of the source (N,): the share of the clip's motions that were named rightly; NaN where the
        clip does not say, or says what the judge has no answer for (a value that training has not seen).
    """
    return _right_answers(judge, clips, _joints(samples))


def _joints(samples: Samples) -> Samples:
    """The joints (T, 2, 21, 3) of each motion (T, 198)."""
    joints = iter(joints_of([motion for many in samples for motion in many]))
    return [[next(joints) for _ in many] for many in samples]


def _right_answers(
    judge: Judge, clips: Sequence[Clip], joints: Samples, told: Collection[str] | None = None
) -> dict[str, Array]:
    """``right_answers`` for the joints (T, 2, 21, 3) of the clips' motions; NaN for what was not told."""
    source = clips[0]["source"]
    count = min(len(s) for s in joints)
    answers = judge.name([s[k] for s in joints for k in range(count)], source)
    found = {}
    for attribute, said in answers.items():
        asked = told is None or attribute in told
        truth = _values(judge, clips, attribute) if asked else [None] * len(clips)
        right = [
            np.nan if t is None else float(np.mean([said[i * count + k] == t for k in range(count)]))
            for i, t in enumerate(truth)
        ]
        found[attribute] = np.array(right)
    return found


def _values(judge: Judge, clips: Sequence[Clip], attribute: str) -> list[str | None]:
    """What the clips of one source say of an attribute, as the judge would; None where it has no such answer."""
    known = set(judge.classes[clips[0]["source"]][attribute])
    values = [str(c.get("attributes", {}).get(attribute)) for c in clips]
    return [value if value in known else None for value in values]


def judge_motions(
    judge: Judge,
    clips: Sequence[Clip],
    generated: Samples | Mapping[str, Samples],
    reconstructions: Sequence[Motion] | None = None,
    *,
    told: Mapping[str, Collection[str]] | None = None,
    split_by: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The judge's accuracies, per source whose clips carry categorical attributes.

    Args:
        judge: trained on the train split.
        clips: held-out clips.
        generated: per clip a list of motions for its caption; or several such, by name. An arm without any motion of a
            source is left out there.
        reconstructions: the tokenizer's reconstruction of each clip.
        told: by arm the attributes that its texts tell; of the others its row says None, since a motion may have any
            of their values. An arm that is not named was told all.
        split_by: names of boolean attributes: the same rows again for the clips that have it and those that do not.
        seed: of the random captions and the intervals.

    Returns:
        ``{source: {"clips", "seconds", "synthetic", "attributes": {attribute: {"values", "learnt"}}, "rows": {row:
        {attribute: share, attribute + "_ci95_low" | "_ci95_high": interval over clips}}, "by_second": {attribute: {row:
        {"second_1": share, ...}}}, "parts"}}``. ``by_second`` is what the judge, which was trained on whole motions,
        says of each second alone, of the attributes that were learnt: read it beside the truth's row. Rows: truth,
        reconstruction, the generated ones, ``random_caption`` (true motion of another clip, whose captions differ) and
        ``chance``: the share of the most frequent value. An attribute is ``learnt`` if true motion of the val split
        shows it: of one that is not, no row says anything.
    """
    arms = checked_arms(generated, reconstructions, clips)
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        if not judge.classes.get(source):
            continue
        own = [clips[i] for i in members]
        truth = filled(own, judge.filler.cpu().numpy())
        motions = motions_by_row(truth, reconstructions, arms, members, other_indices(own, seed=seed))
        joints = {name: _joints(many) for name, many in motions.items()}
        right = {name: _right_answers(judge, own, many, (told or {}).get(name)) for name, many in joints.items()}
        result[source] = head(own) | {
            "attributes": {
                name: {"values": len(values), "learnt": judge.learnt(source, name)}
                for name, values in judge.classes[source].items()
            },
            "rows": _rows(judge, right, own, range(len(own)), seed),
            "by_second": _by_second(judge, own, joints, told or {}, seed),
            "parts": {
                attribute: {
                    label: {"clips": len(w), "rows": _rows(judge, right, own, w, seed)} for label, w in split.items()
                }
                for attribute, split in parts(own, split_by).items()
            },
        }
    return result


def _rows(
    judge: Judge, right: Mapping[str, Mapping[str, Array]], clips: Sequence[Clip], members: Sequence[int], seed: int
) -> dict[str, dict[str, float | None]]:
    own = np.asarray(members, dtype=np.int64)
    rows: dict[str, dict[str, float | None]] = {}
    for name, answers in right.items():
        rows[name] = {}
        for attribute, values in answers.items():
            rows[name] |= with_interval(attribute, values[own], seed=seed)
    chance: dict[str, float | None] = {}
    for attribute in next(iter(right.values())):
        told = Counter(v for v in _values(judge, [clips[i] for i in own], attribute) if v is not None)
        chance[attribute] = max(told.values()) / sum(told.values()) if told else None
    return rows | {"chance": chance}


def _by_second(
    judge: Judge,
    clips: Sequence[Clip],
    joints: Mapping[str, Samples],
    told: Mapping[str, Collection[str]],
    seed: int,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """The judge's accuracies on each second of the motions, as a motion of its own; joints of each by row."""
    source = clips[0]["source"]
    found: dict[str, dict[str, dict[str, float | None]]] = {
        a: {name: {} for name in joints} for a in judge.classes[source] if judge.learnt(source, a)
    }
    if not found:
        return found
    for name, samples in joints.items():
        for second in range(max(len(m) for s in samples for m in s)):
            cut = [[_second(m, clip["fps"], second) for m in s] for s, clip in zip(samples, clips, strict=True)]
            long = [i for i, s in enumerate(cut) if all(len(m) for m in s)]
            if not long:
                break
            right = _right_answers(judge, [clips[i] for i in long], [cut[i] for i in long], told.get(name))
            for attribute, rows in found.items():
                rows[name] |= with_interval(f"second_{second + 1}", right[attribute], seed=seed)
    return found


def _second(motion: Motion, fps: float, second: int) -> Motion:
    """The frames of a second; none where there is less than half of it, or less than the judge takes."""
    frames = motion[round(second * fps) : round((second + 1) * fps)]
    return frames if len(frames) >= max(MIN_FRAMES, fps / 2) else motion[:0]


def believed_shares(
    t2m: Mapping[str, Mapping[str, Any]], judged: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """The generated rows as shares of the reconstruction's, by R-precision and by the judge: the lower is believed.

    Args:
        t2m: of ``evaluate_t2m``.
        judged: of ``judge_motions``.

    Returns:
        ``{source: {row: {"r_precision_top3", "judge_ATTRIBUTE" of those learnt, "believed", "believed_by"}}}`` for each
        generated row; ``believed`` is the lowest that is known, None where none is.
    """
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for source, figures in t2m.items():
        ceiling = figures["rows"].get("reconstruction")
        if ceiling is None:
            continue
        verdicts = judged.get(source, {})
        learnt = [a for a, about in verdicts.get("attributes", {}).items() if about["learnt"]]
        result[source] = {}
        for name in figures["samples_per_caption"]:
            shares = {
                "r_precision_top3": _share(figures["rows"][name]["r_precision_top3"], ceiling["r_precision_top3"])
            }
            for a in learnt:
                rows = verdicts["rows"]
                shares[f"judge_{a}"] = _share(rows[name][a], rows["reconstruction"][a])
            known = {k: v for k, v in shares.items() if v is not None}
            lowest = min(known, key=known.__getitem__, default=None)
            result[source][name] = shares | {
                "believed": known[lowest] if lowest is not None else None,
                "believed_by": lowest,
            }
    return result


def _share(value: float | None, ceiling: float | None) -> float | None:
    return value / ceiling if value is not None and ceiling else None
