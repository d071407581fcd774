"""Reading back the motions that ``save_gltf`` wrote, also after an editor such as Blender loaded and saved them.

What is read are nodes by name (``left_wrist``, ``left_index1`` ...), the first animation, and the scene's ``extras``.
Meshes are not read. Every index and length is checked against the file before it is used.

A rotation counts from where its node stands at rest, in whatever axes another program gave the bone. Without ``extras``
(Blender drops them unless "Custom Properties" is ticked) the shape is found from the bones, the rate from the keys, and
every frame of a hand that is there counts as seen: that is said in a warning.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from hand_geometry.assets import PARENTS, Array, Side
from hand_geometry.errors import MotionFileError
from hand_geometry.exporting.bones import SAME_BONES, axes_of_bones, shape_of_bones
from hand_geometry.exporting.gltf import EXTRAS
from hand_geometry.exporting.rig import JOINT_NAMES, SIDES
from hand_geometry.poses import relaxed_hand

_LOG = logging.getLogger(__name__)
_WIDTH = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MOST_FRAMES = 1_000_000  # nine hours at 30 fps
_FEW_FRAMES = 10_000  # more need a file of some size: a broken rate must not ask for all memory
_STILL = 0.2  # seconds between two keys that tell no rate: of a property that never changes programs write the ends
_FARTHEST = 1e3  # metres, at rest
_LOST_REST = "(Files of hand-geometry 0.1 lose their rest pose in other programs: export the motion again.)"
_TO_OURS = Rotation.from_quat([1.0, 0.0, 0.0, 0.0])  # glTF: y up, z backward


def load_gltf(path: str | os.PathLike[str], *, model: str | os.PathLike[str] = "default") -> dict[str, Any]:
    """Read a motion from a ``.glb`` of ``save_gltf``.

    Args:
        path: The file.
        model: The hand whose ``betas`` are found from the bones where the file does not say them.

    Returns:
        As ``load_motion``: ``global_orient`` (T, 2, 3), ``hand_pose`` (T, 2, 15, 3), ``transl`` (T, 2, 3), ``betas``
        (2, 10), ``valid`` (T, 2), ``fps``, ``captions``. A hand that is not in the file is a relaxed hand, marked
        unseen. Curves are read at ``fps``, between keys along great arcs.

    Raises:
        MotionFileError: If the file is missing or broken, has no skeleton of this package, or was written by version
            0.1 and lost its rest pose in another program.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MotionFileError(f"{file}: Expected a .glb file, got none that can be read ({error}).") from error
    try:
        return _Reader(content, os.fspath(model), file.name).motion()
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, struct.error, RecursionError) as error:
        reason = str(error) if isinstance(error, _BrokenError) else f"{type(error).__name__}: {error}"
        raise MotionFileError(f"{file}: {reason} Write it again with save_gltf.") from error


class _BrokenError(ValueError):
    """What is wrong with a file, in words for people."""


def _known(betas: Array | None) -> Array:
    return np.zeros(0) if betas is None else betas


class _Reader:
    def __init__(self, content: bytes, model: str, name: str) -> None:
        self.model, self.name = model, name
        if len(content) < 20 or content[:4] != b"glTF":
            raise _BrokenError("Expected a binary glTF file (.glb), got something else.")
        version, length = struct.unpack_from("<II", content, 4)
        if version != 2 or length != len(content):
            raise _BrokenError(f"Expected glTF 2 of {length} bytes, got version {version}, {len(content)} bytes.")
        size, kind = struct.unpack_from("<I4s", content, 12)
        if kind != b"JSON" or 20 + size > len(content):
            raise _BrokenError("Expected a JSON chunk first, got a file that ends in it.")
        self.tree = json.loads(content[20 : 20 + size])
        start = 28 + size
        self.binary = content[start:] if len(content) >= start else b""
        self.nodes = self.tree["nodes"]
        self.names = {node.get("name"): k for k, node in enumerate(self.nodes)}
        self.parent = {child: k for k, node in enumerate(self.nodes) for child in node.get("children", [])}
        self.most = min(_MOST_FRAMES, max(_FEW_FRAMES, len(content) // 4))
        self.moving: set[Any] = set()  # nodes with a curve
        self.curves: dict[tuple[int, str], tuple[Array, Array]] = {}
        own = {self.names.get(f"{side}_{name}") for side in SIDES for name in JOINT_NAMES} - {None}
        for animation in self.tree.get("animations", [])[:1]:
            for channel in animation["channels"]:
                target = channel["target"]
                self.moving.add(target.get("node"))
                key = (target.get("node"), target["path"])
                if key in self.curves:
                    raise _BrokenError(f"Expected one curve for each property, got two for node {key[0]}.")
                if key[0] in own and key[1] in ("rotation", "translation"):
                    self.curves[key] = self._curve(animation["samplers"][channel["sampler"]])

    def motion(self) -> dict[str, Any]:
        own = self.tree["scenes"][self.tree.get("scene", 0)].get("extras", {}).get(EXTRAS, {})
        hands = [side for side in SIDES if f"{side}_wrist" in self.names]
        if not hands:
            raise _BrokenError("Expected nodes named left_wrist or right_wrist, got none.")
        if not own:
            _LOG.warning(
                "%s: no extras of hand-geometry (another program wrote it): all frames count as seen, no captions.",
                self.name,
            )
        times, fps = self._clock(own)
        frames = len(times)
        out: dict[str, Any] = {
            "global_orient": np.empty((frames, 2, 3), np.float32),
            "hand_pose": np.empty((frames, 2, 15, 3), np.float32),
            "transl": np.empty((frames, 2, 3), np.float32),
            "betas": np.zeros((2, 10), np.float32),
            "valid": np.zeros((frames, 2), np.bool_),
            "fps": fps,
            "captions": [str(caption) for caption in own.get("captions", [])],
        }
        for hand, side in enumerate(SIDES):
            if side not in hands:
                rest = relaxed_hand(side)
                for name in ("global_orient", "hand_pose", "transl"):
                    out[name][:, hand] = rest[name].numpy()
                continue
            given = np.asarray(own.get("betas", {}).get(side, []), np.float64)[:10] if own else None
            orient, pose, transl, betas = self._hand(side, times, given, own.get("version"))
            out["global_orient"][:, hand], out["hand_pose"][:, hand], out["transl"][:, hand] = orient, pose, transl
            out["betas"][hand, : len(betas)] = betas
            out["valid"][:, hand] = True
            for first, end in own.get("unseen", {}).get(side, []):
                out["valid"][first:end, hand] = False
        if not all(np.isfinite(out[name]).all() for name in ("global_orient", "hand_pose", "transl", "betas")):
            raise _BrokenError("Expected finite curves, got NaN or infinity.")
        return out

    def _clock(self, own: dict[str, Any]) -> tuple[Array, float]:
        """The times of the frames, and their rate: the file's own, or that of its longest curve."""
        keys = max((key for key, _ in self.curves.values()), key=len, default=np.zeros(1))
        span = float(keys[-1] - keys[0])
        if "fps" in own:
            fps = float(own["fps"])
        elif len(keys) > 2 or 0 < span <= _STILL:
            fps = round((len(keys) - 1) / span, 3)
        else:
            fps = 15.0
            _LOG.warning("%s: its curves have too few keys to tell the rate: taken as 15 fps.", self.name)
        if not (0 < fps < 1e5 and 0 <= span < 1e6):
            raise _BrokenError(f"Expected a positive rate and rising times, got {fps} fps over {span} s.")
        frames = round(span * fps) + 1
        if frames > self.most:
            raise _BrokenError(f"Expected at most {self.most} frames in a file of this size, got {frames}.")
        return keys[0] + np.arange(frames) / fps, fps

    def _hand(self, side: Side, times: Array, betas: Array | None, version: Any) -> tuple[Array, Array, Array, Array]:
        """``global_orient`` (T, 3), ``hand_pose`` (T, 15, 3), ``transl`` (T, 3), ``betas`` (B,)."""
        joints = [self.names[f"{side}_{name}"] for name in JOINT_NAMES]
        local = [self._rotation(joint, times) for joint in joints]
        turn, shift = self._above(joints[0])
        wrist = turn.apply(self._at((joints[0], "translation"), times)) + shift
        if version == 1:  # nodes stand in the first frame's pose; bones at rest were not turned
            pose = np.stack([rotation.as_rotvec() for rotation in local[1:]], 1)
            return (turn * local[0]).as_rotvec(), pose, wrist - self._bound_wrist(joints[0]), _known(betas)
        turns = np.array([self.nodes[joint].get("rotation", [0, 0, 0, 1]) for joint in joints], float)
        offsets = np.array([self.nodes[joint].get("translation", [0, 0, 0]) for joint in joints], float)
        if not ((np.abs(turns) < _FARTHEST).all() and (np.abs(offsets) < _FARTHEST).all()):
            raise _BrokenError("Expected joints near each other at rest, got places or turns that are none.")
        rest = list(Rotation.from_quat(turns))
        chain = rest[:1]  # of each joint at rest, in the axes of the node above the wrist
        for joint in range(1, 16):
            chain.append(chain[PARENTS[joint]] * rest[joint])
        bones = np.stack([chain[PARENTS[joint]].apply(offsets[joint]) for joint in range(1, 16)])
        try:
            axes = axes_of_bones({side: bones}, self.model)
        except ValueError as error:
            if betas is None:
                raise _BrokenError(f"{error} {_LOST_REST}") from error
            axes = Rotation.identity()  # this package's own file, of some other hand
        rest_wrist = axes.apply(offsets[0])
        if betas is None:
            shape = shape_of_bones(side, axes.apply(bones), self.model)
            betas = shape.betas
            if shape.found and np.linalg.norm(shape.wrist - rest_wrist) > 2 * SAME_BONES:
                raise _BrokenError(
                    f"Expected the {side} wrist at rest where the hand model has it, got one "
                    f"{np.linalg.norm(shape.wrist - rest_wrist) * 1e3:.0f} mm away. {_LOST_REST}"
                )
        vectors = [(turn * local[0] * rest[0].inv() * axes.inv()).as_rotvec()]
        for joint in range(1, 16):
            above = axes * chain[PARENTS[joint]]
            vectors.append((above * local[joint] * rest[joint].inv() * above.inv()).as_rotvec())
        return vectors[0], np.stack(vectors[1:], 1), wrist - rest_wrist, betas

    def _above(self, node: int) -> tuple[Rotation, Array]:
        """The fixed transform of the nodes above one, in this package's axes."""
        turn, shift = Rotation.identity(), np.zeros(3)
        for _ in range(len(self.nodes)):
            if node not in self.parent:
                break
            node = self.parent[node]
            own = self.nodes[node]
            if "matrix" in own or own.get("scale", [1, 1, 1]) != [1, 1, 1] or node in self.moving:
                raise _BrokenError(f"Expected plain, fixed nodes above the wrist, got {own.get('name', node)!r}.")
            rotation = Rotation.from_quat(own.get("rotation", [0, 0, 0, 1]))
            turn, shift = rotation * turn, rotation.apply(shift) + np.array(own.get("translation", [0, 0, 0]), float)
        return _TO_OURS * turn, _TO_OURS.apply(shift)

    def _bound_wrist(self, node: int) -> Array:
        for skin in self.tree["skins"]:
            if node in skin["joints"]:
                inverse = self._array(skin["inverseBindMatrices"])[skin["joints"].index(node)]
                return -inverse.reshape(4, 4)[3, :3]
        raise _BrokenError("Expected the wrist among the joints of a skin, got a skeleton without a mesh.")

    def _rotation(self, node: int, times: Array) -> Rotation:
        quaternions = self._at((node, "rotation"), times)
        return Rotation.from_quat(quaternions)

    def _at(self, key: tuple[int, str], times: Array) -> Array:
        """A property at the given times, (T, 3 or 4)."""
        node, path = key
        if key not in self.curves:
            still = self.nodes[node].get(path, [0, 0, 0, 1] if path == "rotation" else [0, 0, 0])
            return np.tile(np.array(still, np.float64), (len(times), 1))
        keys, values = self.curves[key]
        if len(keys) == 1:
            return np.tile(values, (len(times), 1))
        when = np.clip(times, keys[0], keys[-1])
        if path == "rotation":
            return Slerp(keys, Rotation.from_quat(values))(when).as_quat()
        return np.stack([np.interp(when, keys, values[:, k]) for k in range(3)], 1)

    def _curve(self, sampler: dict[str, Any]) -> tuple[Array, Array]:
        keys, values = self._array(sampler["input"])[:, 0], self._array(sampler["output"])
        if sampler.get("interpolation") == "CUBICSPLINE":
            values = values[1::3]  # in-tangent, value, out-tangent
        if len(keys) == 0 or len(keys) != len(values) or (np.diff(keys) <= 0).any():
            raise _BrokenError(f"Expected rising times and a value for each, got {len(keys)} and {len(values)}.")
        return keys, values

    def _array(self, number: int) -> Array:
        """A float accessor, (count, width)."""
        accessor = self.tree["accessors"][number]
        view = self.tree["bufferViews"][accessor["bufferView"]]
        count, width = int(accessor["count"]), _WIDTH[accessor["type"]]
        if accessor["componentType"] != 5126 or view.get("byteStride", 4 * width) != 4 * width or count < 0:
            raise _BrokenError("Expected curves of packed 32-bit floats, got another layout.")
        start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
        if start < 0 or start + 4 * width * count > len(self.binary):
            raise _BrokenError(f"Expected {4 * width * count} bytes at {start}, got {len(self.binary)} in all.")
        values = np.frombuffer(self.binary, "<f4", count * width, start)
        return values.reshape(count, width).astype(np.float64)
