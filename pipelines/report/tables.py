"""Metrics as rows of formatted cells, ready for the page.

What a figure is called, which way is better, how many digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MISSING = "–"
BASELINES = ("random_caption", "chance", "mean_pose", "static_pose")


@dataclass(frozen=True)
class Column:
    """A figure.

    Its key in the metrics, its heading, "up" or "down" for better (or ""), digits after the point, and the keys of what
    is shown beside it: its ``spread``, or its ``interval``, whose ends are at that key with ``_low`` and ``_high``.
    """

    key: str
    title: str
    better: str = ""
    digits: int = 3
    spread: str = ""
    interval: str = ""


@dataclass(frozen=True)
class Table:
    """Headings, and rows of (label, note, kind, cells); kind is "model", "truth" or "baseline"."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = field(default_factory=tuple)


ROW_LABELS: dict[str, tuple[str, str]] = {
    "truth": ("truth", ""),
    "truth_high_level": ("true caption, high-level", ""),
    "truth_fine": ("true caption, fine-grained", ""),
    "reconstruction": ("tokenizer’s reconstruction", ""),
    "generated": ("generated", "from the detailed caption, as long as the true motion"),
    "generated_own_length": ("generated, its own length", "the true length is not given"),
    "generated_other_length": ("generated, longer", "asked for a quarter more than the true length"),
    "generated_high_level": ("generated from the high-level caption", "measured against that caption"),
    "generated_held_out_phrasing": ("generated, held-out phrasing", "asked in words that no training has seen"),
    "generated_terse": ("generated, terse", "told the action and its count alone, in words that no training has seen"),
    "random_caption": ("a random one", "true, but of another clip"),
    "chance": ("chance", ""),
    "mean_pose": ("mean pose", "of the training clips"),
    "static_pose": ("static pose", "the clip’s own mean pose, held still"),
    "control": ("cross-entropy alone", "control, the same steps"),
    "refined": ("refined", "with the motion loss"),
    "control_same_multimodality": (
        "cross-entropy alone, as varied",
        "MultiModality of the refined",
    ),
}

TOKENIZER_COLUMNS = (
    Column("mpjpe_root_mm", "MPJPE, root-aligned, mm", "down", 1),
    Column("mpjpe_abs_mm", "MPJPE, absolute, mm", "down", 1),
    Column("pa_mpjpe_mm", "PA-MPJPE, mm", "down", 1),
    Column("acceleration_error_m_s2", "acceleration error, m/s²", "down", 2),
    Column("jitter_mm_frame3", "jitter, mm/frame³", "", 2),
)
T2M_COLUMNS = (
    Column("r_precision_top1", "R-prec. top 1", "up"),
    Column("r_precision_top2", "top 2", "up"),
    Column("r_precision_top3", "top 3", "up", spread="r_precision_top3_std"),
    Column("r_precision_full_top1", "full set top 1", "up"),
    Column("r_precision_full_top3", "full set top 3", "up"),
    Column("mm_dist", "MMDist", "down"),
    Column("fid", "FID", "down", 2),
    Column("kid_mean", "KID", "down", spread="kid_std"),
    Column("diversity", "Diversity", ""),
    Column("multimodality", "Multi-Modality", ""),
    Column("mpjpe_abs_mm", "MPJPE abs., mm", "down", 1),
    Column("mpjpe_root_mm", "MPJPE root, mm", "down", 1),
    Column("jitter_mm_frame3", "jitter, mm/frame³", "", 2),
)
M2T_COLUMNS = (
    Column("retrieval_top1", "retrieval top 1", "up", spread="retrieval_top1_std"),
    Column("retrieval_top2", "top 2", "up"),
    Column("retrieval_top3", "top 3", "up"),
    Column("mm_dist", "MMDist", "down"),
    Column("bleu_1", "BLEU-1", "up"),
    Column("bleu_4", "BLEU-4", "up"),
    Column("rouge_l", "ROUGE-L", "up"),
    Column("meteor", "METEOR", "up"),
    Column("cider", "CIDEr", "up", 2),
    Column("bert_score", "BERTScore", "up"),
)
REFINEMENT_COLUMNS = (
    Column("mpjpe_abs_mm", "MPJPE abs., mm", "down", 1),
    Column("mpjpe_root_mm", "MPJPE root, mm", "down", 1),
    Column("jitter_mm_frame3", "jitter, mm/frame³", "down", 2),
    Column("kid_mean", "KID", "down", spread="kid_std"),
    Column("r_precision_top3", "R-prec. top 3", "up", spread="r_precision_top3_std"),
    Column("multimodality", "Multi-Modality", ""),
)


CONTACT_COLUMNS = tuple(
    Column(f"contact_{where}_{name}", title, "up", interval=f"contact_{where}_{name}_ci95")
    for where, place in (("within", "in a hand"), ("across", "across hands"))
    for name, title in (
        ("precision", f"contact precision, {place}"),
        ("recall", "recall"),
        ("f1", "F1"),
        ("frame_f1", "F1 by frame"),
    )
)
PLAUSIBLE_COLUMNS = (
    Column("beyond_limits_share", "angles beyond their limits", "down", 4),
    Column("beyond_limits_deg", "excess, degrees", "down", 3),
    Column("self_penetration_mm", "penetration of itself, mm", "down", 2),
    Column("hand_penetration_mm", "of the other hand, mm", "down", 2),
)


def claim_columns(names: Sequence[str]) -> list[Column]:
    """A column for each kind of claims or each second, with its interval over clips."""
    return [Column(name, name.replace("_", " "), "up", interval=f"{name}_ci95") for name in names]


def speed_columns(names: Sequence[str]) -> list[Column]:
    """A column for each speed as a share of the true motions', with its interval over clips."""
    return [
        Column(f"{name}_of_truth", name.replace("_", " "), "", 2, interval=f"{name}_of_truth_ci95") for name in names
    ]


def judge_columns(attributes: Sequence[str]) -> list[Column]:
    """A column for each attribute, with its interval over clips."""
    return [Column(name, name.replace("_", " "), "up", interval=f"{name}_ci95") for name in attributes]


def format_value(value: Any, digits: int = 3) -> str:
    """A number with fixed digits and a true minus sign; an en dash where there is none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return MISSING
    if value != value:
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a signed percentage: 0.031 -> +3.1%."""
    if value is None or value != value:
        return MISSING
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return f"{sign}{abs(value) * 100:.{digits}f}%"


def row_kind(name: str) -> str:
    """Whether a row is the truth, a trivial baseline, or a model's."""
    if name.startswith("truth"):
        return "truth"
    return "baseline" if name in BASELINES else "model"


def row_label(name: str) -> str:
    """What a row is called."""
    return ROW_LABELS.get(name, (name.replace("_", " "), ""))[0]


def _spread(values: Mapping[str, Any], column: Column) -> str:
    """ "± deviation", or "low to high" of an interval; nothing where it is not known."""
    if values.get(column.spread) is not None:
        return f"± {format_value(values[column.spread], column.digits)}"
    ends = [values.get(f"{column.interval}_{end}") for end in ("low", "high")]
    return " to ".join(format_value(e, 2) for e in ends) if None not in ends else ""


def _row(name: str, values: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    label, note = ROW_LABELS.get(name, (name.replace("_", " "), ""))
    cells = [
        {
            "text": format_value(values.get(c.key), c.digits),
            "spread": _spread(values, c),
        }
        for c in columns
    ]
    return {"label": label, "note": note, "kind": row_kind(name), "cells": cells}


def metric_table(caption: str, rows: Mapping[str, Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    """A table of ``rows``; columns that no row has a value for are left out."""
    kept = [c for c in columns if any(values.get(c.key) is not None for values in rows.values())]
    return Table(caption, kept, [_row(name, values, kept) for name, values in rows.items()])


def published_table(caption: str, figures: Mapping[str, Any]) -> Table:
    """A table of the paper's figures."""
    columns = [Column(str(i), title) for i, title in enumerate(figures["columns"])]
    rows = [
        {
            "label": label,
            "note": "",
            "kind": "baseline",
            "cells": [{"text": MISSING if v is None else f"{v:g}", "spread": ""} for v in values],
        }
        for label, *values in figures["rows"]
    ]
    return Table(caption, columns, rows)


def goal_text(goal: Mapping[str, Any]) -> dict[str, str]:
    """The value and bound of a goal (``check_goals``) as short texts."""
    kind, value, bound = goal["kind"], goal["value"], goal["bound"]
    relation = "at most" if goal["at_most"] else "at least"
    if kind == "change":
        return {"value": percent(value), "bound": f"{relation} {percent(bound, 0)}"}
    if kind == "share":
        shown = MISSING if value is None else f"{value * 100:.1f}%"
        return {"value": shown, "bound": f"{bound * 100:.0f}%"}
    digits, unit = {"times": (1, " ×"), "difference": (3, "")}.get(kind, (2, ""))
    shown = format_value(value, digits)
    return {
        "value": shown + (unit if value is not None else ""),
        "bound": f"{relation} {format_value(bound, digits)}{unit}",
    }


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 05 s, 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
