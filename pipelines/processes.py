"""Several processes of a launcher (`torchrun`) run one pipeline: shared nodes as one, the others by the first alone.

- Nodes tagged `ranks.all` train: every process runs them, on its share of each batch.
- Every other node is run by rank 0. The others pass by it, and read what it wrote from the catalog when a shared node
  asks for it.
- Nothing is written twice: on ranks above 0 the catalog's datasets are read only.
- All wait for each other where a shared node begins and at the end, for as long as it takes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click
import torch
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractDataset, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from torch import distributed as dist

TOGETHER = "ranks.all"
"""Tag of a node that all processes run as one."""

ALONE = "ranks.one"
"""Tag of a node that has to be the only process."""

PATIENCE = timedelta(days=30)
"""How long the others wait for rank 0: reading videos may take days, and a process that died ends the launcher."""

_NOT_HERE = "made by rank 0"


def rank() -> int:
    """Return this process's rank under `torchrun`, 0 when there is one process."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """Return how many processes the launcher has started, 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class ReadOnly(AbstractDataset[Any, Any]):
    """A dataset that rank 0 writes: here it is only read, and only when `reading()`."""

    def __init__(self, dataset: Any, reading: Callable[[], bool]) -> None:
        self._dataset, self._reading = dataset, reading

    def load(self) -> Any:
        """Load what rank 0 wrote."""
        return self._dataset.load() if self._reading() else _NOT_HERE

    def save(self, data: Any) -> None:
        """Do nothing."""

    def _exists(self) -> bool:
        return bool(self._dataset.exists())

    def _describe(self) -> dict[str, Any]:
        return {"read_only": str(self._dataset)}


class Processes:
    """Makes the processes of a launcher run a pipeline as one."""

    def __init__(self) -> None:
        self._group: Any = None
        self._met: set[str] = set()
        self._shared = False  # whether the node that runs is one of all processes

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: Any) -> None:
        """Join the other processes; above rank 0, keep to the shared nodes and write nothing."""
        if processes() == 1:
            return
        alone = sorted(node.name for node in pipeline.nodes if ALONE in node.tags)
        if alone:
            raise click.ClickException(
                f"Expected one process for {', '.join(alone)}, got {processes()}. Start it without torchrun."
            )
        self._group, self._met = _join(), set()
        if rank() > 0:
            self._keep_to_shared_nodes(pipeline, catalog)

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Wait for the others where a shared node begins: what it reads has been written then."""
        self._shared = TOGETHER in node.tags
        if self._group is not None and self._shared and node.name not in self._met:
            self._met.add(node.name)
            self._meet(node.name)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Wait for the others, and part."""
        if self._group is not None:
            self._meet("the end")
            dist.destroy_process_group()
            self._group = None

    def _meet(self, where: str) -> None:
        found: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(found, where, group=self._group)
        if set(found) != {where}:
            raise RuntimeError(f"Expected all processes at '{where}', got {found}.")

    def _keep_to_shared_nodes(self, pipeline: Pipeline, catalog: Any) -> None:
        """Let every node that is not shared pass by, and make what the shared ones read, read only."""
        for node in pipeline.nodes:
            if TOGETHER not in node.tags:
                node.func = _passing_by(node)
        wanted = {name for node in pipeline.nodes if TOGETHER in node.tags for name in node.inputs}
        for name in pipeline.datasets():
            if name.startswith("params:") or name == "parameters":
                continue
            if name not in wanted:
                catalog[name] = MemoryDataset(_NOT_HERE, copy_mode="assign")
                continue
            written = catalog.get(name)
            if written is None or isinstance(written, MemoryDataset):
                raise RuntimeError(
                    f"Expected '{name}' in conf/base/catalog.yml, since several processes read it; got none."
                )
            catalog[name] = ReadOnly(written, lambda: self._shared)


def _join() -> Any:
    """Join the launcher's processes: nccl for training on GPUs; the group that is returned, for waiting, is gloo."""
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def _passing_by(node: Node) -> Callable[..., Any]:
    """A function with the node's name that makes nothing."""
    made = _NOT_HERE if len(node.outputs) == 1 else [_NOT_HERE] * len(node.outputs)

    @functools.wraps(node.func)
    def pass_by(*_: Any) -> Any:
        return made

    return pass_by
