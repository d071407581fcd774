"""Features and parameters: layout, round trips, canonical frame, mirror, frame rates."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hand_geometry import (
    canonical_origin,
    canonicalize,
    features_to_joints,
    features_to_params,
    mirror_features,
    mirror_params,
    params_to_features,
    resample_params,
    uncanonicalize,
)
from hand_geometry.errors import InputError, ShapeError
from hypothesis import given, settings
from hypothesis import strategies as st


def test_layout_is_left_then_right_and_6d_rows():
    params = {"global_orient": np.zeros((1, 2, 3)), "hand_pose": np.zeros((1, 2, 15, 3)), "transl": np.zeros((1, 2, 3))}
    params["global_orient"][0, 1, 2] = math.pi / 2
    params["hand_pose"][0, 0, 14, 2] = math.pi / 2
    params["transl"][0] = [[1, 2, 3], [4, 5, 6]]
    features = params_to_features(params)[0]
    np.testing.assert_allclose(features[:6], [1, 0, 0, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(features[90:99], [0, -1, 0, 1, 0, 0, 1, 2, 3], atol=1e-12)
    np.testing.assert_allclose(features[99:105], [0, -1, 0, 1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(features[195:], [4, 5, 6])


@given(st.integers(0, 2**31), st.sampled_from([(), (2,), (2, 3)]))
@settings(max_examples=25, deadline=None)
def test_features_to_params_and_back_is_the_identity(seed, lead):
    generator = torch.Generator().manual_seed(seed)
    params = {
        "global_orient": torch.randn(*lead, 4, 2, 3, generator=generator),
        "hand_pose": torch.randn(*lead, 4, 2, 15, 3, generator=generator),
        "transl": torch.randn(*lead, 4, 2, 3, generator=generator),
    }
    features = params_to_features(params)
    assert features.shape == (*lead, 4, 198)
    again = features_to_params(features)
    torch.testing.assert_close(params_to_features(again), features, atol=1e-5, rtol=0)
    for name in params:
        assert again[name].shape == params[name].shape


def test_numpy_in_gives_numpy_out(make_motion):
    features = params_to_features(make_motion())
    assert isinstance(features, np.ndarray)
    assert features.dtype == np.float32
    assert all(isinstance(value, np.ndarray) for value in features_to_params(features).values())


def test_canonical_motion_starts_with_the_wrists_about_the_origin(make_motion):
    params = make_motion()
    params["transl"] = params["transl"] + np.float32([3, -2, 1])
    canonical = canonicalize(params)
    joints = features_to_joints(params_to_features(canonical))
    np.testing.assert_allclose(joints[0, :, 0].mean(0), 0, atol=1e-6)
    moved = features_to_joints(params_to_features(params))
    np.testing.assert_allclose(np.diff(joints, axis=0), np.diff(moved, axis=0), atol=1e-6)
    np.testing.assert_allclose(canonicalize(canonical)["transl"], canonical["transl"], atol=1e-6)


def test_a_canonical_motion_finds_its_way_back(make_motion):
    for params in (make_motion(), {k: torch.tensor(v).expand(3, *v.shape) for k, v in make_motion().items()}):
        back = uncanonicalize(canonicalize(params), canonical_origin(params))
        np.testing.assert_allclose(back["transl"], params["transl"], atol=1e-6)
    with pytest.raises(ShapeError, match="origin"):
        uncanonicalize(make_motion(), np.zeros(2))


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_mirrored_parameters_are_mirrored_features(seed):
    generator = torch.Generator().manual_seed(seed)
    params = {
        "global_orient": torch.randn(3, 2, 3, generator=generator, dtype=torch.float64),
        "hand_pose": torch.randn(3, 2, 15, 3, generator=generator, dtype=torch.float64),
        "transl": torch.randn(3, 2, 3, generator=generator, dtype=torch.float64),
        "betas": torch.randn(2, 10, generator=generator),
        "valid": torch.rand(3, 2, generator=generator) < 0.5,
        "fps": 15.0,
    }
    mirrored = mirror_params(params)
    torch.testing.assert_close(params_to_features(mirrored), mirror_features(params_to_features(params)))
    torch.testing.assert_close(mirrored["betas"], params["betas"].flip(0))
    assert torch.equal(mirrored["valid"], params["valid"].flip(1))
    twice = mirror_params(mirrored)
    assert all(torch.equal(twice[name], value) for name, value in params.items() if name != "fps")


def test_a_frame_that_stays_is_not_touched_by_the_nan_beside_it(make_motion):
    params = make_motion(5)
    params["valid"] = np.ones((5, 2), bool)
    params["valid"][3] = False
    for name in ("global_orient", "hand_pose", "transl"):
        params[name][3] = np.nan
    twice = resample_params(params, 15, 30)
    assert twice["valid"][:, 0].tolist() == [True] * 5 + [False] * 3 + [True]
    for name in ("global_orient", "hand_pose", "transl"):
        assert np.isfinite(twice[name][twice["valid"]]).all()


def test_mirror_twice_is_the_identity_and_once_reflects_the_joints(make_motion):
    features = params_to_features(make_motion())
    mirrored = mirror_features(features)
    np.testing.assert_array_equal(mirror_features(mirrored), features)
    expected = features_to_joints(features)[:, ::-1] * np.float32([-1, 1, 1])
    np.testing.assert_allclose(features_to_joints(mirrored), expected, atol=1e-6)


def test_joints_agree_with_the_hand_model(make_motion, hands):
    params = {name: torch.tensor(value) for name, value in make_motion().items()}
    joints = features_to_joints(params_to_features(params))
    for hand, side in enumerate(("left", "right")):
        orient, pose, transl = (params[name][:, hand] for name in ("global_orient", "hand_pose", "transl"))
        expected = hands[side](orient, pose, None, transl, vertices=False).joints
        torch.testing.assert_close(joints[:, hand], expected, atol=2e-6, rtol=0)


def test_root_relative_joints_have_the_wrist_at_zero(make_motion):
    features = torch.tensor(params_to_features(make_motion()))
    joints, relative = features_to_joints(features), features_to_joints(features, root_relative=True)
    assert relative[..., 0, :].abs().max() == 0
    torch.testing.assert_close(relative, joints - joints[..., :1, :], atol=1e-6, rtol=0)


@pytest.mark.parametrize("root_relative", [False, True])
def test_gradcheck_of_the_joints_from_raw_features(root_relative, generator):
    features = torch.randn(2, 2, 198, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: features_to_joints(x, root_relative=root_relative), features)


def test_gradients_are_finite_where_rotations_degenerate():
    features = torch.zeros(1, 198, requires_grad=True)
    features_to_joints(features).square().sum().backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_joints_of_half_precision_features_are_float32_with_finite_gradients(dtype, make_motion):
    features = torch.tensor(params_to_features(make_motion())).to(dtype)
    joints = features_to_joints(features)
    torch.testing.assert_close(joints, features_to_joints(features.float()), atol=1e-6, rtol=0)
    rest = torch.tensor([1.0, 0, 0, 0, 1, 0] * 16 + [0.0] * 3).repeat(1, 2)
    for rows in (rest, torch.zeros(1, 198)):
        leaf = rows.to(dtype).requires_grad_()
        features_to_joints(leaf).square().sum().backward()
        assert leaf.grad.dtype == dtype
        assert leaf.grad.isfinite().all()


COMPILED = """
import torch, warnings
warnings.simplefilter("ignore")
from hand_geometry import features_to_joints
x = torch.randn(2, 4, 198, generator=torch.Generator().manual_seed(0), requires_grad=True)
joints = torch.compile(features_to_joints, backend={backend!r}, fullgraph=True)(x)
joints.square().sum().backward()
grad, x.grad = x.grad, None
expected = features_to_joints(x)
expected.square().sum().backward()
torch.testing.assert_close(joints, expected, atol=1e-6, rtol=1e-5)
torch.testing.assert_close(grad, x.grad, atol=1e-5, rtol=1e-4)
"""


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_joints_are_right_as_the_first_call_ever(backend):
    """In a process of its own: once the hand was read, a compiler no longer meets the reading of the file."""
    done = subprocess.run([sys.executable, "-c", COMPILED.format(backend=backend)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_resampling_to_the_same_rate_is_the_identity(make_motion):
    params = make_motion()
    again = resample_params(params, 15, 15)
    for name, value in params.items():
        np.testing.assert_array_equal(again[name], value)


def test_resampling_keeps_shared_frames_and_halves_motion_between():
    turn = np.linspace(0, 1.2, 4, dtype=np.float32)
    params = {
        "global_orient": np.zeros((4, 2, 3), np.float32),
        "hand_pose": np.zeros((4, 2, 15, 3), np.float32),
        "transl": np.zeros((4, 2, 3), np.float32),
        "valid": np.array([[1, 1], [1, 0], [1, 1], [1, 1]], bool),
        "fps": 15.0,
    }
    params["global_orient"][..., 0] = turn[:, None]
    params["transl"][..., 1] = turn[:, None] * 2
    twice = resample_params(params, 15, 30)
    assert twice["fps"] == 30
    assert twice["transl"].shape == (7, 2, 3)
    np.testing.assert_allclose(twice["global_orient"][:, 0, 0], np.linspace(0, 1.2, 7), atol=1e-6)
    np.testing.assert_allclose(twice["transl"][:, 1, 1], np.linspace(0, 2.4, 7), atol=1e-6)
    assert twice["valid"][:, 1].tolist() == [True, False, False, False, True, True, True]
    half = resample_params(twice, 30, 15)
    np.testing.assert_allclose(half["global_orient"], params["global_orient"], atol=1e-6)
    np.testing.assert_array_equal(half["valid"], params["valid"])


@pytest.mark.parametrize(("rate_from", "rate_to", "frames"), [(30, 15, 6), (24, 15, 7), (29.97, 15, 6), (15, 25, 19)])
def test_resampling_counts_frames_by_time(rate_from, rate_to, frames, make_motion):
    assert len(resample_params(make_motion(12), rate_from, rate_to)["transl"]) == frames


def test_wrong_inputs_are_named(make_motion):
    with pytest.raises(ShapeError, match=r"features: Expected shape \(\.\.\., 198\), got \(4, 99\)"):
        features_to_params(np.zeros((4, 99), np.float32))
    params = make_motion()
    with pytest.raises(InputError, match="got no transl"):
        params_to_features({name: value for name, value in params.items() if name != "transl"})
    with pytest.raises(ShapeError, match="hand_pose"):
        params_to_features({**params, "hand_pose": params["hand_pose"][:, :, :14]})
    with pytest.raises(InputError, match="positive rates"):
        resample_params(params, 0, 15)
    with pytest.raises(InputError, match="at least one frame"):
        canonicalize({name: value[:0] for name, value in params.items()})
