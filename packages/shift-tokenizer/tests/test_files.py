import dataclasses
import json
from pathlib import Path

import pytest
import torch
from shift_tokenizer import ConfigError, FileFormatError, ShiftConfig, ShiftTokenizer, ShiftTokenizerError
from shift_tokenizer.arrays import load_arrays
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
    with pytest.raises(ShiftTokenizerError, match="provenance: expected names, finite numbers and lists"):
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
        ({"format_version": 99}, "expected a format version from 1 to 2, got 99"),
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


VERSION_1 = {
    "decomposition": "shift",
    "width": 16,
    "codebook_size": 24,
    "code_dim": 8,
    "frames_per_latent": 4,
    "residual_depth": 1,
    "dilations": [3, 1],
    "mirror_left": True,
    "encoder_input": "own",
    "decay": 0.97,
    "reset_every": 5,
    "reset_threshold": 0.22,
    "std_floor": 0.001,
    "group_std": False,
}


@pytest.mark.parametrize("told", [{}, {"prediction": 0.8, "pose_prediction": 0.5}], ids=["first", "with prediction"])
def test_a_tokenizer_of_the_first_format_is_migrated(tokenizer: ShiftTokenizer, tmp_path: Path, told: dict) -> None:
    """It told no rate; the first ones told no prediction, and predicted nothing."""
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / CONFIG_FILE
    description = json.loads(path.read_text()) | {"format_version": 1, "config": VERSION_1 | told}
    path.write_text(json.dumps(description))
    config = ShiftTokenizer.from_pretrained(tmp_path).config
    assert config.fps == 15.0
    assert config.quantizer == "ema"
    assert (config.prediction, config.pose_prediction) == ((0.8, 0.5) if told else (0.0, 0.0))
    assert (config.width, config.codebook_size, config.decay) == (16, 24, 0.97)


def test_a_field_that_is_not_told_is_no_default(tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    description = json.loads((tmp_path / CONFIG_FILE).read_text())
    del description["config"]["prediction"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(description))
    with pytest.raises(FileFormatError, match="a configuration without prediction"):
        ShiftTokenizer.from_pretrained(tmp_path)


def test_an_array_with_a_broken_header_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(FileFormatError, match="expected a NumPy file without pickles"):
        load_arrays(path, "features")


def test_the_rate_is_kept(config: ShiftConfig, tmp_path: Path) -> None:
    ShiftTokenizer(dataclasses.replace(config, fps=30.0)).save_pretrained(tmp_path)
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["config"]["fps"] == 30.0
    assert ShiftTokenizer.from_pretrained(tmp_path).config.fps == 30.0


def test_a_device_that_is_not_there_is_one_clear_line(tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"device: expected one of {count} CUDA devices, got number 77"):
        ShiftTokenizer.from_pretrained(tmp_path, device="cuda:77")
    with pytest.raises(ConfigError, match="device: expected 'auto', 'cpu'"):
        ShiftTokenizer.from_pretrained(tmp_path, device="abacus")
    there = "cuda" if count else "cpu"
    assert ShiftTokenizer.from_pretrained(tmp_path, device="auto").mean.device.type == there
