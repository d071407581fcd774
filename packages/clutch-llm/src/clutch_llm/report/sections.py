"""The page's sections: metrics, histories and goals turned into what the template shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clutch_llm.evaluation.goals import check_goals
from clutch_llm.report import tables
from clutch_llm.report.charts import line_chart

History = Sequence[Mapping[str, float]]
_CHARTS_PER_STAGE = 6


def _arms(curve: History | Mapping[str, History]) -> dict[str, History]:
    return dict(curve) if isinstance(curve, Mapping) else {"": curve}


def _stage_charts(arms: Mapping[str, History]) -> list[dict[str, Any]]:
    """One chart per figure of a stage's history: losses first, at most six."""
    keys = dict.fromkeys(k for history in arms.values() for entry in history for k in entry if k != "step")
    ranked = sorted(keys, key=lambda k: (k != "loss", "loss" not in k, list(keys).index(k)))
    charts = []
    for key in ranked:
        series = {
            name: [(float(e["step"]), float(e[key])) for e in history if isinstance(e.get(key), int | float)]
            for name, history in arms.items()
        }
        svg = line_chart(key.replace("_", " "), {n or "run": p for n, p in series.items()})
        if svg:
            last = [p[-1][1] for p in series.values() if p]
            charts.append(
                {
                    "title": key.replace("_", " "),
                    "svg": svg,
                    "last": tables.format_value(last[0]) if len(last) == 1 else "",
                }
            )
        if len(charts) == _CHARTS_PER_STAGE:
            break
    return charts


def curves(curves: Mapping[str, History | Mapping[str, History]]) -> list[dict[str, Any]]:
    """Stages with their charts; those without anything to draw are left out."""
    stages = []
    for name, curve in curves.items():
        arms = _arms(curve)
        charts = _stage_charts(arms)
        if charts:
            stages.append({"name": name.replace("_", " "), "charts": charts, "legend": [a for a in arms if a]})
    return stages


def tokenizer(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table per source."""
    return [
        {
            "source": s,
            **_head(m),
            "table": tables.metric_table("", m["rows"], tables.TOKENIZER_COLUMNS),
        }
        for s, m in metrics.items()
    ]


def _head(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metrics.get(key) for key in ("synthetic", "clips", "seconds", "group_size", "groups", "overlap")}


def retrieval(metrics: Mapping[str, Any], columns: Sequence[tables.Column]) -> list[dict[str, Any]]:
    """A table per source, of text to motion or of motion to text."""
    return [
        {
            "source": s,
            **_head(m),
            "table": tables.metric_table("", m["rows"], columns),
        }
        for s, m in metrics.items()
    ]


_CHANGES = (
    ("mpjpe_abs", "absolute MPJPE", "mpjpe_abs_3_percent_lower", "goal: at least 3% lower"),
    ("jitter", "jitter", "jitter_8_percent_lower", "goal: at least 8% lower"),
)


def _changes(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What refinement changed, each with its interval or noise and its goal."""
    items = []
    for key, label, goal, wanted in _CHANGES:
        c = metrics["change"][key]
        interval = ""
        if c["change"] is not None:
            interval = f"{tables.percent(c['ci95_low'])} to {tables.percent(c['ci95_high'])}"
        items.append((label, tables.percent(c["change"]), interval, wanted, metrics["goals"][goal]))
    kid = metrics["change"]["kid"]
    noise = "" if kid["standard_error"] is None else f"± {tables.format_value(2 * kid['standard_error'])}"
    value = tables.format_value(kid["difference"])
    items.append(("KID", value, noise, "goal: no worse than its noise", metrics["goals"]["kid_no_worse"]))
    return [dict(zip(("label", "value", "interval", "goal", "met"), item, strict=True)) for item in items]


def refinement(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arms and their changes per source."""
    return [
        {
            "source": source,
            **_head(m),
            "table": tables.metric_table("", m["arms"], tables.REFINEMENT_COLUMNS),
            "changes": _changes(m),
        }
        for source, m in metrics.items()
    ]


def synthetic(metrics: Mapping[str, Any]) -> dict[str, bool]:
    """Which sources say of themselves that they are synthetic."""
    by_source = [m for m in metrics.values() if isinstance(m, Mapping)]
    return {
        s: bool(f["synthetic"]) for m in by_source for s, f in m.items() if isinstance(f, Mapping) and "synthetic" in f
    }


def unconstrained(form: Any) -> float | None:
    """Share of well-formed motions without the slot grammar, if it was measured."""
    return form.get("unconstrained") if isinstance(form, Mapping) else None


def goals(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The goals with their figures as text."""
    return [dict(goal) | tables.goal_text(goal) for goal in check_goals(metrics)]


def longest(samples: Sequence[Mapping[str, Any]]) -> int:
    """Index of the first sample with the longest first generation: the one with most to see; 0 for no samples."""
    lengths = [len(s["generations"][0]) if len(s.get("generations", ())) else 0 for s in samples]
    return max(range(len(lengths)), key=lengths.__getitem__, default=0)


def hero(sample: Mapping[str, Any]) -> dict[str, Any] | None:
    """The caption and the first generation of a sample, or its first picture where nothing was generated."""
    panels = sample["panels"]
    made = [p for p in panels if p["label"].startswith("generated")] or panels
    return {"caption": sample["caption"], **made[0]} if made else None
