"""Writing a motion as animated, skinned glTF 2.0 in one ``.glb`` file.

Design:
    * A node ``motion`` turns this package's axes (y down, z forward) to glTF's (y up) and carries one skeleton a hand:
      MANO's 16 joints, each named ``left_index1`` and so on, and five fingertips, which move no vertex. Nodes stand in
      the rest pose, as the inverse bind matrices do: programs that bind a mesh anew (Blender) take it from the nodes.
    * Each hand has a rest mesh with its shape baked in, four skin weights a vertex, and a curve per joint. The file
      holds what MANO holds: glTF skins linearly, as MANO does. Its pose blend shapes, if the model has any, are
      written as a few morph targets, exact to 0.1 mm.
    * What glTF has no place for (which hand was seen when, betas, captions) lies in the scene's ``extras``; a viewer
      that does not know them draws the stand-in pose of an unseen hand.

Source: Khronos, glTF 2.0 specification, sections 3.6 (buffers), 3.7.3 (skins), 3.11 (animations).
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.assets import PARENTS, Array
from hand_geometry.atomic import write_bytes
from hand_geometry.exporting.forearm import Forearm, build_forearm
from hand_geometry.exporting.rig import JOINT_NAMES, TIP_NAMES, TIP_PARENTS, Clip, HandRig, build_clip, pose_correctives
from hand_geometry.rendering.arms import LEFT_COLOR, RIGHT_COLOR, linear_rgb, skin_colors

EXTRAS = "hand_geometry"

_COLORS = {"left": LEFT_COLOR, "right": RIGHT_COLOR}
_COMPONENT = {np.dtype(np.uint8): 5121, np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125, np.dtype("<f4"): 5126}
_KIND = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_FOREARM = 21  # its number among a skin's joints, after 16 joints and 5 tips
_HALF_TURN = [1.0, 0.0, 0.0, 0.0]  # about x: y down, z forward becomes y up, z backward


def save_gltf(
    path: str | os.PathLike[str],
    motion: Any,
    *,
    fps: float | None = None,
    valid: Any = None,
    captions: Sequence[str] | None = None,
    model: str | os.PathLike[str] = "default",
    forearms: bool = False,
) -> Path:
    """Write a motion as animated, skinned glTF.

    Args:
        path: Ends in .glb. Missing folders are made.
        motion: Parameters or features of T frames, see ``build_clip``; a dict of ``load_motion`` as it is.
        fps: Frames per second; None takes the motion's own, or 15.
        valid: Which hands were seen, shape (T, 2) bool; None takes the motion's own, or all.
        captions: What it shows; None takes the motion's own.
        model: "default", a MANO file or a folder of both sides.
        forearms: Whether to add a forearm that fades out, with a bone of its own.

    Returns:
        The path.

    Raises:
        InputError: If the motion is not finite or has no frames, no hand was ever seen, or the suffix is another.
        ShapeError: If a shape does not fit.
    """
    clip = build_clip(motion, fps=fps, valid=valid, captions=captions, model=model)
    return write_bytes(path, gltf_bytes(clip, forearms=forearms), ".glb")


def gltf_bytes(clip: Clip, *, forearms: bool = False) -> bytes:
    """The bytes of a ``.glb`` file.

    Args:
        clip: From ``build_clip``.
        forearms: Whether to add forearms.

    Returns:
        The whole file.
    """
    file = _File()
    root = file.node({"name": "motion", "rotation": _HALF_TURN, "children": []})
    times = file.accessor((np.arange(clip.frames) / clip.fps).astype("<f4")[:, None], bounds=True)
    scene = [root]
    for k, rig in enumerate(clip.rigs):
        scene.append(_hand(file, rig, root, times, k, build_forearm(rig) if forearms else None))
    file.tree["scenes"] = [{"name": "motion", "nodes": scene, "extras": {EXTRAS: _extras(clip)}}]
    return file.packed()


def unseen_runs(seen: np.ndarray) -> list[list[int]]:
    """Runs of False in flags (T,) as [first, end) pairs."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]]).astype(np.int8)))
    return edges.reshape(-1, 2).tolist()


def _extras(clip: Clip) -> dict[str, Any]:
    return {
        "version": 2,  # 1: nodes stood in the first frame's pose
        "fps": clip.fps,
        "frames": clip.frames,
        "captions": list(clip.captions),
        "betas": {rig.side: rig.betas.tolist() for rig in clip.rigs},
        "unseen": {rig.side: unseen_runs(clip.valid[:, int(rig.side == "right")]) for rig in clip.rigs},
    }


def _hand(file: _File, rig: HandRig, root: int, times: int, number: int, arm: Forearm | None) -> int:
    """Add one hand; returns the node of its mesh."""
    joints = _skeleton(file, rig, root)
    bind = np.concatenate([rig.joints, rig.tips])
    if arm is not None:
        offset = (arm.pivot - rig.joints[0]).tolist()
        bone = file.node({"name": f"{rig.side}_forearm", "translation": offset})
        file.child(joints[0], bone)
        joints, bind = [*joints, bone], np.concatenate([bind, arm.pivot[None]])
    inverse_bind = np.tile(np.eye(4), (len(bind), 1, 1))
    inverse_bind[:, 3, :3] = -bind  # column-major: the last row of this array is the translation
    skin = {"name": f"{rig.side}_hand", "joints": joints, "inverseBindMatrices": file.accessor(_f4(inverse_bind, 16))}
    file.tree["skins"].append(skin)
    targets, weights = pose_correctives(rig)
    file.tree["meshes"].append(_mesh(file, rig, arm, targets))
    node = file.node({"name": f"{rig.side}_hand", "mesh": number, "skin": number})
    for joint in range(16):
        file.curve(joints[joint], "rotation", times, _f4(rig.rotations[:, joint], 4))
    file.curve(joints[0], "translation", times, _f4(rig.wrist, 3))
    if arm is not None:
        file.curve(joints[_FOREARM], "rotation", times, _f4(arm.rotations, 4))
    if len(targets):
        file.curve(node, "weights", times, _f4(weights, 1))
    return node


def _skeleton(file: _File, rig: HandRig, root: int) -> list[int]:
    """Nodes of the 16 joints at rest, then of the fingertips below them."""
    joints: list[int] = []
    for joint, name in enumerate(JOINT_NAMES):
        joints.append(file.node({"name": f"{rig.side}_{name}", "translation": rig.bones[joint].tolist()}))
        file.child(root if joint == 0 else joints[PARENTS[joint]], joints[joint])
    for tip, name in enumerate(TIP_NAMES):
        offset = rig.tips[tip] - rig.joints[TIP_PARENTS[tip]]
        joints.append(file.node({"name": f"{rig.side}_{name}", "translation": offset.tolist()}))
        file.child(joints[TIP_PARENTS[tip]], joints[16 + tip])
    return joints


def _mesh(file: _File, rig: HandRig, arm: Forearm | None, targets: Array) -> dict[str, Any]:
    colors = skin_colors(rig.asset, _COLORS[rig.side])
    points, weights, faces = rig.vertices, rig.asset.weights, rig.asset.faces
    opacity = np.ones(len(points))
    if arm is not None:
        points, faces = np.concatenate([points, arm.vertices]), np.concatenate([faces, arm.faces])
        colors = np.concatenate([colors, np.tile(colors[arm.loop].mean(0), (len(arm.vertices), 1))])
        opacity = np.concatenate([opacity, arm.opacity])
        ring = np.zeros((len(arm.vertices), _FOREARM + 1))
        ring[:, 0], ring[:, _FOREARM] = 1 - arm.share, arm.share
        weights = np.concatenate([np.pad(weights, ((0, 0), (0, _FOREARM + 1 - 16))), ring])
    joints4, weights4 = _four_weights(weights)
    linear = np.concatenate([linear_rgb(colors), opacity[:, None]], 1)
    attributes = {
        "POSITION": file.accessor(_f4(points, 3), _VERTICES, bounds=True),
        "NORMAL": file.accessor(_f4(_normals(points, faces), 3), _VERTICES),
        "COLOR_0": file.accessor(np.round(linear * 255).astype(np.uint8), _VERTICES, normalized=True),
        "JOINTS_0": file.accessor(joints4, _VERTICES),
        "WEIGHTS_0": file.accessor(weights4, _VERTICES),
    }
    padded = np.pad(targets, ((0, 0), (0, len(points) - len(rig.vertices)), (0, 0)))
    morphs = [{"POSITION": file.accessor(_f4(target, 3), _VERTICES, bounds=True)} for target in padded]
    primitives = []
    parts = [("skin", rig.asset.faces)] + ([("skin that fades", arm.faces)] if arm is not None else [])
    for name, part in parts:
        kind = np.uint16 if len(points) < 65535 else np.uint32
        indices = file.accessor(part.reshape(-1, 1).astype(kind), _INDICES)
        primitive = {"attributes": attributes, "indices": indices, "material": file.material(name, name != "skin")}
        primitives.append(primitive | ({"targets": morphs} if morphs else {}))
    mesh = {"name": f"{rig.side}_hand", "primitives": primitives}
    return mesh | ({"weights": [0.0] * len(morphs)} if morphs else {})


def _four_weights(weights: Array) -> tuple[np.ndarray, np.ndarray]:
    """The four largest weights of each vertex and their joints, (V, 4); weights sum to 1, unused joints are 0."""
    order = np.argsort(-weights, 1, kind="stable")[:, :4]
    kept = np.take_along_axis(weights, order, 1).astype("<f4")
    kept[kept < 1e-5] = 0
    kept /= kept.sum(1, keepdims=True)
    return np.where(kept > 0, order, 0).astype(np.uint8), kept


def _normals(points: Array, faces: np.ndarray) -> Array:
    """Area-weighted unit normals of vertices, (V, 3)."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)
    out = np.zeros_like(points)
    for k in range(3):
        np.add.at(out, faces[:, k], area)
    length = np.linalg.norm(out, axis=1, keepdims=True)
    unit: Array = np.where(length > 1e-15, out / np.maximum(length, 1e-15), [0.0, 0.0, 1.0])
    return unit


def _f4(values: Array, width: int) -> np.ndarray:
    return np.ascontiguousarray(values, "<f4").reshape(-1, width)


class _File:
    """The tree and the binary chunk of a file under construction."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "hand-geometry"},
            "scene": 0, "nodes": [], "meshes": [], "skins": [], "materials": [], "accessors": [], "bufferViews": [],
            "animations": [{"name": "motion", "channels": [], "samplers": []}],
        }  # fmt: skip
        self._binary = bytearray()

    def node(self, node: dict[str, Any]) -> int:
        self.tree["nodes"].append(node)
        return len(self.tree["nodes"]) - 1

    def child(self, parent: int, child: int) -> None:
        self.tree["nodes"][parent].setdefault("children", []).append(child)

    def material(self, name: str, fades: bool) -> int:
        names = [material["name"] for material in self.tree["materials"]]
        if name not in names:
            look = {"metallicFactor": 0.0, "roughnessFactor": 0.55}
            material = {"name": name, "pbrMetallicRoughness": look, "doubleSided": not fades}
            self.tree["materials"].append(material | ({"alphaMode": "BLEND"} if fades else {}))
            names.append(name)
        return names.index(name)

    def accessor(
        self, values: np.ndarray, target: int | None = None, *, bounds: bool = False, normalized: bool = False
    ) -> int:
        """Append an array (N, width) to the binary chunk."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": values.nbytes}
        if target is not None:
            view["target"] = target
        self._binary += values.tobytes() + bytes(-values.nbytes % 4)
        self.tree["bufferViews"].append(view)
        accessor = {
            "bufferView": len(self.tree["bufferViews"]) - 1,
            "componentType": _COMPONENT[values.dtype],
            "count": len(values),
            "type": _KIND[values.shape[1]],
        }
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        if normalized:
            accessor["normalized"] = True
        self.tree["accessors"].append(accessor)
        return len(self.tree["accessors"]) - 1

    def curve(self, node: int, path: str, times: int, values: np.ndarray) -> None:
        """Animate a property of a node."""
        animation = self.tree["animations"][0]
        sampler = {"input": times, "output": self.accessor(values), "interpolation": "LINEAR"}
        animation["samplers"].append(sampler)
        target = {"node": node, "path": path}
        animation["channels"].append({"sampler": len(animation["samplers"]) - 1, "target": target})

    def packed(self) -> bytes:
        tree = self.tree | {"buffers": [{"byteLength": len(self._binary)}]}
        text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self._binary), b"BIN\0") + bytes(self._binary)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
