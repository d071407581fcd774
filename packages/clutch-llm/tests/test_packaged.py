"""The model that comes with the package: packing, its card, and which model is taken where none is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, packaged
from clutch_llm.cli import main
from clutch_llm.cli_pack import figures_in
from clutch_llm.errors import CheckpointError, DataError
from clutch_llm.packaged import pack_model
from safetensors.torch import load_file

METRICS = {
    "data_hash": "abc123",
    "text_to_motion": {"procedural": {"rows": {"generated": {"r_precision_top3": 0.75}, "truth": {}}}},
    "judge": {"procedural": {"rows": {"generated": {"family": 0.5, "hand": None}}}},
    "claims": {},
}


@pytest.fixture(scope="module")
def trained(clutch, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    clutch.save_pretrained(folder)
    return folder


def test_a_packed_model_is_half_as_large_and_the_same_model(clutch, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    main(["pack", str(trained), "--metrics", str(tmp_path / "metrics.json"), "--out", str(tmp_path / "m")])
    for name in ("model.safetensors", "tokenizer/model.safetensors"):
        assert (tmp_path / "m" / name).stat().st_size < 0.6 * (trained / name).stat().st_size
        kept = load_file(tmp_path / "m" / name)
        assert {w.dtype for w in kept.values() if w.is_floating_point()} == {torch.float16}
    again = Clutch.from_pretrained(tmp_path / "m")
    assert {p.dtype for p in again.model.parameters()} == {torch.float32}
    for ours, theirs in zip(clutch.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    motion, other = (c.decode([np.array([[1, 2, 3, 4]] * 4)])[0]["features"] for c in (clutch, again))
    np.testing.assert_allclose(motion, other, atol=5e-3)
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| procedural: R-precision top 3 | 0.750 |" in card
    assert "- data: `abc123`" in card
    assert json.loads((tmp_path / "m" / "figures.json").read_text()) == {
        "procedural: R-precision top 3": 0.75,
        "procedural: the action, by the judge": 0.5,
    }


def test_figures_that_were_not_measured_are_left_out() -> None:
    assert figures_in({"text_to_motion": {"mine": {}}}) == []
    assert figures_in(METRICS)[0] == ("procedural: R-precision top 3", 0.75)


def test_a_weight_beyond_float16_is_named_and_nothing_is_written(clutch, trained: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = load_file(trained / "model.safetensors")
    weights["pooled_prompt.weight"][0, 0] = 1e6
    broken = tmp_path / "broken"
    clutch.save_pretrained(broken)
    save_file(weights, broken / "model.safetensors")
    with pytest.raises(DataError, match=r"got 1e\+06 in pooled_prompt.weight of model.safetensors"):
        pack_model(broken, tmp_path / "m", {}, [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken"]


def test_a_model_that_is_too_large_is_refused(trained: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packaged, "LARGEST", 1000)
    with pytest.raises(DataError, match="of at most"):
        pack_model(trained, tmp_path / "m", {}, [])
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("content", ["[]", "{", '{"text_to_motion": {}}'])
def test_metrics_of_something_else_are_named(trained: Path, tmp_path: Path, capsys, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(SystemExit):
        main(["pack", str(trained), "--metrics", str(tmp_path / "metrics.json"), "--out", str(tmp_path / "m")])
    assert "Expected metrics of the evaluation" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_the_projects_own_model_comes_before_the_packages(trained: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packaged, "PACKAGED", trained)
    assert packaged.default_model() == trained
    main(["info"])
    assert "none: 1 layers of width 32" in capsys.readouterr().out
    own = tmp_path / "data/models/clutch"
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}")
    assert packaged.default_model() == packaged.OWN


def test_an_installation_without_the_model_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(packaged, "PACKAGED", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="got an installation without it"):
        Clutch.from_pretrained()
    with pytest.raises(SystemExit):
        main(["generate", "both hands clap", "--out", "clap.npz"])
