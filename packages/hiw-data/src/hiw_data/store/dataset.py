"""Windows of a store as torch datasets read them: which there are, and what an item is; the map-style dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from hiw_data.errors import OptionError
from hiw_data.store.reader import HiwStore

_TRANSLATION = (slice(96, 99), slice(195, 198))


class HiwDataset(Dataset[dict[str, Any]]):
    """Windows of equal length, padded with masked frames where a clip is shorter; or whole clips.

    An item is a dict of "features" (window, 198) float32 and "valid" (window, 2) bool tensors, "captions" (list),
    "mirrored_captions", "paraphrases" and "mirrored_paraphrases" (lists, or None where the clip has none), "clip_id",
    "source", "split", "attributes", "fps", "start" (first frame in the clip) and "length" (frames that are not
    padding). Windows that begin inside a clip are made canonical anew: the mean of the two wrists in
    their first frame is where it was in the clip's first frame. Use `collate` to batch items.

    Nothing of the frames is kept in memory; an item is read when asked for. Safe with any number of workers, forked or
    spawned, and with a `DistributedSampler`.

    Args:
        path: a store's folder or URL, or an open store.
        split: "train", "val", "test" or None for all.
        window: frames of a window; None for clips as they are, each a window of its own length.
        source: one source, or None for all.
        stride: distance between windows of one clip; default `window`. The last window ends with its clip.

    Raises:
        StoreError: the store cannot be read.
        OptionError: no such split or source, or a window or stride below 1.
    """

    def __init__(
        self,
        path: str | Path | HiwStore,
        split: str | None = "train",
        window: int | None = 64,
        *,
        source: str | None = None,
        stride: int | None = None,
    ) -> None:
        self.store = path if isinstance(path, HiwStore) else HiwStore.open(path)
        self.window = window
        self.positions, self.starts = list_windows(self.store, split, source, window, stride)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Expected an index below {len(self)}, got {index}.")
        return read_window(self.store, int(self.positions[index]), int(self.starts[index]), self.window)


def list_windows(
    store: HiwStore, split: str | None, source: str | None, window: int | None, stride: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The windows of a split and a source: each one's clip and first frame, (N,) and (N,), in stored order.

    Raises:
        OptionError: no such split or source, a window or stride below 1, or a stride without a window.
    """
    chosen = np.asarray(store.select(split, source), np.int64)
    if window is None:
        if stride is not None:
            raise OptionError(f"Expected no stride for whole clips, got {stride}. Leave it out, or give a window.")
        return chosen, np.zeros(len(chosen), np.int64)
    stride = window if stride is None else stride
    if window < 1 or stride < 1:
        raise OptionError(f"Expected window and stride of at least 1, got {window} and {stride}.")
    last = np.maximum(0, store.lengths[chosen] - window)
    counts = 1 + -(-last // stride)
    clips = np.repeat(np.arange(len(chosen)), counts)
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return chosen[clips], np.minimum(nth * stride, last[clips])


def read_window(store: HiwStore, position: int, start: int, window: int | None) -> dict[str, Any]:
    """One item, see `HiwDataset`."""
    length = int(store.lengths[position])
    window = length if window is None else window
    stop = min(start + window, length)
    features, valid = store.read_frames(position, start, stop)
    if start:
        first = store.read_frames(position, 0, 1)[0]
        shift = sum(features[0, columns] - first[0, columns] for columns in _TRANSLATION) / 2
        for columns in _TRANSLATION:
            features[:, columns] -= shift
    if (missing := window - len(features)) > 0:
        features = np.concatenate([features, np.repeat(features[-1:], missing, 0)])
        valid = np.concatenate([valid, np.zeros((missing, 2), bool)])
    row = store.words(position)
    return {
        "features": torch.from_numpy(features),
        "valid": torch.from_numpy(valid),
        **row,
        "fps": store.fps,
        "start": start,
        "length": stop - start,
    }


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Batches items: tensors are stacked, everything else becomes a list."""
    batch: dict[str, Any] = {key: [item[key] for item in items] for key in items[0]}
    for key in ("features", "valid"):
        batch[key] = torch.stack(batch[key])
    return batch
