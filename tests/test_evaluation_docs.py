"""docs/evaluation.md: its command parses and its example runs."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from clutch_llm.evaluation.cli import add_commands

TEXT = (Path(__file__).parents[1] / "docs/evaluation.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    names: dict = {}
    exec(compile(example, "docs/evaluation.md", "exec"), names)
    assert names["figures"]["mine"]["rows"]["mine"]["fid"] == pytest.approx(0.0, abs=1e-3)
    assert set(names["named"]["mine"]["attributes"]) == {"hand"}


def test_the_command_parses() -> None:
    (command,) = [line for line in TEXT.splitlines() if line.startswith("clutch evaluate")]
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(shlex.split(command)[1:])
    assert str(args.judge) == "data/models/judge"
