"""Tests marked `gpu` are skipped where there is no CUDA device, and only those; how tests are spread over processes."""

import importlib.util
from pathlib import Path

import pytest
import torch


class Item:
    def __init__(self, *marks: str, nodeid: str = "", group: str = "") -> None:
        self.marks, self.added, self.nodeid = marks, [], nodeid
        self.group = pytest.mark.xdist_group(group).mark if group else None

    def get_closest_marker(self, name: str):
        return self.group if name == "xdist_group" else name if name in self.marks else None

    def add_marker(self, mark) -> None:
        self.added.append(mark.name)
        if mark.name == "xdist_group":
            self.group = mark.mark


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


def test_over_several_processes_files_and_groups_stay_together_and_what_takes_long_begins(monkeypatch, conftest):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(conftest, "SPREAD", True)
    items = [
        Item(nodeid="a.py::one"),
        Item(nodeid="b.py::one"),
        Item("slow", nodeid="b.py::two"),
        Item("slow", nodeid="c.py::one", group="road"),
        Item(nodeid="d.py::A::one[x::y]"),
        Item(nodeid="e.py::one", group="road"),
        Item(nodeid="d.py::two"),
    ]
    conftest.pytest_collection_modifyitems(items)
    assert [(item.nodeid[0], item.group.args[0]) for item in items] == [
        ("c", "road"),
        ("e", "road"),
        ("b", "b.py"),
        ("b", "b.py"),
        ("a", "a.py"),
        ("d", "d.py"),
        ("d", "d.py"),
    ]
    assert [item.nodeid for item in items if item.nodeid[0] == "b"] == ["b.py::one", "b.py::two"]
