from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hand_geometry import MotionCodes, features_to_params, save_motion
from hiw_data import BuildConfig, HiwStore, NpzSource, ProceduralSource, build
from hiw_data.captioning.cli import codes_of_clip, codes_of_motion
from hiw_data.cli import main


@pytest.fixture(scope="module")
def wrong_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of the script, with a caption that is right and one that is wrong in its hand."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "clips").mkdir()
    source = ProceduralSource(clips=270, seed=4)
    clip = next(
        c for c in source.stream(15.0) if c["attributes"]["family"] == "wave" and c["attributes"]["hand"] == "left"
    )
    captions = ["the left hand waves", "the right hand waves"]
    save_motion(folder / "clips" / "a.npz", clip["features"], fps=15.0, captions=captions)
    build([NpzSource(folder / "clips", licence="CC0-1.0")], folder / "hiw.zarr", BuildConfig())
    return folder / "hiw.zarr"


def test_check_captions_prints_what_is_contradicted_and_a_table(
    wrong_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-captions", str(wrong_store)]) == 0
    out = capsys.readouterr().out
    assert "npz/a: the right hand waves" in out
    assert "npz/a: the left hand waves" not in out
    assert "contradicted: 'waves' (hands:right=moves); measured: right hand: still" in out
    assert "2 captions of 1 clips, 1 with a contradiction" in out
    assert main(["check-captions", str(wrong_store), "--strict"]) == 1


def test_check_captions_writes_one_json_line_a_caption(wrong_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-captions", str(wrong_store), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["clip"], line["caption"]) for line in lines] == [("npz/a", 0), ("npz/a", 1)]
    assert {claim["status"] for claim in lines[0]["claims"]} <= {"supported", "not measurable"}
    assert "contradicted" in {claim["status"] for claim in lines[1]["claims"]}


def test_check_captions_runs_over_a_store_of_scripted_clips(
    store: HiwStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-captions", str(store.path), "--limit", "20"]) == 0
    assert "40 captions of 20 clips" in capsys.readouterr().out


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-captions", str(tmp_path / "none.zarr")]) == 1
    assert capsys.readouterr().err.startswith("hiw check-captions: Expected a store at")


def test_describe_says_a_motion_file_in_words(
    store: HiwStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_motion(tmp_path / "a.npz", store.clip(0)["features"], fps=15.0)
    assert main(["describe", str(tmp_path / "a.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:15]] == ["short"] * 5 + ["medium"] * 5 + ["long"] * 5
    assert len(set(lines)) == len(lines)
    assert main(["describe", str(tmp_path / "a.npz"), "--json", "--variants", "2"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["captions"]["short"]) == 2
    assert isinstance(MotionCodes.from_json(json.dumps(data["codes"])), MotionCodes)


def test_a_motion_file_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(tmp_path / "none.npz")]) == 1
    assert "none.npz: Expected a motion file" in capsys.readouterr().err


def test_a_clip_of_a_store_and_its_motion_file_have_the_same_codes(store: HiwStore) -> None:
    clip = store.clip(3)
    motion = {**features_to_params(clip["features"]), "betas": np.zeros((2, 10), np.float32)}
    motion |= {"valid": clip["valid"], "fps": clip["fps"]}
    one, two = codes_of_clip(clip), codes_of_motion(motion)
    assert [(m.hand, m.count, m.speed, m.path) for m in one.movements] == [
        (m.hand, m.count, m.speed, m.path) for m in two.movements
    ]
    assert one.movements
