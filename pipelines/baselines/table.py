"""The table of the baselines: means and spreads over the seeds, for every source."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from pipelines.baselines.plan import TITLES

FIGURES = {
    "text_to_motion": ("r_precision_top3", "kid_mean", "jitter_mm_frame3"),
    "claims": ("claims",),
    "motion": ("contact_across_f1",),
}
"""Figures of the table by the measure that they are of; beside them whatever the judge has learnt to name."""

M2T = ("retrieval_top1", "bleu_4", "rouge_l")
HEADS = {
    "r_precision_top3": "R@3",
    "kid_mean": "KID",
    "jitter_mm_frame3": "jitter mm",
    "claims": "claims",
    "contact_across_f1": "contact F1",
    "retrieval_top1": "retrieval",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "parameters": "parameters",
    "training_seconds": "training s",
    "generation_seconds": "s a motion",
}


def table(study: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and spread (standard deviation; None for one seed) over the seeds.

    Args:
        study: `figures` and `records` of it.

    Returns:
        ``{source: {"motion": {row: {figure: {"mean", "spread"}}}, "words": the same of motion to text}}``. Rows:
        truth, each reconstruction, each baseline, our model, random caption, chance.
    """
    figures = study["figures"]
    found: dict[str, Any] = {}
    for source, own in figures["text_to_motion"].items():
        parts = {measure: figures[measure].get(source, {"rows": {}})["rows"] for measure in FIGURES}
        judged = figures["judge"].get(source, {"attributes": {}, "rows": {}})
        learnt = [name for name, about in judged["attributes"].items() if about["learnt"]]
        columns = [(parts[measure], name) for measure, names in FIGURES.items() for name in names]
        columns[2:2] = [(judged["rows"], name) for name in learnt]
        motion = {}
        for row, arms in _rows(own["rows"]).items():
            cells = {name: _over([rows.get(arm, {}).get(name) for arm in arms]) for rows, name in columns}
            motion[row] = cells | _costs(study["records"].get(row, {}))
        said = figures["motion_to_text"][source]["rows"]
        words = {row: {n: _over([said[arm].get(n) for arm in arms]) for n in M2T} for row, arms in _rows(said).items()}
        found[source] = {"motion": motion, "words": {row: words[row] for row in words if row != "truth_high_level"}}
    return found


def _rows(rows: Mapping[str, Any]) -> dict[str, list[str]]:
    """The arms of each row of the table: those of all seeds together, reconstructions first."""
    found: dict[str, list[str]] = {}
    for arm in rows:
        found.setdefault(arm.rpartition("/")[0] or arm, []).append(arm)
    first = [row for row in found if row.startswith("truth")] + [row for row in found if "reconstruction" in row]
    last = [row for row in ("random_caption", "chance") if row in found]
    return {row: found[row] for row in [*first, *(r for r in found if r not in [*first, *last]), *last]}


def _costs(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    names = ("parameters", "training_seconds", "generation_seconds")
    return {name: _over([one.get(name) for one in records.values()]) for name in names}


def _over(values: list[Any]) -> dict[str, float | None]:
    known = [float(value) for value in values if value is not None]
    spread = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known) if known else None, "spread": spread}


def as_markdown(study: Mapping[str, Any]) -> str:
    """The tables as a page of Markdown."""
    lines = [
        "# Baselines",
        "",
        f"{study['split'].capitalize()} split, {study['samples']} motions a caption. Each baseline was trained for "
        f"{study['minutes']:g} minutes of processor time, its tokenizer included, with seeds {study['seeds']}; "
        f"retrieval is not trained, and `clutch` is the model of the other pipelines with a budget of its own. "
        f"Figures over several seeds are mean ± standard deviation. Sampling: temperature "
        f"{study['generation']['temperature']:g}, guidance {study['generation']['guidance']:g}. Machine: "
        f"{study['machine']}; revision {study['revision']}, data {study['data_hash'][:12]}.",
        "",
        *(f"- `{name}`: {TITLES[name]}" for name in study["records"] if name in TITLES),
    ]
    for source, tables in study["table"].items():
        lines += ["", f"## {source}: text to motion", "", *_markdown(tables["motion"])]
        lines += ["", f"## {source}: motion to text", "", *_markdown(tables["words"])]
    return "\n".join(lines) + "\n"


def _markdown(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = list(next(iter(rows.values())))
    heads = ["", *(HEADS.get(name, name) for name in names)]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * len(names) + "|"]
    for row, cells in rows.items():
        shown = [_cell(name, cells[name]) for name in names]
        lines.append("| " + " | ".join([row.replace("_", " "), *shown]) + " |")
    return lines


def _cell(name: str, value: Mapping[str, float | None]) -> str:
    mean, spread = value["mean"], value["spread"]
    if mean is None:
        return "-"
    shown = mean, *(() if spread is None else (spread,))
    if name == "parameters":
        return " ± ".join(f"{value / 1e6:.2f} M" for value in shown)
    number = {"training_seconds": "{:.0f}", "jitter_mm_frame3": "{:.2f}"}.get(name, "{:.3f}")
    return " ± ".join(number.format(value) for value in shown)
