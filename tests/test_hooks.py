"""What a user can mend is one line; a defect keeps its traceback."""

import errno
import logging

import click
import pytest
from clutch_llm.errors import ConfigError
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from torch.distributed import DistNetworkError

from pipelines.hooks import ClearErrors, OneWriter, explain, stage_of


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
        (ConfigError("Expected steps of at least 1, got 0."), "got 0"),
    ],
)
def test_an_error_that_a_user_can_mend_is_a_sentence(error, words):
    assert words in explain(raised(error))
    assert words in explain(raised(RuntimeError("a node failed"), cause=error))
    with pytest.raises(click.ClickException, match=words.replace("(", r"\(")):
        ClearErrors().on_pipeline_error(error=raised(error))


def test_a_defect_keeps_its_traceback(caplog):
    with caplog.at_level(logging.DEBUG):
        assert explain(raised(ZeroDivisionError("division by zero"))) is None
        ClearErrors().on_pipeline_error(error=raised(ZeroDivisionError("division by zero")))


def test_only_the_first_rank_writes(monkeypatch):
    pipeline = Pipeline([node(lambda: 1, None, "out", name="make")])
    for rank, kept in (("0", False), ("1", True)):
        catalog = DataCatalog.from_config({"out": {"type": "pandas.CSVDataset", "filepath": "out.csv"}})
        monkeypatch.setenv("RANK", rank)
        OneWriter().before_pipeline_run(pipeline=pipeline, catalog=catalog)
        assert isinstance(catalog.get("out"), MemoryDataset) is kept


def test_a_stage_is_the_tag_of_its_nodes():
    assert stage_of(node(lambda: 1, None, "out", name="make", tags="stage.data")) == "data"
    assert stage_of(node(lambda: 1, None, "out", name="make")) is None
