"""Motions for other programs and from them: glTF, BVH, USD, HaWoR's and the released code's files, NPZ."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hand_geometry.errors import InputError
from hand_geometry.units import DEFAULT_FPS

__all__ = ["EXPORT_SUFFIXES", "IMPORT_SUFFIXES", "export_motion", "import_motion", "retarget_motion"]

_LOG = logging.getLogger(__name__)

EXPORT_SUFFIXES = (".npz", ".glb", ".bvh", ".usd", ".usda", ".usdc", ".npy", ".pth")
IMPORT_SUFFIXES = (".npz", ".glb", ".bvh", ".usd", ".usda", ".usdc", ".npy", ".pth")


def export_motion(
    path: str | os.PathLike[str],
    motion: Any,
    *,
    fps: float | None = None,
    valid: Any = None,
    captions: Sequence[str] | None = None,
    model: str | os.PathLike[str] = "default",
    forearms: bool = False,
) -> Path:
    """Write a motion in the format that the file's suffix names.

    ====================  =============================================================  ==============================
    suffix                what it is                                                     lost
    ====================  =============================================================  ==============================
    .npz                  this package's own                                             nothing
    .glb                  animated, skinned glTF: Blender, three.js, Unity, Unreal       nothing that is read back here
    .bvh                  motion-capture text: Blender, MotionBuilder, Maya              mesh, captions, validity
    .usd .usda .usdc      UsdSkel: Omniverse, Houdini, Maya (extra ``usd``)              pose blend shapes, captions
    .npy                  the released CLUTCH code's dict                                rate, betas, captions, validity
    .pth                  HaWoR's ``world_space_res.pth``                                rate, captions
    ====================  =============================================================  ==============================

    Args:
        path: The file. Missing folders are made.
        motion: Parameters or features of T frames; a dict of ``load_motion`` as it is.
        fps: Frames per second; None takes the motion's own, or 15.
        valid: Which hands were seen, shape (T, 2) bool; None takes the motion's own, or all.
        captions: What it shows; None takes the motion's own.
        model: "default", a MANO file or a folder of both sides: the hand of ``betas`` and of the mesh.
        forearms: For .glb: whether to add forearms that fade out.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is unknown, or the motion is not finite, has no frames, or no seen hand.
        ShapeError: If a shape does not fit.
        MissingDependencyError: If USD is asked for and usd-core is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in EXPORT_SUFFIXES:
        raise InputError(f"path: Expected a name that ends in {', '.join(EXPORT_SUFFIXES)}, got {Path(path).name!r}.")
    if suffix == ".glb":
        from hand_geometry.exporting.gltf import save_gltf

        return save_gltf(path, motion, fps=fps, valid=valid, captions=captions, model=model, forearms=forearms)
    if suffix == ".bvh":
        from hand_geometry.exporting.bvh import save_bvh

        return save_bvh(path, motion, fps=fps, valid=valid, model=model)
    if suffix in (".usd", ".usda", ".usdc"):
        from hand_geometry.exporting.usd import save_usd

        return save_usd(path, motion, fps=fps, valid=valid, model=model)
    if suffix in (".npy", ".pth"):
        from hand_geometry.exporting.released import save_hawor, save_released

        if suffix == ".npy":
            return save_released(path, motion)
        return save_hawor(path, _with(motion, valid=valid))
    from hand_geometry.motion_io import save_motion

    whole = _with(motion, fps=fps, valid=valid, captions=captions)
    if "fps" not in whole:
        _LOG.warning("No fps was given: the motion is taken as %g frames per second.", DEFAULT_FPS)
    return save_motion(
        path, whole, fps=whole.get("fps", DEFAULT_FPS), valid=whole.get("valid"), captions=whole.get("captions")
    )


def import_motion(
    path: str | os.PathLike[str], *, fps: float | None = None, model: str | os.PathLike[str] = "default"
) -> dict[str, Any]:
    """Read a motion in the format that the file's suffix names: .npz, .glb, .bvh, .usd, .npy or .pth.

    Args:
        path: The file. Of glTF and BVH, files that ``export_motion`` wrote, also after Blender or another editor
            changed their curves and saved them; of USD (extra ``usd``) those that it wrote.
        fps: Frames per second, for files that do not say: .npy and .pth (None takes HaWoR's 30), .npz without a rate
            (None takes 15) and .bvh whose rate another program lost. It overrides what an .npz or a .bvh says; for the
            others it is ignored.
        model: The hand whose ``betas`` are found from the bones of .glb, .bvh and .usd.

    Returns:
        As ``load_motion``. See ``hand_geometry.exporting.released`` on the hand that .npy and .pth were made with.

    Raises:
        InputError: If the suffix is unknown.
        MotionFileError: If the file is missing, broken, or holds no motion of this package's skeleton.
        MissingDependencyError: If it is USD and usd-core is not installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".glb":
        from hand_geometry.exporting.gltf_read import load_gltf

        return load_gltf(path, model=model)
    if suffix == ".bvh":
        from hand_geometry.exporting.bvh_read import load_bvh

        return load_bvh(path, fps=fps, model=model)
    if suffix in (".usd", ".usda", ".usdc"):
        from hand_geometry.exporting.usd_read import load_usd

        return load_usd(path, model=model)
    if suffix in (".npy", ".pth"):
        from hand_geometry.exporting.released import load_released

        return load_released(path, fps=fps)
    if suffix == ".npz":
        from hand_geometry.motion_io import load_motion

        return load_motion(path, fps=fps)
    raise InputError(f"path: Expected a name that ends in {', '.join(IMPORT_SUFFIXES)}, got {Path(path).name!r}.")


def _with(motion: Any, **changes: Any) -> dict[str, Any]:
    """The motion's parameters as a dict, with entries replaced where they are given."""
    from collections.abc import Mapping

    from hand_geometry.features import as_tensor, features_to_params

    own = dict(motion) if isinstance(motion, Mapping) else features_to_params(as_tensor(motion).detach().cpu())
    return own | {name: value for name, value in changes.items() if value is not None}


def __getattr__(name: str) -> Any:
    if name == "retarget_motion":
        from hand_geometry.exporting.released import retarget_motion

        return retarget_motion
    raise AttributeError(f"module 'hand_geometry.exporting' has no attribute {name!r}")
