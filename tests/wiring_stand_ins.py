"""Clips and a store of a few of them, which tell by their values which is which; a dataset that keeps its data."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from kedro.io import AbstractDataset


def clip(split: str, number: int, frames: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    return {
        "clip_id": f"{split}/{number}",
        "source": "made",
        "split": split,
        "fps": 15.0,
        "features": rng.normal(size=(frames, 198)).astype(np.float32),
        "valid": np.ones((frames, 2), bool),
        "captions": [f"{split} hand {number}", f"a {split} hand, number {number}"],
        "attributes": {},
    }


class Store:
    """Two clips to train on, one to validate, one to test; one of train and that of val have paraphrases."""

    data_hash, fps = "abc", 15.0

    def clips(self, split: str | None = None) -> list[dict[str, Any]]:
        made = [clip("train", 0), clip("train", 1), clip("val", 2), clip("test", 3)]
        made[1]["paraphrases"], made[2]["paraphrases"] = ["once more, training"], ["once more, val"]
        return [c for c in made if split in (None, c["split"])]

    def iterate(self, split: str | None = None) -> Iterator[dict[str, Any]]:
        return iter(self.clips(split))

    def rows(self, columns: Sequence[str], split: str | None = None) -> Iterator[dict[str, Any]]:
        return ({name: c.get(name) for name in columns} for c in self.clips(split))


def whole_clips(store: Any, split: str, *, window: None) -> list[dict[str, Any]]:
    """In place of `HiwDataset`: the clips of a split of a store that is none."""
    assert window is None
    return list(store.clips(split))


TOKENS = {c["clip_id"]: np.full((2, 4), k) for k, c in enumerate(Store().clips())}


class Kept(AbstractDataset[Any, Any]):
    """Holds what it is given; the runner does not let go of it."""

    def save(self, data: Any) -> None:
        self.data = data

    def load(self) -> Any:
        return self.data

    def _describe(self) -> dict[str, Any]:
        return {}
