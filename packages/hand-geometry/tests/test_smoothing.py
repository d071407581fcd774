"""Smoothing: what a filter must keep, what it must remove, and frames that must not speak."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hand_geometry import smooth_gaussian, smooth_savgol
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.rotations import axis_angle_to_matrix, geodesic_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter


def clip(angle, transl=None):
    """All joints turn by ``angle`` (T,) about one slanted axis."""
    frames = len(angle)
    axis = np.array([2.0, -1.0, 2.0]) / 3
    return {
        "global_orient": np.broadcast_to(angle[:, None, None] * axis, (frames, 2, 3)).copy(),
        "hand_pose": np.broadcast_to(angle[:, None, None, None] * axis, (frames, 2, 15, 3)).copy(),
        "transl": np.zeros((frames, 2, 3)) if transl is None else transl,
    }


def apart(a, b):
    a, b = (axis_angle_to_matrix(torch.tensor(v)) for v in (a, b))
    return geodesic_distance(a, b).max().item()


def test_about_one_axis_it_is_the_ordinary_filter_on_the_angle_even_through_pi():
    rng = np.random.default_rng(0)
    angle = np.linspace(2.5, 4.0, 30) + rng.normal(0, 0.05, 30)  # crosses pi
    noisy = rng.normal(0, 0.1, (30, 2, 3))
    inside = slice(6, -6)  # at the ends scipy invents or borrows frames; here the window keeps those that there are
    out = smooth_savgol(clip(angle, noisy), window=9, order=3)
    assert apart(out["hand_pose"][inside], clip(savgol_filter(angle, 9, 3))["hand_pose"][inside]) < 1e-6
    np.testing.assert_allclose(out["transl"][inside], savgol_filter(noisy, 9, 3, axis=0)[inside], atol=1e-10)
    out = smooth_gaussian(clip(angle, noisy), sigma=1.5)
    assert apart(out["global_orient"][inside], clip(gaussian_filter1d(angle, 1.5))["global_orient"][inside]) < 1e-4
    expected = gaussian_filter1d(noisy, 1.5, axis=0)[inside]
    np.testing.assert_allclose(out["transl"][inside], expected, atol=1e-4)


@given(st.integers(1, 20), st.integers(0, 6), st.integers(0, 4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_polynomial_motion_stays_whatever_is_missing(frames, half, order, seed):
    rng = np.random.default_rng(seed)
    order = min(order, 2 * half)
    t = np.linspace(-1, 1, frames)
    line = np.polynomial.polynomial.polyval(t, rng.normal(0, 0.2, order + 1))
    params = clip(line, np.broadcast_to(line[:, None, None], (frames, 2, 3)).copy())
    valid = rng.random((frames, 2)) < 0.7
    out = smooth_savgol({**params, "valid": np.ones((frames, 2), bool)}, 2 * half + 1, order)
    assert apart(out["hand_pose"], params["hand_pose"]) < 1e-6
    broken = {**params, "valid": valid}
    for name in ("global_orient", "hand_pose", "transl"):
        broken[name] = np.where(valid.reshape(valid.shape + (1,) * (params[name].ndim - 2)), params[name], np.nan)
    out = smooth_savgol(broken, 2 * half + 1, min(order, 1))
    for name in ("global_orient", "hand_pose", "transl"):
        assert np.isfinite(out[name][valid]).all()
        np.testing.assert_array_equal(out[name][~valid], broken[name][~valid])


@pytest.mark.parametrize("smooth", [smooth_savgol, smooth_gaussian])
def test_invalid_frames_neither_speak_nor_change(smooth):
    rng = np.random.default_rng(1)
    params = clip(rng.normal(0, 0.1, 15), rng.normal(0, 0.1, (15, 2, 3)))
    valid = np.ones((15, 2), bool)
    valid[6:8, 1] = False
    wild = {name: value.copy() for name, value in params.items()}
    for value in wild.values():
        value[6:8, 1] = 1e3
    a, b = smooth({**params, "valid": valid}), smooth({**wild, "valid": valid})
    for name in params:
        np.testing.assert_array_equal(a[name][valid], b[name][valid])
        np.testing.assert_array_equal(b[name][~valid], wild[name][~valid])
    np.testing.assert_array_equal(a["transl"][:, 0], smooth(params)["transl"][:, 0])


def test_noise_shrinks_and_gradients_flow():
    rng = np.random.default_rng(2)
    still = clip(np.full(40, 0.8))
    noisy = {name: value + rng.normal(0, 0.03, value.shape) for name, value in still.items()}
    for out in (smooth_savgol(noisy, 9, 2), smooth_gaussian(noisy, 2.0)):
        assert np.abs(out["hand_pose"] - still["hand_pose"]).mean() < 0.55 * 0.8 * 0.03
    tensors = {name: torch.tensor(value[:6], requires_grad=True) for name, value in still.items()}
    smooth_gaussian(tensors, 1.0)["hand_pose"].sum().backward()
    # Frames that stand still: smoothing passes on all of the change of all frames together, about and beside the axis.
    torch.testing.assert_close(tensors["hand_pose"].grad.sum(0), torch.full((2, 15, 3), 6.0, dtype=torch.float64))


def test_senseless_options_are_refused():
    params = clip(np.zeros(4))
    with pytest.raises(InputError, match="odd number of frames, got 4"):
        smooth_savgol(params, 4)
    with pytest.raises(InputError, match="order: Expected 0 to 2"):
        smooth_savgol(params, 3, 3)
    with pytest.raises(InputError, match="sigma"):
        smooth_gaussian(params, 0)
    with pytest.raises(ShapeError, match="valid"):
        smooth_gaussian({**params, "valid": np.ones((4, 1), bool)})
    assert len(smooth_savgol({name: value[:0] for name, value in params.items()})["transl"]) == 0
