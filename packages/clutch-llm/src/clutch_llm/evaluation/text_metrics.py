"""Word-overlap metrics of captions.

BLEU-1, BLEU-4 (sacrebleu), ROUGE-L (rouge-score) and METEOR (nltk), as fractions in [0, 1]; CIDEr, from 0 to 10. With
a language model of yours, BERTScore (torchmetrics).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from clutch_llm.errors import ConfigError
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


class _NoSynonyms:
    """In place of WordNet, which nltk would have to fetch."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """METEOR (Banerjee and Lavie 2005; nltk's): mean over captions of the best score among the caption's references.

    Words match as they are or by their Porter stem, not as synonyms. Precision P and recall R of the words make
    ``10 P R / (R + 9 P)``, of which scattered matches lose up to a half: ``0.5 * (chunks / matches) ** 3``.

    Returns:
        In [0, 1]; None for no captions.
    """
    from nltk.translate.meteor_score import meteor_score

    _check(hypotheses, references)
    if not hypotheses:
        return None
    scores = [
        meteor_score([split_words(text) for text in texts], split_words(said), wordnet=_NoSynonyms())
        for said, texts in zip(hypotheses, references, strict=True)
    ]
    return float(sum(scores) / len(scores))


def bert_score(hypotheses: Sequence[str], references: Sequence[Sequence[str]], model: Path | str) -> float | None:
    """BERTScore (Zhang et al. 2020; torchmetrics'): mean over captions of the best F1 among the caption's references.

    Tokens are matched by the cosine of the model's last hidden states, all alike in weight (no idf), without
    rescaling: figures of two models do not compare.

    Args:
        hypotheses: N captions.
        references: N lists of true captions; lengths may differ.
        model: folder of an encoder such as BERT or RoBERTa, as transformers saves it. Nothing is downloaded.

    Returns:
        At most 1; None for no captions.

    Raises:
        ConfigError: when there is no such folder.
    """
    from torchmetrics.functional.text import bert_score as score

    _check(hypotheses, references)
    if not hypotheses:
        return None
    tokenizer, encoder = _encoder(str(model))
    said = [text for text, texts in zip(hypotheses, references, strict=True) for _ in texts]
    true = [text for texts in references for text in texts]
    found = score(said, true, model=encoder, user_tokenizer=tokenizer, truncation=True)["f1"]
    best = [pairs.max() for pairs in torch.as_tensor(found).flatten().split([len(texts) for texts in references])]
    return float(torch.stack(best).mean())


@lru_cache(maxsize=1)
def _encoder(folder: str) -> tuple[Any, Any]:
    """Tokenizer and model of a folder."""
    from transformers import AutoModel, AutoTokenizer

    if not Path(folder).is_dir():
        raise ConfigError(
            f"Expected the folder of a model for BERTScore, got {folder}. Nothing is downloaded: fetch it."
        )
    options = {"local_files_only": True}
    return AutoTokenizer.from_pretrained(folder, **options), AutoModel.from_pretrained(folder, **options)


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


def caption_overlap(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, bert_model: Path | str | None = None
) -> dict[str, float | None]:
    """``bleu_1``, ``bleu_4``, ``rouge_l``, ``meteor``, ``cider``, and with a model ``bert_score`` of the captions."""
    found = {
        "bleu_1": bleu(hypotheses, references, order=1),
        "bleu_4": bleu(hypotheses, references, order=4),
        "rouge_l": rouge_l(hypotheses, references),
        "meteor": meteor(hypotheses, references),
        "cider": cider(hypotheses, references),
    }
    return found if bert_model is None else found | {"bert_score": bert_score(hypotheses, references, bert_model)}
