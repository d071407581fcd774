"""A hand that was not seen changes nothing, whatever stands in its frames: zeros, NaN, a hand a kilometre away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_geometry import (
    acceleration_error,
    canonical_origin,
    canonicalize,
    export_motion,
    features_to_joints,
    fit_keypoints,
    hand_penetration,
    import_motion,
    jitter,
    limit_violation,
    mpjpe,
    params_to_features,
    render_motion,
    resample_params,
    self_penetration,
    smooth_gaussian,
    smooth_savgol,
)
from hand_geometry.errors import InputError, ShapeError

NAMES = ("global_orient", "hand_pose", "transl")
HIDDEN = {0: [0, 1, 5, 6], 1: [9, 10, 11]}  # frames in which the left and the right hand were not seen


@pytest.fixture
def motion(make_motion):
    valid = np.ones((12, 2), bool)
    for hand, frames in HIDDEN.items():
        valid[frames, hand] = False
    return make_motion(12) | {"valid": valid, "fps": 15.0}


def with_stand_ins(motion, what):
    out = {**motion, **{name: motion[name].copy() for name in NAMES}}
    for name in NAMES:
        out[name][~motion["valid"]] = {"zeros": 0.0, "nan": np.nan, "far": 3.0}[what]
    return out


@pytest.fixture(params=["zeros", "nan", "far"])
def broken(request, motion):
    return with_stand_ins(motion, request.param)


def test_the_canonical_origin_is_between_the_wrists_in_the_first_frame_that_shows_both(motion, broken):
    expected = features_to_joints(params_to_features(motion))[2, :, 0].mean(0)  # the left hand is hidden until frame 2
    np.testing.assert_allclose(canonical_origin(motion), expected, atol=1e-6)
    np.testing.assert_array_equal(canonical_origin(broken), canonical_origin(motion))
    moved = canonicalize(broken)
    np.testing.assert_allclose(features_to_joints(params_to_features(moved))[2, :, 0].mean(0), 0, atol=1e-6)
    plain = {name: motion[name] for name in NAMES}
    np.testing.assert_array_equal(canonical_origin(plain, motion["valid"]), canonical_origin(motion))
    assert np.abs(canonical_origin(plain) - expected).max() > 1e-3  # without a mask: frame 0


def test_hands_that_are_never_seen_together_are_placed_by_the_one_that_is_seen_first(make_motion):
    motion = make_motion(4)
    wrists = features_to_joints(params_to_features(motion))[:, :, 0]
    valid = np.array([[0, 0], [0, 1], [1, 0], [1, 0]], bool)
    np.testing.assert_allclose(canonical_origin(motion, valid), wrists[1, 1], atol=1e-6)
    np.testing.assert_allclose(canonical_origin(motion, valid[:, ::-1]), wrists[1, 0], atol=1e-6)
    np.testing.assert_array_equal(canonical_origin(motion, np.zeros((4, 2), bool)), 0)
    with pytest.raises(ShapeError, match="valid"):
        canonical_origin(motion, valid[:3])


def test_each_clip_of_a_batch_has_an_origin_of_its_own(make_motion):
    clips = [make_motion(4, seed) for seed in (0, 1)]
    valid = np.array([[[1, 1]] * 4, [[1, 0], [1, 0], [1, 1], [1, 1]]], bool)
    batch = {name: torch.tensor(np.stack([clip[name] for clip in clips])) for name in NAMES}
    origins = canonical_origin(batch, torch.tensor(valid))
    for k in (0, 1):
        np.testing.assert_allclose(origins[k], canonical_origin(clips[k], valid[k]), atol=1e-6)


@pytest.mark.parametrize("function", [smooth_savgol, smooth_gaussian, lambda m: resample_params(m, 15, 24)])
def test_smoothing_and_resampling_of_seen_frames(function, motion, broken):
    a, b = function(motion), function(broken)
    np.testing.assert_array_equal(a["valid"], b["valid"])
    for name in NAMES:
        np.testing.assert_array_equal(a[name][a["valid"]], b[name][a["valid"]])


def test_metrics_and_their_gradients(motion, broken):
    truth = features_to_joints(params_to_features(motion))
    valid, fps = motion["valid"], 15
    wild = features_to_joints(params_to_features(broken))
    pred = torch.tensor(truth + np.float32(0.01), requires_grad=True)
    for metric in (lambda a, b: mpjpe(a, b, valid), lambda a, b: mpjpe(a, b, valid, align="root") + 0 * a[2].sum(),
                   lambda a, b: acceleration_error(a, b, valid, fps), lambda a, b: jitter(a, valid, fps)):  # fmt: skip
        expected, found = metric(pred, torch.tensor(truth)), metric(pred, torch.tensor(wild))
        assert found.item() == expected.item()
        pred.grad = None
        found.backward()
        assert pred.grad.isfinite().all()
    assert self_penetration(wild, valid) == self_penetration(truth, valid)
    assert hand_penetration(wild, valid) == hand_penetration(truth, valid)
    assert limit_violation(broken["hand_pose"], valid) == limit_violation(motion["hand_pose"], valid)


@pytest.mark.parametrize("suffix", [".npz", ".glb", ".bvh", ".npy", ".pth", ".usda"])
def test_exported_hands_where_they_were_seen(suffix, motion, broken, tmp_path):
    if suffix == ".usda":
        pytest.importorskip("pxr")
    a, b = (import_motion(export_motion(tmp_path / f"{k}{suffix}", m)) for k, m in enumerate((motion, broken)))
    for name in NAMES:
        np.testing.assert_allclose(a[name][motion["valid"]], b[name][motion["valid"]], atol=1e-5)
        assert np.isfinite(b[name]).all()


def test_a_number_that_is_not_finite_in_a_hand_that_was_seen_is_still_refused(motion, tmp_path):
    motion["hand_pose"][3, 1, 4] = np.nan
    with pytest.raises(InputError, match="hand_pose"):
        export_motion(tmp_path / "a.glb", motion)
    with pytest.raises(InputError, match="hand_pose"):
        render_motion(motion, size=(32, 24))


def test_a_hand_never_seen_leaves_the_picture_as_it_is(make_motion):
    pytest.importorskip("numba")
    motion = make_motion(2) | {"valid": np.tile([False, True], (2, 1)), "fps": 15.0}
    pictures = [render_motion(with_stand_ins(motion, what), size=(64, 48)) for what in ("zeros", "nan", "far")]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_a_hidden_hand_moves_neither_camera_nor_floor(make_motion):
    pytest.importorskip("numba")
    motion = make_motion(3) | {"valid": np.array([[True, True], [True, False], [True, True]]), "fps": 15.0}
    near, far = (render_motion(with_stand_ins(motion, what), size=(96, 72)) for what in ("nan", "far"))
    np.testing.assert_array_equal(near[[0, 2]], far[[0, 2]])


@pytest.mark.parametrize("what", ["zeros", "one point", "nan", "far zeros"])
def test_frames_of_no_hand_are_not_seen_and_do_not_pull_the_rest(what, make_motion):
    """Five such frames in forty: they counted as a hand of no size, and dragged the frames beside them."""
    joints = features_to_joints(params_to_features(make_motion(40)))[:, 1]
    gaps, seen = [3, 17, 18, 19, 33], np.ones(40, bool)
    seen[gaps] = False
    points = joints.copy()
    points[gaps] = {"zeros": 0.0, "one point": 0.31, "nan": np.nan, "far zeros": -0.0}[what]
    fit = fit_keypoints(points, side="right")
    np.testing.assert_array_equal(fit.valid, seen)
    assert np.isnan(fit.residual[gaps]).all()
    error = np.linalg.norm(fit.keypoints - joints, axis=-1).mean(1)
    assert error[seen].max() < 3e-3
    assert error[~seen].max() < 15e-3  # carried along by the frames beside them


def test_image_points_of_no_hand_are_not_seen_either(make_motion):
    joints = features_to_joints(params_to_features(make_motion(10)))[:, 1] + np.float32([0, 0, 0.5])
    pixels = joints[..., :2] / joints[..., 2:] * 600 + np.float32([320, 240])
    pixels[[2, 7]] = 0
    camera = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    fit = fit_keypoints(side="right", keypoints_2d=pixels, camera=camera)
    assert np.flatnonzero(~fit.valid).tolist() == [2, 7]
    assert fit.reprojection[fit.valid].max() < 2.0


@pytest.mark.parametrize(
    ("factor", "unit"),
    [
        (1000, "millimetres.*by 1000"),
        (100, "centimetres.*by 100"),
        (1 / 0.0254, r"inches.*by 39\.37"),
        (0.001, "kilometres"),
    ],
)
def test_keypoints_in_other_units_are_refused_by_their_name(factor, unit, make_motion):
    joints = features_to_joints(params_to_features(make_motion(4)))[:, 0]
    with pytest.raises(InputError, match=f"keypoints: Expected a hand in metres.*{unit}"):
        fit_keypoints(joints * factor, side="left")


def test_frames_of_the_released_format_that_are_not_finite_are_not_valid(make_motion, tmp_path):
    motion = make_motion(6)
    valid = np.ones((2, 6), np.float32)
    valid[0, 1] = np.nan
    arrays = [motion[name].swapaxes(0, 1).astype(np.float64) for name in ("transl", "global_orient", "hand_pose")]
    arrays[0][1, 4] = 1e300  # finite in float64 alone
    arrays[1][1, 5] = np.inf
    import pickle

    betas = np.zeros((2, 6, 10))
    content = [arrays[0], arrays[1], arrays[2].reshape(2, 6, 45), betas, valid]
    (tmp_path / "a.pth").write_bytes(pickle.dumps([torch.tensor(value) for value in content]))
    again = import_motion(tmp_path / "a.pth", fps=30)
    assert np.argwhere(~again["valid"]).tolist() == [[1, 0], [4, 1], [5, 1]]
    np.testing.assert_array_equal(again["transl"][4:, 1], np.tile(motion["transl"][3, 1], (2, 1)))
