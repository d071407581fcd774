"""Which clips of a store a page lists: filters over the index's columns and the frames in which hands were seen."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hiw_data.errors import OptionError
from hiw_data.store.reader import HiwStore
from hiw_data.store.shards import WIDTHS, shard_key

SEEN = ("any", "left", "right", "both")
"""Of which hand the share of seen frames is taken: at least one, the left, the right, or both at once."""
MOST_LISTED = 200
_MOST_TEXT = 200
_DEFAULTS = {"words": "", "source": "", "split": "", "hand": "any", "seen": "0", "offset": "0", "limit": "50"}


@dataclass(frozen=True)
class ClipQuery:
    """What is asked for.

    Attributes:
        words: Each of them stands in the clip's name or one of its captions, whatever the case; at most 200 characters.
        source, split: "" for all.
        hand: One of SEEN.
        seen: The least share of frames in which that hand was seen, 0 to 1.
    """

    words: str = ""
    source: str = ""
    split: str = ""
    hand: str = "any"
    seen: float = 0.0

    def __post_init__(self) -> None:
        if len(self.words) > _MOST_TEXT:
            raise OptionError(f"words: Expected at most {_MOST_TEXT} characters, got {len(self.words)}.")
        if self.hand not in SEEN:
            raise OptionError(f"hand: Expected one of {', '.join(SEEN)}, got {self.hand[:40]!r}.")
        if not 0 <= self.seen <= 1:
            raise OptionError(f"seen: Expected a share from 0 to 1, got {self.seen}.")


def parse_query(parameters: Mapping[str, str]) -> tuple[ClipQuery, int, int]:
    """Reads the parameters words, source, split, hand, seen, offset (from 0) and limit (1 to 200).

    Returns:
        The query, the offset and the limit.

    Raises:
        OptionError: A parameter is unknown or out of its range.
    """
    for name in parameters:
        if name not in _DEFAULTS:
            raise OptionError(f"Expected parameters of {', '.join(_DEFAULTS)}, got {name[:40]!r}.")
    given = {**_DEFAULTS, **parameters}
    try:
        seen = float(given["seen"])
    except ValueError:
        seen = math.nan
    query = ClipQuery(given["words"], given["source"], given["split"], given["hand"], seen)
    return query, _whole(given, "offset", 0, 10**9), _whole(given, "limit", 1, MOST_LISTED)


def _whole(given: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = given[name]
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise OptionError(f"{name}: Expected a whole number from {least} to {most}, got {text[:40]!r}.")
    return int(text)


class ClipIndex:
    """Finds clips of a store without reading their motion. May be shared between threads.

    The shares of seen frames of all clips are read when they are first filtered by, two bytes a frame, and kept as
    four numbers a clip; until then only those of the clips that are listed.
    """

    def __init__(self, store: HiwStore) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._shares: NDArray[np.float32] | None = None
        self._found = lru_cache(maxsize=16)(self._find)
        self._said = lru_cache(maxsize=16)(self._with_word)  # one byte a clip each

    @property
    def shares(self) -> NDArray[np.float32]:
        """Share of the frames in which hands were seen, (clips, 4) as in SEEN, 0 to 1.

        Raises:
            StoreError: A shard cannot be read.
        """
        with self._lock:
            if self._shares is None:
                self._shares = _seen_shares(self.store)
            return self._shares

    def find(self, query: ClipQuery) -> NDArray[np.int64]:
        """Positions of the clips that fit, in stored order.

        Raises:
            OptionError: There is no such source or split.
            StoreError: A shard cannot be read.
        """
        return self._found(query)

    def _find(self, query: ClipQuery) -> NDArray[np.int64]:
        chosen = np.zeros(len(self.store), bool)
        chosen[self.store.select(query.split or None, query.source or None)] = True
        for word in query.words.split():
            chosen &= self._said(word)
        if query.seen > 0:
            chosen &= self.shares[:, SEEN.index(query.hand)] >= np.float32(query.seen)
        return np.flatnonzero(chosen)

    def _with_word(self, word: str) -> NDArray[np.bool_]:
        return np.concatenate([np.zeros(0, bool), *(_with_word(batch, word) for batch in self.store.batches())])

    def page(self, query: ClipQuery, offset: int, limit: int) -> dict[str, Any]:
        """The clips that fit, from the one at ``offset`` on, at most ``limit`` of them.

        Returns:
            ``total``, ``offset`` and ``clips``, each with id, source, split, frames, seconds, seen, caption.

        Raises:
            OptionError: There is no such source or split.
            StoreError: A shard cannot be read.
        """
        found = self.find(query)
        positions = found[offset : offset + limit]
        columns = self.store.table.select(["clip_id", "source", "split", "length", "captions"])
        rows = [columns.slice(position, 1).to_pylist()[0] for position in positions.tolist()]
        clips = [
            {
                "id": row["clip_id"],
                "source": row["source"],
                "split": row["split"],
                "frames": row["length"],
                "seconds": round(row["length"] / self.store.fps, 2),
                "seen": dict(zip(SEEN, (round(float(x), 4) for x in share), strict=True)),
                "caption": (row["captions"] or [""])[0],
            }
            for row, share in zip(rows, self._shares_of(positions), strict=True)
        ]
        return {"total": len(found), "offset": offset, "clips": clips}

    def _shares_of(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """`shares` of some clips: those of all others are not read for it."""
        if self._shares is not None:
            return self._shares[positions]
        shares = np.zeros((len(positions), len(SEEN)), np.float32)
        for row, position in enumerate(positions.tolist()):
            seen = _seen(self.store.read_valid(position))
            shares[row] = seen.mean(0) if len(seen) else 0.0
        return shares

    def position(self, clip_id: str) -> int | None:
        """Where the clip of a name is; None if there is none."""
        found = pc.index(self.store.column("clip_id"), pa.scalar(clip_id, pa.string())).as_py()
        return found if found >= 0 else None


def _with_word(batch: pa.RecordBatch, word: str) -> NDArray[np.bool_]:
    found = pc.match_substring(batch.column("clip_id"), word, ignore_case=True).to_numpy(zero_copy_only=False).copy()
    captions = batch.column("captions")
    fits = pc.match_substring(captions.flatten(), word, ignore_case=True).fill_null(False)
    found[pc.list_parent_indices(captions).filter(fits).to_numpy()] = True
    return found


def _seen(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether hands were seen, as in SEEN: flags of left and right (T, 2) -> (T, 4)."""
    left, right = valid.T
    return np.stack([left | right, left, right, left & right], 1)


def _seen_shares(store: HiwStore) -> NDArray[np.float32]:
    """Reads the flags shard by shard and sums them clip by clip."""
    shares = np.zeros((len(store), len(SEEN)), np.float32)
    numbers, firsts = np.divmod(store.starts, store.shard_frames)
    for number in np.unique(numbers).tolist():
        own = np.flatnonzero(numbers == number)
        own = own[np.argsort(firsts[own], kind="stable")]
        begin, end = firsts[own], firsts[own] + store.lengths[own]
        flags = np.empty((int(end.max()), WIDTHS["valid"]), np.uint8)
        store.files.read_into(shard_key("valid", number), 0, flags)
        sums = np.zeros((len(flags) + 1, len(SEEN)), np.int64)
        np.cumsum(_seen(flags.astype(bool)), axis=0, out=sums[1:])
        shares[own] = (sums[end] - sums[begin]) / np.maximum(store.lengths[own], 1)[:, None]
    return shares
