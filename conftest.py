"""What holds for the tests of all packages: which are skipped, and how they are spread over several processes.

Tests marked `gpu` are skipped where there is no CUDA device. Under `pytest -n N --dist loadfile` a file's tests stay in
one process, so that its fixtures are made once, and so do the files of `TOGETHER`; each process computes with one
thread. What takes long begins first, so that no process is left with it at the end.

(`--dist loadgroup` and its marks do nothing with pytest 9.2: pytest-xdist 3.8 writes names where pytest no longer reads
them.)
"""

import os
from typing import Any

import pytest
import torch

#: Files whose tests share what is made once (a run of the road) or a folder of the repository (where wheels are built).
TOGETHER = {
    "road": ("tests/test_end_to_end.py", "tests/test_readme.py", "tests/test_two_processes.py"),
    "wheels": ("tests/test_packaging.py", "tests/test_packaged_model.py"),
}

SPREAD = "PYTEST_XDIST_WORKER" in os.environ

if SPREAD:
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


def group_of(nodeid: str) -> str:
    """The group of `TOGETHER` that a test belongs to, or its file."""
    file = nodeid.split("::")[0]
    return next((name for name, files in TOGETHER.items() if file in files), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep groups together where files are to be."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LoadGroups(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return LoadGroups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU, where there is none; over several processes put first what takes long."""
    if SPREAD:
        long_first(items)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def long_first(items: list[pytest.Item]) -> None:
    """Order tests by group, in place: the road, then groups with a test that is marked `slow`, then the others."""
    slow = {group_of(item.nodeid) for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> int:
        group = group_of(item.nodeid)
        return 0 if group == "road" else 1 if group in slow else 2

    items.sort(key=rank)
