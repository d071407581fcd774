import json
from pathlib import Path

import pytest
import torch
from shift_tokenizer import FileFormatError, ShiftTokenizer, ShiftTokenizerError
from shift_tokenizer.files import CONFIG_FILE, WEIGHTS_FILE


def test_a_saved_tokenizer_comes_back_whole(tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "new" / "folder")
    loaded = ShiftTokenizer.from_pretrained(tmp_path / "new" / "folder")
    assert loaded.config == tokenizer.config
    assert not loaded.training
    saved = tokenizer.state_dict()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, saved[name]), name
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_saving_twice_gives_the_same_bytes(tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        tokenizer.save_pretrained(tmp_path / name)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_configuration_tells_use_and_origin(tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    tokenizer.provenance = {"data": "hands", "steps": 3}
    tokenizer.save_pretrained(tmp_path)
    description = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert description["training"] == {"data": "hands", "steps": 3}
    assert description["code_usage"] == []
    assert ShiftTokenizer.from_pretrained(tmp_path).provenance == {"data": "hands", "steps": 3}
    for stream in tokenizer.stream_list():
        (book,) = stream.quantizer.quantizers()
        book.counts[:6], book.counts[6:] = 5.0, 0.01
        book.steps.fill_(4)
    tokenizer.save_pretrained(tmp_path)
    usage = json.loads((tmp_path / CONFIG_FILE).read_text())["code_usage"]
    assert usage == [{"codes_in_use": 0.25, "perplexity": pytest.approx(6)}] * 2
    assert tokenizer.running_usage()[1].dead.tolist() == list(range(6, 24))
    tokenizer.provenance = {"data": tmp_path}
    with pytest.raises(ShiftTokenizerError, match="provenance: expected names, numbers and lists"):
        tokenizer.save_pretrained(tmp_path)


def test_missing_files_are_named(tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"^[^:]*config\.json: expected a readable file"):
        ShiftTokenizer.from_pretrained(tmp_path / "nowhere")
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / WEIGHTS_FILE).unlink()
    with pytest.raises(FileFormatError, match=r"model\.safetensors: expected a readable file"):
        ShiftTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_weights_are_refused(tokenizer: ShiftTokenizer, tmp_path: Path, damage: str) -> None:
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[:1000]), "empty": b""}[damage])
    with pytest.raises(FileFormatError, match="damage"):
        ShiftTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "expected format version 1, got 99"),
        ({"format": "something"}, "expected a configuration of shift-tokenizer"),
        ({"config": {"width": -1}}, "ShiftConfig.width"),
        ({"config": {"depth": 3}}, "got also depth"),
        ({"config": {"width": 24}}, "size mismatch"),
        ({"training": 3}, "expected a complete tokenizer"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tokenizer: ShiftTokenizer, tmp_path: Path, change: dict, message: str
) -> None:
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / CONFIG_FILE
    description = json.loads(path.read_text())
    if "config" in change:
        change = {"config": description["config"] | change["config"]}
    path.write_text(json.dumps(description | change))
    with pytest.raises(FileFormatError, match=message):
        ShiftTokenizer.from_pretrained(tmp_path)


def test_a_configuration_that_is_no_json_is_refused(tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / CONFIG_FILE).write_text("{")
    with pytest.raises(FileFormatError, match="expected JSON"):
        ShiftTokenizer.from_pretrained(tmp_path)


def test_a_disk_that_refuses_leaves_the_old_file(
    tokenizer: ShiftTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.save_pretrained(tmp_path)
    before = (tmp_path / WEIGHTS_FILE).read_bytes()

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ShiftTokenizerError, match=r"No space left on device.*Free space"):
        ShiftTokenizer(tokenizer.config, seed=9).save_pretrained(tmp_path)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
