"""Rotations: identities over the whole group, 0 and pi included, and gradients that stay finite."""

from __future__ import annotations

import math

import pytest
import torch
from hand_geometry import rotations as R
from hand_geometry.errors import InputError, ShapeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

unit_axes = arrays("float64", (3,), elements=st.floats(-1, 1)).filter(lambda v: (v**2).sum() ** 0.5 > 0.1)
angles = st.one_of(
    st.just(0.0), st.just(math.pi), st.floats(0, math.pi), st.floats(0, 1e-5), st.floats(math.pi - 1e-5, math.pi)
)


def rotation_vector(axis, angle) -> torch.Tensor:
    axis = torch.tensor(axis)
    return axis / axis.norm() * angle


@given(unit_axes, angles)
@settings(max_examples=150, deadline=None)
def test_axis_angle_to_matrix_agrees_with_scipy(axis, angle):
    r = rotation_vector(axis, angle)
    expected = torch.tensor(Rotation.from_rotvec(r.numpy()).as_matrix())
    torch.testing.assert_close(R.axis_angle_to_matrix(r), expected, atol=1e-12, rtol=0)


@given(unit_axes, angles)
@settings(max_examples=150, deadline=None)
def test_every_representation_leads_back_to_the_same_matrix(axis, angle):
    matrix = R.axis_angle_to_matrix(rotation_vector(axis, angle))
    torch.testing.assert_close(R.axis_angle_to_matrix(R.matrix_to_axis_angle(matrix)), matrix, atol=1e-9, rtol=0)
    torch.testing.assert_close(R.quaternion_to_matrix(R.matrix_to_quaternion(matrix)), matrix, atol=1e-9, rtol=0)
    torch.testing.assert_close(R.rotation_6d_to_matrix(R.matrix_to_rotation_6d(matrix)), matrix, atol=1e-12, rtol=0)


@given(unit_axes, st.floats(0, math.pi - 1e-4))
@settings(max_examples=150, deadline=None)
def test_log_inverts_exp_below_pi(axis, angle):
    r = rotation_vector(axis, angle)
    torch.testing.assert_close(R.matrix_to_axis_angle(R.axis_angle_to_matrix(r)), r, atol=1e-8, rtol=0)


HALF_PRECISION = (
    R.axis_angle_to_matrix,
    R.axis_angle_to_quaternion,
    R.axis_angle_to_rotation_6d,
    lambda v: R.matrix_to_axis_angle(R.axis_angle_to_matrix(v)),
    lambda v: R.rotation_6d_to_axis_angle(R.axis_angle_to_rotation_6d(v)),
    lambda v: R.slerp(v, 0 * v, torch.tensor(0.3).to(v)),
    lambda v: R.geodesic_distance(R.axis_angle_to_matrix(v), R.axis_angle_to_matrix(0 * v)),
)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_finite_gradients_at_rest_and_stays_near_float32(dtype, generator):
    """At rest a squared angle is zero; in float16 it is zero long before, and its root has no gradient."""
    rest = {"zero": torch.zeros(3), "tiny": torch.full((3,), 1e-4), "half a turn": torch.tensor([math.pi, 0.0, 0.0])}
    for name, vector in rest.items():
        leaf = vector.to(dtype).requires_grad_()
        for there in HALF_PRECISION:
            leaf.grad = None
            out = there(leaf)
            assert out.dtype == dtype
            assert out.isfinite().all(), name
            out.float().sum().backward()
            assert leaf.grad.isfinite().all(), name
    rows = torch.zeros(6, dtype=dtype, requires_grad=True)
    R.rotation_6d_to_matrix(rows).float().square().sum().backward()
    assert rows.grad.isfinite().all()
    vectors = torch.randn(50, 3, generator=generator)
    close = {torch.float16: 2e-3, torch.bfloat16: 1.5e-2}[dtype]
    expected = R.axis_angle_to_matrix(vectors.to(dtype).float())
    torch.testing.assert_close(R.axis_angle_to_matrix(vectors.to(dtype)).float(), expected, atol=close, rtol=0)


def test_6d_is_the_first_two_rows_as_documented():
    quarter_turn_about_z = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert R.matrix_to_rotation_6d(quarter_turn_about_z).tolist() == [0, -1, 0, 1, 0, 0]
    from_axis_angle = R.axis_angle_to_rotation_6d(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(from_axis_angle, torch.tensor([0.0, -1, 0, 1, 0, 0]), atol=1e-6, rtol=0)


def test_6d_of_any_two_rows_is_a_rotation(generator):
    raw = torch.randn(500, 6, generator=generator, dtype=torch.float64) * 3
    matrix = R.rotation_6d_to_matrix(raw)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand(500, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(500, dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, math.pi - 1e-4, math.pi - 1e-7, math.pi])
@pytest.mark.parametrize("axis", [(1.0, 0, 0), (0, 1.0, 0), (0, 0, -1.0), (0.6, 0, 0.8), (1.0, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(axis, angle, dtype):
    axis = torch.tensor(axis, dtype=dtype)
    r = (axis / axis.norm() * angle).requires_grad_()
    matrix = R.axis_angle_to_matrix(r)
    functions = {
        "log": R.matrix_to_axis_angle(matrix),
        "quaternion": R.axis_angle_to_quaternion(r),
        "6d": R.rotation_6d_to_axis_angle(R.matrix_to_rotation_6d(matrix)),
        "slerp": R.slerp(r, r * 0.5, torch.tensor(0.3, dtype=dtype)),
        "distance": R.geodesic_distance(matrix, torch.eye(3, dtype=dtype)),
    }
    for name, value in functions.items():
        (gradient,) = torch.autograd.grad(value.sum(), r, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() < 1e3, name


def test_gradcheck_of_exp_and_log_near_pi_and_zero(generator):
    axis = torch.nn.functional.normalize(torch.randn(6, 3, generator=generator, dtype=torch.float64), dim=-1)
    lengths = torch.tensor([1e-6, 0.5, 1.5, 3.0, math.pi - 1e-3, 2.0], dtype=torch.float64)
    r = (axis * lengths[:, None]).requires_grad_()
    assert torch.autograd.gradcheck(R.axis_angle_to_matrix, r)
    assert torch.autograd.gradcheck(lambda v: R.matrix_to_axis_angle(R.axis_angle_to_matrix(v)), r)


def rotations_at(length, generator, count=8):
    axis = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    axis[:3] = torch.eye(3)  # where the largest component of the quaternion ties or is alone
    return (torch.nn.functional.normalize(axis, dim=-1) * length).requires_grad_()


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-5, 1e-4, 3.0, math.pi - 1e-5, math.pi - 1e-9, math.pi])
def test_gradcheck_at_zero_near_pi_and_at_pi(length, generator):
    """Exp is smooth everywhere; log jumps in sign at pi, so it is checked through the rotation that it stands for."""
    r = rotations_at(length, generator)
    probe = torch.randn(8, 3, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(R.axis_angle_to_matrix, r)

    def through_log(v):
        return R.axis_angle_to_matrix(R.matrix_to_axis_angle(R.axis_angle_to_matrix(v))) * probe

    def through_quaternion(v):
        return R.quaternion_to_matrix(R.axis_angle_to_quaternion(v)) * probe

    def through_6d(v):
        return R.rotation_6d_to_matrix(R.matrix_to_rotation_6d(R.axis_angle_to_matrix(v))) * probe

    def through_slerp(v):
        return R.axis_angle_to_matrix(R.slerp(v, 0.5 * v + 0.1, torch.tensor(0.3, dtype=torch.float64))) * probe

    for function in (through_log, through_quaternion, through_6d, through_slerp):
        assert torch.autograd.gradcheck(function, r), function.__name__


@pytest.mark.parametrize("length", [0.0, 1e-6, 0.5, 3.0, math.pi - 1e-6, math.pi])
def test_the_gradient_of_log_is_the_inverse_of_that_of_exp(length, generator):
    r = rotations_at(length, generator, 4)
    back = R.matrix_to_axis_angle(R.axis_angle_to_matrix(r))
    axis = torch.nn.functional.normalize(r.detach(), dim=-1)[:, :, None]
    # At pi either vector is right. The other is r - 2 pi r / |r|, whose derivative there is 2 n n^T - I.
    other = ((back * r).sum(-1) < 0)[:, None, None]
    eye = torch.eye(3, dtype=r.dtype)
    expected = torch.where(other, 2 * axis * axis.mT - eye, eye)
    for k in range(3):
        (gradient,) = torch.autograd.grad(back[:, k].sum(), r, retain_graph=True)
        torch.testing.assert_close(gradient, expected[:, k], atol=1e-6, rtol=0)


def test_gradcheck_of_the_distance_between_rotations(generator):
    a, b = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    matrices = R.axis_angle_to_matrix(b).detach()
    assert torch.autograd.gradcheck(lambda v: R.geodesic_distance(R.axis_angle_to_matrix(v), matrices), a)
    near = (b.detach() + 1e-4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: R.geodesic_distance(R.axis_angle_to_matrix(v), matrices), near)


@given(unit_axes, angles, unit_axes, angles)
@settings(max_examples=100, deadline=None)
def test_the_distance_is_the_length_of_the_logarithm_and_symmetric(axis_a, angle_a, axis_b, angle_b):
    a, b = (R.axis_angle_to_matrix(rotation_vector(*v)) for v in ((axis_a, angle_a), (axis_b, angle_b)))
    distance = R.geodesic_distance(a, b)
    torch.testing.assert_close(distance, R.matrix_to_axis_angle(a.mT @ b).norm(), atol=1e-7, rtol=0)
    torch.testing.assert_close(distance, R.geodesic_distance(b, a), atol=1e-7, rtol=0)
    assert 0 <= distance <= math.pi + 1e-9


@given(unit_axes, angles, unit_axes, angles, st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_slerp_divides_the_distance(axis_a, angle_a, axis_b, angle_b, weight):
    a, b = rotation_vector(axis_a, angle_a), rotation_vector(axis_b, angle_b)
    middle = R.slerp(a, b, torch.tensor(weight, dtype=torch.float64))
    ends = [R.axis_angle_to_matrix(v) for v in (a, middle, b)]
    whole = R.geodesic_distance(ends[0], ends[2])
    torch.testing.assert_close(R.geodesic_distance(ends[0], ends[1]), weight * whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(R.geodesic_distance(ends[1], ends[2]), (1 - weight) * whole, atol=1e-6, rtol=0)


def test_what_is_no_rotation_is_refused(generator):
    good = R.axis_angle_to_matrix(torch.randn(5, 3, generator=generator))
    R.check_rotations(good)
    R.check_rotations(good.bfloat16(), tolerance=0.02)
    for factor in (1.1, -1.0, float("nan"), 0.0):
        bad = good.clone()
        bad[3] *= factor
        with pytest.raises(InputError, match="1 of 5 that are none; the first is number 3"):
            R.check_rotations(bad)
    with pytest.raises(ShapeError, match="pose"):
        R.check_rotations(torch.zeros(3, 4), "pose")


def test_slerp_moves_at_constant_speed_and_takes_the_short_way():
    start, end = torch.tensor([0.0, 0.0, 0.2]), torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(R.slerp(start, end, torch.tensor(0.25)), torch.tensor([0.0, 0.0, 0.4]))
    across_pi = R.slerp(torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, -3.0]), torch.tensor(0.5))
    torch.testing.assert_close(across_pi.abs(), torch.tensor([0.0, 0.0, math.pi]), atol=1e-5, rtol=0)


def test_geodesic_distance_is_the_angle_between():
    a = R.axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0]))
    b = R.axis_angle_to_matrix(torch.tensor([1.0, 0.0, 0.0]))
    assert R.geodesic_distance(a, b).item() == pytest.approx(0.7, abs=1e-6)
    assert R.geodesic_distance(a, a).item() == pytest.approx(0.0, abs=1e-3)


def test_quaternion_product_composes_rotations(generator):
    a, b = torch.randn(2, 20, 3, generator=generator, dtype=torch.float64)
    product = R.quaternion_multiply(R.axis_angle_to_quaternion(a), R.axis_angle_to_quaternion(b))
    expected = R.axis_angle_to_matrix(a) @ R.axis_angle_to_matrix(b)
    torch.testing.assert_close(R.quaternion_to_matrix(product), expected)


def test_skew_is_the_cross_product(generator):
    u, v = torch.randn(2, 7, 3, generator=generator)
    torch.testing.assert_close((R.skew(u) @ v[..., None])[..., 0], torch.linalg.cross(u, v))


def test_a_wrong_shape_is_named():
    with pytest.raises(ShapeError, match=r"matrix: Expected shape \(\.\.\., 3, 3\), got \(3, 4\)"):
        R.matrix_to_axis_angle(torch.zeros(3, 4))
