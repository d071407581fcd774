"""Models saved, opened, migrated, pushed: folders, hub names, devices and types of numbers."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from clutch_llm import Clutch, Sampling
from clutch_llm.errors import CheckpointError, ClutchError, ConfigError
from safetensors.torch import load_file, save_file

FORMAT_1 = Path(__file__).with_name("data") / "format-1"


@pytest.fixture(scope="module")
def saved(clutch, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    dataclasses.replace(clutch, generation=Sampling(0.7, 5, False, 1.5)).save_pretrained(folder)
    return folder


def test_a_saved_model_generates_and_captions_the_same(clutch, clips, saved: Path) -> None:
    again = Clutch.from_pretrained(saved)
    assert again.config == clutch.config
    assert again.n_parameters == clutch.n_parameters
    assert [type(m) for m in again.model.modules()] == [type(m) for m in clutch.model.modules()]
    texts = ["the left hand waves", "both hands clap"]
    plain = Sampling()
    first, second = (dataclasses.replace(c, generation=plain).generate(texts, seed=3) for c in (clutch, again))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0]["features"], b[0]["features"])
    assert again.caption(clips[0]["features"]) == clutch.caption(clips[0]["features"])


def test_a_folder_has_these_files_and_nothing_beside_it(saved: Path) -> None:
    assert {p.name for p in saved.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "text_tokenizer.json", "tokenizer", "README.md",
    }  # fmt: skip
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def test_settings_of_generation_are_saved_and_taken(clutch, saved: Path) -> None:
    written = json.loads((saved / "generation_config.json").read_text())
    assert written == {"temperature": 0.7, "top_k": 5, "greedy": False, "guidance": 1.5}
    again = Clutch.from_pretrained(saved)
    assert again.generation == Sampling(temperature=0.7, top_k=5, greedy=False, guidance=1.5)
    text = "the left hand waves"
    given = clutch.generate(text, seed=4, temperature=0.7, top_k=5, guidance=1.5, seconds=2)
    assert again.generate(text, seed=4, seconds=2)[0][0]["tokens"].tolist() == given[0][0]["tokens"].tolist()


@pytest.mark.parametrize("text", ['{"temperature": -1.0}', '{"temprature": 1.0}', "[]", "{"])
def test_broken_settings_of_generation_are_named(clutch, tmp_path: Path, text: str) -> None:
    clutch.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "generation_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        Clutch.from_pretrained(tmp_path / "m")


def test_saving_over_a_model_replaces_it(clutch, tmp_path: Path) -> None:
    clutch.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "stale").write_text("x")
    clutch.save_pretrained(str(tmp_path / "model"))
    assert not (tmp_path / "model" / "stale").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_old_model(clutch, tmp_path: Path, monkeypatch) -> None:
    clutch.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(*args, **kwargs) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("clutch_llm.files.save_file", full)
    with pytest.raises(OSError, match="No space"):
        clutch.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_modes_follow_the_umask(clutch, tmp_path: Path, umask: int, file_mode: int, folder_mode: int) -> None:
    before = os.umask(umask)
    try:
        clutch.save_pretrained(tmp_path / "m")
    finally:
        os.umask(before)
    for path in (tmp_path / "m", *(tmp_path / "m").rglob("*")):
        assert path.stat().st_mode & 0o777 == (folder_mode if path.is_dir() else file_mode), path


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "text_tokenizer.json"])
@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_a_missing_or_broken_file_is_named(clutch, tmp_path: Path, name: str, harm: str) -> None:
    clutch.save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / name
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ClutchError, match=str(tmp_path / "m")):
        Clutch.from_pretrained(tmp_path / "m")


def test_weights_of_another_model_are_refused(clutch, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    clutch.save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    weights = load_file(path)
    del weights["pooled_prompt.weight"]
    save_file({**weights, "other": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="1 missing and 1 unknown"):
        Clutch.from_pretrained(tmp_path / "m")


def test_a_folder_of_a_version_to_come_is_refused(clutch, tmp_path: Path) -> None:
    clutch.save_pretrained(tmp_path / "m")
    meta = json.loads((tmp_path / "m" / "config.json").read_text())
    assert meta["format_version"] == 3
    (tmp_path / "m" / "config.json").write_text(json.dumps({**meta, "format_version": 99}))
    with pytest.raises(CheckpointError, match="format version 1 to 3, got 99"):
        Clutch.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("content", ["[]", '{"model_type": "t5"}'])
def test_the_folder_of_something_else_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=f"CLUTCH model folder at {tmp_path}.*something else"):
        Clutch.from_pretrained(tmp_path)


def test_a_model_of_format_version_1_generates_what_it_did(tmp_path: Path) -> None:
    """The folder was written, and these codes were generated, by clutch-llm 0.1.0."""
    clutch = Clutch.from_pretrained(FORMAT_1)
    expected = {
        "the left hand waves": [[5, 1, 5, 1], [5, 1, 5, 1], [5, 1, 5, 1], [5, 1, 5, 1], [5, 1, 5, 1]],
        "both hands clap": [[3, 1, 3, 1], [3, 3, 3, 1], [3, 3, 3, 3], [3, 1, 3, 3], [3, 1, 3, 1]],
    }
    for text, tokens in expected.items():
        motion = clutch.generate(text, greedy=True)[0][0]
        assert motion["tokens"].tolist() == tokens
    assert motion["features"][0, :3].tolist() == pytest.approx([0.2763057, 0.0808132, 0.0277861], abs=1e-5)
    assert clutch.fps == motion["fps"] == clutch.tokenizer.config.fps == 20.0
    assert clutch.max_seconds == 5 * 4 / 20
    assert clutch.generation == Sampling()
    assert clutch.stages == [{"stage": "PretrainConfig", "steps": 3, "seed": 11}]
    clutch.save_pretrained(tmp_path / "m")  # and of today's version from then on
    meta = json.loads((tmp_path / "m" / "config.json").read_text())
    assert meta["format_version"] == 3
    assert "fps" not in meta["clutch"]
    again = Clutch.from_pretrained(tmp_path / "m")
    assert again.fps == 20.0
    assert again.generate(text, greedy=True)[0][0]["tokens"].tolist() == tokens


def test_a_model_of_format_version_2_is_the_same_model(clutch, saved: Path, tmp_path: Path) -> None:
    """Version 2 knew T5 alone: its settings and weights had no backbone around them."""
    shutil.copytree(saved, tmp_path / "m")
    meta = json.loads((tmp_path / "m" / "config.json").read_text())
    backbone = meta.pop("backbone")
    meta |= {"format_version": 2, "t5": backbone["settings"]}
    meta |= {name: backbone[name] for name in ("tied_head", "output_scale")}
    (tmp_path / "m" / "config.json").write_text(json.dumps(meta))
    weights = load_file(tmp_path / "m" / "model.safetensors")
    save_file({n.removeprefix("backbone."): w for n, w in weights.items()}, tmp_path / "m" / "model.safetensors")
    again = Clutch.from_pretrained(tmp_path / "m")
    assert again.model.output_scale == clutch.model.output_scale == pytest.approx(32**-0.5)
    ours, theirs = clutch.model.state_dict(), again.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_name_of_the_hub_is_downloaded(clutch, saved: Path, tmp_path: Path, monkeypatch) -> None:
    asked = {}

    def snapshot(name, **how):
        asked.update(how, name=name)
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.chdir(tmp_path)
    model = Clutch.from_pretrained(
        "somebody/hands", revision="v2", cache_dir=tmp_path, token="t", local_files_only=True
    )
    assert model.n_parameters == clutch.n_parameters
    assert asked == {
        "name": "somebody/hands", "revision": "v2", "cache_dir": tmp_path, "token": "t", "local_files_only": True,
    }  # fmt: skip


def test_a_folder_is_never_looked_for_on_the_hub(saved: Path, tmp_path: Path, monkeypatch) -> None:
    def never(*args, **how):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", never)
    monkeypatch.chdir(saved.parent.parent)
    Clutch.from_pretrained(f"{saved.parent.name}/model")
    for name in (Path("somebody/hands"), "data/models/clutch", "/some/where", "./some/where", "one"):
        with pytest.raises(CheckpointError, match="CLUTCH model folder at"):
            Clutch.from_pretrained(name)


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch) -> None:
    def offline(*args, **how):
        raise ConnectionError("no route to host\nmany\nlines")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"somebody/hands.*no route to host Check the name") as caught:
        Clutch.from_pretrained("somebody/hands")
    assert "\n" not in str(caught.value)


def test_pushing_uploads_the_folder_that_saving_writes(clutch, saved: Path, monkeypatch) -> None:
    sent = {}

    class Hub:
        def __init__(self, token=None) -> None:
            sent["token"] = token

        def create_repo(self, repo_id, **how):
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, *, repo_id, folder_path, **how):
            sent.update(repo=repo_id, files={str(p.relative_to(folder_path)) for p in Path(folder_path).rglob("*")})
            sent["card"] = (Path(folder_path) / "README.md").read_text()
            return "https://huggingface.co/commit"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    assert clutch.push_to_hub("somebody/hands", token="secret") == "https://huggingface.co/commit"
    assert sent["repo"] == "somebody/hands"
    assert sent["token"] == "secret"
    assert sent["files"] == {str(p.relative_to(saved)) for p in saved.rglob("*")}
    assert "# CLUTCH: text to two-hand motion and back" in sent["card"]


def test_saving_can_push_as_well(clutch, tmp_path: Path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(type(clutch), "push_to_hub", lambda self, *args, **how: calls.append((args, how)) or "url")
    assert clutch.save_pretrained(tmp_path / "m") is None
    assert clutch.save_pretrained(tmp_path / "m", push_to_hub=True, private=True) == "url"
    assert clutch.save_pretrained(tmp_path / "m", push_to_hub=True, repo_id="a/b") == "url"
    assert calls == [(("m",), {"private": True}), (("a/b",), {})]


def test_auto_is_the_accelerator_that_is_there(monkeypatch) -> None:
    from clutch_llm.devices import choose_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device() == torch.device("cuda")


def test_model_and_tokenizer_go_to_the_device_together(saved: Path) -> None:
    """The meta device stands for an accelerator."""
    clutch = Clutch.from_pretrained(saved, device="meta")
    assert {p.device.type for p in clutch.model.parameters()} == {"meta"}
    assert {p.device.type for p in [*clutch.tokenizer.parameters(), clutch.tokenizer.mean]} == {"meta"}


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_named(saved: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"auto or cpu, got '{device}'"):
        Clutch.from_pretrained(saved, device=device)


@pytest.mark.parametrize("dtype", ["bf16", torch.int64])
def test_a_type_that_no_model_runs_in_is_named(saved: Path, dtype) -> None:
    with pytest.raises(ConfigError, match="float32, bfloat16, float16"):
        Clutch.from_pretrained(saved, dtype=dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_a_model_in_half_precision_generates_and_captions(clutch, saved: Path, clips, dtype) -> None:
    half = Clutch.from_pretrained(saved, dtype=dtype)
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16 if dtype == "bfloat16" else torch.float16}
    assert {p.dtype for p in half.tokenizer.parameters()} == {torch.float32}
    motions = half.generate(["the left hand waves", "x"], samples=2, guidance=2.0)
    assert all(m["features"].dtype == np.float32 and np.isfinite(m["features"]).all() for row in motions for m in row)
    assert len(half.caption([clips[0]["features"], clips[3]["features"]])) == 2
    whole = Clutch.from_pretrained(saved)
    greedy = [c.generate("the left hand waves", greedy=True, seconds=1)[0][0]["tokens"] for c in (half, whole)]
    assert (greedy[0] == greedy[1]).mean() > 0.5
    assert Clutch.from_pretrained(saved).model.device == torch.device("cpu")
