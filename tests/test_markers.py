"""Tests marked `gpu` are skipped where there is no CUDA device, and only those; how tests are spread over processes."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch


class Item:
    def __init__(self, *marks: str, nodeid: str = "") -> None:
        self.marks, self.added, self.nodeid = marks, [], nodeid

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None

    def add_marker(self, mark) -> None:
        self.added.append(mark.name)


class Config:
    """Of `pytest -n 2 --dist DIST`, as far as a scheduler asks."""

    def __init__(self, dist: str) -> None:
        self.option = self
        self.dist, self.debug = dist, False

    def getvalue(self, name: str):
        return {"dist": self.dist, "tx": ["popen"] * 2}.get(name)

    getoption = getvalue


@pytest.fixture
def conftest():
    spec = importlib.util.spec_from_file_location("root_conftest", Path(__file__).parents[1] / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("device", "added"), [(False, ["skip"]), (True, [])])
def test_what_needs_a_gpu_is_skipped_without_one(monkeypatch, conftest, device, added):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device)
    monkeypatch.setattr(conftest, "SPREAD", False)
    items = [Item("gpu"), Item("slow"), Item()]
    conftest.pytest_collection_modifyitems(items)
    assert [item.added for item in items] == [added, [], []]


def test_over_several_processes_what_takes_long_begins_and_files_stay_whole(monkeypatch, conftest):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(conftest, "SPREAD", True)
    names = [
        "a.py::one",
        "b.py::one",
        "b.py::two",
        "tests/test_readme.py::one",
        "c.py::one",
        "tests/test_two_processes.py::x",
    ]
    items = [Item(*(["slow"] if name == "b.py::two" else []), nodeid=name) for name in names]
    conftest.pytest_collection_modifyitems(items)
    assert [names.index(item.nodeid) for item in items] == [3, 5, 1, 2, 0, 4]


def test_files_that_share_what_is_made_once_stay_in_one_process(conftest):
    root = Path(__file__).parents[1]
    assert all((root / file).is_file() for files in conftest.TOGETHER.values() for file in files)
    users = {
        str(path.relative_to(root))
        for path in (root / "tests").glob("test_*.py")
        if re.search(r"def test\w+\([^)]*\b(project|repository)\b", path.read_text())
        and not re.search(r"def (project|repository)\(", path.read_text())
    }
    assert users == set(conftest.TOGETHER["road"])
    builders = {
        str(path.relative_to(root))
        for path in (root / "tests").glob("test_*.py")
        if '"pip", "wheel"' in path.read_text()
    }
    assert builders == {*conftest.TOGETHER["wheels"], "tests/test_markers.py"}


def test_the_scheduler_keeps_groups_together(conftest):
    assert conftest.group_of("tests/test_readme.py::one[x::y]") == conftest.group_of("tests/test_end_to_end.py::two")
    assert conftest.group_of("packages/a/tests/test_b.py::C::one[x::y]") == "packages/a/tests/test_b.py"
    made = [conftest.pytest_xdist_make_scheduler(Config(dist), None) for dist in ("load", "loadfile")]
    assert made[0] is None
    assert made[1]._split_scope("tests/test_readme.py::one") == "road"
