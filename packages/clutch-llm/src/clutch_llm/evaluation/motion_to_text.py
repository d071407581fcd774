"""Motion to text.

Does a generated caption pick its motion out of 32, and does it use the words people would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clutch_llm.evaluation.evaluator import Evaluator
from clutch_llm.evaluation.grouping import Clip, by_source, head, other_indices, parts, require_one_per_clip
from clutch_llm.evaluation.metrics import GROUP_SIZE, chance_r_precision, mm_dist, r_precision
from clutch_llm.evaluation.text_metrics import caption_overlap

_FIGURES = (
    "retrieval_top1",
    "retrieval_top2",
    "retrieval_top3",
    "retrieval_top1_std",
    "mm_dist",
    "bleu_1",
    "bleu_4",
    "rouge_l",
    "meteor",
    "cider",
    "bert_score",
)


def _retrieval(evaluator: Evaluator, texts: Sequence[str], motions: Any, **options: Any) -> dict[str, Any]:
    said = evaluator.embed_texts(list(texts))
    found = r_precision(said, motions, **options)
    row: dict[str, Any] = dict.fromkeys(_FIGURES)
    row |= {f"retrieval_{key}": found[key] for key in ("top1", "top2", "top3", "top1_std")}
    row["mm_dist"] = mm_dist(said, motions)
    return row


def evaluate_m2t(
    evaluator: Evaluator,
    clips: Sequence[Clip],
    captions: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    split_by: Sequence[str] = (),
    group_size: int = GROUP_SIZE,
    groupings: int = 20,
    seed: int = 0,
    bert_model: Path | str | None = None,
) -> dict[str, dict[str, Any]]:
    """All motion-to-text figures, per source.

    Args:
        evaluator: trained on the train split.
        clips: held-out clips.
        captions: the generated caption of each clip; or several such lists, by name (one row each).
        split_by: names of boolean attributes: the same rows again for the clips that have it and those that do not.
        group_size: motions that each caption chooses from.
        groupings: shuffles.
        seed: of the shuffles and the random captions.
        bert_model: folder of a model for BERTScore (`text_metrics.bert_score`), which is left out without one.

    Returns:
        ``{source: {"clips", "seconds", "synthetic", "group_size", "groups", "overlap", "distinct_captions":
        {row: share}, "top1_over_chance": {row: ratio}, "rows": {row: {figure: value or None}}, "parts": {attribute:
        {"true" | "false": {"clips", "rows"}}}}}``. Rows:
        ``truth_high_level`` and ``truth_fine`` (the clip's first and last caption), the generated ones,
        ``random_caption`` (another clip's caption) and ``chance``. BLEU, ROUGE-L, METEOR and BERTScore
        are fractions, CIDEr is from 0 to 10, against all captions of the clip.
    """
    arms = dict(captions) if isinstance(captions, Mapping) else {"generated": captions}
    for name, texts in arms.items():
        require_one_per_clip(f"captions {name!r}", texts, clips)
    options: dict[str, Any] = {"group_size": group_size, "groupings": groupings, "seed": seed}
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        motions = evaluator.embed_clips(own)
        references = [list(c["captions"]) for c in own]
        true = {"truth_high_level": [r[0] for r in references], "truth_fine": [r[-1] for r in references]}
        wrong = [references[j][-1] for j in other_indices(own, seed=seed)]
        said = {name: [texts[i] for i in members] for name, texts in arms.items()} | {"random_caption": wrong}

        def rows(
            within: Sequence[int],
            motions: Any = motions,
            references: Any = references,
            true: Any = true,
            said: Any = said,
        ) -> dict[str, Any]:
            found = {}
            for name, texts in [*true.items(), *said.items()]:
                chosen = [texts[i] for i in within]
                found[name] = _retrieval(evaluator, chosen, motions[list(within)], **options)
                if name in said:
                    found[name] |= caption_overlap(chosen, [references[i] for i in within], bert_model=bert_model)
            chance = {f"retrieval_{key}": value for key, value in chance_r_precision(group_size).items()}
            return found | {"chance": dict.fromkeys(_FIGURES) | chance}

        all_rows = rows(range(len(own)))
        by_guess, groups = all_rows["chance"]["retrieval_top1"], len(own) // group_size
        result[source] = head(own) | {
            "group_size": group_size,
            "groups": groups,
            "overlap": groups == 1 and len(own) > group_size,
            "distinct_captions": {name: len(set(texts)) / len(texts) for name, texts in said.items()},
            "top1_over_chance": {
                name: None if row["retrieval_top1"] is None else row["retrieval_top1"] / by_guess
                for name, row in all_rows.items()
            },
            "rows": all_rows,
            "parts": {
                attribute: {label: {"clips": len(w), "rows": rows(w)} for label, w in split.items()}
                for attribute, split in parts(own, split_by).items()
            },
        }
    return result
