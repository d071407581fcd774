import json
import sys
from pathlib import Path

import pytest
import torch
from shift_tokenizer import FileFormatError, ShiftTokenizer, ShiftTokenizerError
from shift_tokenizer.files import CONFIG_FILE

REVISION = "a" * 40


@pytest.fixture
def cache(tokenizer: ShiftTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that holds one model; nothing goes over a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache" / "models--someone--hands"
    tokenizer.save_pretrained(folder / "snapshots" / REVISION)
    (folder / "refs").mkdir()
    for name in ("main", "v1"):
        (folder / "refs" / name).write_text(REVISION)
    return tmp_path / "cache"


@pytest.mark.parametrize("revision", [None, "v1", REVISION])
def test_a_model_of_the_hub_is_found_by_its_name(cache: Path, tokenizer: ShiftTokenizer, revision: str | None) -> None:
    loaded = ShiftTokenizer.from_pretrained("someone/hands", cache_dir=cache, revision=revision)
    assert loaded.config == tokenizer.config
    assert torch.equal(loaded.codebooks(), tokenizer.codebooks())


def test_a_folder_of_that_name_comes_first(cache: Path, tokenizer: ShiftTokenizer) -> None:
    ShiftTokenizer(tokenizer.config, seed=99).save_pretrained("someone/hands")
    loaded = ShiftTokenizer.from_pretrained("someone/hands", cache_dir=cache)
    assert not torch.equal(loaded.codebooks(), tokenizer.codebooks())


def test_what_the_hub_does_not_have_is_named(cache: Path) -> None:
    with pytest.raises(ShiftTokenizerError, match=r"someone/feet: expected a folder or a model of the hub"):
        ShiftTokenizer.from_pretrained("someone/feet", cache_dir=cache)
    for no_name in ("a/b/c", "./someone/feet", Path("someone/feet")):
        with pytest.raises(FileFormatError, match="expected a readable file"):
            ShiftTokenizer.from_pretrained(no_name, cache_dir=cache)


def test_a_damaged_download_is_refused(cache: Path) -> None:
    path = cache / "models--someone--hands" / "snapshots" / REVISION / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 7}))
    with pytest.raises(FileFormatError, match="expected format version 1, got 7"):
        ShiftTokenizer.from_pretrained("someone/hands", cache_dir=cache)


def test_without_its_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ShiftTokenizerError, match=r"pip install 'shift-tokenizer\[hub\]'"):
        ShiftTokenizer.from_pretrained("someone/hands")
