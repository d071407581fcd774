"""Windows of a store as a torch dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from hiw_data.clips import FEATURES
from hiw_data.errors import OptionError
from hiw_data.store import HiwStore

IN_MEMORY_BYTES = 4 << 30
_TRANSLATION = (slice(96, 99), slice(195, 198))


class HiwDataset(Dataset[dict[str, Any]]):
    """Windows of equal length, padded with masked frames where a clip is shorter.

    An item is a dict of "features" (window, 198) float32 and "valid" (window, 2) bool tensors, "captions" (list),
    "clip_id", "source", "split", "attributes", "start" (first frame in the clip) and "length" (frames that are
    not padding). Windows that begin inside a clip are made canonical anew: the mean of the two wrists in
    their first frame is where it was in the clip's first frame. Use `collate` to batch items.

    Args:
        path: a store's folder, or an open store.
        split: "train", "val", "test" or None for all.
        window: frames of a window.
        source: one source, or None for all.
        stride: distance between windows of one clip; default `window`. The last window ends with its clip.
        in_memory: read the frames once; by default for stores of up to 4 GiB.

    Raises:
        StoreError: the store cannot be read.
        OptionError: no such split or source, or a window or stride below 1.
    """

    def __init__(
        self,
        path: str | Path | HiwStore,
        split: str | None = "train",
        window: int = 64,
        *,
        source: str | None = None,
        stride: int | None = None,
        in_memory: bool | None = None,
    ) -> None:
        self.store = path if isinstance(path, HiwStore) else HiwStore.open(path)
        stride = window if stride is None else stride
        if window < 1 or stride < 1:
            raise OptionError(f"Expected window and stride of at least 1, got {window} and {stride}.")
        self.window = window
        lengths = [m["length"] for m in self.store.metadata]
        self.windows = [
            (clip, start)
            for clip in self.store.select(split, source)
            for start in window_starts(lengths[clip], window, stride)
        ]
        size = sum(lengths) * FEATURES * 4
        self._read = (
            self.store.clip if in_memory or (in_memory is None and size <= IN_MEMORY_BYTES) else (self.store.read_clip)
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        position, start = self.windows[index]
        clip = self._read(position)
        stop = min(start + self.window, len(clip["features"]))
        features, valid = clip["features"][start:stop].copy(), clip["valid"][start:stop].copy()
        if start:
            shift = sum(features[0, columns] - clip["features"][0, columns] for columns in _TRANSLATION) / 2
            for columns in _TRANSLATION:
                features[:, columns] -= shift
        if (missing := self.window - len(features)) > 0:
            features = np.concatenate([features, np.repeat(features[-1:], missing, 0)])
            valid = np.concatenate([valid, np.zeros((missing, 2), bool)])
        return {
            "features": torch.from_numpy(features),
            "valid": torch.from_numpy(valid),
            "captions": clip["captions"],
            "clip_id": clip["clip_id"],
            "source": clip["source"],
            "split": clip["split"],
            "attributes": clip["attributes"],
            "start": start,
            "length": stop - start,
        }


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First frames of the windows that cover a clip; the last one ends with the clip.

    >>> window_starts(10, 4, 4), window_starts(3, 4, 4)
    ([0, 4, 6], [0])
    """
    last = max(0, length - window)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Batches items: tensors are stacked, everything else becomes a list."""
    batch: dict[str, Any] = {key: [item[key] for item in items] for key in items[0]}
    for key in ("features", "valid"):
        batch[key] = torch.stack(batch[key])
    return batch
