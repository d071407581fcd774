"""The fast path of the hand model: kinematic chain and linear blend skinning with analytic backward passes.

Design:
    * The chain keeps the batch as its last axis, so that every operation streams over contiguous numbers, and treats
      the five fingers at once, level by level.
    * Skinning goes through the batch in chunks whose blended transforms stay in the cache (on a GPU: in a fixed share
      of memory). A vertex stands as one number in three planes until the chunk is written out. The backward pass
      recomputes what the forward pass blended, so nothing of the size of the mesh is kept.
    * Both are differentiable once. ``hand_geometry.naive`` is the plain form of the same, and what this is tested
      against.

Conventions: ``N`` hands, ``V`` vertices, ``K`` displacement coefficients (betas, then the 135 entries of R - I if the
hand has pose blend shapes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hand_geometry.assets import HandAsset

_CPU_CHUNK = 2**18  # numbers of a chunk of blended transforms for each thread: about a core's second-level cache
_GPU_CHUNK = 2**26
_CPU_FRAMES = 4096
_GPU_FRAMES = 2**17


def frames_per_chunk(device: torch.device) -> int:
    """Hands that the chain takes at once where no gradient is asked for, so that memory does not grow."""
    return _CPU_FRAMES if device.type == "cpu" else _GPU_FRAMES


@dataclass(frozen=True)
class SkinConstants:
    """One hand's arrays, laid out for the kernels, in one dtype on one device.

    Attributes:
        rest: Rest joints, shape (48, 1), joint by joint.
        rest_dirs: Their change with each beta, shape (48, B).
        tips: Rest fingertips, shape (15, 1).
        tip_dirs: Their change with each displacement coefficient, shape (15, K).
        tip_weights: Skinning weights of the fingertips, shape (5, 16).
        template: Rest vertices as three planes, shape (1, 3 V).
        dirs: Their change with each displacement coefficient, shape (K, 3 V).
        weights: Skinning weights, shape (16, V).
        posed: Whether the hand has pose blend shapes.
    """

    rest: Tensor
    rest_dirs: Tensor
    tips: Tensor
    tip_dirs: Tensor
    tip_weights: Tensor
    template: Tensor
    dirs: Tensor
    weights: Tensor
    posed: bool

    @classmethod
    def build(cls, asset: HandAsset, dtype: torch.dtype, device: torch.device) -> SkinConstants:
        """Lay out an asset's arrays."""
        vertices, weights = torch.tensor(asset.v_template), torch.tensor(asset.weights)
        shapedirs, regressor = torch.tensor(asset.shapedirs), torch.tensor(asset.joint_regressor)
        dirs = shapedirs if asset.posedirs is None else torch.cat([shapedirs, torch.tensor(asset.posedirs)], -1)
        tips = torch.tensor(asset.tip_ids)

        def put(value: Tensor) -> Tensor:
            return value.to(dtype=dtype, device=device).contiguous()

        return cls(
            rest=put((regressor @ vertices).reshape(48, 1)),
            rest_dirs=put(torch.einsum("jv,vcb->jcb", regressor, shapedirs).flatten(0, 1)),
            tips=put(vertices[tips].reshape(15, 1)),
            tip_dirs=put(dirs[tips].flatten(0, 1)),
            tip_weights=put(weights[tips]),
            template=put(vertices.t().reshape(1, -1)),
            dirs=put(dirs.permute(2, 1, 0).flatten(1)),
            weights=put(weights.t()),
            posed=asset.posedirs is not None,
        )


def bone_transforms(rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Where each bone goes.

    Args:
        rotations: Local rotation matrices, shape (16, 3, 3, N).
        rest: Rest joints, shape (16, 3, N) or (16, 3, 1), metres.

    Returns:
        Transforms ``x -> A x + b`` as (16, 3, 4, N), and joint positions (16, 3, N), the wrist at its rest position.
    """
    world, position = _Chain.apply(rotations, rest)
    turned = world[:, :, 0] * rest[:, :1]
    turned = torch.addcmul(turned, world[:, :, 1], rest[:, 1:2])
    turned = torch.addcmul(turned, world[:, :, 2], rest[:, 2:])
    return torch.cat([world, (position - turned)[:, :, None]], 2), position


def skin_tips(transforms: Tensor, coefficients: Tensor | None, constants: SkinConstants) -> Tensor:
    """The five fingertips, shape (5, 3, N), from transforms (16, 3, 4, N) and coefficients (N or 1, K) or None."""
    shaped = constants.tips
    if coefficients is not None:
        shaped = torch.addmm(shaped, constants.tip_dirs, coefficients.t())
    shaped = shaped.view(5, 1, 3, -1)
    blended = (constants.tip_weights @ transforms.flatten(1)).view(5, 3, 4, -1)
    out = torch.addcmul(blended[:, :, 3], blended[:, :, 0], shaped[:, :, 0])
    out = torch.addcmul(out, blended[:, :, 1], shaped[:, :, 1])
    return torch.addcmul(out, blended[:, :, 2], shaped[:, :, 2])


def skin_mesh(
    transforms: Tensor, coefficients: Tensor | None, constants: SkinConstants, out: Tensor | None = None
) -> Tensor:
    """All vertices, shape (N, V, 3).

    Args:
        transforms: Of the bones, shape (16, 3, 4, N).
        coefficients: Displacement coefficients (N or 1, K), or None.
        constants: The hand.
        out: Where to write, shape (N, V, 3); only where no gradient is asked for. None makes a new tensor.

    Returns:
        Vertices, metres.
    """
    stacked = transforms.permute(3, 1, 2, 0).reshape(-1, 12, 16)
    if out is not None:
        return _skin_into(out, stacked, coefficients, constants)
    vertices: Tensor = _Skin.apply(stacked, coefficients, constants)
    return vertices


class _Chain(torch.autograd.Function):
    """Rotations (16, 3, 3, N) and rest joints (16, 3, N or 1) to world rotations and positions."""

    @staticmethod
    def forward(ctx: Any, rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        world, position = torch.empty_like(rotations), rotations.new_empty(16, 3, rotations.shape[-1])
        world[0], position[0] = rotations[0], rest[0]
        local, turns, places = _fingers(rotations), _fingers(world), _fingers(position)
        parent, place = rotations[:1], position[:1]
        for level, bone in enumerate(_bones(rest)):
            place = places[:, level] = place + _turn(parent, bone)
            parent = turns[:, level] = _compose(parent, local[:, level])
        ctx.save_for_backward(rotations, rest, world)
        return world, position

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_world: Tensor, grad_position: Tensor) -> tuple[Tensor, Tensor | None]:
        rotations, rest, world = ctx.saved_tensors
        local, turns = _fingers(rotations), _fingers(world)
        spins, pulls = _fingers(grad_world), _fingers(grad_position)
        grad = torch.empty_like(rotations)
        bone_grads: list[Tensor] = []
        bones = _bones(rest)
        spin: Tensor | float = 0.0  # gradient of the level's world rotations, (5, 3, 3, N)
        pull: Tensor | float = 0.0  # gradient of its positions, (5, 3, N)
        for level in (2, 1, 0):
            parent = turns[:, level - 1] if level else world[:1]
            spin, pull = spins[:, level] + spin, pulls[:, level] + pull
            _fingers(grad)[:, level] = _compose_back(parent, spin)
            if ctx.needs_input_grad[1]:
                bone_grads.insert(0, _turn_back(parent, pull))
            spin = _compose(spin, local[:, level].transpose(1, 2))
            spin += pull[:, :, None] * bones[level][:, None]
        grad[0] = grad_world[0] + spin.sum(0)  # type: ignore[union-attr]
        if not ctx.needs_input_grad[1]:
            return grad, None
        return grad, _rest_gradient(torch.stack(bone_grads, 1), grad_position[0] + pull.sum(0), rest)  # type: ignore[union-attr]


def _rest_gradient(bones: Tensor, wrist: Tensor, rest: Tensor) -> Tensor:
    """Gradient of the rest joints from that of the bones (5, 3 levels, 3, N) and of the wrist's position (3, N)."""
    grad = rest.new_empty(16, 3, bones.shape[-1])
    fingers = _fingers(grad)
    fingers.copy_(bones)
    fingers[:, :2] -= bones[:, 1:]
    grad[0] = wrist - bones[:, 0].sum(0)
    return grad if rest.shape[-1] == grad.shape[-1] else grad.sum(-1, keepdim=True)


class _Skin(torch.autograd.Function):
    """Bone transforms (N, 12, 16) and displacement coefficients to vertices (N, V, 3)."""

    @staticmethod
    def forward(ctx: Any, transforms: Tensor, coefficients: Tensor | None, constants: SkinConstants) -> Tensor:
        ctx.save_for_backward(transforms, coefficients)
        ctx.constants = constants
        out = transforms.new_empty(len(transforms), constants.weights.shape[1], 3)
        return _skin_into(out, transforms, coefficients, constants)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        transforms, coefficients = ctx.saved_tensors
        constants: SkinConstants = ctx.constants
        vertices = constants.weights.shape[1]
        grad_transforms = torch.empty_like(transforms)
        shape_too = ctx.needs_input_grad[1]
        grad_coefficients = torch.zeros_like(coefficients) if shape_too else None
        for rows, shaped in _chunks(transforms, coefficients, constants):
            planes = grad[rows].transpose(1, 2).contiguous()  # (n, 3, V)
            outer = planes.new_empty(len(planes), 3, 4, vertices)
            torch.mul(planes[:, :, None], shaped, out=outer[:, :, :3])
            outer[:, :, 3] = planes
            grad_transforms[rows] = (outer.view(-1, vertices) @ constants.weights.t()).view(-1, 12, 16)
            if grad_coefficients is not None:
                turn = transforms[rows].view(-1, 3, 4, 16)[:, :, :3].reshape(-1, 16) @ constants.weights
                pull = (turn.view(-1, 3, 3, vertices) * planes[:, :, None]).sum(1).flatten(1)  # (n, 3 V)
                change = pull @ constants.dirs.t()
                if len(grad_coefficients) == 1:
                    grad_coefficients += change.sum(0, keepdim=True)
                else:
                    grad_coefficients[rows] = change
        return grad_transforms, grad_coefficients, None


def _skin_into(out: Tensor, transforms: Tensor, coefficients: Tensor | None, constants: SkinConstants) -> Tensor:
    vertices = constants.weights.shape[1]
    for rows, shaped in _chunks(transforms, coefficients, constants):
        blended = (transforms[rows].flatten(0, 1) @ constants.weights).view(-1, 3, 4, vertices)
        planes = blended[:, :, 3]
        for axis in range(3):
            planes.addcmul_(blended[:, :, axis], shaped[:, :, axis])
        out[rows] = planes.transpose(1, 2)
    return out


def _chunks(transforms: Tensor, coefficients: Tensor | None, constants: SkinConstants) -> Any:
    """Slices of the batch, each with its unposed vertices as planes, (n or 1, 1, 3, V)."""
    hands, vertices = len(transforms), constants.weights.shape[1]
    budget = _CPU_CHUNK * torch.get_num_threads() if transforms.device.type == "cpu" else _GPU_CHUNK
    size = max(1, budget // (12 * vertices))
    shared = coefficients is None or len(coefficients) == 1
    shaped = constants.template
    if coefficients is not None and shared:
        shaped = torch.addmm(constants.template, coefficients, constants.dirs)
    for start in range(0, hands, size):
        rows = slice(start, min(start + size, hands))
        if not shared:
            assert coefficients is not None
            shaped = torch.addmm(constants.template, coefficients[rows], constants.dirs)
        yield rows, shaped.view(-1, 1, 3, vertices)


def _fingers(by_joint: Tensor) -> Tensor:
    """A view of joints 1 to 15 as (5 fingers, 3 levels, ...)."""
    return by_joint[1:].unflatten(0, (5, 3))


def _bones(rest: Tensor) -> list[Tensor]:
    """Bone vectors of the three levels, each (5, 3, N or 1)."""
    fingers = _fingers(rest)
    return [fingers[:, 0] - rest[:1], fingers[:, 1] - fingers[:, 0], fingers[:, 2] - fingers[:, 1]]


def _turn(matrix: Tensor, vector: Tensor) -> Tensor:
    """(5 or 1, 3, 3, N) on (5, 3, N or 1): (5, 3, N)."""
    out = matrix[:, :, 0] * vector[:, :1]
    out = torch.addcmul(out, matrix[:, :, 1], vector[:, 1:2])
    return torch.addcmul(out, matrix[:, :, 2], vector[:, 2:])


def _turn_back(matrix: Tensor, vector: Tensor) -> Tensor:
    """Transposed (5 or 1, 3, 3, N) on (5, 3, N): (5, 3, N)."""
    return _turn(matrix.transpose(1, 2), vector)


def _compose(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of (5 or 1, 3, 3, N) and (5, 3, 3, N)."""
    out = a[:, :, :1] * b[:, :1]
    out = torch.addcmul(out, a[:, :, 1:2], b[:, 1:2])
    return torch.addcmul(out, a[:, :, 2:], b[:, 2:])


def _compose_back(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of the transposed (5 or 1, 3, 3, N) and (5, 3, 3, N)."""
    return _compose(a.transpose(1, 2), b)
