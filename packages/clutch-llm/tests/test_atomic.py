import os
from pathlib import Path

import pytest
from clutch_llm.atomic import write_beside, write_folder_beside


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.bin"
    with write_beside(target) as path:
        path.write_text("half")
        assert not target.exists()
        assert path.parent == target.parent
        assert path.suffix == ".bin"
        path.write_text("whole")
    assert target.read_text() == "whole"
    assert names(target.parent) == ["model.bin"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError), write_beside(tmp_path / "a") as path:
        path.with_name("elsewhere").rename(path)
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_takes_the_place_of_another_with_all_that_was_in_it(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "stale").write_text("x")
    with write_folder_beside(tmp_path / "m") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "fresh").write_text("y")
        assert names(tmp_path / "m") == ["stale"]
    assert names(tmp_path / "m") == ["sub"]
    assert names(tmp_path) == ["m"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old").write_text("x")
    with pytest.raises(FileNotFoundError), write_folder_beside(tmp_path / "m") as folder:
        (folder / "elsewhere").rename(folder / "half")
    assert names(tmp_path / "m") == ["old"]
    assert names(tmp_path) == ["m"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old").write_text("x")
    real = os.replace

    def refusing(source, target) -> None:
        if Path(target).name == "m" and "old" not in Path(source).name:
            raise OSError("No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    with pytest.raises(OSError, match="No space"), write_folder_beside(tmp_path / "m") as folder:
        (folder / "new").write_text("y")
    assert names(tmp_path / "m") == ["old"]
    assert names(tmp_path) == ["m"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("x")
    with pytest.raises(NotADirectoryError, match="got a file"), write_folder_beside(tmp_path / "m"):
        pass
    assert (tmp_path / "m").read_text() == "x"


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_modes_follow_the_umask_whatever_wrote_the_file(tmp_path: Path, umask: int, file_mode, folder_mode) -> None:
    before = os.umask(umask)
    try:
        with write_beside(tmp_path / "a") as path:
            path.unlink()
            path.touch(mode=0o640)
            path.chmod(0o640)
        with write_folder_beside(tmp_path / "m") as folder:
            (folder / "sub").mkdir()
            (folder / "sub").chmod(0o711)
            (folder / "sub" / "b").touch()
            (folder / "sub" / "b").chmod(0o640)
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert modes == {"a": file_mode, "m": folder_mode, "sub": folder_mode, "b": file_mode}
