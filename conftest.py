"""What holds for the tests of all packages: which are skipped, and how they are spread over several processes.

Tests marked `gpu` are skipped where there is no CUDA device. Under `pytest -n` a file's tests stay in one process, so
that its fixtures are made once, and files marked with one `xdist_group` stay together; each process computes with one
thread. What takes long begins first, so that no process is left with it at the end.
"""

import os

import pytest
import torch

#: Groups and marks that begin first, in this order; then all others as they are collected.
FIRST = ("road", "slow")

SPREAD = "PYTEST_XDIST_WORKER" in os.environ

if SPREAD:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, where there is none; under `pytest -n` group tests by file."""
    if SPREAD:
        group_by_file(items)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def group_by_file(items: list[pytest.Item]) -> None:
    """Give each test without an `xdist_group` that of its file, and put the groups of `FIRST` first, in place."""
    ranks: dict[str, int] = {}
    groups = []
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        group = str(mark.args[0]) if mark else item.nodeid.split("::")[0]
        if mark is None:
            item.add_marker(pytest.mark.xdist_group(group))
        known = (group, "slow" if item.get_closest_marker("slow") else "")
        rank = min(FIRST.index(name) if name in FIRST else len(FIRST) for name in known)
        ranks[group] = min(rank, ranks.get(group, len(FIRST)))
        groups.append(group)
    order = sorted(range(len(items)), key=lambda k: ranks[groups[k]])
    items[:] = [items[k] for k in order]
