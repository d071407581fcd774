"""Arrays of files that others made: the reader agrees with NumPy, and broken or hostile files get a named error."""

from __future__ import annotations

import io
import resource
import zipfile

import numpy as np
import pytest
from hand_geometry import load_motion, save_motion
from hand_geometry.errors import MotionFileError
from hand_geometry.plain_npz import BrokenArrayError, read_npy, read_npz
from hypothesis import given, settings
from hypothesis import strategies as st


def npy(header: bytes, body: bytes = b"", version: int = 1) -> bytes:
    """A .npy with this text as its header."""
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + body


def npz(path, **members: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


HEADERS = [
    b"", b"{", b"(((", b"{'descr': '<f4'", b"{'descr': '<f4', 'shape': (1,)}", b"[]", b"\x00\x00", b"\xff\xfe", b"'",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': 3}", b"{'descr': 'x', 'fortran_order': False, 'shape': (1,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", b"{'descr': [], 'fortran_order': 0, 'shape': (1,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", b"__import__('os').getcwd()", b"\t{\n ]",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000000000000)}", b"-" * 9000, b"[" * 9000,
    b"{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,)}", b"{" + b"'a': {" * 300,
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s,)}" % (b"9" * 5000),
    b"{'descr': '|O', 'fortran_order': False, 'shape': ()}", b"{'descr': '<f4', 'fortran_order': None, 'shape': (0,)}",
    b"{'descr': [('a', '|O')], 'fortran_order': False, 'shape': ()}", b"{[]: 1}", b"{'descr': '<f4', }}",
    b"{'descr': ('<f4', (3,)), 'fortran_order': False, 'shape': (2,)}", b"L", b"{'descr': '<f4', 'shape': (2L, 3L)}",
]  # fmt: skip


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_mean_nothing_are_named(header, version, tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(header, b"\0" * 64, version))
    with pytest.raises(BrokenArrayError):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(MotionFileError, match=r"a\.npz"):
        load_motion(npz(tmp_path / "a.npz", transl=npy(header, b"\0" * 64, version)))


@given(
    st.sampled_from(["<f4", ">f8", "<i8", "|b1", "<U3", "|u1"]),
    st.lists(st.integers(0, 4), max_size=3),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_arrays_come_back_as_numpy_wrote_them(tmp_path_factory, dtype, shape, fortran, packed):
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    array = np.asfortranarray(array) if fortran else array
    (np.savez_compressed if packed else np.savez)(path, a=array, b=np.float32(3))
    again = read_npz(path)
    np.testing.assert_array_equal(again["a"], array)
    assert again["a"].dtype == array.dtype
    assert again["b"] == 3
    assert sorted(again) == ["a", "b"]


def test_a_stream_is_read_from_where_it_stands_and_no_further():
    stream = io.BytesIO()
    stream.write(b"before")
    np.save(stream, np.arange(3, dtype=np.int16))
    np.save(stream, np.float64(0.5))
    stream.seek(len(b"before"))
    np.testing.assert_array_equal(read_npy(stream), [0, 1, 2])
    assert read_npy(stream) == 0.5
    with pytest.raises(BrokenArrayError, match="no array"):
        read_npy(stream)


@pytest.mark.parametrize(("said", "shape"), [(b"(2L, 3L)", (2, 3)), (b"(6L,)", (6,)), (b"(2L, 3)", (2, 3))])
def test_lengths_as_python_2_wrote_them_are_read(said, shape):
    body = np.arange(6, dtype="<f4").tobytes()
    header = b"{'descr': [('a1L', '<f4')], 'fortran_order': False, 'shape': %s, }" % said
    array = read_npy(io.BytesIO(npy(header, body)))
    assert array.shape == shape
    np.testing.assert_array_equal(array["a1L"].ravel(), range(6))


def test_a_file_that_claims_more_than_it_holds_allocates_nothing(make_motion, tmp_path):
    """A member that inflates without end, one that lies about its size, and a shape beyond the bytes."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (250000000000,)}"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("transl.npy", npy(header, b"\0" * 1000))
    content = bytearray(stream.getvalue())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / "shape.npz").write_bytes(content)
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    (tmp_path / "size.npz").write_bytes(content)
    for name in ("shape", "size"):
        with pytest.raises(MotionFileError, match=name):
            load_motion(tmp_path / f"{name}.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.fixture(scope="module")
def written(make_motion, tmp_path_factory):
    return save_motion(
        tmp_path_factory.mktemp("written") / "a.npz", make_motion(2), fps=15, captions=["x"]
    ).read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.binary(min_size=1, max_size=8), st.integers(0, 10**9), st.booleans())
def test_changed_and_cut_motions_are_read_or_named(written, tmp_path_factory, place, change, cut, shorten):
    content = bytearray(written)
    place %= len(content)
    content[place : place + len(change)] = change
    path = tmp_path_factory.mktemp("changed") / "a.npz"
    path.write_bytes(bytes(content[: cut % len(content)] if shorten else content))
    try:
        motion = load_motion(path)
    except MotionFileError:
        return
    assert all(np.isfinite(motion[name]).all() for name in ("global_orient", "hand_pose", "transl", "betas"))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["transl", "betas", "fps", "valid", "captions", "features"]), st.data())
def test_arrays_of_other_kinds_are_named_or_read(make_motion, tmp_path_factory, name, data):
    arrays = {k: v for k, v in make_motion(2).items() if name != "features"}
    shape = data.draw(st.sampled_from([(), (2,), (0,), (2, 2), (2, 10), (2, 2, 3), (2, 198), (198,)]))
    kind = data.draw(st.sampled_from(["f4", "U3", "S3", "i4", "b1", "c8", "M8[s]", "V4", "f2"]))
    arrays[name] = np.zeros(shape, kind)
    path = tmp_path_factory.mktemp("kinds") / "a.npz"
    np.savez(path, **arrays)
    try:
        motion = load_motion(path)
    except MotionFileError:
        return
    assert np.isfinite(motion["transl"]).all()


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", transl=np.array([{}], object))
    with pytest.raises(MotionFileError, match="objects"):
        load_motion(tmp_path / "a.npz")
