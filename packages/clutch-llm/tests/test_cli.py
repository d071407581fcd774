from pathlib import Path

import numpy as np
import pytest
from clutch_llm.cli import build_parser, main


@pytest.fixture(scope="module")
def folder(clutch, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "clutch"
    clutch.save_pretrained(path)
    return path


def test_a_motion_is_generated_written_and_captioned(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "wave.npz"
    main(["generate", "the left hand waves", "--model", str(folder), "--out", str(out), "--seconds", "1"])
    assert capsys.readouterr().out.strip() == str(out)
    with np.load(out) as written:
        assert written["global_orient"].shape == (16, 2, 3)
        assert float(written["fps"]) == 15.0
    main(["caption", str(out), "--model", str(folder)])
    assert capsys.readouterr().out.count("\n") == 1  # one line a motion; an untrained model may have nothing to say


def test_samples_are_numbered_and_differ(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "m.npz"
    main(["generate", "x", "--model", str(folder), "--out", str(out), "--samples", "2", "--seconds", "1"])
    paths = capsys.readouterr().out.split()
    assert paths == [str(tmp_path / "m-1.npz"), str(tmp_path / "m-2.npz")]
    first, second = (np.load(p)["hand_pose"] for p in paths)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_a_motion_is_drawn(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"wave{suffix}"
    main(["generate", "the left hand waves", "--model", str(folder), "--out", str(out), "--seconds", "0.6"])
    assert out.stat().st_size > 1000


def test_info_tells_what_is_there(folder: Path, capsys) -> None:
    main(["info", "--model", str(folder)])
    shown = capsys.readouterr().out
    assert "none: 1 layers of width 32" in shown
    assert "not trained" in shown


def test_errors_are_one_line(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["info", "--model", str(tmp_path / "nowhere")])
    assert exit_info.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("clutch: Expected a CLUTCH model folder at ")
    assert error.count("\n") == 1


def test_help_teaches_by_example(capsys) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    assert 'clutch generate "the right hand waves quickly" --out wave.mp4' in capsys.readouterr().out
