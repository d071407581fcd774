"""What is kept of a clip: its captions with maker, prompts, answers and verdicts, as a plain dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hiw_data.captioning.check import CONTRADICTED, STATUSES, check_caption
from hiw_data.captioning.embeddings import Embedder
from hiw_data.captioning.outliers import outlier_factors
from hiw_data.captioning.prompt_files import ATOMIC, prompt

if TYPE_CHECKING:
    from hiw_data.captioning.jobs import CaptionConfig, Draft

SCHEMA = 1
_PROMPTS = {"high": (*ATOMIC, "summary"), "fine": (*ATOMIC, "summary", "choice", "fine")}


def result_of(draft: Draft, config: CaptionConfig) -> dict[str, Any]:
    """The result of one clip, of plain types.

    Returns:
        ``schema``, ``clip_id``, ``status`` ("captioned", or "listed" if no caption was kept), ``reason`` (why it is
        listed or lacks a caption), ``narrations``, ``claims`` (of the motion), ``answers`` (question -> answer) and
        ``captions``. A caption has ``level`` ("high" or "fine"), ``text``, ``maker``, ``models``, ``version`` (of
        hiw-data), ``prompts`` (name -> label of those that it rests on), ``check`` (each claim's verdict), ``counts``
        (of verdicts), ``verified`` ("yes", "no", "unsure", "" if not asked), ``outlier`` (its factor or None), ``kept``
        and ``dropped`` (why not).
    """
    captions = [_caption(draft, level, config) for level in ("high", "fine") if level in draft.sentences]
    result = {
        "schema": SCHEMA,
        "clip_id": draft.job.clip_id,
        "narrations": list(draft.job.narrations),
        "claims": draft.claims,
        "answers": draft.answers,
        "problems": draft.problems,
        "captions": captions,
    }
    return _judged(result)


def _judged(result: dict[str, Any]) -> dict[str, Any]:
    captions = result["captions"]
    dropped = [f"{c['level']}: {c['dropped']}" for c in captions if c["dropped"]]
    result["status"] = "captioned" if any(c["kept"] for c in captions) else "listed"
    result["reason"] = "; ".join([*result["problems"], *dropped])
    return result


def _caption(draft: Draft, level: str, config: CaptionConfig) -> dict[str, Any]:
    from hiw_data import __version__

    text = draft.sentences[level]
    check = check_caption(text, draft.job.codes)
    # That a hand which is named alone moves alone is only understood: a steadying hand may well go unmentioned.
    wrong = [c for c in check.claims if c.status == CONTRADICTED and not c.implied]
    verified = draft.answers.get("verification", {}).get(level, "")
    why = []
    if wrong and config.drop_contradicted:
        why.append("the motion contradicts " + ", ".join(repr(claim.words) for claim in wrong))
    if verified == "no":
        why.append(f"the verification says no ({draft.answers['verification']['reason']})")
    names = (*_PROMPTS[level], *(["verification"] if verified else []))
    return {
        "level": level,
        "text": text,
        "maker": "hiw_data.captioning.vlm",
        "models": {"vlm": config.vlm.model, "llm": config.llm.model},
        "version": __version__,
        "prompts": {name: prompt(name).label for name in names},
        "check": [_plain(claim) for claim in check.claims],
        "counts": {status: check.count(status) for status in STATUSES},
        "verified": verified,
        "outlier": None,
        "kept": not why,
        "dropped": "; ".join(why),
    }


def _plain(claim: Any) -> dict[str, Any]:
    names = ("words", "claim", "negated", "implied", "status", "evidence")
    return {name: getattr(claim, name) for name in names}


def drop_outliers(
    results: Sequence[dict[str, Any]], claims: Sequence[Sequence[str]], embedder: Embedder, limit: float
) -> None:
    """Sets ``outlier`` of each caption that is still kept, level by level, and drops those above the limit."""
    for level in ("high", "fine"):
        rows = [
            (result, caption, list(said))
            for result, said in zip(results, claims, strict=True)
            for caption in result["captions"]
            if caption["level"] == level and caption["kept"]
        ]
        factors = outlier_factors([c["text"] for _, c, _ in rows], [said for _, _, said in rows], embedder)
        if factors is None:
            continue
        for (result, caption, _), factor in zip(rows, factors.tolist(), strict=True):
            caption["outlier"] = round(factor, 4)
            if factor > limit:
                caption["kept"], caption["dropped"] = False, f"outlier: factor {factor:.2f} above {limit:g}"
            _judged(result)
