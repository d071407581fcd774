"""Windows of a store as a stream: shuffled shard by shard, shared out over processes, resumed exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from hiw_data.errors import OptionError
from hiw_data.store.dataset import list_windows, read_window
from hiw_data.store.reader import HiwStore


class HiwStream(IterableDataset[dict[str, Any]]):
    """Windows as `HiwDataset` has them, in an order that reads a few shards at a time.

    An epoch's order: shards are shuffled, and so are the windows within each group of `pool` shards that follow each
    other. That order is cut into `world` equal runs, one a process, and each run into as many as it has DataLoader
    workers; so no window is read twice or left out, but for at most `world - 1` windows at the end of an epoch, which
    are dropped so that every process has the same number. The order depends on the seed, the epoch and `world` alone.

    Resuming: `state_dict(batches, batch_size, workers)` says where a loader is that has given so many batches;
    `load_state_dict` makes the next iteration begin there, with the same settings.

    Args:
        path: a store's folder or URL, or an open store.
        split: "train", "val", "test" or None for all.
        window: frames of a window.
        source: one source, or None for all.
        stride: distance between windows of one clip; default `window`.
        shuffle: False gives stored order.
        seed: draws the order, with the epoch.
        pool: shards whose windows are mixed.
        rank: of this process; default that of `torch.distributed`, or 0.
        world: how many processes there are; default that of `torch.distributed`, or 1.

    Raises:
        StoreError: the store cannot be read.
        OptionError: no such split or source, or a number out of range.
    """

    def __init__(
        self,
        path: str | Path | HiwStore,
        split: str | None = "train",
        window: int = 64,
        *,
        source: str | None = None,
        stride: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        pool: int = 4,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        self.store = path if isinstance(path, HiwStore) else HiwStore.open(path)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.world = world if world is not None else torch.distributed.get_world_size() if distributed else 1
        self.rank = rank if rank is not None else torch.distributed.get_rank() if distributed else 0
        if not 0 <= self.rank < self.world or pool < 1:
            raise OptionError(f"Expected 0 <= rank < world and pool >= 1, got {self.rank}, {self.world} and {pool}.")
        self.window, self.shuffle, self.seed, self.pool = window, shuffle, seed, pool
        self.positions, self.starts = list_windows(self.store, split, source, window, stride)
        self._told = f"{self.store.data_hash}/{split}/{source}/{window}/{stride}/{shuffle}/{seed}/{pool}"
        # epoch, and of a resumed one: its epoch, batches given, their size, workers. Shared with workers that live on.
        self._state = torch.tensor([0, -1, 0, 1, 0]).share_memory_()

    def __len__(self) -> int:
        """Windows of this process in an epoch."""
        return len(self.positions) // self.world

    @property
    def epoch(self) -> int:
        """Which epoch the next iteration gives."""
        return int(self._state[0])

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next iteration; workers that live on are told, too."""
        self._state[0] = epoch

    def state_dict(self, batches: int, batch_size: int = 1, workers: int = 0) -> dict[str, Any]:
        """Where this epoch is.

        Args:
            batches: how many the loader has given since the epoch began (items, where there is no loader).
            batch_size: items of a batch.
            workers: the loader's `num_workers`.
        """
        return {
            "epoch": self.epoch,
            "batches": batches,
            "batch_size": batch_size,
            "workers": workers,
            "world": self.world,
            "of": self._told,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on in the epoch of a `state_dict`: its first iteration leaves out what had been given.

        Raises:
            OptionError: the state is of other data, settings or number of processes.
        """
        if (state["of"], state["world"]) != (self._told, self.world):
            raise OptionError(
                f"Expected a state of {self._told} over {self.world} process(es), got one of {state['of']} over "
                f"{state['world']}. Resume with the data and settings that it was saved with."
            )
        numbers = [state["epoch"], state["epoch"], state["batches"], state["batch_size"], state["workers"]]
        self._state.copy_(torch.tensor(numbers))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The epoch's order of all windows, of all processes: places in `positions` and `starts`, (N,)."""
        everything = np.arange(len(self.positions))
        if not self.shuffle:
            return everything
        rng = np.random.default_rng([self.seed, epoch])
        shards = self.store.starts[self.positions] // self.store.shard_frames
        there = np.unique(shards)
        rank = np.empty(int(there[-1]) + 1 if len(there) else 1, np.int64)
        rank[there] = rng.permutation(len(there))
        pools = rank[shards] // self.pool
        return np.lexsort((rng.random(len(everything)), pools))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        given = 0
        _, epoch, batches, size, saved_workers = self._state.tolist()
        if epoch == self.epoch:
            if max(1, saved_workers) != workers:
                raise OptionError(f"Expected {saved_workers} worker(s), as when the state was saved, got {workers}.")
            number = (number + batches) % workers  # a loader asks worker 0 first, whoever's turn it was
            given = -(-max(0, batches - number) // workers) * size
        own = self.order(self.epoch)[: len(self) * self.world]
        own = np.split(own, self.world)[self.rank]
        for place in np.array_split(own, workers)[number][given:]:
            yield read_window(self.store, int(self.positions[place]), int(self.starts[place]), self.window)
