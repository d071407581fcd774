"""Train, validation and test: a stable hash of what was recorded decides, so that nothing can leak.

The split of an origin depends on its name and the seed alone: adding or removing other clips, reordering
them or building on another machine changes nothing. Pieces cut from one recording share its origin.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from hiw_data.clips import SPLITS


def assign_split(origin: str, *, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0) -> str:
    """The split of one recording.

    Args:
        origin: a name that is the same on every machine, such as a path inside a package.
        fractions: shares of train, val and test; they sum to 1.
        seed: another seed draws other splits.

    Returns:
        "train", "val" or "test".

    Raises:
        ValueError: the fractions are not three non-negative numbers that sum to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"Expected three split fractions that sum to 1, got {tuple(fractions)}.")
    digest = hashlib.sha256(f"{seed}/{origin}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < fractions[0]:
        return SPLITS[0]
    return SPLITS[1] if position < fractions[0] + fractions[1] else SPLITS[2]


def letter_overlap(clips: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """How letters recur across languages and splits: clips never do, but the same letter may.

    Args:
        clips: metadata of clips with "split" and "attributes" (those without a "letter" are ignored).

    Returns:
        Counts of distinct letters; letters in more than one language; and, for val and test, the share of
        clips whose letter occurs in train at all, and whose letter occurs in train in the same language.
    """
    languages: dict[str, set[str]] = defaultdict(set)
    rows: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    for clip in clips:
        attributes = clip["attributes"]
        if "letter" in attributes:
            languages[attributes["letter"]].add(attributes["language"])
            rows[clip["split"]].append((attributes["letter"], attributes["language"]))
    if not languages:
        return {}
    train_letters, train_pairs = {letter for letter, _ in rows["train"]}, set(rows["train"])
    report: dict[str, Any] = {
        "letters": len(languages),
        "letters_in_several_languages": sum(len(v) > 1 for v in languages.values()),
    }
    for split in ("val", "test"):
        n = max(1, len(rows[split]))
        report[f"{split}_clips_with_letter_in_train"] = round(
            sum(letter in train_letters for letter, _ in rows[split]) / n, 4
        )
        report[f"{split}_clips_with_letter_and_language_in_train"] = round(
            sum(row in train_pairs for row in rows[split]) / n, 4
        )
    return report
