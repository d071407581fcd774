"""Left and right among hand model files: a file of the other hand is mirrored, and a warning says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, HandPair, fit_keypoints, retarget_motion
from hand_geometry.assets import ASSETS, load_asset, mirror_asset
from hand_geometry.errors import AssetError, InputError
from hand_geometry.sides import _warn_once, load_sided


@pytest.fixture(autouse=True)
def nothing_said_before():
    """Each test begins as a process does: no file was warned of."""
    _warn_once.cache_clear()


@pytest.fixture(scope="module")
def arrays():
    with np.load(ASSETS / "MANO_RIGHT.npz", allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
    """A pair as MANO ships it: the left hand mirrored, its shape components with the right hand's x."""
    folder = tmp_path_factory.mktemp("mano")
    np.savez(folder / "MANO_RIGHT.npz", **arrays)
    left = mirror_asset(load_asset())
    shapes = {"v_template": left.v_template, "f": left.faces, "joint_axes": left.joint_axes}
    shipped = left.shapedirs * np.array([-1.0, 1, 1])[:, None]  # x as the right hand's
    np.savez(folder / "MANO_LEFT.npz", **arrays | shapes | {"shapedirs": shipped})
    return folder


def width(vertices) -> float:
    return float(np.ptp(np.asarray(vertices)[:, 0]))


def posed(pair):
    """Lengths along x of the flat hands in a large shape: mirrored hands are as long as each other."""
    betas = torch.zeros(2, 10)
    betas[:, 0] = 3.0
    out = pair(torch.zeros(2, 3), torch.zeros(2, 15, 3), betas).vertices
    return [width(hand) for hand in out]


def test_an_official_pair_is_corrected_and_that_is_said(folder, caplog):
    left, right = posed(HandPair.load(folder))
    assert "not mirrored" in caplog.text
    assert left == pytest.approx(right, abs=1e-6)


def test_as_shipped_leaves_it_for_betas_that_were_made_so(folder, caplog):
    left, right = posed(HandPair.load(folder, left_shapedirs="as-shipped"))
    assert caplog.text == ""
    assert abs(left - right) > 0.005
    model = HandModel.load(folder, "left")  # smplx's choice
    shipped = load_asset(str(folder), "left")
    np.testing.assert_array_equal(model.asset.shapedirs, shipped.shapedirs)


def test_a_pair_that_is_mirrored_already_is_left_alone(arrays, tmp_path, caplog):
    left = mirror_asset(load_asset())
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)
    np.savez(tmp_path / "MANO_LEFT.npz", **arrays | {"v_template": left.v_template, "shapedirs": left.shapedirs,
             "f": left.faces, "joint_axes": left.joint_axes})  # fmt: skip
    for option in ("auto", "mirrored"):
        long = posed(HandPair.load(tmp_path, left_shapedirs=option))
        assert long[0] == pytest.approx(long[1], abs=1e-6)
    assert caplog.text == ""


def test_components_that_are_neither_are_refused_where_mirrored_ones_are_asked_for(folder, arrays, tmp_path):
    rng = np.random.default_rng(0)
    left = dict(np.load(folder / "MANO_LEFT.npz", allow_pickle=False))
    np.savez(tmp_path / "MANO_RIGHT.npz", **arrays)
    np.savez(tmp_path / "MANO_LEFT.npz", **left | {"shapedirs": rng.normal(0, 1e-3, left["shapedirs"].shape)})
    HandPair.load(tmp_path)
    with pytest.raises(AssetError, match="as-shipped"):
        HandPair.load(tmp_path, left_shapedirs="mirrored")
    with pytest.raises(InputError, match="left_shapedirs"):
        HandPair.load(tmp_path, left_shapedirs="flipped")


@pytest.mark.parametrize("held", ["left", "right"])
def test_one_file_gives_both_hands_as_mirror_images_and_says_so(held, folder, caplog):
    path = folder / f"MANO_{held.upper()}.npz"
    pair = HandPair.load(path)
    other = "left" if held == "right" else "right"
    assert f"holds a {held} hand: it is mirrored to make the {other} one" in caplog.text
    betas = torch.full((2, 10), 0.5)
    left, right = pair(torch.zeros(2, 3), torch.zeros(2, 15, 3), betas).joints
    np.testing.assert_allclose(left, right * torch.tensor([-1.0, 1, 1]), atol=1e-6)
    middle = right[12] - right[0]
    assert middle[0] < -0.1  # a right hand's fingers point to -x at rest, a left one's to +x


def test_a_hand_model_of_the_other_side_is_mirrored_wherever_it_is_loaded(folder, caplog):
    path = str(folder / "MANO_RIGHT.npz")
    left = HandModel.load(path, "left")
    assert left(torch.zeros(3), torch.zeros(15, 3)).joints[12, 0] > 0.1
    caplog.clear()
    _warn_once.cache_clear()
    points = HandModel.load("default", "left")(torch.zeros(1, 3), torch.zeros(1, 15, 3)).joints.numpy()
    fit = fit_keypoints(points, side="left", model=path)
    assert fit.residual[0] < 2e-3
    assert "mirrored" in caplog.text


@pytest.mark.parametrize("option", ["auto", "mirrored"])
def test_a_file_is_warned_of_once_however_often_it_is_loaded(option, folder, tmp_path, caplog):
    first, again = (load_sided(str(folder), "left", option) for _ in range(2))
    np.testing.assert_array_equal(first.shapedirs, again.shapedirs)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for name in ("MANO_LEFT.npz", "MANO_RIGHT.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    load_sided(str(tmp_path), "left", option)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [str(folder), str(tmp_path)]


def test_importers_retarget_with_the_components_that_betas_were_made_with(folder, make_motion):
    motion = make_motion(2) | {"betas": np.full((2, 10), 1.5, np.float32)}
    corrected = retarget_motion(motion, folder)["transl"] - motion["transl"]
    shipped = retarget_motion(motion, folder, left_shapedirs="as-shipped")["transl"] - motion["transl"]
    np.testing.assert_allclose(corrected[:, 0], corrected[:, 1] * [-1, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(corrected[:, 1], shipped[:, 1])
    assert np.abs(corrected[:, 0] - shipped[:, 0]).max() > 1e-4
