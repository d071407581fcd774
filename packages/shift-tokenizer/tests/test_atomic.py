import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from shift_tokenizer import ShiftTokenizer, ShiftTokenizerError
from shift_tokenizer.atomic import write_beside, write_folder_beside


@pytest.fixture(params=[0o022, 0o077, 0o007])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_modes_follow_the_umask(umask: int, tokenizer: ShiftTokenizer, tmp_path: Path) -> None:
    with write_beside(tmp_path / "new" / "file") as part:
        part.write_text("a")
    tokenizer.save_pretrained(tmp_path / "model")
    assert mode(tmp_path / "new" / "file") == 0o666 & ~umask
    assert mode(tmp_path / "model") == 0o777 & ~umask
    for file in (tmp_path / "model").iterdir():
        assert mode(file) == 0o666 & ~umask


def test_a_file_is_replaced_at_the_end_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with write_beside(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_a_folder_are_replaced_together_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b", "other"):
        (folder / name).write_text("old")
    with write_folder_beside(folder) as part:
        for name in ("a", "b"):
            (part / name).write_text("new")
        assert [file.read_text() for file in sorted(folder.iterdir())] == ["old"] * 3
    assert [file.read_text() for file in sorted(folder.iterdir())] == ["new", "new", "old"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("write", [write_beside, write_folder_beside])
def test_an_error_leaves_nothing_and_stays_what_it_was(write, tmp_path: Path) -> None:
    def half() -> None:
        with write(tmp_path / "thing") as part:
            (part / "x" if part.is_dir() else part).write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_beside, write_folder_beside])
def test_a_place_that_cannot_be_written_is_named(write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(ShiftTokenizerError, match=r"Could not write .*file/thing: .*choose another folder"),
        write(tmp_path / "file" / "thing"),
    ):
        pass
