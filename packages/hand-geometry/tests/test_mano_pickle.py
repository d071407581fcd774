"""Pickles of the official structure are read; any other is refused by name, and nothing in it runs."""

from __future__ import annotations

import pickle
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_geometry import HandModel
from hand_geometry.assets import load_asset
from hand_geometry.errors import AssetError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_matrix

VERTICES = 40  # a small mesh keeps the files small; nothing may assume 778


class Python2Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 wrote its str, as in the official files."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_python2_str(self, value):
        self.write(b"T" + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_python2_str


@pytest.fixture(scope="module")
def chumpy():
    """Modules under chumpy's names, there while a pickle is written."""

    class Ch:
        pass

    class Select(Ch):
        pass

    ch, reordering = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    ch.Ch, reordering.Select = Ch, Select
    for kind, module in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering")):
        kind.__module__, kind.__qualname__ = module, kind.__name__
    names = {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": ch, "chumpy.reordering": reordering}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in names.items():
            patch.setitem(sys.modules, name, module)
        yield types.SimpleNamespace(Ch=Ch, Select=Select)


def mano_arrays():
    rng = np.random.default_rng(0)
    asset = load_asset()
    regressor = rng.dirichlet(np.ones(VERTICES), 16) * (rng.random((16, VERTICES)) < 0.5)
    parents = np.array([4294967295, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
    return {
        "v_template": rng.normal(0, 0.1, (VERTICES, 3)), "f": rng.integers(0, VERTICES, (30, 3)).astype(np.uint32),
        "weights": rng.dirichlet(np.ones(16), VERTICES), "J_regressor": regressor,
        "shapedirs": rng.normal(0, 0.01, (VERTICES, 3, 10)), "posedirs": rng.normal(0, 0.01, (VERTICES, 3, 135)),
        "hands_mean": rng.normal(0, 0.3, 45), "hands_components": asset.hands_components,
        "kintree_table": np.stack([parents, np.arange(16)]).astype(np.int64), "tip_ids": np.arange(5),
    }  # fmt: skip


def official(chumpy, arrays, sparse=csc_matrix):
    """The dict of an official file: a sparse regressor, chumpy terms, text, and things that nobody needs."""

    def ch(value):
        made = chumpy.Ch()
        made.__dict__ = {"x": value, "_dirty_vars": {"x"}, "_itr": None, "_depends_on_deps": {}}
        return made

    select = chumpy.Select()
    doubled = np.stack([arrays["shapedirs"], arrays["shapedirs"] + 1])
    select.__dict__ = {
        "a": ch(doubled),
        "idxs": np.arange(arrays["shapedirs"].size, 2 * arrays["shapedirs"].size),
        "preferred_shape": arrays["shapedirs"].shape,
    }
    stored = {name: arrays[name] for name in arrays}
    stored["shapedirs"] = select
    stored["posedirs"] = ch(arrays["posedirs"])
    stored["v_template"] = np.asfortranarray(arrays["v_template"])
    stored["J_regressor"] = sparse(arrays["J_regressor"])
    return stored | {"bs_type": "lrotmin", "bs_style": "lbs", "betas": ch(np.zeros(10)), "hands_coeffs": None}


def write(path, stored, *, python2=True, protocol=2):
    with open(path, "wb") as stream:
        (Python2Pickler if python2 else pickle._Pickler)(stream, protocol).dump(stored)
    if protocol == 2:
        content = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        path.write_bytes(content.replace(b"scipy.sparse._cs", b"scipy.sparse.cs"))
    return path


@pytest.mark.parametrize("sparse", [csc_matrix, csr_matrix, np.asarray])
@pytest.mark.parametrize(("python2", "protocol"), [(True, 2), (False, 2), (False, 4), (False, 5)])
def test_an_official_pickle_gives_the_arrays_that_went_in(sparse, python2, protocol, chumpy, tmp_path):
    arrays = mano_arrays()
    stored = official(chumpy, {**arrays, "shapedirs": arrays["shapedirs"] - 1}, sparse)
    path = write(tmp_path / "MANO_RIGHT.pkl", stored, python2=python2, protocol=protocol)
    asset = load_asset(str(path), "right")
    np.testing.assert_array_equal(asset.v_template, arrays["v_template"])
    np.testing.assert_allclose(asset.shapedirs, arrays["shapedirs"], atol=1e-15)
    np.testing.assert_array_equal(asset.posedirs, arrays["posedirs"])
    np.testing.assert_array_equal(asset.joint_regressor, arrays["J_regressor"])
    np.testing.assert_array_equal(asset.faces, arrays["f"])
    np.testing.assert_array_equal(asset.hands_mean, arrays["hands_mean"])


def test_a_pickle_and_an_npz_make_the_same_hand_and_a_folder_of_pickles_is_read(chumpy, tmp_path, generator):
    arrays = mano_arrays()
    for side in ("LEFT", "RIGHT"):
        write(tmp_path / f"MANO_{side}.pkl", {**official(chumpy, arrays), "shapedirs": arrays["shapedirs"]})
    np.savez(tmp_path / "hand.npz", **arrays)
    pose = torch.randn(2, 15, 3, generator=generator)
    a = HandModel.load(tmp_path, side="left")(torch.zeros(2, 3), pose)
    b = HandModel.load(tmp_path / "hand.npz", side="left")(torch.zeros(2, 3), pose)
    assert a.vertices.shape == (2, VERTICES, 3)
    torch.testing.assert_close(a, b)


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _hostile_cases():
    import os
    import subprocess

    return {
        "os-system": (Hostile(os.system, "touch ran"), r"asks for '(posix|nt|os)\.system'"),
        "eval": (Hostile(eval, "open('ran', 'w')"), r"asks for '\w+\.eval'"),
        "popen": (Hostile(subprocess.Popen, ["touch", "ran"]), r"asks for '\w+\.Popen'"),
        "getattr": (Hostile(getattr, "text", "upper"), r"asks for '\w+\.getattr'"),
        "numpy-load": (Hostile(np.load, "x.npy"), r"asks for 'numpy\.load'"),
        "path": (Path("ran"), r"asks for 'pathlib[\w.]*\.PosixPath'"),
    }


@pytest.mark.parametrize("case", sorted(_hostile_cases()))
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("whole", [True, False])
def test_a_hostile_pickle_is_refused_by_name_and_not_run(case, protocol, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing, message = _hostile_cases()[case]
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(thing if whole else {"v_template": thing}, protocol))
    with pytest.raises(AssetError, match=message) as caught:
        HandModel.load(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "broken"),
        (b"not a pickle", "broken"),
        (b"\x80\x04.", "broken"),
        (pickle.dumps([1, 2, 3]), "a list instead of a dict"),
        (b"}r\xff\xff\xff\x7f.", "memo number"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "opcode BINPERSID"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (pickle.dumps({"f": np.array([{}], object)}), "dtype 'O8'"),
        (pickle.dumps({"f": np.array(["a"])}), "dtype 'U1'"),
        (pickle.dumps({"f": np.zeros(2)}).replace(struct.pack("<d", 0) * 2, struct.pack("<d", 0)), "broken"),
        (b"\x80\x02}X\x01\x00\x00\x00fcchumpy.reordering\nSelect\n)\x81}bs.", "Select without"),
        (b"\x80\x02}X\x01\x00\x00\x00fcchumpy.ch\nCh\n)\x81K\x01bs.", "state is a int"),
        (b"\x80\x02}X\x01\x00\x00\x00fcscipy.sparse.csc\ncsc_matrix\n)\x81}bs.", "sparse matrix that lacks"),
        (pickle.dumps({"v_template": 1.0}), "got no f, weights"),
    ],
)
def test_what_is_no_mano_pickle_is_refused(content, message, tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(content)
    with pytest.raises(AssetError, match=message):
        HandModel.load(path)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_bytes_never_end_in_another_error(chumpy, tmp_path, data):
    whole = tmp_path / "whole.pkl"
    if not whole.exists():
        write(whole, official(chumpy, mano_arrays()))
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    broken = tmp_path / "MANO_RIGHT.pkl"
    broken.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    load_asset.cache_clear()
    try:
        asset = load_asset(str(broken), "right")
    except AssetError:
        return
    assert np.isfinite(asset.v_template).all()
