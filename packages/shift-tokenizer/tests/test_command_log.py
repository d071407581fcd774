"""What `--log-file` writes: all messages, the traceback of an error, and nothing that stays set afterwards."""

import logging
import sys
from contextlib import contextmanager

import pytest
from shift_tokenizer.cli import main
from shift_tokenizer.command_log import command_log

logger = logging.getLogger("made.up")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "logs" / "run.log"


def test_the_file_has_what_the_terminal_does_not_show(file, capsys):
    with quiet_terminal():
        with command_log(file, told="tool do --fast"):
            logger.info("a detail")
            logger.warning("a worry")
            logger.debug("not for people")
        logger.info("afterwards")
    assert capsys.readouterr().err == "a worry\n"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 3)[3] for line in lines] == [
        "INFO shift_tokenizer.command_log: started: tool do --fast",
        "INFO made.up: a detail",
        "WARNING made.up: a worry",
        "INFO shift_tokenizer.command_log: done",
    ]


def test_an_error_stands_in_the_file_with_its_traceback_and_goes_on(file, capsys):
    with quiet_terminal(), pytest.raises(KeyError), command_log(file):
        raise KeyError("lost")
    assert capsys.readouterr().err == ""
    text = file.read_text(encoding="utf-8")
    assert "ERROR shift_tokenizer.command_log: ended by an error\nTraceback (most recent call last):" in text
    assert text.endswith("KeyError: 'lost'\n")
    assert "done" not in text


def test_a_second_command_adds_to_the_file_and_the_first_leaves_nothing_behind(file):
    root = logging.getLogger()
    before = root.level, [(handler, handler.level) for handler in root.handlers]
    for name in ("one", "two"):
        with command_log(file, told=name):
            pass
    assert file.read_text(encoding="utf-8").count("started: ") == 2
    assert (root.level, [(handler, handler.level) for handler in root.handlers]) == before


def test_a_file_that_cannot_be_written_is_an_error_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), command_log(tmp_path / "file" / "run.log"):
        pytest.fail("It ran.")


@contextmanager
def quiet_terminal():
    """A terminal that shows warnings alone."""
    root = logging.getLogger()
    own, level = root.handlers[:], root.level
    root.handlers[:] = [logging.StreamHandler(sys.stderr)]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = own
        root.setLevel(level)


def test_the_command_logs_a_mistake_in_full_and_prints_one_line(file, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["inspect", "no-such-folder", "--log-file", str(file)])
    assert len(capsys.readouterr().err.splitlines()) == 1
    text = file.read_text(encoding="utf-8")
    assert "started: shift-tokenizer inspect no-such-folder --log-file" in text
    assert "Traceback" in text


@pytest.mark.parametrize("command", ["train", "encode", "decode", "eval", "inspect"])
def test_every_command_has_the_option(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert "--log-file PATH" in capsys.readouterr().out
