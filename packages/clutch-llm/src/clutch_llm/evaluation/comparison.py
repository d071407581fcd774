"""Arms against a control on the same captions: what each changed, with intervals over clips and seeds of training.

A change is no worse than the control where its interval stays within a margin that was set beforehand; a point estimate
shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clutch_llm.evaluation.arms import Arm, RowOptions, Samples, arm_row, embed_arm, spread_out
from clutch_llm.evaluation.evaluator import Evaluator
from clutch_llm.evaluation.grouping import Clip, by_source, head, require_one_per_clip
from clutch_llm.evaluation.intervals import interval_over_clips_and_seeds
from clutch_llm.evaluation.judge import Judge
from clutch_llm.evaluation.judgement import right_answers
from clutch_llm.evaluation.metrics import distance_matrix, mmd_change_by_clip, r_precision_credit
from clutch_llm.evaluation.motion_errors import joint_tensors

Array = NDArray[np.float64]

RELATIVE = {"mpjpe_abs": "mpjpe_abs_mm", "mpjpe_root": "mpjpe_root_mm", "jitter": "jitter_mm_frame3"}
"""Changes that are fractions of the control's figure; all others are differences."""

MARGINS = {"mpjpe_abs": 0.01, "jitter": 0.01, "kid": 0.015, "r_precision_top3": 0.03, "judge": 0.03}
"""How much worse still counts as no worse: fractions of the control for joint error and jitter, else differences. KID's
is its noise from one training to the next; R-precision's and the judge's are one clip in thirty."""

HIGHER_IS_BETTER = ("r_precision_top3", "judge")


def compare_arms(
    evaluator: Evaluator,
    clips: Sequence[Clip],
    arms: Mapping[str, Sequence[Samples]],
    *,
    control: str,
    texts: Sequence[str] | None = None,
    judge: Judge | None = None,
    margins: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Every arm's figures, and its changes against the control, per source.

    Args:
        evaluator: trained on the train split.
        clips: held-out clips, N of them.
        arms: for each arm one entry a seed of training: per clip its motions (T, 198). All arms have as many seeds;
            seed k of an arm is compared with seed k of the control.
        control: the arm that the others are compared with.
        texts: the captions that were generated from; each clip's first where None.
        judge: adds its accuracies.
        margins: of "no worse" (``MARGINS``), set before anything is measured; others are as there.
        seed: of the bootstrap, the groups and the subsets.

    Returns:
        ``{source: {"synthetic", "clips", "seconds", "seeds", "control", "arms": {arm: row}, "changes": {arm: {measure:
        {"change", "ci95_low", "ci95_high", "margin", "no_worse"}}}}}``. Measures: ``mpjpe_abs``, ``mpjpe_root``,
        ``jitter`` (fractions of the control), ``kid``, ``r_precision_top3``, ``multimodality`` and ``judge_NAME``
        (differences, arm - control). Rows are means over the seeds.

    Raises:
        ValueError: for arms that do not fit the clips, or an unknown control.
    """
    if control not in arms:
        raise ValueError(f"Expected the control among the arms {', '.join(arms)}, got {control!r}. Add it.")
    seeds = len(arms[control])
    for name, runs in arms.items():
        if len(runs) != seeds or not seeds:
            raise ValueError(f"Expected {seeds} seeds of {name!r}, as of {control!r}, got {len(runs)}. Pair them.")
        for many in runs:
            require_one_per_clip(f"motions {name!r}", many, clips)
    asked = list(texts) if texts is not None else [c["captions"][0] for c in clips]
    require_one_per_clip("texts", asked, clips)
    limits = MARGINS | dict(margins or {})
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        own, said = [clips[i] for i in members], [asked[i] for i in members]
        truth = evaluator.embed_clips(own)
        joints = joint_tensors([c["features"] for c in own])
        made = {
            name: [embed_arm(evaluator, said, [run[i] for i in members], own, name=name, truth=joints) for run in runs]
            for name, runs in arms.items()
        }
        judged = {
            name: [right_answers(judge, own, [run[i] for i in members]) if judge else {} for run in runs]
            for name, runs in arms.items()
        }
        rows = {name: _row(made[name], judged[name], truth, seed) for name in arms}
        changes = {
            name: _changes(made[control], made[name], judged[control], judged[name], truth, limits, seed)
            for name in arms
            if name != control
        }
        result[source] = head(own) | {"seeds": seeds, "control": control, "arms": rows, "changes": changes}
    return result


def compare_refinement(
    evaluator: Evaluator,
    clips: Sequence[Clip],
    control: Samples,
    refined: Samples,
    *,
    texts: Sequence[str] | None = None,
    judge: Judge | None = None,
    margins: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """``compare_arms`` of one training each: ``control``, cross-entropy alone, and ``refined``.

    Returns:
        The same, with the changes of the refined arm also as ``change``.
    """
    found = compare_arms(
        evaluator,
        clips,
        {"control": [control], "refined": [refined]},
        control="control",
        texts=texts,
        judge=judge,
        margins=margins,
        seed=seed,
    )
    return {source: figures | {"change": figures["changes"]["refined"]} for source, figures in found.items()}


def _row(runs: Sequence[Arm], judged: Sequence[Mapping[str, Array]], truth: Any, seed: int) -> dict[str, Any]:
    rows = [arm_row(arm, truth, RowOptions(seed=seed)) for arm in runs]
    row = {key: _mean([r[key] for r in rows]) for key in rows[0]}
    for name in judged[0]:
        row[f"judge_{name}"] = _mean([_mean_known(run[name]) for run in judged])
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _mean_known(values: Array) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _changes(
    control: Sequence[Arm],
    arm: Sequence[Arm],
    judged_control: Sequence[Mapping[str, Array]],
    judged_arm: Sequence[Mapping[str, Array]],
    truth: NDArray[np.float32],
    margins: Mapping[str, float],
    seed: int,
) -> dict[str, dict[str, Any]]:
    found = {}
    for short, measure in RELATIVE.items():
        (old, old_weights), (new, new_weights) = _errors(control, measure), _errors(arm, measure)
        before, after = _weighted_mean(old, old_weights), _weighted_mean(new, new_weights)
        change = after / before - 1.0 if before and after is not None else None
        interval = (
            interval_over_clips_and_seeds(
                new, weights=new_weights, baseline=old, baseline_weights=old_weights, seed=seed
            )
            if change is not None
            else None
        )
        found[short] = _verdict(short, change, interval, margins)
    pairs = list(zip(control, arm, strict=True))
    by_clip: dict[str, Array | None] = {
        "kid": _stack([_kid_change(truth, a, b) for a, b in pairs]),
        "r_precision_top3": _stack([_credit(b, seed) - _credit(a, seed) for a, b in pairs]),
        "multimodality": _stack([_variety(b) - _variety(a) for a, b in pairs]),
    }
    for name in judged_control[0]:
        by_clip[f"judge_{name}"] = np.stack(
            [b[name] - a[name] for a, b in zip(judged_control, judged_arm, strict=True)]
        )
    for name, values in by_clip.items():
        known = values is not None and np.isfinite(values).any()
        change = float(np.nanmean(values)) if known and values is not None else None
        interval = interval_over_clips_and_seeds(values, seed=seed) if known and values is not None else None
        found[name] = _verdict(name, change, interval, margins)
    return found


def _verdict(
    name: str, change: float | None, interval: tuple[float, float] | None, margins: Mapping[str, float]
) -> dict[str, Any]:
    kind = "judge" if name.startswith("judge_") else name
    margin = margins.get(kind)
    low, high = interval or (None, None)
    no_worse = None
    if margin is not None and low is not None and high is not None:
        no_worse = low >= -margin if kind in HIGHER_IS_BETTER else high <= margin
    return {"change": change, "ci95_low": low, "ci95_high": high, "margin": margin, "no_worse": no_worse}


def _errors(runs: Sequence[Arm], measure: str) -> tuple[Array, Array]:
    values, weights = [], []
    for arm in runs:
        assert arm.errors is not None
        values.append(arm.errors.values[measure])
        weights.append(arm.errors.weights[measure])
    return np.stack(values), np.stack(weights)


def _weighted_mean(values: Array, weights: Array) -> float | None:
    return float((values * weights).sum() / weights.sum()) if weights.sum() else None


def _stack(rows: Sequence[Array | None]) -> Array | None:
    known = [r for r in rows if r is not None]
    return np.stack(known) if len(known) == len(rows) else None


def _kid_change(truth: NDArray[np.float32], control: Arm, arm: Arm) -> Array | None:
    if len(truth) < 2:
        return None
    count = min(control.samples, arm.samples)
    real = spread_out(truth)
    values = [
        mmd_change_by_clip(real, spread_out(control.made[:, k]), spread_out(arm.made[:, k])) for k in range(count)
    ]
    return np.asarray(np.mean(values, axis=0))


def _credit(arm: Arm, seed: int) -> Array:
    values = [r_precision_credit(arm.said, arm.made[:, k], seed=seed + k) for k in range(arm.samples)]
    return np.asarray(np.mean(values, axis=0))


def _variety(arm: Arm) -> Array:
    """Mean distance between the samples of each caption; NaN with one sample."""
    if arm.samples < 2:
        return np.full(len(arm.made), np.nan)
    upper = np.triu_indices(arm.samples, 1)
    return np.array([distance_matrix(m, m)[upper].mean() for m in arm.made])


def temperature_of_multimodality(
    measure: Callable[[float], float | None],
    target: float,
    *,
    low: float = 0.3,
    high: float = 1.5,
    tries: int = 5,
    tolerance: float = 0.02,
) -> tuple[float, float | None]:
    """The temperature at which an arm has a given MultiModality, by bisection.

    Arms that differ in variety differ in joint error, KID and retrieval for that alone: a control is also to be shown
    at the temperature that gives it the variety of the arm that it is compared with. Choose it on the val split.

    Args:
        measure: the MultiModality at a temperature; it grows with it.
        target: the MultiModality wanted.
        low: lowest temperature.
        high: highest temperature.
        tries: how often ``measure`` is called at most.
        tolerance: a relative difference that is near enough.

    Returns:
        (temperature, its MultiModality): the nearest of those tried; the MultiModality is None if it never was known.

    Raises:
        ValueError: for an empty range or no tries.
    """
    if not 0 < low < high or tries < 1:
        raise ValueError(f"Expected 0 < low < high and at least one try, got {low}, {high} and {tries}. Widen it.")
    best: tuple[float, float | None] = (low, None)
    for _ in range(tries):
        middle = (low + high) / 2
        found = measure(middle)
        if found is None:
            return middle, best[1]
        if best[1] is None or abs(found - target) < abs(best[1] - target):
            best = (middle, found)
        if abs(found - target) <= tolerance * abs(target):
            break
        low, high = (middle, high) if found < target else (low, middle)
    return best
