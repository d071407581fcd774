"""A sample of the thousand corrupted inputs; `benchmarks/corrupted.py` builds from all of them."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hand_geometry.exporting.plain_pickle import read_plain_pickle

pytest.importorskip("av")
from hiw_data.sources.hand_recording import Context
from hiw_data.sources.plain_files import read_npy_object, read_npz_objects
from hiw_data.sources.video import find_files
from hiw_data.store.validation import validate

from . import corrupted_inputs


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links of POSIX")
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_ends_the_build_nothing_is_run_and_each_one_is_listed(seed: int, tmp_path: Path) -> None:
    count = len(corrupted_inputs.KINDS) * len(corrupted_inputs.ATTACKS)
    drawn = corrupted_inputs.draw(tmp_path / "in" / "inputs", count, seed)
    (tmp_path / "out").mkdir()
    outcome = corrupted_inputs.build_watched(drawn, tmp_path / "out" / "store.zarr")
    assert len(drawn.cases) == count
    assert not outcome.run
    assert not outcome.outside
    assert not outcome.changed
    assert not outcome.lost
    assert all(outcome.listed.values())
    assert len(outcome.listed) > 0.8 * count
    hurt = {what for name, (_, what) in drawn.cases.items() if name in outcome.used}
    assert not hurt & {"a hostile pickle", "empty", "another type", "noise", "too deep", "a folder", "a pipe"}
    assert not any("weights_only" in reason for reason in outcome.listed.values())
    checked = validate(outcome.store)
    assert not checked.problems
    assert not checked.damaged


BROKEN = [
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,",  # which NumPy's own reader leaves to a TokenError
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
    b"[" * 9000,
    b"",
]


@pytest.mark.parametrize("header", BROKEN, ids=range(len(BROKEN)))
def test_an_array_with_a_broken_header_is_a_broken_file(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12))
    with pytest.raises(ValueError, match="a broken array"):
        read_npy_object(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(path, "a.npy")
    with pytest.raises(ValueError, match="a broken array"):
        read_npz_objects(tmp_path / "a.npz")


def test_arrays_and_objects_of_numpys_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.int16).reshape(2, 3).T)
    array = read_npy_object(tmp_path / "a.npy")
    np.testing.assert_array_equal(array, [[0, 3], [1, 4], [2, 5]])
    assert array.dtype == np.int16
    assert array.flags.writeable
    np.save(tmp_path / "b.npy", np.array({"x": 1}, object), allow_pickle=True)
    assert read_npy_object(tmp_path / "b.npy") == {"x": 1}


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_a_name_that_is_no_text_becomes_one(tmp_path: Path) -> None:
    name = os.fsdecode(b"clip-\xff")
    (tmp_path / f"{name}.npy").touch()
    assert [stem for stem, _ in find_files([tmp_path], (".npy",), "arrays")] == ["clip-\\udcff"]
    context = Context(folder=tmp_path)
    assert context.stem(tmp_path / f"{name}.npy") == "clip-\\udcff"


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """A pickle of the kind that is drawn does run something, where it is unpickled."""
    mark = tmp_path / "mark"
    for how in range(4):
        mark.unlink(missing_ok=True)
        opened = pickle.loads(pickle.dumps(corrupted_inputs.Runs(mark, how)))
        if hasattr(opened, "close"):
            opened.close()
        assert mark.exists()


class TypeWithFlags:
    """A float64 in a pickle whose flags say that its bytes are pointers to counted objects."""

    def __init__(self, flags: int) -> None:
        self.flags = flags

    def __reduce__(self) -> tuple:
        rebuild, arguments, state = np.dtype("f8").__reduce__()
        return rebuild, arguments, (*state[:7], self.flags)


def test_a_type_that_takes_numbers_for_objects_is_refused() -> None:
    sound = read_plain_pickle(io.BytesIO(pickle.dumps(TypeWithFlags(0))))
    assert sound == np.dtype("f8")
    for flags in (1, 4, 63):
        with pytest.raises(ValueError, match="which are not its own"):
            read_plain_pickle(io.BytesIO(pickle.dumps(TypeWithFlags(flags))))
    fields = np.zeros(3, [("x", "f4"), ("y", "i2")])
    assert read_plain_pickle(io.BytesIO(pickle.dumps(fields))).dtype == fields.dtype
