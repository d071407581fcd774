"""Metrics on cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hand_geometry import acceleration_error, jitter, mpjpe, mpvpe, pa_mpjpe, pa_mpvpe
from hand_geometry.errors import InputError, ShapeError
from hand_geometry.metrics import procrustes_align
from hand_geometry.rotations import axis_angle_to_matrix


@pytest.fixture
def joints(generator):
    return torch.randn(2, 6, 2, 21, 3, generator=generator, dtype=torch.float64) * 0.1


def test_mpjpe_of_a_shift_is_its_length_and_root_alignment_removes_it(joints):
    moved = joints + torch.tensor([0.03, 0.0, 0.04])
    assert mpjpe(moved, joints).item() == pytest.approx(0.05)
    assert mpjpe(moved, joints, align="root").item() == pytest.approx(0.0, abs=1e-12)


def test_mpjpe_of_one_moved_joint_is_a_share_of_it(joints):
    moved = joints.clone()
    moved[..., 8, 0] += 0.21
    assert mpjpe(moved, joints).item() == pytest.approx(0.01)
    assert mpjpe(moved, joints, align="root").item() == pytest.approx(0.01)


def test_the_mask_leaves_out_hands_even_if_they_are_nan(joints):
    valid = torch.ones(2, 6, 2, dtype=torch.bool)
    valid[:, 3, 0] = False
    moved = joints + torch.tensor([0.02, 0.0, 0.0])
    moved[:, 3, 0] = float("nan")
    for value in (mpjpe(moved, joints, valid), mpjpe(moved.numpy(), joints.numpy(), valid.numpy())):
        assert value.item() == pytest.approx(0.02)
    assert pa_mpjpe(moved, joints, valid).item() == pytest.approx(0.0, abs=1e-9)
    assert acceleration_error(moved, joints, valid, 15).item() == pytest.approx(0.0, abs=1e-9)


def test_a_mirror_image_is_not_aligned_by_a_reflection_and_is_scaled_down_for_what_stays_apart():
    source = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]])
    mirrored = source * torch.tensor([1.0, 1, -1])
    scale = (18 + 8 - 2) / (18 + 8 + 2)  # squares along the axes; those that the reflection turns count against it
    torch.testing.assert_close(procrustes_align(source, mirrored), scale * source)
    apart = [3 / 7, 3 / 7, 2 / 7, 2 / 7, 13 / 7, 13 / 7]
    assert pa_mpjpe(source[None, None], mirrored[None, None]).item() == pytest.approx(sum(apart) / 6)


def test_nothing_valid_gives_nan(joints):
    nothing = torch.zeros(2, 6, 2, dtype=torch.bool)
    assert math.isnan(mpjpe(joints, joints, nothing))
    assert math.isnan(pa_mpjpe(joints, joints, nothing))
    assert math.isnan(jitter(joints[:, :3], None, 15))


def test_vertex_errors_of_worked_cases(generator):
    mesh = torch.randn(3, 2, 50, 3, generator=generator, dtype=torch.float64)
    moved = mesh + torch.tensor([0.0, 0.03, 0.04])
    assert mpvpe(moved, mesh).item() == pytest.approx(0.05)
    wrists = (torch.zeros(3, 2, 3) + torch.tensor([0.0, 0.03, 0.0]), torch.zeros(3, 2, 3))
    assert mpvpe(moved, mesh, roots=wrists).item() == pytest.approx(0.04)
    assert pa_mpvpe(2 * moved, mesh).item() == pytest.approx(0.0, abs=1e-9)
    one = mesh.clone()
    one[0, 0, 7, 1] += 0.5
    valid = np.zeros((3, 2), bool)
    valid[0] = True
    assert mpvpe(one, mesh, valid).item() == pytest.approx(0.5 / 50 / 2)
    with pytest.raises(ShapeError, match="roots"):
        mpvpe(moved, mesh, roots=(torch.zeros(3, 3), torch.zeros(3, 3)))


def test_pa_mpjpe_removes_a_similarity_but_not_a_reflection(joints):
    rotation = axis_angle_to_matrix(torch.tensor([0.5, -1.0, 0.3], dtype=torch.float64))
    similar = 1.7 * joints @ rotation.T + torch.tensor([1.0, 2.0, 3.0])
    assert pa_mpjpe(similar, joints).item() == pytest.approx(0.0, abs=1e-9)
    assert pa_mpjpe(joints * torch.tensor([-1.0, 1.0, 1.0]), joints).item() > 0.02


def test_pa_mpjpe_of_a_worked_case():
    # A square of side 2 against itself with one diagonal stretched: by symmetry only the scale can help.
    # Points (+-1, 0, 0), (0, +-1, 0) against (+-1, 0, 0), (0, +-2, 0): best scale (1 + 2) / 2 = 1.5, all errors 0.5.
    square = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=torch.float64)
    stretched = square * torch.tensor([1.0, 2.0, 1.0])
    assert pa_mpjpe(square[None, None], stretched[None, None]).item() == pytest.approx(0.5)


def test_acceleration_error_of_a_known_acceleration():
    t = torch.arange(8, dtype=torch.float64) / 30
    still = torch.zeros(8, 1, 21, 3, dtype=torch.float64)
    falling = still.clone()
    falling[..., 1] = (0.5 * 9.81 * t**2)[:, None, None]
    assert acceleration_error(falling, still, None, fps=30).item() == pytest.approx(9.81)


def test_an_acceleration_counts_where_its_three_frames_do():
    still = torch.zeros(7, 1, 21, 3)
    jump = still.clone()
    jump[3:, ..., 0] = 1.0
    valid = torch.ones(7, 1, dtype=torch.bool)
    # Second differences around the jump: +1 at frames 1-3, -1 at frames 2-4, 0 elsewhere (five in all).
    assert acceleration_error(jump, still, valid, fps=1).item() == pytest.approx(2 / 5)
    valid[3] = False
    assert acceleration_error(jump, still, valid, fps=1).item() == 0.0


def test_jitter_of_a_cubic_is_its_third_difference():
    t = torch.arange(9, dtype=torch.float64)
    joints = torch.zeros(9, 2, 21, 3, dtype=torch.float64)
    joints[..., 2] = (t**3)[:, None, None]
    assert jitter(joints, None, fps=1).item() == pytest.approx(6.0)
    assert jitter(joints, None, fps=10).item() == pytest.approx(6000.0)  # m/s^3: 6 m per frame cubed, 0.1 s a frame


def test_measures_of_motion_have_no_rate_of_their_own(joints):
    """A default would be right for some clips and silently wrong, by the square or cube of the ratio, for others."""
    with pytest.raises(TypeError, match="fps"):
        acceleration_error(joints, joints, None)
    with pytest.raises(TypeError, match="fps"):
        jitter(joints, None)
    twice = acceleration_error(joints, 0 * joints, None, 30) / acceleration_error(joints, 0 * joints, None, 15)
    assert twice.item() == pytest.approx(4.0)
    assert (jitter(joints, None, 30) / jitter(joints, None, 15)).item() == pytest.approx(8.0)


def test_wrong_inputs_are_named(joints):
    with pytest.raises(ShapeError, match="target"):
        mpjpe(joints, joints[:, 1:])
    with pytest.raises(ShapeError, match="valid"):
        mpjpe(joints, joints, np.ones((2, 6), bool))
    with pytest.raises(InputError, match="align"):
        mpjpe(joints, joints, align="procrustes")
    with pytest.raises(InputError, match="fps"):
        acceleration_error(joints, joints, None, fps=0)
