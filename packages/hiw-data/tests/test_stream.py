"""The streaming reader: every window once an epoch, over any number of processes and workers, and from any point on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hiw_data import HiwDataset, HiwStore, HiwStream, StoreWriter, collate
from hiw_data.clips import Clip
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

MakeClip = Callable[..., Clip]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> HiwStore:
    """61 clips of 8 to 40 frames in many small shards."""
    path = tmp_path_factory.mktemp("many") / "a.zarr"
    with StoreWriter(path, fps=15, shard_frames=128) as writer:
        for k in range(61):
            writer.append(make_clip(str(k), 8 + k % 9 * 4, seed=k, split="val" if k % 10 == 0 else "train"))
        writer.publish({})
    return HiwStore.open(path)


def names(items: object) -> list[tuple[str, int]]:
    return [(item["clip_id"], item["start"]) for item in items]  # type: ignore[attr-defined]


def batch_names(batches: object) -> list[list[tuple[str, int]]]:
    return [list(zip(batch["clip_id"], batch["start"], strict=True)) for batch in batches]  # type: ignore[attr-defined]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 3), st.integers(1, 30), st.integers(1, 9), st.booleans())
def test_processes_share_out_an_epoch_without_overlap_and_equally(
    many: HiwStore, world: int, epoch: int, window: int, pool: int, shuffle: bool
) -> None:
    everything = names(HiwDataset(many, window=window))
    shares = []
    for rank in range(world):
        stream = HiwStream(many, window=window, pool=pool, shuffle=shuffle, rank=rank, world=world)
        stream.set_epoch(epoch)
        shares.append(names(stream))
        assert len(stream) == len(shares[-1])
    assert len({len(share) for share in shares}) == 1
    given_out = [name for share in shares for name in share]
    assert len(set(given_out)) == len(given_out)
    assert set(given_out) <= set(everything)
    assert len(everything) - len(given_out) < world


def test_items_are_those_of_the_map_style_dataset(many: HiwStore) -> None:
    wanted = {(item["clip_id"], item["start"]): item for item in HiwDataset(many, "val", window=16)}
    stream = HiwStream(many, "val", window=16)
    assert len(stream) == len(wanted)
    for item in stream:
        same = wanted[item["clip_id"], item["start"]]
        assert torch.equal(item["features"], same["features"])
        assert torch.equal(item["valid"], same["valid"])
        assert item["captions"] == same["captions"]


def test_an_epoch_reads_a_few_shards_at_a_time_in_an_order_of_its_own(many: HiwStore) -> None:
    stream = HiwStream(many, window=8, pool=2)
    shards = many.starts[stream.positions] // 128
    orders = [stream.order(epoch) for epoch in (0, 1, 0)]
    assert orders[0].tolist() == orders[2].tolist() != orders[1].tolist()
    visited = shards[orders[0]]
    last = {shard: np.flatnonzero(visited == shard).max() for shard in set(visited.tolist())}
    first = {shard: np.flatnonzero(visited == shard).min() for shard in last}
    at_once = [sum(first[s] <= at <= last[s] for s in last) for at in range(len(visited))]
    assert max(at_once) == 2
    assert visited.tolist() != sorted(visited.tolist())
    assert HiwStream(many, window=8, seed=1).order(0).tolist() != HiwStream(many, window=8).order(0).tolist()


@pytest.mark.parametrize("given_already", [0, 1, 17, 10_000])
def test_it_goes_on_where_it_was(many: HiwStore, given_already: int) -> None:
    stream = HiwStream(many, window=16)
    stream.set_epoch(3)
    whole = names(stream)
    state = stream.state_dict(given_already)
    again = HiwStream(many, window=16)
    again.load_state_dict(state)
    assert again.epoch == 3
    assert names(again) == whole[given_already:]
    again.set_epoch(4)
    assert len(names(again)) == len(whole)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker:UserWarning")
@pytest.mark.parametrize(("workers", "context"), [(1, "fork"), (3, "fork"), (2, "spawn")])
def test_with_workers_every_window_comes_once_and_resuming_is_exact(many: HiwStore, workers: int, context: str) -> None:
    def loader(stream: HiwStream) -> DataLoader:
        return DataLoader(
            stream, batch_size=4, num_workers=workers, collate_fn=collate, multiprocessing_context=context
        )

    stream = HiwStream(many.path, window=16)
    whole = batch_names(loader(stream))
    assert sorted(name for batch in whole for name in batch) == sorted(names(HiwDataset(many, window=16)))
    for batches in (5,) if context == "spawn" else (1, 5, len(whole) - 1):
        again = HiwStream(many.path, window=16)
        again.load_state_dict(stream.state_dict(batches, batch_size=4, workers=workers))
        assert batch_names(loader(again)) == whole[batches:]


def test_workers_that_live_on_are_told_of_the_next_epoch(many: HiwStore) -> None:
    stream = HiwStream(many, window=16)
    loader = DataLoader(stream, batch_size=4, num_workers=1, collate_fn=collate, persistent_workers=True)
    first = batch_names(loader)
    stream.set_epoch(1)
    second = batch_names(loader)
    assert first != second
    assert sorted(name for batch in first for name in batch) == sorted(name for batch in second for name in batch)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_the_map_style_dataset_is_right_with_workers(many: HiwStore, context: str) -> None:
    dataset = HiwDataset(many, window=16)
    loader = DataLoader(dataset, batch_size=8, num_workers=2, collate_fn=collate, multiprocessing_context=context)
    alone = DataLoader(dataset, batch_size=8, collate_fn=collate)
    for a, b in zip(loader, alone, strict=True):
        assert torch.equal(a["features"], b["features"])
        assert a["clip_id"] == b["clip_id"]


def test_another_setting_or_number_of_workers_is_refused(many: HiwStore) -> None:
    state = HiwStream(many, window=16).state_dict(2, workers=2)
    with pytest.raises(ValueError, match="Expected a state of"):
        HiwStream(many, window=8).load_state_dict(state)
    with pytest.raises(ValueError, match=r"over 2 process"):
        HiwStream(many, window=16, rank=0, world=2).load_state_dict(state)
    stream = HiwStream(many, window=16)
    stream.load_state_dict(state)
    with pytest.raises(ValueError, match=r"Expected 2 worker\(s\)"):
        next(iter(stream))
    with pytest.raises(ValueError, match="0 <= rank < world"):
        HiwStream(many, rank=2, world=2)


DISTRIBUTED = """
import json, sys
import torch
from hiw_data import HiwStream
rank, store, rendezvous = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
stream = HiwStream(store, window=16)
print(json.dumps([[item["clip_id"], item["start"]] for item in stream]))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_under_torch_distributed_each_process_finds_its_share(many: HiwStore, tmp_path: Path) -> None:
    import json

    command = [sys.executable, "-c", DISTRIBUTED]
    runs = [
        subprocess.Popen([*command, str(rank), str(many.path), str(tmp_path / "meet")], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    shares = [json.loads(run.communicate(timeout=120)[0].splitlines()[-1]) for run in runs]
    everything = [list(name) for name in names(HiwDataset(many, window=16))]
    assert len(shares[0]) == len(shares[1]) == len(everything) // 2
    assert not [name for name in shares[0] if name in shares[1]]
    assert all(name in everything for share in shares for name in share)
