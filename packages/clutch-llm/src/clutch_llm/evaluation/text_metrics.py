"""Word-overlap metrics of captions.

BLEU-1, BLEU-4 (sacrebleu) and ROUGE-L (rouge-score), as fractions in [0, 1]; CIDEr, from 0 to 10.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from clutch_llm.evaluation.vocabulary import split_words


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


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """CIDEr: cosine of TF-IDF n-gram vectors, n = 1 to 4, mean over references and n, times 10.

    Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation", equations 1 to 3, without stemming. The
    document frequency of an n-gram is the number of clips with it in any reference; n-grams that every clip has count
    nothing, so that a phrase that all captions share earns nothing.

    Args:
        hypotheses: N captions.
        references: N lists of true captions; lengths may differ.

    Returns:
        In [0, 10]; None for fewer than two captions, for which no n-gram can be rare.
    """
    _check(hypotheses, references)
    if len(hypotheses) < 2:
        return None
    total = 0.0
    for n in range(1, 5):
        told = [[_ngrams(text, n) for text in texts] for texts in references]
        frequency = Counter(gram for clip in told for gram in set().union(*clip))
        rarity = {gram: math.log(len(references) / count) for gram, count in frequency.items()}
        unseen = math.log(len(references))
        for text, clip in zip(hypotheses, told, strict=True):
            vector = _weigh(_ngrams(text, n), rarity, unseen)
            total += sum(_cosine(vector, _weigh(grams, rarity, unseen)) for grams in clip) / len(clip)
    return 10.0 * total / (4 * len(hypotheses))


Gram = tuple[str, ...]


def _ngrams(text: str, n: int) -> Counter[Gram]:
    words = split_words(text)
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _weigh(grams: Counter[Gram], rarity: Mapping[Gram, float], unseen: float) -> dict[Gram, float]:
    count = sum(grams.values())
    return {gram: times / count * rarity.get(gram, unseen) for gram, times in grams.items()}


def _cosine(a: Mapping[Gram, float], b: Mapping[Gram, float]) -> float:
    length = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
    return sum(value * b.get(gram, 0.0) for gram, value in a.items()) / length if length else 0.0


def caption_overlap(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float | None]:
    """``bleu_1``, ``bleu_4``, ``rouge_l`` and ``cider`` of the captions."""
    return {
        "bleu_1": bleu(hypotheses, references, order=1),
        "bleu_4": bleu(hypotheses, references, order=4),
        "rouge_l": rouge_l(hypotheses, references),
        "cider": cider(hypotheses, references),
    }
