"""The closed vocabulary: verbs, objects and hand roles of many narrations, clustered, and candidates for one clip.

After 3D-HIW's second text stage (CLUTCH, ICLR 2026): what was said freely becomes a list to choose from.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiw_data.captioning.embeddings import Embedder
from hiw_data.captioning.narrations import Narration, parse_narration
from hiw_data.captioning.problems import require
from hiw_data.errors import OptionError

SCHEMA = 1
KINDS = ("actions", "objects", "roles")
ALWAYS_ROLES = ("rest", "not seen")
_MOST_CLUSTERED = 3000
"""Phrases compared each with each; rarer ones join the nearest cluster."""


@dataclass(frozen=True)
class Entry:
    """One word of the vocabulary.

    Attributes:
        name: The most frequent of its phrases.
        phrases: Phrase -> how often it was said.
    """

    name: str
    phrases: dict[str, int]


@dataclass(frozen=True)
class Vocabulary:
    """Actions, objects and hand roles, each most frequent first."""

    actions: tuple[Entry, ...]
    objects: tuple[Entry, ...]
    roles: tuple[Entry, ...]

    def names(self, kind: str) -> list[str]:
        """The entries' names of one of KINDS."""
        return [entry.name for entry in getattr(self, kind)]

    @property
    def digest(self) -> str:
        """First 12 digits of the SHA-256 of its JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """JSON text; ``from_json`` gives an equal one back."""
        kinds = {kind: [{"name": e.name, "phrases": e.phrases} for e in getattr(self, kind)] for kind in KINDS}
        return json.dumps({"schema": SCHEMA, **kinds}, ensure_ascii=False, indent=1)

    @staticmethod
    def from_json(text: str) -> Vocabulary:
        """A vocabulary of ``to_json``.

        Raises:
            OptionError: The text is not one.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']!r}")
            return Vocabulary(*(tuple(_entry(row) for row in data[kind]) for kind in KINDS))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OptionError(
                f"Expected a vocabulary of Vocabulary.to_json, got text that is not ({error!r})."
            ) from None


def _entry(row: dict[str, Any]) -> Entry:
    phrases = {str(phrase): int(count) for phrase, count in row["phrases"].items()}
    if not (isinstance(row["name"], str) and row["name"].strip()):
        raise ValueError(f"name {row['name']!r}")
    return Entry(row["name"], phrases or {row["name"]: 1})


def build_vocabulary(
    narrations: Iterable[str],
    roles: Iterable[str],
    embedder: Embedder,
    *,
    least: int = 1,
    parse: Callable[[str], Narration] = parse_narration,
) -> Vocabulary:
    """Verbs and objects of narrations, and the verbs of what each hand is said to do, clustered.

    Args:
        narrations: Of whole clips: people's, and the action and objects that a model answered.
        roles: What one hand does, in a few words each.
        embedder: Says which phrases are near.
        least: Entries that were said less often are left out.
        parse: Reads a narration; bring a tagger's own where the rules are not enough.
    """
    parsed = [parse(text) for text in narrations]
    actions = Counter(n.verb for n in parsed if n.verb)
    objects = Counter(thing for n in parsed for thing in n.objects)
    said = Counter(n.verb for n in map(parse, roles) if n.verb)
    kinds = [
        tuple(e for e in cluster(c, embedder) if sum(e.phrases.values()) >= least) for c in (actions, objects, said)
    ]
    always = tuple(Entry(name, {name: 1}) for name in ALWAYS_ROLES if name not in {e.name for e in kinds[2]})
    return Vocabulary(kinds[0], kinds[1], (*kinds[2], *always))


def cluster(counts: Counter[str], embedder: Embedder) -> list[Entry]:
    """Groups of near phrases (average linkage by cosine distance), the most frequent first."""
    phrases = sorted(counts, key=lambda phrase: (-counts[phrase], phrase))
    if not phrases:
        return []
    vectors = embedder.embed(phrases)
    labels = _labels(vectors[:_MOST_CLUSTERED], embedder.merge_distance)
    if len(phrases) > _MOST_CLUSTERED:
        centres = np.stack([vectors[: len(labels)][labels == k].mean(0) for k in range(labels.max() + 1)])
        labels = np.concatenate([labels, (vectors[_MOST_CLUSTERED:] @ centres.T).argmax(1)])
    groups: dict[int, dict[str, int]] = {}
    for phrase, label in zip(phrases, labels.tolist(), strict=True):
        groups.setdefault(label, {})[phrase] = counts[phrase]
    entries = [Entry(next(iter(group)), group) for group in groups.values()]
    return sorted(entries, key=lambda entry: (-sum(entry.phrases.values()), entry.name))


def _labels(vectors: Any, distance: float) -> Any:
    if len(vectors) < 2:
        return np.zeros(len(vectors), int)
    clusters = require("sklearn.cluster", "vlm").AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=distance
    )
    return clusters.fit_predict(vectors)


class Retriever:
    """Finds the entries of a vocabulary that are nearest to what was said of a clip."""

    def __init__(self, vocabulary: Vocabulary, embedder: Embedder) -> None:
        self.vocabulary, self._embedder = vocabulary, embedder
        self._vectors, self._owner = {}, {}
        for kind in KINDS:
            pairs = [(i, phrase) for i, entry in enumerate(getattr(vocabulary, kind)) for phrase in entry.phrases]
            self._vectors[kind] = embedder.embed([phrase for _, phrase in pairs])
            self._owner[kind] = np.array([i for i, _ in pairs], int)

    def candidates(self, kind: str, said: Sequence[str], number: int) -> list[str]:
        """Names of at most ``number`` entries, nearest first: each by its nearest phrase to any text of ``said``."""
        names = self.vocabulary.names(kind)
        texts = [text for text in said if text.strip()]
        if not names or not texts:
            return names[:number]
        near = (self._embedder.embed(texts) @ self._vectors[kind].T).max(0)
        best = np.full(len(names), -np.inf)
        np.maximum.at(best, self._owner[kind], near)
        return [names[i] for i in np.argsort(-best, kind="stable")[:number]]
