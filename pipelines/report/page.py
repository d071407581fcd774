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

from pipelines.report import published, sections, tables
from pipelines.report.facts import data_facts, run_facts
from pipelines.report.media import RenderOptions, render_codes, render_samples
from pipelines.report.sections import History

logger = logging.getLogger(__name__)


def _environment() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("Expected jinja2 for the report, got none. Run `make setup`.") from error
    env = Environment(
        loader=PackageLoader("pipelines.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"number": tables.format_value, "percent": tables.percent, "duration": tables.duration}
    return env


def write_report(
    out: str | os.PathLike[str],
    *,
    metrics: Mapping[str, Any],
    curves: Mapping[str, History | Mapping[str, History]] | None = None,
    samples: Sequence[Mapping[str, Any]] = (),
    captioned: Sequence[Mapping[str, Any]] = (),
    codes: Sequence[Mapping[str, Any]] = (),
    summary: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    hero: int | None = None,
    options: RenderOptions | None = None,
) -> Path:
    """Write the page.

    Args:
        out: the file, such as ``reports/index.html``; its folder is made. It appears whole or not at all.
        metrics: any of "tokenizer", "text_to_motion", "judge", "believed", "claims", "motion", "motion_to_text",
            "refinement", "goals" (what the functions of ``clutch_llm.evaluation`` return) and "well_formed_share" (a
            mapping with "unconstrained").
        curves: training histories (lists of dicts with ``step``) by stage; a mapping of several draws its
            arms in one chart.
        samples: motions to show: dicts with ``caption``, ``source``, ``clip_id``, and any of ``truth``,
            ``reconstruction`` (T, 198) and ``generations`` (list of (T, 198)); ``valid`` (T, 2) of the truth,
            ``fps``, ``synthetic``.
        captioned: motion to text: dicts with ``motion`` (T, 198), ``captions`` (the true ones), ``generated``
            (text), ``source``, ``clip_id``, ``valid``, ``fps``, ``synthetic``.
        codes: what tokens mean: dicts with ``codebook``, ``code``, ``share`` and ``features`` (T, 198), and
            optionally ``hands`` (2,) and ``fps``, as ``shift_tokenizer.codebook_gallery`` tells them.
        summary: of the data, as ``hiw_data.HiwStore.summary()`` gives it.
        run: of the run: ``revision``, ``data_hash``, ``machine``, ``environment``, ``started``, ``seconds``,
            ``durations`` by stage; further scalar entries are listed as they are.
        hero: which sample's first generation moves at the top; None: the first of the longest.
        options: size of the pictures and how many samples are shown.

    Returns:
        The path written.

    Raises:
        ImportError: without jinja2.
        ValueError: if a motion has the wrong shape.
    """
    options = options or RenderOptions()
    gallery, texts = render_samples(samples, captioned, options)
    first = sections.longest(samples[: len(gallery)]) if hero is None else hero
    top = sections.hero(gallery[first]) if 0 <= first < len(gallery) else None
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run_facts(run or {}),
            durations=dict((run or {}).get("durations", {})),
            total_seconds=(run or {}).get("seconds"),
            data=data_facts(summary or {}, sections.synthetic(metrics)),
            goals=sections.goals(metrics.get("goals", [])),
            free_form=sections.unconstrained(metrics.get("well_formed_share")),
            stages=sections.curves(curves or {}),
            tokenizer=sections.tokenizer(metrics.get("tokenizer", {})),
            t2m=sections.retrieval(metrics.get("text_to_motion", {}), tables.T2M_COLUMNS),
            judged=sections.judged(metrics.get("judge", {}), metrics.get("believed", {})),
            obeyed=sections.obeyed(metrics.get("claims", {}), metrics.get("motion", {})),
            m2t=sections.retrieval(metrics.get("motion_to_text", {}), tables.M2T_COLUMNS),
            refinement=sections.refinement(metrics.get("refinement", {})),
            codes=render_codes(codes, options),
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
