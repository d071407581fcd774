"""The figures that the demo sets out to reach, checked against what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Metrics = Mapping[str, Any]

FIXED_ROWS = ("truth", "truth_high_level", "truth_fine", "reconstruction", "random_caption", "chance")
_TOKENIZER_SHARE = {"procedural": 0.28, "fingerspelling": 0.5}
_R_PRECISION_SHARE = {"procedural": 0.85}
_M2T_OVER_CHANCE = {"procedural": 5.0, "fingerspelling": 5.0}


def final_row(rows: Mapping[str, Any]) -> str | None:
    """The row that stands for the finished model.

    "generated", or the last that is neither truth nor baseline.
    """
    arms = [name for name in rows if name not in FIXED_ROWS]
    return "generated" if "generated" in arms else (arms[-1] if arms else None)


def _goal(name: str, source: str, value: float | None, bound: float, *, at_most: bool, kind: str) -> dict[str, Any]:
    met = None if value is None else bool(value <= bound if at_most else value >= bound)
    return {
        "name": name,
        "source": source,
        "value": value,
        "bound": bound,
        "at_most": at_most,
        "kind": kind,
        "met": met,
    }


def _tokenizer_goals(metrics: Metrics) -> list[dict[str, Any]]:
    return [
        _goal(
            "Tokenizer: root-aligned error, share of the mean pose’s",
            source,
            metrics[source]["mpjpe_root_share_of_mean_pose"],
            bound,
            at_most=True,
            kind="ratio",
        )
        for source, bound in _TOKENIZER_SHARE.items()
        if source in metrics
    ]


def _t2m_goals(metrics: Metrics) -> list[dict[str, Any]]:
    goals = []
    for source, bound in _R_PRECISION_SHARE.items():
        rows = metrics.get(source, {}).get("rows", {})
        row = final_row(rows)
        if row is None or "reconstruction" not in rows:
            continue
        got, ceiling = rows[row]["r_precision_top3"], rows["reconstruction"]["r_precision_top3"]
        share = got / ceiling if got is not None and ceiling else None
        name = "Text to motion: R-precision top 3, share of the reconstruction’s"
        goals.append(_goal(name, source, share, bound, at_most=False, kind="ratio"))
    return goals


def _m2t_goals(metrics: Metrics) -> list[dict[str, Any]]:
    goals = []
    for source, bound in _M2T_OVER_CHANCE.items():
        if source not in metrics or (row := final_row(metrics[source]["rows"])) is None:
            continue
        value = metrics[source]["top1_over_chance"][row]
        name = "Motion to text: retrieval top 1, times chance"
        goals.append(_goal(name, source, value, bound, at_most=False, kind="times"))
    return goals


def _refinement_goals(metrics: Metrics) -> list[dict[str, Any]]:
    if "procedural" not in metrics:
        return []
    change = metrics["procedural"]["change"]
    kid = change["kid"]
    noise = 2.0 * kid["standard_error"] if kid["standard_error"] is not None else 0.0
    pairs = (
        ("absolute joint error", change["mpjpe_abs"]["change"], -0.03),
        ("jitter", change["jitter"]["change"], -0.08),
    )
    goals = [
        _goal(f"Refinement: {name} against the control", "procedural", value, bound, at_most=True, kind="change")
        for name, value, bound in pairs
    ]
    name = "Refinement: KID against the control, no worse than its noise"
    return [*goals, _goal(name, "procedural", kid["difference"], noise, at_most=True, kind="difference")]


def check_goals(metrics: Metrics) -> list[dict[str, Any]]:
    """Compare metrics with the demo's goals.

    Args:
        metrics: any of "tokenizer", "text_to_motion", "motion_to_text", "refinement" (what the ``evaluate_*``
            functions and ``compare_refinement`` return) and "well_formed_share": a fraction,
            or a mapping with it under "generated".

    Returns:
        One dict per goal whose metrics are there: ``name``, ``source``, ``value``, ``bound``, ``at_most``,
        ``kind`` ("ratio", "times", "change", "difference", "share") and ``met`` (None where the value is not
        available).
    """
    goals = _tokenizer_goals(metrics.get("tokenizer", {})) + _t2m_goals(metrics.get("text_to_motion", {}))
    goals += _m2t_goals(metrics.get("motion_to_text", {}))
    form = metrics.get("well_formed_share")
    share = form.get("generated") if isinstance(form, Mapping) else form
    if share is not None:
        name = "Generated motions that are well-formed"
        goals.append(_goal(name, "", float(share), 1.0, at_most=False, kind="share"))
    return goals + _refinement_goals(metrics.get("refinement", {}))
