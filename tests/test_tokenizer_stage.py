"""The tokenizer's stage: which clips, rate and validity reach the package, and who trains."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from shift_tokenizer import RateError, ShiftConfig, ShiftTokenizer, TokenizerTraining

from pipelines import tokenizer as stage
from tests.wiring_stand_ins import whole_clips

CONFIG = ShiftConfig(width=8, codebook_size=12, code_dim=4, dilations=(1,))


class Store:
    """A store of one clip a split, whose left hand is not seen at first."""

    fps = 15.0

    def clips(self, split: str | None = None) -> list[dict[str, Any]]:
        names = ["train", "val", "test"] if split is None else [split]
        valid = np.ones((16, 2), bool)
        valid[:6, 0] = False
        features = np.random.default_rng(0).normal(size=(16, 198)).astype(np.float32)
        features[:6, :99] = self.stand_in
        return [{"clip_id": name, "features": features, "valid": valid, "fps": self.fps} for name in names]

    def iterate(self, split: str | None = None) -> Iterator[dict[str, Any]]:
        return iter(self.clips(split))

    stand_in = 0.0


def test_it_trains_on_train_and_validates_on_val_by_all_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(stage, "ensure_process_group", lambda: called.append("joined"))

    def train(clips: list, config: ShiftConfig, training: TokenizerTraining, **options: Any) -> tuple:
        called.append(([c["clip_id"] for c in clips], [c["clip_id"] for c in options["val_clips"]]))
        called.append((config, training, options["checkpoint_dir"]))
        return "tokenizer", []

    monkeypatch.setattr(stage, "train_tokenizer", train)
    monkeypatch.setattr(stage, "HiwDataset", whole_clips)
    training = TokenizerTraining(steps=3)
    assert stage.train(Store(), CONFIG, training, "there") == ("tokenizer", [])
    assert called == ["joined", (["train"], ["val"]), (CONFIG, training, "there/tokenizer")]


def test_tokens_do_not_depend_on_what_stands_where_a_hand_is_not_seen() -> None:
    shift, store = ShiftTokenizer(CONFIG).eval(), Store()
    before = stage.tokenize(store, shift)
    assert sorted(before) == ["test", "train", "val"]
    assert before["train"].shape == (4, 4)
    store.stand_in = np.nan
    after = stage.tokenize(store, shift)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_store_of_another_rate_is_refused() -> None:
    store = Store()
    store.fps = 30.0
    with pytest.raises(RateError, match="got 30"):
        stage.tokenize(store, ShiftTokenizer(CONFIG).eval())
