from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hiw_data import HiwStore
from hiw_data.cli import main, parser


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


def write_npz(path: Path, **changes: object) -> None:
    path.parent.mkdir(exist_ok=True)
    arrays = {
        "global_orient": np.zeros((20, 2, 3)),
        "hand_pose": np.zeros((20, 2, 15, 3)),
        "transl": np.zeros((20, 2, 3)),
        "captions": np.array(["two flat hands", "two flat hands side by side"]),
    }
    np.savez(path, **(arrays | changes))  # type: ignore[arg-type]


def test_an_import_lists_what_it_skipped_and_says_what_it_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        write_npz(tmp_path / "in" / f"{name}.npz")
    write_npz(tmp_path / "in" / "bad.npz", fps=np.array("30 fps"))
    (tmp_path / "groups.csv").write_text("clip,group\na,x\nb,y\nc,z\n", encoding="utf-8")
    out = tmp_path / "b.zarr"
    command = ["import", str(tmp_path / "in"), "--groups", str(tmp_path / "groups.csv"), "--out", str(out)]
    assert main([*command, "--max-frames", "12", "--piece-captions", "all"]) == 0
    said = capsys.readouterr().out
    assert "skipped: 1" in said
    assert "npz/bad: Expected fps as one number" in said
    assert "note: Source 'npz': 3 file(s) do not say their frame rate; 15 fps was assumed." in said
    assert "stand here as 6 pieces" in said
    clips = HiwStore.open(out).clips()
    assert {c["split"] for c in clips} == {"train", "val", "test"}
    assert [c["group"] for c in clips] == ["x", "x", "y", "y", "z", "z"]
    assert all(len(c["captions"]) == 2 for c in clips)
    assert main([*command, "--overwrite", "--max-frames", "12", "--long", "skip"]) == 1
    assert "Expected at most 12 frames" in capsys.readouterr().err
    assert len(HiwStore.open(out)) == 6


def test_an_import_of_which_nothing_can_be_used_says_why_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_npz(tmp_path / "in" / "a.npz", captions=np.array([], str))
    write_npz(tmp_path / "in" / "b.npz", transl=np.zeros((20, 2)))
    assert main(["import", str(tmp_path / "in"), "--out", str(tmp_path / "b.zarr")]) == 1
    said = capsys.readouterr().err
    assert "got none; all 2 were skipped" in said
    assert "npz/a: Expected captions in a.npz or in a.txt" in said
    assert "npz/b: Expected transl" in said
    assert not (tmp_path / "b.zarr").exists()


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


def test_an_existing_store_is_only_replaced_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", "--source", "procedural", "--clips", "3", "--out", str(tmp_path / "a.zarr")]
    assert main(command) == 0
    assert main(command) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


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


def test_a_log_file_has_what_a_command_said_and_an_error_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "hiw.log"
    np.savez(tmp_path / "broken.npz", transl=np.zeros(3))
    assert main(["import", str(tmp_path), "--out", str(tmp_path / "a.zarr"), "--log-file", str(log)]) == 1
    assert main(["build", "--source", "procedural", "--clips", "3", "--out", str(tmp_path / "b.zarr"), "--append"]) == 0
    capsys.readouterr()
    text = log.read_text(encoding="utf-8")
    assert f"started: hiw import {tmp_path}" in text
    assert "Traceback" in text
    assert "NoClipsError" in text
    assert "procedural" not in text


def test_every_command_takes_a_log_file() -> None:
    (commands,) = (action for action in parser()._actions if action.dest == "command")
    assert len(commands.choices) > 10
    for name, command in commands.choices.items():
        assert "--log-file" in command.format_help(), name
