"""Rotations as axis-angle, matrix, 6D and quaternion: batched, with finite gradients at 0 and at pi.

Convention:
    Matrices act on column vectors (``v_rotated = R @ v``), axes are right-handed, angles are radians.
    Quaternions are ``(w, x, y, z)`` with ``w >= 0`` on output.
    6D is the first two *rows* of the matrix, row after row (PyTorch3D's convention; Zhou et al., "On the
    Continuity of Rotation Representations in Neural Networks", CVPR 2019, used columns). A quarter turn about
    z

        R = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]   ->   6D = [0, -1, 0, 1, 0, 0]

    Half precision (float16, bfloat16) computes in float32 and comes back as it was: squares of small angles are
    nothing in float16, and their square roots have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional as F

from hand_geometry.errors import InputError, ShapeError

_SMALL = 1e-8  # squared angle below which the Taylor series is exact to double precision
_NORM_EPS = 1e-8
_NORM_EPS_HALF = 1e-4  # its inverse, a gradient's factor, is a number of float16
_HALF = (torch.float16, torch.bfloat16)


def _in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, computing in float32 what is given in half precision."""

    @wraps(function)
    def wrapped(*tensors: Tensor, **named: Tensor) -> Tensor:
        dtype = next(iter((*tensors, *named.values()))).dtype
        if dtype not in _HALF:
            return function(*tensors, **named)
        wide = {name: tensor.float() for name, tensor in named.items()}
        return function(*(tensor.float() for tensor in tensors), **wide).to(dtype)

    return wrapped


def _require(x: Tensor, tail: tuple[int, ...], name: str) -> None:
    if tuple(x.shape[-len(tail) :]) != tail:
        raise ShapeError(name, f"(..., {', '.join(map(str, tail))})", tuple(x.shape))


def check_rotations(matrix: Tensor, name: str = "matrix", tolerance: float = 1e-3) -> None:
    """Refuse matrices that are no rotations: reflections, scales, projections, numbers that are not finite.

    Args:
        matrix: Shape (..., 3, 3).
        name: What to call them in the error.
        tolerance: How far ``R R^T`` may be from the identity, entry by entry.

    Raises:
        ShapeError: If the shape is another.
        InputError: If one is no rotation; the error says which.
    """
    _require(matrix, (3, 3), name)
    with torch.no_grad():
        values = matrix.detach().float() if matrix.dtype in (torch.float16, torch.bfloat16) else matrix.detach()
        eye = torch.eye(3, dtype=values.dtype, device=values.device)
        off = (values @ values.mT - eye).abs().amax((-1, -2))
        first, second, third = values.unbind(-2)
        turned = (torch.linalg.cross(first, second) * third).sum(-1)
        bad = ~((off <= tolerance) & (turned > 0)).flatten()  # also where not a number
        if bool(bad.any()):
            at = int(bad.nonzero()[0, 0])
            raise InputError(
                f"{name}: Expected rotation matrices (R R^T = I, det R = 1), got {int(bad.sum())} of {len(bad)} that "
                f"are none; the first is number {at}, off by {off.flatten()[at]:.2g}, det {turned.flatten()[at]:.2g}. "
                "Project them first, or pass 6D."
            )


def skew(v: Tensor) -> Tensor:
    """Cross-product matrix.

    Args:
        v: Vectors, shape (..., 3).

    Returns:
        Matrices K with ``K @ u == cross(v, u)``, shape (..., 3, 3).
    """
    _require(v, (3,), "v")
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


@_in_float32
def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula (the exponential map of SO(3)).

    Args:
        axis_angle: Rotation vectors, shape (..., 3), radians.

    Returns:
        Rotation matrices, shape (..., 3, 3). Gradients are finite everywhere, the zero vector included.
    """
    _require(axis_angle, (3,), "axis_angle")
    return torch.stack(rodrigues(*axis_angle.unbind(-1)), -1).unflatten(-1, (3, 3))


def rodrigues(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    """The nine entries of rotation matrices, row after row, from the components of rotation vectors.

    Args:
        x: First components, any shape.
        y: Second components, the same shape.
        z: Third components, the same shape.

    Returns:
        Nine tensors of that shape.
    """
    squared = x * x + y * y + z * z
    small = squared < _SMALL
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    half = 0.5 * angle
    sin_over = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    cos_over = torch.where(small, 0.5 - squared / 24, 0.5 * (torch.sin(half) / half).square())
    sx, sy, sz = sin_over * x, sin_over * y, sin_over * z
    cx, cy, cz = cos_over * x, cos_over * y, cos_over * z
    return [
        1 - cy * y - cz * z, cx * y - sz, cx * z + sy,
        cx * y + sz, 1 - cx * x - cz * z, cy * z - sx,
        cx * z - sy, cy * z + sx, 1 - cx * x - cy * y,
    ]  # fmt: skip


@_in_float32
def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions of rotation matrices.

    Of the four rows of ``4 q q^T``, each linear in the matrix, the one with the largest diagonal is
    normalised: its norm is at least 2, so no square root of zero is met and gradients are finite for every
        rotation.

    Args:
        matrix: Rotation matrices, shape (..., 3, 3).

    Returns:
        Quaternions (w, x, y, z) with w >= 0, shape (..., 4).
    """
    _require(matrix, (3, 3), "matrix")
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    a, b, c = m21 - m12, m02 - m20, m10 - m01
    d, e, f = m10 + m01, m02 + m20, m12 + m21
    outer = torch.stack(
        [
            1 + m00 + m11 + m22, a, b, c,
            a, 1 + m00 - m11 - m22, d, e,
            b, d, 1 - m00 + m11 - m22, f,
            c, e, f, 1 - m00 - m11 + m22,
        ],
        -1,
    ).unflatten(-1, (4, 4))  # fmt: skip
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = F.normalize(row, dim=-1, eps=_NORM_EPS)
    return torch.where(q[..., :1] < 0, -q, q)


@_in_float32
def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices of quaternions (normalised first).

    Args:
        quaternion: (w, x, y, z), shape (..., 4), any non-zero length.

    Returns:
        Rotation matrices, shape (..., 3, 3).
    """
    _require(quaternion, (4,), "quaternion")
    w, x, y, z = F.normalize(quaternion, dim=-1, eps=_NORM_EPS).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


@_in_float32
def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Rotation vectors of unit quaternions (the logarithm of SO(3)).

    Args:
        quaternion: Unit quaternions (w, x, y, z) of either sign, shape (..., 4).

    Returns:
        Rotation vectors of length 0..pi, shape (..., 3); at exactly pi either of the two vectors.
    """
    _require(quaternion, (4,), "quaternion")
    q = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, v = q[..., 0], q[..., 1:]
    squared = v.square().sum(-1)
    small = squared < _SMALL
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    safe_w = torch.where(small, w, torch.ones_like(w))
    series = 2 / safe_w * (1 - squared / (3 * safe_w.square()))
    factor = torch.where(small, series, 2 * torch.atan2(sine, w) / sine)
    return v * factor[..., None]


@_in_float32
def axis_angle_to_quaternion(axis_angle: Tensor) -> Tensor:
    """Unit quaternions of rotation vectors.

    Args:
        axis_angle: Rotation vectors, shape (..., 3), radians.

    Returns:
        Quaternions (w, x, y, z) with w >= 0, shape (..., 4).
    """
    _require(axis_angle, (3,), "axis_angle")
    squared = axis_angle.square().sum(-1, keepdim=True)
    small = squared < _SMALL
    half = 0.5 * torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine_over = torch.where(small, 0.5 - squared / 48, 0.5 * torch.sin(half) / half)
    cosine = torch.where(small, 1 - squared / 8, torch.cos(half))
    q = torch.cat([cosine, axis_angle * sine_over], -1)
    return torch.where(cosine < 0, -q, q)


@_in_float32
def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Rotation vectors of rotation matrices.

    Args:
        matrix: Rotation matrices, shape (..., 3, 3).

    Returns:
        Rotation vectors of length 0..pi, shape (..., 3).
    """
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """First two rows of rotation matrices, row after row (see the module's convention).

    Args:
        matrix: Rotation matrices, shape (..., 3, 3).

    Returns:
        Shape (..., 6).
    """
    _require(matrix, (3, 3), "matrix")
    return matrix[..., :2, :].flatten(-2)


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """Gram-Schmidt of two rows; any two vectors that are not parallel give a rotation.

    Args:
        rotation_6d: Shape (..., 6): first row, then second row, of any length.

    Returns:
        Rotation matrices, shape (..., 3, 3). Parallel or zero rows give a matrix that is no rotation, and
        finite gradients.
    """
    _require(rotation_6d, (6,), "rotation_6d")
    half = rotation_6d.dtype in _HALF
    rows, eps = (rotation_6d.float(), _NORM_EPS_HALF) if half else (rotation_6d, _NORM_EPS)
    first = F.normalize(rows[..., :3], dim=-1, eps=eps)
    second = rows[..., 3:]
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = F.normalize(second, dim=-1, eps=eps)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -2).to(rotation_6d.dtype)


@_in_float32
def axis_angle_to_rotation_6d(axis_angle: Tensor) -> Tensor:
    """Rotation vectors, shape (..., 3), to 6D, shape (..., 6)."""
    return matrix_to_rotation_6d(axis_angle_to_matrix(axis_angle))


def rotation_6d_to_axis_angle(rotation_6d: Tensor) -> Tensor:
    """6D rotations, shape (..., 6), to rotation vectors, shape (..., 3)."""
    return matrix_to_axis_angle(rotation_6d_to_matrix(rotation_6d))


@_in_float32
def quaternion_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: the rotation b, then a.

    Args:
        a: Quaternions (w, x, y, z), shape (..., 4).
        b: Quaternions, shape (..., 4).

    Returns:
        Products, shape (..., 4).
    """
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def quaternion_conjugate(q: Tensor) -> Tensor:
    """Inverse of unit quaternions, shape (..., 4)."""
    return torch.cat([q[..., :1], -q[..., 1:]], -1)


@_in_float32
def slerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Rotation at constant angular speed along the shorter arc (Shoemake, SIGGRAPH 1985).

    Args:
        start: Rotation vectors, shape (..., 3).
        end: Rotation vectors, shape (..., 3).
        weight: 0 gives ``start``, 1 gives ``end``; shape (...), broadcast over the rotations.

    Returns:
        Rotation vectors, shape (..., 3).
    """
    first = axis_angle_to_quaternion(start)
    relative = quaternion_multiply(quaternion_conjugate(first), axis_angle_to_quaternion(end))
    step = quaternion_to_axis_angle(relative) * weight[..., None]
    return quaternion_to_axis_angle(quaternion_multiply(first, axis_angle_to_quaternion(step)))


@_in_float32
def geodesic_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle of the rotation between two rotation matrices.

    Args:
        a: Rotation matrices, shape (..., 3, 3).
        b: Rotation matrices, shape (..., 3, 3).

    Returns:
        Angles in 0..pi, shape (...). The gradient at distance 0 is 0.
    """
    q = matrix_to_quaternion(a.transpose(-1, -2) @ b)
    squared = q[..., 1:].square().sum(-1)
    zero = squared == 0
    sine = torch.where(zero, torch.ones_like(squared), squared).sqrt()
    return torch.where(zero, torch.zeros_like(sine), 2 * torch.atan2(sine, q[..., 0]))
