import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def test_the_snippets_run(tmp_path: Path, monkeypatch, capsys) -> None:
    """Training first, so that generation finds the model that it speaks of."""
    monkeypatch.chdir(tmp_path)
    use, others, train = SNIPPETS
    exec(compile(train, "README.md: train", "exec"), {})
    names: dict[str, object] = {}
    exec(compile(use.replace("path/to/model", "my_model"), "README.md: use", "exec"), names)
    exec(compile(others, "README.md: other ways", "exec"), names)
    assert (tmp_path / "my_model" / "README.md").exists()
    assert not (tmp_path / "state").exists()


def test_the_commands_parse() -> None:
    import shlex

    from clutch_llm.cli import build_parser

    commands = [line for line in README.splitlines() if line.startswith("clutch ") and "=" not in line.split()[1]]
    assert len(commands) >= 3
    for line in commands:
        build_parser().parse_args(shlex.split(line)[1:])
