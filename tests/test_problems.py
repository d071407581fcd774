"""What a user can mend is one line; a defect keeps its traceback; the log file has both in full."""

import errno
import logging
import re

import click
import pytest
from clutch_llm.errors import CheckpointError, ConfigError
from hand_geometry.errors import InputError
from hiw_data import HiwDataError
from kedro.io import DatasetError
from shift_tokenizer.errors import DataError
from torch.distributed import DistNetworkError

from pipelines.datasets import NotThereError
from pipelines.logs import start_logging
from pipelines.problems import ClearErrors, explain


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "data/hiw.zarr"), "disk is full"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "MASTER_PORT"),
        (DistNetworkError("port: 29500, code: -98, name: EADDRINUSE"), "MASTER_PORT"),
        (ModuleNotFoundError("No module named 'deepspeed'", name="deepspeed"), "'deepspeed' is missing"),
        (PermissionError(errno.EACCES, "Permission denied", "data/tokens.npz"), "Permission denied: 'data/tokens.npz'"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "clips"), "No such file or directory: 'clips'"),
        (ConfigError("Expected steps of at least 1, got 0."), "got 0"),
        (CheckpointError("Expected a model folder, got 'x'."), "a model folder"),
        (DataError("Expected clips, got none."), "Expected clips"),
        (HiwDataError("Expected a store, got none."), "Expected a store"),
        (InputError("Expected a rate above 0, got 0."), "a rate above 0"),
        (NotThereError("Nothing at 'data/tokens.npz' yet."), "Nothing at"),
    ],
)
def test_an_error_that_a_user_can_mend_is_a_sentence(error, words):
    assert words in explain(raised(error))
    assert words in explain(raised(DatasetError("Failed while loading"), cause=error))
    with pytest.raises(click.ClickException, match=re.escape(words)):
        ClearErrors().on_pipeline_error(error=raised(error))


class StrayError(Exception):
    """A class that one of our packages might have, but not one that it raises to tell a user something."""


StrayError.__module__ = "clutch_llm.generation"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        ValueError("cannot reshape array of size 3 into shape (2,)"),
        KeyError("features"),
        StrayError("an inner state"),
        DatasetError("Saving None to a Dataset is not allowed."),
        OSError("a broken pipe that names no file"),
    ],
)
def test_a_defect_keeps_its_traceback(error):
    assert explain(raised(error)) is None
    assert ClearErrors().on_pipeline_error(error=raised(error)) is None


def test_a_defect_in_the_handling_of_a_users_mistake_is_a_defect():
    defect = KeyError("advice")
    defect.__context__ = ConfigError("Expected steps of at least 1, got 0.")
    assert explain(defect) is None
    assert explain(raised(RuntimeError("a state that can't be"), cause=ConfigError("Expected 1."))) is None


@pytest.fixture
def log(tmp_path):
    """The log file of a project in tmp_path; the root logger is as it was afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield start_logging(tmp_path)
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def test_the_log_file_has_the_traceback_of_an_error_that_was_shown_as_one_line(log, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pipelines.problems"), "level", logging.DEBUG)
    with pytest.raises(click.ClickException):
        ClearErrors().on_pipeline_error(error=raised(ConfigError("Expected steps of at least 1, got 0.")))
    written = log.read_text()
    assert "Traceback (most recent call last)" in written
    assert "clutch_llm.errors.ConfigError: Expected steps of at least 1, got 0." in written
    assert log.name == "clutch.log"
    assert log.parent.name == "logs"


def test_each_process_has_a_log_file_of_its_own_and_only_one(log, tmp_path):
    assert start_logging(tmp_path, rank=1) == tmp_path / "logs" / "clutch-rank1.log"
    logging.getLogger("pipelines").warning("told once")
    start_logging(tmp_path)
    logging.getLogger("pipelines").warning("told again")
    assert (tmp_path / "logs" / "clutch-rank1.log").read_text().count("told once") == 1
    assert log.read_text().count("told") == 1


def test_a_log_file_that_cannot_be_written_does_not_stop_a_run(tmp_path, caplog):
    (tmp_path / "logs").write_text("a file where the folder should be")
    start_logging(tmp_path)
    assert "No log file is written" in caplog.text
