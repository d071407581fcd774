"""The evaluation knows no model, no training of one and no dataset by name."""

from __future__ import annotations

import ast
from pathlib import Path

import clutch_llm.evaluation
import pytest

MODULES = sorted(Path(clutch_llm.evaluation.__file__).parent.glob("*.py"))
SHARED = ("clutch_llm.evaluation", "clutch_llm.errors", "clutch_llm.atomic")


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names.add(node.module or "")
            if node.module == "clutch_llm":
                names |= {f"clutch_llm.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_nothing_of_model_or_training(path: Path) -> None:
    ours = {name for name in _imports(path) if name.split(".")[0] in ("clutch_llm", "hiw_data", "shift_tokenizer")}
    assert {name for name in ours if not name.startswith(SHARED)} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_names_no_dataset(path: Path) -> None:
    text = path.read_text(encoding="utf-8").lower()
    assert [name for name in ("fingerspelling", "procedural") if name in text] == []
