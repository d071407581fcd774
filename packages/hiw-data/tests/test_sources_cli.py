"""`hiw sources` lists every source with what it needs."""

from __future__ import annotations

import json

import pytest
from hiw_data.cli import main
from hiw_data.sources.cli import COLUMNS
from hiw_data.sources.datasets import DATASETS


def test_the_list_has_every_source_and_says_what_was_met(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == {"fingerspelling", "procedural", "npz", *DATASETS}
    assert all(row[column] for row in rows for column in COLUMNS)
    met = {row["name"]: row["met"] for row in rows}
    assert met["grab"] == "layout from the public loader, no real file met"


def test_one_source_is_shown_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources", "arctic"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("arctic: ARCTIC\n")
    assert "licence:    MPI non-commercial licence" in said
    assert "grab" not in said.replace("{grab,use}", "")


def test_an_unknown_source_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources", "arctica"]) == 1
    assert "got ['arctica']" in capsys.readouterr().err
