"""Both hands in one call."""

from __future__ import annotations

import pytest
import torch
from hand_geometry import HandModel, HandPair, skinning
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.rotations import axis_angle_to_matrix, axis_angle_to_rotation_6d


@pytest.fixture(scope="module")
def pair():
    return HandPair.load()


def inputs(generator, *batch):
    kinds = ((3,), (15, 3), (10,), (3,))
    return [torch.randn(*batch, 2, *k, generator=generator) * 0.5 for k in kinds]


@pytest.mark.parametrize("batch", [(), (2,), (3, 2), (2, 0)])
@pytest.mark.parametrize("kind", [lambda v: v, axis_angle_to_matrix, axis_angle_to_rotation_6d])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_pair_is_its_two_hands(batch, kind, gradient, pair, hands, generator):
    orient, pose, betas, transl = inputs(generator, *batch)
    out = pair(kind(orient), kind(pose), betas, transl.requires_grad_(gradient))
    for hand, side in enumerate(("left", "right")):
        one = hands[side](orient.select(-2, hand), pose.select(-3, hand), betas.select(-2, hand), transl[..., hand, :])
        torch.testing.assert_close(out.joints.select(-3, hand), one.joints, atol=2e-6, rtol=0)
        torch.testing.assert_close(out.vertices.select(-3, hand), one.vertices, atol=2e-6, rtol=0)


def test_one_shape_a_hand_serves_the_clip(pair, generator):
    orient, pose, betas, transl = inputs(generator, 5)
    shared = pair(orient, pose, betas[0], transl, vertices=False)
    repeated = pair(orient, pose, betas[:1].expand(5, 2, 10), transl, vertices=False)
    assert shared.vertices is None
    torch.testing.assert_close(shared.joints, repeated.joints, atol=1e-6, rtol=0)


def test_gradients_reach_every_input_of_both_hands(pair, generator):
    values = [v.requires_grad_() for v in inputs(generator, 3)]
    pair(*values).vertices.square().sum().backward()
    for value in values:
        assert (value.grad.flatten(2).abs().sum(-1) > 0).all()


def test_chunks_do_not_show(pair, generator, monkeypatch):
    values = inputs(generator, 7)
    whole = pair(*values)
    monkeypatch.setattr(skinning, "_CPU_FRAMES", 3)
    torch.testing.assert_close(pair(*values), whole, atol=1e-6, rtol=0)


def test_what_is_no_pair_is_refused(pair, hands, generator):
    orient, pose, betas, transl = inputs(generator, 3)
    with pytest.raises(ShapeError, match="hand_pose: Expected shape with a hand axis"):
        pair(orient[:, 0], pose[:, 0])
    with pytest.raises(ShapeError, match="global_orient"):
        pair(orient[:, 0], pose)
    with pytest.raises(ShapeError, match="betas"):
        pair(orient, pose, betas[0, 0])
    with pytest.raises(ShapeError, match="transl"):
        pair(orient, pose, betas, transl[:, :1])
    with pytest.raises(InputError, match="got right, left"):
        HandPair(hands["right"], hands["left"])
    with pytest.raises(InputError, match="of one kind"):
        HandPair(hands["left"], _smaller())


def _smaller():
    from dataclasses import replace

    from hand_geometry.assets import load_asset

    asset = load_asset()
    return HandModel(replace(asset, shapedirs=asset.shapedirs[..., :5]))
