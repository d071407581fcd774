"""The page's sections: metrics, histories and goals turned into what the template shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report import tables
from pipelines.report.charts import line_chart

History = Sequence[Mapping[str, float]]
_CHARTS_PER_STAGE = 6


def _arms(curve: History | Mapping[str, History]) -> dict[str, History]:
    return dict(curve) if isinstance(curve, Mapping) else {"": curve}


def _stage_charts(arms: Mapping[str, History]) -> list[dict[str, Any]]:
    """One chart per figure of a stage's history: losses first, at most six."""
    keys = dict.fromkeys(k for history in arms.values() for entry in history for k in entry if k != "step")
    ordered = sorted(keys, key=lambda k: (k != "loss", "loss" not in k, list(keys).index(k)))
    charts = []
    for key in ordered:
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


def _parts(metrics: Mapping[str, Any], columns: Sequence[tables.Column]) -> list[dict[str, Any]]:
    """The same table for the clips that have a boolean attribute, and for those that do not."""
    return [
        {
            "name": f"{'' if label == 'true' else 'not '}{attribute.replace('_', ' ')}",
            "clips": part["clips"],
            "table": tables.metric_table("", part["rows"], columns),
        }
        for attribute, split in metrics.get("parts", {}).items()
        for label, part in split.items()
    ]


def retrieval(metrics: Mapping[str, Any], columns: Sequence[tables.Column]) -> list[dict[str, Any]]:
    """A table per source, of text to motion or of motion to text."""
    return [
        {
            "source": s,
            **_head(m),
            "table": tables.metric_table("", m["rows"], columns),
            "parts": _parts(m, columns),
        }
        for s, m in metrics.items()
    ]


def judged(metrics: Mapping[str, Any], believed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the judge says, a table per source: the attributes that true motion shows, and which figure is believed."""
    sections = []
    for source, m in metrics.items():
        learnt = [name for name, about in m["attributes"].items() if about["learnt"]]
        columns = tables.judge_columns(learnt)
        shares = [
            {
                "row": tables.row_label(row),
                "value": tables.format_value(share["believed"], 2),
                "by": (share["believed_by"] or "").removeprefix("judge_").replace("_", " "),
            }
            for row, share in believed.get(source, {}).items()
        ]
        sections.append(
            {
                "source": source,
                **_head(m),
                "table": tables.metric_table("", m["rows"], columns),
                "parts": _parts(m, columns),
                "by_second": [
                    (name, tables.metric_table("", rows, tables.claim_columns(_seconds(rows))))
                    for name, rows in m.get("by_second", {}).items()
                ],
                "unlearnt": [name.replace("_", " ") for name in m["attributes"] if name not in learnt],
                "believed": shares,
            }
        )
    return sections


def _seconds(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the seconds that any row has."""
    names = dict.fromkeys(key for row in rows.values() for key in row if not key.endswith(("_low", "_high")))
    return sorted(names, key=lambda name: int(name.removeprefix("second_")))


def obeyed(claims: Mapping[str, Any], motion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Claims, contacts, limits and speeds, tables per source; those of claims are left out where nothing was read."""
    sections = []
    for source in dict.fromkeys((*claims, *motion)):
        said, moved = claims.get(source), motion.get(source)
        found: dict[str, Any] = {"source": source, **_head(said or moved or {}), "parts": [], "tables": []}
        if said:
            columns = tables.claim_columns(["claims", *said["kinds"]])
            found |= {"stated": said["stated"], "claims": said["claims"], "parts": _parts(said, columns)}
            found["tables"] += [
                ("Claims fulfilled", tables.metric_table("", said["rows"], columns)),
                (
                    "Claims fulfilled, by second",
                    tables.metric_table("", said["by_second"], tables.claim_columns(list(said["in_second"]))),
                ),
            ]
        if moved:
            names = [key for key in moved["speeds"]["truth"] if not key.endswith(("_truth", "_low", "_high"))]
            found["tables"] += [
                ("Contacts, as HandX reports them", tables.metric_table("", moved["rows"], tables.CONTACT_COLUMNS)),
                ("Joint limits and penetration", tables.metric_table("", moved["rows"], tables.PLAUSIBLE_COLUMNS)),
                ("Mean joint speed, share of the true motions’", _speeds(moved["speeds"], names)),
            ]
            for attribute, rows in moved["speeds_by"].items():
                values = [key for key in rows["truth"] if not key.endswith(("_truth", "_low", "_high"))]
                title = f"Mean joint speed by {attribute.replace('_', ' ')}, share of the true motions’"
                found["tables"].append((title, _speeds(rows, values)))
        sections.append(found)
    return sections


def _speeds(rows: Mapping[str, Any], names: Sequence[str]) -> tables.Table:
    return tables.metric_table("", rows, tables.speed_columns(names))


_CHANGES = {
    "mpjpe_abs": ("absolute MPJPE", True),
    "jitter": ("jitter", True),
    "kid": ("KID", False),
    "r_precision_top3": ("R-precision top 3", False),
    "multimodality": ("MultiModality", False),
}


def _changes(arm: str, changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an arm changed, each with its interval over clips and seeds, and whether it is no worse."""
    items = []
    for key, c in changes.items():
        label, relative = _CHANGES.get(key, (f"judge: {key.removeprefix('judge_').replace('_', ' ')}", False))
        if (key not in _CHANGES and not key.startswith("judge_")) or c["change"] is None:
            continue
        show = tables.percent if relative else tables.format_value
        margin = "" if c["margin"] is None else f"margin {tables.percent(c['margin']) if relative else c['margin']}"
        items.append(
            {
                "label": f"{tables.row_label(arm)}: {label}",
                "value": show(c["change"]),
                "interval": "" if c["ci95_low"] is None else f"{show(c['ci95_low'])} to {show(c['ci95_high'])}",
                "margin": margin,
                "no_worse": c["no_worse"],
            }
        )
    return items


def refinement(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arms and their changes per source."""
    sections = []
    for source, m in metrics.items():
        judged_names = list(dict.fromkeys(key for row in m["arms"].values() for key in row if key.startswith("judge_")))
        columns = [*tables.REFINEMENT_COLUMNS, *(tables.Column(k, k.replace("_", " "), "up") for k in judged_names)]
        sections.append(
            {
                "source": source,
                **_head(m),
                "seeds": m["seeds"],
                "table": tables.metric_table("", m["arms"], columns),
                "changes": [c for arm, changes in m["changes"].items() for c in _changes(arm, changes)],
            }
        )
    return sections


def synthetic(metrics: Mapping[str, Any]) -> dict[str, bool]:
    """Which sources say of themselves that they are synthetic."""
    by_source = [m for m in metrics.values() if isinstance(m, Mapping)]
    return {
        s: bool(f["synthetic"]) for m in by_source for s, f in m.items() if isinstance(f, Mapping) and "synthetic" in f
    }


def unconstrained(form: Any) -> float | None:
    """Share of well-formed motions without constrained decoding, if it was measured."""
    return form.get("unconstrained") if isinstance(form, Mapping) else None


def goals(checked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The goals (``clutch_llm.evaluation.check_goals``) with their figures as text."""
    return [dict(goal) | tables.goal_text(goal) for goal in checked]


def longest(samples: Sequence[Mapping[str, Any]]) -> int:
    """Index of the first sample with the longest first generation: the one with most to see; 0 for no samples."""
    lengths = [len(s["generations"][0]) if len(s.get("generations", ())) else 0 for s in samples]
    return max(range(len(lengths)), key=lengths.__getitem__, default=0)


def hero(sample: Mapping[str, Any]) -> dict[str, Any] | None:
    """The caption and the first generation of a sample, or its first picture where nothing was generated."""
    panels = sample["panels"]
    made = [p for p in panels if p["label"].startswith("generated")] or panels
    return {"caption": sample["caption"], **made[0]} if made else None
