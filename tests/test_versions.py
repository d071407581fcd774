"""Kedro's runs count for DVC: what it has made as DVC would is recorded in dvc.lock, and nothing else is."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node

from pipelines import versions
from pipelines.versions import DvcRecord, finished_stages

STAGES = {
    "first": {
        "cmd": "kedro run --pipeline first",
        "deps": ["pipelines/first.py"],
        "params": [{"conf/base/parameters.yml": ["size"]}],
        "outs": ["data/numbers.json"],
    },
    "second": {
        "cmd": "kedro run --pipeline second",
        "deps": ["data/numbers.json"],
        "params": [{"conf/base/parameters.yml": ["factor"]}],
        "metrics": [{"reports/sum.json": {"cache": False}}],
    },
}
FIRST = Pipeline([node(lambda size: list(range(size)), "params:size", "numbers", name="count")])
SECOND = Pipeline(
    [node(lambda numbers, factor: sum(numbers) * factor, ["numbers", "params:factor"], "sum", name="sum")]
)


@pytest.fixture
def repository(tmp_path, monkeypatch, environment, run) -> Path:
    """A repository of git and DVC with two stages, both of which were run by Kedro, outside DVC."""
    for name, text in {
        "dvc.yaml": yaml.safe_dump({"stages": STAGES}),
        "conf/base/parameters.yml": "size: 3\nfactor: 2\n",
        "pipelines/first.py": "# the code of a stage\n",
        "data/numbers.json": "[0, 1, 2]",
        "reports/sum.json": "6",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    run(["git", "init", "--quiet"], tmp_path, environment)
    run(["dvc", "init", "--quiet"], tmp_path, environment)
    monkeypatch.setattr(versions, "pipelines", {"first": FIRST, "second": SECOND, "both": FIRST + SECOND})
    return tmp_path


def catalog(root: Path, reports: str = "reports") -> DataCatalog:
    places = {"numbers": root / "data/numbers.json", "sum": root / reports / "sum.json"}
    return DataCatalog.from_config({n: {"type": "json.JSONDataset", "filepath": str(p)} for n, p in places.items()})


def status(root: Path, environment, run) -> dict:
    return yaml.safe_load(run(["dvc", "status", "--json"], root, environment).stdout)


def record(root: Path, pipeline: Pipeline, parameters: dict, **run_params) -> None:
    hook = DvcRecord()
    hook._parameters = parameters
    hook.after_pipeline_run(
        run_params={"project_path": str(root), **run_params}, pipeline=pipeline, catalog=catalog(root)
    )


def test_after_a_run_of_all_stages_dvc_has_nothing_to_do(repository, environment, run):
    assert set(status(repository, environment, run)) == {"first", "second"}
    record(repository, FIRST + SECOND, {"size": 3, "factor": 2})
    assert status(repository, environment, run) == {}
    assert "up to date" in run(["dvc", "repro"], repository, environment).stdout


def test_a_stage_that_was_not_run_stays_to_be_done(repository, environment, run):
    record(repository, FIRST, {"size": 3, "factor": 2})
    assert set(status(repository, environment, run)) == {"second"}


@pytest.mark.parametrize(
    ("pipeline", "parameters", "reports", "expected"),
    [
        (FIRST + SECOND, {"size": 3, "factor": 2}, "reports", ["first", "second"]),
        (FIRST + SECOND, {"size": 4, "factor": 2}, "reports", ["second"]),
        (FIRST + SECOND, {"size": 3}, "reports", ["first"]),
        (FIRST + SECOND, {"size": 3, "factor": 2}, "reports/test", ["first"]),
        (SECOND, {"size": 3, "factor": 2}, "reports", ["second"]),
    ],
)
def test_only_what_dvc_would_have_made_itself_is_recorded(repository, pipeline, parameters, reports, expected):
    assert list(finished_stages(repository, pipeline, catalog(repository, reports), parameters)) == expected


def test_dvcs_own_runs_and_other_ranks_and_partial_runs_record_nothing(repository, monkeypatch):
    called = []
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: called.append(a))
    both = {"size": 3, "factor": 2}
    for name, value in (("DVC_STAGE", "first"), ("RANK", "1")):
        with monkeypatch.context() as inside:
            inside.setenv(name, value)
            record(repository, FIRST, both)
    record(repository, FIRST, both, only_missing_outputs=True)
    (repository / ".dvc").rename(repository / "none")
    record(repository, FIRST, both)
    assert called == []


def test_a_dvc_that_refuses_is_a_warning(repository, monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "false")
    record(repository, FIRST, {"size": 3, "factor": 2})
    assert "DVC did not record first" in caplog.text
