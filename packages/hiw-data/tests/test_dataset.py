from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_geometry import features_to_joints
from hiw_data import HiwDataset, HiwStore, collate
from hiw_data.clips import Clip, padded_length
from hiw_data.store.dataset import list_windows
from hiw_data.store.writer import StoreWriter
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

MakeClip = Callable[..., Clip]


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> HiwStore:
    path = tmp_path_factory.mktemp("ragged") / "a.zarr"
    with StoreWriter(path, fps=15) as writer:
        for k, frames in enumerate((8, 40, 64)):
            writer.append(make_clip(str(k), frames, seed=k))
        writer.append(make_clip("3", 20, split="val"))
        writer.publish({})
    return HiwStore.open(path)


class Lengths:
    """A store of which only the lengths are known."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = np.array(lengths, np.int64)

    def select(self, split: str | None, source: str | None) -> list[int]:
        return list(range(len(self.lengths)))


@given(st.lists(st.integers(1, 200), max_size=4), st.integers(1, 64), st.integers(1, 64))
def test_windows_cover_every_frame_and_stay_inside(lengths: list[int], window: int, stride: int) -> None:
    positions, starts = list_windows(Lengths(*lengths), None, None, window, min(stride, window))  # type: ignore[arg-type]
    for clip, length in enumerate(lengths):
        own = starts[positions == clip].tolist()
        covered = np.zeros(length, bool)
        for start in own:
            assert 0 <= start <= max(0, length - window)
            covered[start : start + window] = True
        assert covered.all()
        assert own == sorted(set(own))
    assert positions.tolist() == sorted(positions.tolist())


def test_the_last_window_ends_with_its_clip() -> None:
    positions, starts = list_windows(Lengths(10, 3), None, None, 4, 4)  # type: ignore[arg-type]
    assert positions.tolist() == [0, 0, 0, 1]
    assert starts.tolist() == [0, 4, 6, 0]


@given(st.integers(0, 500), st.sampled_from([4, 8, 16]))
def test_padded_lengths_are_the_next_multiple(frames: int, multiple: int) -> None:
    padded = padded_length(frames, multiple=multiple, minimum=multiple)
    assert padded % multiple == 0
    assert padded >= max(frames, multiple)
    assert padded < frames + multiple or padded == multiple


def test_short_clips_are_padded_with_masked_copies_of_their_last_frame(ragged: HiwStore) -> None:
    item = HiwDataset(ragged, window=32)[0]
    assert item["features"].shape == (32, 198)
    assert item["features"].dtype == torch.float32
    assert item["valid"].dtype == torch.bool
    assert item["valid"][:8].all()
    assert not item["valid"][8:].any()
    assert (item["features"][8:] == item["features"][7]).all()
    assert (item["length"], item["start"], item["clip_id"]) == (8, 0, "0")


def test_long_clips_are_cut_into_windows(ragged: HiwStore) -> None:
    dataset = HiwDataset(ragged.path, window=32, stride=16)
    assert [(w["clip_id"], w["start"]) for w in dataset] == [
        ("0", 0), ("1", 0), ("1", 8), ("2", 0), ("2", 16), ("2", 32),
    ]  # fmt: skip
    clip, window = ragged.clips()[1], dataset[2]
    got, expected = window["features"].numpy(), clip["features"][8:40]
    np.testing.assert_array_equal(got[:, :96], expected[:, :96])
    moved = got[:, 96:99] - expected[:, 96:99]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-5)


def test_windows_are_canonical(store: HiwStore) -> None:
    for item in HiwDataset(store, None, window=32, stride=12):
        wrists = features_to_joints(item["features"][:1])[0, :, 0]
        np.testing.assert_allclose(wrists.mean(0), 0, atol=1e-5)


def test_splits_and_sources_are_selected(ragged: HiwStore) -> None:
    assert {item["clip_id"] for item in HiwDataset(ragged, "val")} == {"3"}
    assert len(HiwDataset(ragged, None, window=64, source="made")) == 4
    with pytest.raises(ValueError, match="Expected a source"):
        HiwDataset(ragged, source="video")
    with pytest.raises(ValueError, match="at least 1"):
        HiwDataset(ragged, window=0)


def test_without_a_window_an_item_is_a_clip_as_it_is(ragged: HiwStore) -> None:
    dataset = HiwDataset(ragged, None, window=None)
    assert [(item["clip_id"], item["start"], item["length"]) for item in dataset] == [
        (clip["clip_id"], 0, len(clip["features"])) for clip in ragged.clips()
    ]
    for item, clip in zip(dataset, ragged.clips(), strict=True):
        np.testing.assert_array_equal(item["features"].numpy(), clip["features"])
        np.testing.assert_array_equal(item["valid"].numpy(), clip["valid"])
        assert (item["fps"], item["source"]) == (clip["fps"], clip["source"])
    with pytest.raises(ValueError, match="no stride for whole clips"):
        HiwDataset(ragged, window=None, stride=8)


def test_it_feeds_a_data_loader(ragged: HiwStore) -> None:
    batch = next(iter(DataLoader(HiwDataset(ragged), batch_size=3, collate_fn=collate)))
    assert batch["features"].shape == (3, 64, 198)
    assert batch["valid"].shape == (3, 64, 2)
    assert batch["clip_id"] == ["0", "1", "2"]


def test_a_path_without_a_store_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"Expected a store at .*nothing there"):
        HiwDataset(tmp_path / "none.zarr")
