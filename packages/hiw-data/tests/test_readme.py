from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_every_python_snippet_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(snippets) >= 2
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), {})


def test_the_readme_counts_families_rightly() -> None:
    from hiw_data.sources.families import FAMILIES

    assert f"{len(FAMILIES)} families" in README.read_text(encoding="utf-8")
