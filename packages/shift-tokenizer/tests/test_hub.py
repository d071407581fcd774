import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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
    with pytest.raises(FileFormatError, match="expected a format version from 1 to 2, got 7"):
        ShiftTokenizer.from_pretrained("someone/hands", cache_dir=cache)


def test_without_its_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ShiftTokenizerError, match=r"pip install 'shift-tokenizer\[hub\]'"):
        ShiftTokenizer.from_pretrained("someone/hands")


class Uploads:
    """A hub that takes what it is given, without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hub = pytest.importorskip("huggingface_hub")
        self.created: dict = {}
        self.options: dict = {}
        self.files: dict[str, bytes] = {}

        def create_repo(api: object, **options: object) -> SimpleNamespace:
            self.created = options
            return SimpleNamespace(repo_id=options["repo_id"])

        def upload_folder(api: object, *, folder_path: Path, **options: object) -> str:
            self.options = options
            self.files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
            return "https://hub/someone/hands/commit/1"

        monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
        monkeypatch.setattr(hub.HfApi, "upload_folder", upload_folder)


def test_what_is_pushed_is_what_is_loaded(
    tokenizer: ShiftTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploads(monkeypatch)
    address = tokenizer.push_to_hub("someone/hands", private=True, commit_message="First", branch="dev")
    assert address == "https://hub/someone/hands/commit/1"
    assert (uploads.created["repo_id"], uploads.created["private"]) == ("someone/hands", True)
    assert (uploads.options["commit_message"], uploads.options["revision"]) == ("First", "dev")
    assert sorted(uploads.files) == ["README.md", "config.json", "model.safetensors"]
    card = uploads.files["README.md"].decode()
    assert 'ShiftTokenizer.from_pretrained("someone/hands")' in card
    assert "library_name: shift-tokenizer" in card
    for name, content in uploads.files.items():
        (tmp_path / name).write_bytes(content)
    loaded = ShiftTokenizer.from_pretrained(tmp_path)
    assert loaded.config == tokenizer.config
    assert torch.equal(loaded.codebooks(), tokenizer.codebooks())


def test_a_hub_that_refuses_is_told_in_one_line(tokenizer: ShiftTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("401 Unauthorized")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with pytest.raises(ShiftTokenizerError, match=r"someone/hands: expected the hub to take the model.*401"):
        tokenizer.push_to_hub("someone/hands")
    with pytest.raises(ShiftTokenizerError, match="expected a name \"owner/name\", got 'hands'"):
        tokenizer.push_to_hub("hands")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ShiftTokenizerError, match=r"pip install 'shift-tokenizer\[hub\]'"):
        tokenizer.push_to_hub("someone/hands")


def test_the_package_is_imported_without_a_client_of_the_hub() -> None:
    code = "import sys, shift_tokenizer; raise SystemExit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
