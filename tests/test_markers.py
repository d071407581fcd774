"""Tests marked `gpu` are skipped where there is no CUDA device, and only those."""

import importlib.util
from pathlib import Path

import pytest
import torch


class Item:
    def __init__(self, *marks: str) -> None:
        self.marks, self.added = marks, []

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None

    def add_marker(self, mark) -> None:
        self.added.append(mark.name)


@pytest.mark.parametrize(("device", "added"), [(False, ["skip"]), (True, [])])
def test_what_needs_a_gpu_is_skipped_without_one(monkeypatch, device, added):
    spec = importlib.util.spec_from_file_location("root_conftest", Path(__file__).parents[1] / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device)
    items = [Item("gpu"), Item("slow"), Item()]
    module.pytest_collection_modifyitems(items)
    assert [item.added for item in items] == [added, [], []]
