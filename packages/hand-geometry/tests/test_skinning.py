"""The fast path against the plain one: values, gradients, chunks, dtypes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hand_geometry import HandModel, naive, skinning
from hand_geometry.assets import load_asset
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.rotations import axis_angle_to_matrix, axis_angle_to_rotation_6d
from hypothesis import given, settings
from hypothesis import strategies as st


@cache
def posed_asset(side="right"):
    """The open hand with made-up pose blend shapes and tips that hang on several bones."""
    asset = load_asset("default", side)
    rng = np.random.default_rng(3)
    weights = asset.weights.copy()
    weights[asset.tip_ids] = rng.dirichlet(np.ones(16), 5)
    return replace(asset, posedirs=rng.normal(0, 1e-3, (len(asset.v_template), 3, 135)), weights=weights)


def inputs(generator, *batch, dtype=torch.float64):
    kinds = ((3,), (15, 3), (10,), (3,))
    orient, pose, betas, transl = (torch.randn(*batch, *k, generator=generator, dtype=dtype) for k in kinds)
    return orient, 0.5 * pose, betas, transl


def plain(asset, orient, pose, betas, transl):
    rotations = torch.cat([axis_angle_to_matrix(orient)[..., None, :, :], axis_angle_to_matrix(pose)], -3)
    return naive.pose_hand(asset, rotations, betas, transl)


@given(st.integers(0, 2**31), st.sampled_from([(), (1,), (3,), (2, 0), (2, 1, 3)]), st.booleans())
@settings(max_examples=12, deadline=None)
def test_fast_and_plain_agree_on_any_batch(seed, batch, posed):
    asset = posed_asset() if posed else load_asset("default", "left")
    values = inputs(torch.Generator().manual_seed(seed), *batch)
    out = HandModel(asset, torch.float64)(*values)
    joints, vertices = plain(asset, *values)
    torch.testing.assert_close(out.joints, joints, atol=1e-12, rtol=0)
    torch.testing.assert_close(out.vertices, vertices, atol=1e-12, rtol=0)


@pytest.mark.parametrize("posed", [False, True])
@pytest.mark.parametrize("shared_betas", [False, True])
def test_gradients_of_joints_and_mesh_are_those_of_the_plain_hand(posed, shared_betas, generator):
    asset = posed_asset() if posed else load_asset("default", "right")
    orient, pose, betas, transl = inputs(generator, 4)
    values = [v.requires_grad_() for v in (orient, pose, betas[0].clone() if shared_betas else betas, transl)]
    out = HandModel(asset, torch.float64)(*values)
    joints, vertices = plain(asset, *values)
    to_joints = torch.randn(joints.shape, generator=generator, dtype=torch.float64)
    to_mesh = torch.randn(vertices.shape, generator=generator, dtype=torch.float64)
    for ours, theirs, weight in ((out.joints, joints, to_joints), (out.vertices, vertices, to_mesh)):
        found = torch.autograd.grad((ours * weight).sum(), values, retain_graph=True)
        expected = torch.autograd.grad((theirs * weight).sum(), values, retain_graph=True)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_gradcheck_of_the_mesh_at_zero_and_at_pi(generator):
    asset = posed_asset()
    keep = np.unique(np.concatenate([np.arange(0, 1609, 400), asset.tip_ids]))
    few = replace(
        asset, v_template=asset.v_template[keep], weights=asset.weights[keep], posedirs=asset.posedirs[keep],
        shapedirs=asset.shapedirs[keep], joint_regressor=asset.joint_regressor[:, keep],
        tip_ids=np.searchsorted(keep, asset.tip_ids),
    )  # fmt: skip
    model = HandModel(few, torch.float64)
    orient, pose, betas, transl = inputs(generator, 2)
    orient = orient / orient.norm(dim=-1, keepdim=True) * torch.pi
    pose[:, ::2] = 0
    values = [v.requires_grad_() for v in (orient, pose, betas, transl)]
    assert torch.autograd.gradcheck(lambda *v: model(*v), values)


def test_chunks_do_not_show(generator, monkeypatch):
    model = HandModel.load()
    values = inputs(generator, 11, dtype=torch.float32)
    whole = model(*values)
    upstream = torch.randn(whole.vertices.shape, generator=generator)
    leaves = [v.clone().requires_grad_() for v in values]
    expected = torch.autograd.grad(model(*leaves).vertices, leaves, upstream)
    monkeypatch.setattr(skinning, "_CPU_CHUNK", 3 * 12 * 1609)
    monkeypatch.setattr(skinning, "_CPU_FRAMES", 4)
    chunked = model(*values)
    torch.testing.assert_close(chunked.joints, whole.joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(chunked.vertices, whole.vertices, atol=1e-6, rtol=0)
    found = torch.autograd.grad(model(*leaves).vertices, leaves, upstream)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_6d_and_matrices_give_the_hand_of_the_axis_angles(hands, generator):
    orient, pose, betas, transl = inputs(generator, 2, 3, dtype=torch.float32)
    expected = hands["left"](orient, pose, betas, transl).vertices
    kinds = (lambda v: v, axis_angle_to_matrix, axis_angle_to_rotation_6d)
    for turn in kinds:
        for bend in kinds:
            found = hands["left"](turn(orient), bend(pose), betas, transl).vertices
            torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_pca_goes_both_ways_and_starts_from_the_mean(generator):
    asset = replace(load_asset(), hands_mean=np.linspace(-0.3, 0.3, 45))
    model = HandModel(asset, torch.float64)
    pose = torch.randn(4, 15, 3, generator=generator, dtype=torch.float64)
    for flat in (False, True):
        torch.testing.assert_close(model.pca_to_pose(model.pose_to_pca(pose, 45, flat), flat), pose)
    zero = torch.zeros(6, dtype=torch.float64)
    torch.testing.assert_close(model.pca_to_pose(zero).flatten(), torch.tensor(asset.hands_mean))
    assert model.pca_to_pose(zero, flat_hand_mean=True).abs().max() == 0
    six = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(model.pose_to_pca(model.pca_to_pose(six), 6), six)


def test_pca_agrees_with_smplx(tmp_path):
    smplx = pytest.importorskip("smplx")
    from hand_geometry.assets import ASSETS

    reference = smplx.MANO(str(ASSETS / "MANO_RIGHT.npz"), ext="npz", use_pca=True, num_pca_comps=6)
    six = torch.tensor([[0.5, -0.3, 0.2, 0.9, -1.0, 0.4]])
    model = HandModel.load()
    found = model(torch.zeros(1, 3), model.pca_to_pose(six)).vertices
    torch.testing.assert_close(found, reference(hand_pose=six).vertices, atol=1e-5, rtol=0)


def test_half_precision_inputs_and_models_compute_in_float32(hands, generator):
    values = [v.bfloat16() for v in inputs(generator, 3, dtype=torch.float32)]
    exact = hands["right"](*[v.float() for v in values])
    halved = HandModel.load().to(torch.bfloat16)
    for model in (hands["right"], halved):
        out = model(*values)
        assert out.vertices.dtype == torch.float32
        torch.testing.assert_close(out.vertices, exact.vertices, atol=1e-7, rtol=0)
    leaf = values[1].clone().requires_grad_()
    hands["right"](values[0], leaf).joints.sum().backward()
    assert leaf.grad.dtype == torch.bfloat16


def test_a_mesh_of_another_size_is_taken(generator):
    asset = load_asset()
    keep = np.unique(np.concatenate([np.arange(0, 1609, 5), asset.tip_ids]))
    regressor = np.zeros((16, len(keep)))
    regressor[:, :16] = np.eye(16)
    small = replace(
        asset, v_template=asset.v_template[keep], weights=asset.weights[keep], shapedirs=asset.shapedirs[keep, :, :4],
        faces=np.array([[0, 1, 2]]), joint_regressor=regressor, tip_ids=np.searchsorted(keep, asset.tip_ids),
    )  # fmt: skip
    orient, pose, betas, transl = inputs(generator, 3)
    out = HandModel(small, torch.float64)(orient, pose, betas[:, :4], transl)
    joints, vertices = plain(small, orient, pose, betas[:, :4], transl)
    assert out.vertices.shape == (3, len(keep), 3)
    torch.testing.assert_close(out.joints, joints)
    torch.testing.assert_close(out.vertices, vertices)


def test_what_is_no_pose_is_refused(hands):
    model, orient, pose = hands["right"], torch.zeros(2, 3), torch.zeros(2, 15, 3)
    with pytest.raises(InputError, match=r"hand_pose: Expected a tensor of floating point numbers, got torch.int64"):
        model(orient, pose.long())
    with pytest.raises(InputError, match="global_orient: Expected a tensor"):
        model(np.zeros((2, 3)), pose)
    with pytest.raises(ShapeError, match="pca_to_pose"):
        model(orient, torch.zeros(2, 6))
    with pytest.raises(ShapeError, match=r"betas: Expected shape one that broadcasts to \(2, 10\)"):
        model(orient, pose, torch.zeros(3, 10))
    with pytest.raises(ShapeError, match=r"transl: Expected shape \(\.\.\., 3\)"):
        model(orient, pose, None, torch.zeros(2, 4))
    with pytest.raises(InputError, match="hand_pose: Expected rotation matrices"):
        model(orient, torch.zeros(2, 15, 3, 3))
    with pytest.raises(InputError, match="global_orient: Expected rotation matrices"):
        model(-torch.eye(3).expand(2, 3, 3), pose)
    with pytest.raises(ShapeError, match=r"C in 1\.\.45"):
        model.pca_to_pose(torch.zeros(2, 46))
    with pytest.raises(InputError, match="count"):
        model.pose_to_pca(pose, 0)
