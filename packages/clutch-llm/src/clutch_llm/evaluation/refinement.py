"""Geometric refinement against the same steps of cross-entropy alone: both arms, with their noise.

Joint error and jitter are compared clip by clip: a bootstrap over clips gives the interval of the relative
change. KID is compared on the same random subsets; the error of the difference is that of one subset times
sqrt(subset / clips).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clutch_llm.evaluation.evaluator import Evaluator
from clutch_llm.evaluation.grouping import Clip, by_source, head
from clutch_llm.evaluation.metrics import kid_values
from clutch_llm.evaluation.motion_errors import ClipErrors, clip_errors, stack_samples
from clutch_llm.evaluation.text_to_motion import ERRORS, Samples, samples_row, spread_out

MPJPE_GOAL = -0.03
JITTER_GOAL = -0.08


def relative_change(
    control: ClipErrors, refined: ClipErrors, measure: str, *, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """(refined - control) / control of a measure, with a 95% interval.

    The bootstrap draws clips, the same ones in both arms.
    """
    a, wa = control.values[measure], control.weights[measure]
    b, wb = refined.values[measure], refined.weights[measure]
    before, after = control.mean(measure), refined.mean(measure)
    if not before or after is None:
        return {"change": None, "ci95_low": None, "ci95_high": None}
    picks = np.random.default_rng(seed).integers(0, len(a), (draws, len(a)))
    old = (a[picks] * wa[picks]).sum(1) / np.maximum(wa[picks].sum(1), 1e-12)
    new = (b[picks] * wb[picks]).sum(1) / np.maximum(wb[picks].sum(1), 1e-12)
    changes = new / np.maximum(old, 1e-12) - 1.0
    low, high = np.quantile(changes, [0.025, 0.975])
    return {"change": after / before - 1.0, "ci95_low": float(low), "ci95_high": float(high)}


def _pooled(evaluator: Evaluator, samples: Samples) -> NDArray[np.float64]:
    count = min(len(s) for s in samples)
    return spread_out(evaluator.embed_motions([s[k] for k in range(count) for s in samples]))


def kid_change(
    evaluator: Evaluator, clips: Sequence[Clip], control: Samples, refined: Samples, *, seed: int = 0
) -> dict[str, Any]:
    """Difference of KID, refined - control, and its standard error."""
    truth = spread_out(evaluator.embed_motions([c["features"] for c in clips]))
    before, size = kid_values(truth, _pooled(evaluator, control), seed=seed)
    after, _ = kid_values(truth, _pooled(evaluator, refined), seed=seed)
    if not size:
        return {"difference": None, "standard_error": None}
    paired = after - before
    return {
        "difference": float(paired.mean()),
        "standard_error": float(paired.std() * np.sqrt(size / len(clips))),
    }


def _errors(samples: Samples, clips: Sequence[Clip]) -> ClipErrors:
    count = min(len(s) for s in samples)
    return stack_samples([clip_errors([s[k] for s in samples], clips, ERRORS) for k in range(count)])


def compare_refinement(
    evaluator: Evaluator,
    clips: Sequence[Clip],
    control: Samples,
    refined: Samples,
    *,
    texts: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """The two arms per source, the change between them, and whether it reaches the goals.

    Args:
        evaluator: trained on the train split.
        clips: held-out clips.
        control: per clip the motions of the arm that had cross-entropy alone, as many for every clip as in
            ``refined``.
        refined: per clip the motions of the refined arm, drawn with the same seeds.
        texts: the captions that were generated from; each clip's first where None.
        seed: of the bootstrap and the subsets.

    Returns:
        ``{source: {..., "arms": {"control" | "refined": row}, "change": {"mpjpe_abs", "mpjpe_root", "jitter":
        {"change", "ci95_low", "ci95_high"}, "kid": {"difference", "standard_error"}}, "goals":
        {"mpjpe_abs_3_percent_lower", "jitter_8_percent_lower", "kid_no_worse": bool or None}}}``; changes are
        fractions of the control.
    """
    for name, many in (("control", control), ("refined", refined)):
        if len(many) != len(clips):
            raise ValueError(
                f"Expected motions of {name} for each clip, got {len(many)} for {len(clips)}. Keep one order."
            )
    texts = list(texts) if texts is not None else [c["captions"][0] for c in clips]
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        said = evaluator.embed_texts([texts[i] for i in members])
        truth = evaluator.embed_motions([c["features"] for c in own])
        arms = {"control": [control[i] for i in members], "refined": [refined[i] for i in members]}
        rows = {name: samples_row(evaluator, said, truth, many, own, seed=seed) for name, many in arms.items()}
        errors = {name: _errors(many, own) for name, many in arms.items()}
        change: dict[str, dict[str, Any]] = {
            short: relative_change(errors["control"], errors["refined"], measure, seed=seed)
            for short, measure in (
                ("mpjpe_abs", "mpjpe_abs_mm"),
                ("mpjpe_root", "mpjpe_root_mm"),
                ("jitter", "jitter_mm_frame3"),
            )
        }
        change["kid"] = kid_change(evaluator, own, arms["control"], arms["refined"], seed=seed)
        result[source] = head(own) | {"arms": rows, "change": change, "goals": _goals(change)}
    return result


def _goals(change: dict[str, dict[str, Any]]) -> dict[str, bool | None]:
    mpjpe, shake, kid = change["mpjpe_abs"]["change"], change["jitter"]["change"], change["kid"]
    worse_by = kid["difference"]
    return {
        "mpjpe_abs_3_percent_lower": None if mpjpe is None else mpjpe <= MPJPE_GOAL,
        "jitter_8_percent_lower": None if shake is None else shake <= JITTER_GOAL,
        "kid_no_worse": None if worse_by is None else worse_by <= 2.0 * kid["standard_error"],
    }
