"""Word-overlap metrics of captions.

BLEU-1, BLEU-4 (sacrebleu) and ROUGE-L (rouge-score), as fractions in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(hypotheses) != len(references):
        raise ValueError(
            f"Expected one list of references per caption, got {len(hypotheses)} captions and "
            f"{len(references)} lists. "
            "Pass clip['captions'] of the same clips in the same order."
        )
    empty = [i for i, texts in enumerate(references) if not texts]
    if empty:
        raise ValueError(f"Expected at least one reference per caption, got none at {empty[:5]}. Drop these clips.")


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, order: int = 4) -> float | None:
    """Corpus BLEU of n-grams up to ``order`` against all references of each caption, lower-cased, 13a tokens.

    Args:
        hypotheses: N captions.
        references: N lists of true captions; lengths may differ.
        order: largest n-gram: 4 for BLEU-4, 1 for BLEU-1.

    Returns:
        In [0, 1]; None for no captions.
    """
    from sacrebleu.metrics import BLEU

    _check(hypotheses, references)
    if not hypotheses:
        return None
    streams = [list(stream) for stream in zip_longest(*references, fillvalue="")]
    metric = BLEU(lowercase=True, max_ngram_order=order, force=True)
    return float(metric.corpus_score(list(hypotheses), streams).score) / 100.0


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """Mean over captions of the best ROUGE-L F-measure among the caption's references.

    None for no captions.
    """
    from rouge_score.rouge_scorer import RougeScorer

    _check(hypotheses, references)
    if not hypotheses:
        return None
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    best = [
        max(scorer.score(reference, hypothesis)["rougeL"].fmeasure for reference in texts)
        for hypothesis, texts in zip(hypotheses, references, strict=True)
    ]
    return float(sum(best) / len(best))


def caption_overlap(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float | None]:
    """``bleu_1``, ``bleu_4`` and ``rouge_l`` of the captions."""
    return {
        "bleu_1": bleu(hypotheses, references, order=1),
        "bleu_4": bleu(hypotheses, references, order=4),
        "rouge_l": rouge_l(hypotheses, references),
    }
