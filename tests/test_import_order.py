"""No module depends on what was imported before it: what modules import as they come up forms no circle.

Imports inside functions and under `TYPE_CHECKING` run later, or never, and are none of it. A name that a package gives
out when it is first asked for (`__getattr__`) counts as imported from where the package's `TYPE_CHECKING` block has it.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = [*sorted((ROOT / "packages").glob("*/src")), ROOT]
PACKAGES = ("hand_geometry", "shift_tokenizer", "hiw_data", "clutch_llm", "pipelines")


def module_files(places: list[Path], packages: tuple[str, ...]) -> dict[str, Path]:
    """Every module of the packages, by its name."""
    files = {}
    for place in places:
        for path in (path for package in packages for path in sorted((place / package).rglob("*.py"))):
            parts = path.relative_to(place).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(node: ast.AST, name: str, path: Path) -> Iterator[tuple[str, str]]:
    """(module, name in it, or "") of each import that runs when this part of a module does."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, "") for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = name.split(".")[: name.count(".") + 1 + (path.name == "__init__.py") - child.level]
            module = ".".join([*(above if child.level else ()), *([child.module] if child.module else ())])
            yield from ((module, alias.name) for alias in child.names)
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr) and not is_for_types(child):
            yield from imports(child, name, path)


def import_graph(files: dict[str, Path]) -> dict[str, set[str]]:
    """Of each module the others that it needs whole; packages that it lies in are there before it, and need not be."""
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    given_out = {
        (name, what): module
        for name, path in files.items()
        for block in trees[name].body
        if is_for_types(block)
        for module, what in imports(block, name, path)
    }
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        needed: set[str] = set()
        for module, what in imports(trees[name], name, path):
            inner = f"{module}.{what}"
            asked = {inner} if inner in files else {module, given_out.get((module, what), module)}
            parents = {one.rsplit(".", n)[0] for one in asked for n in range(1, one.count(".") + 1)}
            needed |= asked | {parent for parent in parents if not name.startswith(f"{parent}.")}
        graph[name] = needed & set(files) - {name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_modules_import_each_other_in_a_circle():
    files = module_files(PLACES, PACKAGES)
    graph = import_graph(files)
    assert "hiw_data.engine.annotator" in graph["hiw_data.sources.video"]
    assert "hiw_data.store.reader" in graph["hiw_data.store.dataset"]
    assert circle(graph) == []


FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
TRACKER = "from made.tracker import track\n"
CLEAN = {
    "__init__": "def __getattr__(name):\n    from made.tracker import track\n    return track\n",
    "frames": "Frame = int\n",
    "source": "from made.frames import Frame\n",
    "tracker": "from .source import Frame\n\ndef track():\n    from made.later import late\n",
    "later": f"{FOR_TYPES}from made.last import Last\nfrom made import tracker\n",
    "last": "from made.later import tracker\n",
}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, ""),
        ({"source": "from made.frames import Frame\nfrom made.tracker import track\n"}, "source tracker"),
        ({"frames": "try:\n    import made.last\nexcept ImportError:\n    pass\n"}, "frames last later source tracker"),
        ({"frames": "class Frame:\n    from .source import Frame as Other\n"}, "frames source"),
        ({"__init__": TRACKER, "frames": "from made import track\n"}, "made frames source tracker"),
        ({"__init__": FOR_TYPES + TRACKER, "frames": "from made import track\n"}, "frames source tracker"),
        ({"__init__": TRACKER}, ""),
    ],
)
def test_a_circle_is_found_and_nothing_else(tmp_path, changed, found):
    (tmp_path / "made").mkdir()
    for name, text in {**CLEAN, **changed}.items():
        (tmp_path / "made" / f"{name}.py").write_text(text)
    graph = import_graph(module_files([tmp_path], ("made",)))
    assert {name.removeprefix("made.") for name in circle(graph)} == set(found.split())
