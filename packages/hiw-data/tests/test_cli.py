from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hiw_data import HiwStore
from hiw_data.cli import main


def test_build_inspect_and_card_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.zarr")
    assert main(["build", "--source", "procedural", "--clips", "30", "--out", out]) == 0
    assert "procedural (synthetic): 30 clips" in capsys.readouterr().out
    assert main(["inspect", out, "--verify"]) == 0
    assert "The content is what was written." in capsys.readouterr().out
    assert main(["inspect", out, "--clip", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["clip_id"] == "procedural/0/000003"
    assert main(["inspect", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 30
    assert main(["card", out]) == 0
    assert capsys.readouterr().out.strip() == (tmp_path / "a.zarr" / "README.md").read_text(encoding="utf-8").strip()


def test_import_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(
        tmp_path / "a.npz",
        global_orient=np.zeros((20, 2, 3)),
        hand_pose=np.zeros((20, 2, 15, 3)),
        transl=np.zeros((20, 2, 3)),
        captions=np.array(["two flat hands"]),
    )
    out = tmp_path / "b.zarr"
    assert main(["import", str(tmp_path), "--licence", "CC-BY-4.0", "--source-fps", "15", "--out", str(out)]) == 0
    assert HiwStore.open(out).clips()[0]["captions"] == ["two flat hands"]
    assert "CC-BY-4.0" in (out / "README.md").read_text(encoding="utf-8")
    assert "Wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["inspect", "nowhere.zarr"], "Expected a store at nowhere.zarr"),
        (["card", "nowhere.zarr"], "hiw build --out nowhere.zarr"),
        (["import", "nowhere"], "Expected a folder of .npz files"),
        (["build", "--source", "procedural", "--clips", "0"], "Expected clips >= 1"),
    ],
)
def test_errors_are_one_clear_line(command: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_an_existing_store_can_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", "--source", "procedural", "--clips", "3", "--out", str(tmp_path / "a.zarr")]
    assert main(command) == 0
    assert main([*command, "--keep"]) == 1
    assert "Expected nothing at" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["build"], ["import"], ["inspect"], ["card"]])
def test_help_teaches(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    said = capsys.readouterr().out
    assert "hiw" in said
    if not command:
        assert "examples:" in said
    if command == ["import"]:
        assert "global_orient (T, 2, 3)" in said


def test_help_does_not_wait_for_torch() -> None:
    script = "import sys, hiw_data.cli as c; c.parser(); sys.exit('torch' in sys.modules or 'zarr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
