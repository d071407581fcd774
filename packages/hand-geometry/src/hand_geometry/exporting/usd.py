"""Writing a motion as USD: UsdSkel skeletons with skinned meshes. Needs the extra ``hand-geometry[usd]`` (usd-core).

The same hands as in glTF: shape baked in, linear skinning without pose blend shapes. A hand is hidden in the frames in
which it was not seen. Source: UsdSkel schema documentation, Pixar.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hand_geometry.assets import PARENTS
from hand_geometry.atomic import write_beside
from hand_geometry.errors import InputError, MissingDependencyError
from hand_geometry.exporting.rig import JOINT_NAMES, TIP_NAMES, TIP_PARENTS, Clip, HandRig, build_clip
from hand_geometry.rendering.arms import LEFT_COLOR, RIGHT_COLOR, linear_rgb

SUFFIXES = (".usd", ".usda", ".usdc")


def save_usd(
    path: str | os.PathLike[str],
    motion: Any,
    *,
    fps: float | None = None,
    valid: Any = None,
    model: str | os.PathLike[str] = "default",
) -> Path:
    """Write a motion as USD.

    Args:
        path: Ends in .usd, .usda or .usdc. Missing folders are made.
        motion: Parameters or features of T frames, see ``build_clip``.
        fps: Frames per second; None takes the motion's own, or 15.
        valid: Which hands were seen, shape (T, 2) bool.
        model: "default", a MANO file or a folder of both sides.

    Returns:
        The path.

    Raises:
        MissingDependencyError: If usd-core is not installed.
        InputError: If the motion is not finite or has no frames, no hand was ever seen, or the suffix is another.
        ShapeError: If a shape does not fit.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"path: Expected a name that ends in {', '.join(SUFFIXES)}, got {target.name!r}. Rename it.")
    try:
        from pxr import Usd, UsdGeom, UsdSkel
    except ImportError as error:
        raise MissingDependencyError("usd-core", "Writing USD", "usd") from error
    clip = build_clip(motion, fps=fps, valid=valid, model=model)
    with write_beside(target) as temporary:
        stage = Usd.Stage.CreateNew(str(temporary))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        stage.SetTimeCodesPerSecond(clip.fps)
        stage.SetFramesPerSecond(clip.fps)
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(clip.frames - 1)
        root = UsdSkel.Root.Define(stage, "/motion")
        root.AddRotateXOp().Set(180.0)
        stage.SetDefaultPrim(root.GetPrim())
        for rig in clip.rigs:
            _hand(stage, clip, rig)
        stage.GetRootLayer().Save()
        del stage
    return target


def _hand(stage: Any, clip: Clip, rig: HandRig) -> None:
    from pxr import Gf, UsdGeom, UsdSkel, Vt

    home = f"/motion/{rig.side}_hand"
    names = _joint_paths(rig.side)
    joints = np.concatenate([rig.joints, rig.tips])
    bones = np.concatenate([rig.bones, rig.tips - rig.joints[list(TIP_PARENTS)]])
    xform = UsdGeom.Xform.Define(stage, home)
    visibility = xform.GetVisibilityAttr()
    seen = clip.valid[:, int(rig.side == "right")]
    for t in np.flatnonzero(np.diff(seen.astype(int), prepend=-1)).tolist():
        visibility.Set(UsdGeom.Tokens.inherited if seen[t] else UsdGeom.Tokens.invisible, float(t))

    skeleton = UsdSkel.Skeleton.Define(stage, f"{home}/skeleton")
    skeleton.CreateJointsAttr(names)
    skeleton.CreateBindTransformsAttr(Vt.Matrix4dArray([_at(Gf, point) for point in joints]))
    skeleton.CreateRestTransformsAttr(Vt.Matrix4dArray([_at(Gf, offset) for offset in bones]))

    animation = UsdSkel.Animation.Define(stage, f"{home}/skeleton/motion")
    animation.CreateJointsAttr(names)
    animation.CreateScalesAttr([Gf.Vec3h(1, 1, 1)] * len(names))
    translations, rotations = animation.CreateTranslationsAttr(), animation.CreateRotationsAttr()
    still = [Gf.Quatf(1, 0, 0, 0)] * len(rig.tips)
    for t in range(clip.frames):
        bones[0] = rig.wrist[t]
        translations.Set(Vt.Vec3fArray.FromNumpy(bones.astype(np.float32)), float(t))
        turns = [Gf.Quatf(float(w), float(x), float(y), float(z)) for x, y, z, w in rig.rotations[t]]
        rotations.Set(Vt.QuatfArray(turns + still), float(t))
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([animation.GetPath()])

    mesh = UsdGeom.Mesh.Define(stage, f"{home}/mesh")
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(rig.vertices.astype(np.float32)))
    mesh.CreateFaceVertexCountsAttr([3] * len(rig.asset.faces))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(rig.asset.faces.astype(np.int32).ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    low, high = rig.vertices.min(0), rig.vertices.max(0)
    mesh.CreateExtentAttr([Gf.Vec3f(*map(float, low)), Gf.Vec3f(*map(float, high))])
    color = linear_rgb(LEFT_COLOR if rig.side == "left" else RIGHT_COLOR)  # USD's colours are linear (Rec. 709)
    mesh.CreateDisplayColorAttr([Gf.Vec3f(*color.tolist())])
    skin = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    skin.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    width = max(4, int((rig.asset.weights > 1e-6).sum(1).max()))
    order = np.argsort(-rig.asset.weights, 1, kind="stable")[:, :width]
    weights = np.take_along_axis(rig.asset.weights, order, 1).astype(np.float32)
    skin.CreateJointIndicesPrimvar(False, width).Set(Vt.IntArray.FromNumpy(order.astype(np.int32).ravel()))
    skin.CreateJointWeightsPrimvar(False, width).Set(Vt.FloatArray.FromNumpy(weights.ravel()))
    skin.CreateGeomBindTransformAttr(Gf.Matrix4d(1.0))


def _joint_paths(side: str) -> list[str]:
    """UsdSkel names a joint by its path from the root: ``left_wrist/left_index1/...``."""
    paths: list[str] = []
    for joint, name in enumerate(JOINT_NAMES):
        above = f"{paths[PARENTS[joint]]}/" if joint else ""
        paths.append(f"{above}{side}_{name}")
    return paths + [f"{paths[parent]}/{side}_{name}" for name, parent in zip(TIP_NAMES, TIP_PARENTS, strict=True)]


def _at(gf: Any, point: np.ndarray) -> Any:
    return gf.Matrix4d(1.0).SetTranslate(gf.Vec3d(*map(float, point)))
