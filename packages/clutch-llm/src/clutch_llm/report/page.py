"""``write_report``: one self-contained HTML page about a run; it fetches nothing from anywhere.

Everything that comes from data (captions, clip ids, names of stages) passes through jinja2's escaping; only
the charts, which escape their own labels, are inserted as markup. A content security policy in the page
forbids any outside resource.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clutch_llm.evaluation.goals import check_goals, final_row
from clutch_llm.report import published, tables
from clutch_llm.report.charts import line_chart
from clutch_llm.report.facts import data_facts, run_facts
from clutch_llm.report.media import RenderOptions, render_samples

logger = logging.getLogger(__name__)

History = Sequence[Mapping[str, float]]
_CHARTS_PER_STAGE = 6


def _environment() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("Expected jinja2 for the report, got none. Install clutch-llm[report].") from error
    env = Environment(
        loader=PackageLoader("clutch_llm", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"number": tables.format_value, "percent": tables.percent, "duration": tables.duration}
    return env


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


def _curves(curves: Mapping[str, History | Mapping[str, History]]) -> list[dict[str, Any]]:
    stages = []
    for name, curve in curves.items():
        arms = _arms(curve)
        charts = _stage_charts(arms)
        if charts:
            stages.append({"name": name.replace("_", " "), "charts": charts, "legend": [a for a in arms if a]})
    return stages


def _tokenizer(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "source": s,
            **_head(m),
            "table": tables.metric_table("", m["rows"], tables.TOKENIZER_COLUMNS),
            "share": m["mpjpe_root_share_of_mean_pose"],
        }
        for s, m in metrics.items()
    ]


def _head(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metrics.get(key) for key in ("synthetic", "clips", "seconds", "group_size", "groups", "overlap")}


def _retrieval(metrics: Mapping[str, Any], columns: Sequence[tables.Column]) -> list[dict[str, Any]]:
    return [
        {
            "source": s,
            **_head(m),
            "table": tables.metric_table("", m["rows"], columns),
            "final": final_row(m["rows"]),
        }
        for s, m in metrics.items()
    ]


_CHANGES = (
    ("mpjpe_abs", "absolute MPJPE", "mpjpe_abs_3_percent_lower", "goal: at least 3% lower"),
    ("jitter", "jitter", "jitter_8_percent_lower", "goal: at least 8% lower"),
)


def _refinement(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    sections = []
    for source, m in metrics.items():
        changes = []
        for key, label, goal, wanted in _CHANGES:
            c = m["change"][key]
            interval = (
                "" if c["change"] is None else f"{tables.percent(c['ci95_low'])} to {tables.percent(c['ci95_high'])}"
            )
            changes.append(
                {
                    "label": label,
                    "value": tables.percent(c["change"]),
                    "interval": interval,
                    "goal": wanted,
                    "met": m["goals"][goal],
                }
            )
        kid = m["change"]["kid"]
        noise = "" if kid["standard_error"] is None else f"± {tables.format_value(2 * kid['standard_error'])}"
        changes.append(
            {
                "label": "KID",
                "value": tables.format_value(kid["difference"]),
                "interval": noise,
                "goal": "goal: no worse than its noise",
                "met": m["goals"]["kid_no_worse"],
            }
        )
        table = tables.metric_table("", m["arms"], tables.REFINEMENT_COLUMNS)
        sections.append({"source": source, **_head(m), "table": table, "changes": changes})
    return sections


def _synthetic(metrics: Mapping[str, Any]) -> dict[str, bool]:
    by_source = [m for m in metrics.values() if isinstance(m, Mapping)]
    return {
        s: bool(f["synthetic"]) for m in by_source for s, f in m.items() if isinstance(f, Mapping) and "synthetic" in f
    }


def _unconstrained(form: Any) -> float | None:
    return form.get("unconstrained") if isinstance(form, Mapping) else None


def _goals(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(goal) | tables.goal_text(goal) for goal in check_goals(metrics)]


def _hero(sample: Mapping[str, Any]) -> dict[str, Any] | None:
    """The caption and the first generation of a sample, or its first picture where nothing was generated."""
    panels = sample["panels"]
    made = [p for p in panels if p["label"].startswith("generated")] or panels
    return {"caption": sample["caption"], **made[0]} if made else None


def write_report(
    out: str | os.PathLike[str],
    *,
    metrics: Mapping[str, Any],
    curves: Mapping[str, History | Mapping[str, History]] | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
    captioned: Sequence[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    hero: int = 0,
    options: RenderOptions | None = None,
) -> Path:
    """Write the page.

    Args:
        out: the file, such as ``reports/index.html``; its folder is made. It appears whole or not at all.
        metrics: any of "tokenizer", "text_to_motion", "motion_to_text", "refinement" (what the functions of
            ``clutch_llm.evaluation`` return) and "well_formed_share"
            (a fraction, or a mapping of "generated" and "unconstrained").
        curves: training histories (lists of dicts with ``step``) by stage; a mapping of several draws its
            arms in one chart.
        samples: motions to show: dicts with ``caption``, ``source``, ``clip_id``, and any of ``truth``,
            ``reconstruction`` (T, 198) and ``generations`` (list of (T, 198)); ``valid`` (T, 2) of the truth,
            ``fps``, ``synthetic``.
        captioned: motion to text: dicts with ``motion`` (T, 198), ``captions`` (the true ones), ``generated``
            (text), ``source``, ``clip_id``, ``valid``, ``fps``, ``synthetic``.
        summary: of the data, as ``hiw_data.HiwStore.summary()`` gives it.
        run: of the run: ``revision``, ``data_hash``, ``machine``, ``environment``, ``started``, ``seconds``,
            ``durations`` by stage; further scalar entries are listed as they are.
        hero: which sample's first generation moves at the top.
        options: size of the pictures and how many samples are shown.

    Returns:
        The path written.

    Raises:
        ImportError: without jinja2.
        ValueError: if a motion has the wrong shape.
    """
    options = options or RenderOptions()
    gallery, texts = render_samples(samples, captioned, options)
    top = _hero(gallery[hero]) if 0 <= hero < len(gallery) else None
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run_facts(run or {}),
            durations=dict((run or {}).get("durations", {})),
            total_seconds=(run or {}).get("seconds"),
            data=data_facts(summary or {}, _synthetic(metrics)),
            goals=_goals(metrics),
            free_form=_unconstrained(metrics.get("well_formed_share")),
            stages=_curves(curves or {}),
            tokenizer=_tokenizer(metrics.get("tokenizer", {})),
            t2m=_retrieval(metrics.get("text_to_motion", {}), tables.T2M_COLUMNS),
            m2t=_retrieval(metrics.get("motion_to_text", {}), tables.M2T_COLUMNS),
            refinement=_refinement(metrics.get("refinement", {})),
            gallery=gallery,
            captioned=texts,
            hero=top,
            published={
                "tokenizer": tables.published_table("", published.TOKENIZER),
                "t2m": tables.published_table("", published.TEXT_TO_MOTION),
                "m2t": tables.published_table("", published.MOTION_TO_TEXT),
                "refinement": tables.published_table("", published.REFINEMENT),
            },
        )
    )
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    logger.info("Report of %.1f MB written to %s.", len(page) / 1e6, path)
    return path
