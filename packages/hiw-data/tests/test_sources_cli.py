"""`hiw sources` lists every source with what it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hiw_data import HiwStore
from hiw_data.cli import main
from hiw_data.sources.cli import COLUMNS
from hiw_data.sources.datasets import DATASETS

from .dataset_files import WRITERS
from .mano_files import write_mano


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


def test_a_dataset_becomes_a_store_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mano = write_mano(tmp_path / "mano")
    WRITERS["arctic"](tmp_path / "in", mano)
    out = tmp_path / "out.zarr"
    command = ["import-dataset", "arctic", str(tmp_path / "in"), "--out", str(out)]
    assert main(command) == 1
    assert "Expected `mano`" in capsys.readouterr().err
    assert main([*command, "--mano", str(mano), "--licence", "mine"]) == 0
    assert "1 clips" in capsys.readouterr().out
    store = HiwStore.open(out)
    (clip,) = store.clips()
    assert clip["captions"][0] == "grab box"
    assert clip["caption_provenance"][0] == {"maker": "arctic file name"}
    assert store.summary()["sources"]["arctic"]["info"]["licence"] == "mine"
