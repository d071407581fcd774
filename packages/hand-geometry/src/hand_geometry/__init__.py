"""The MANO hand, batched and differentiable: rotations, kinematics, fitting, metrics, rendering,
viewing, export.

Names are loaded when they are first used, so that ``import hand_geometry`` is quick and fitting workers never
load torch. Rendering needs the extra ``hand-geometry[render]``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hand_geometry.exporting import export_motion, import_motion, retarget_motion
    from hand_geometry.features import (
        canonicalize,
        features_to_params,
        mirror_features,
        params_to_features,
        resample_params,
    )
    from hand_geometry.fitting import KeypointFit, fit_keypoints
    from hand_geometry.kinematics import features_to_joints
    from hand_geometry.metrics import acceleration_error, jitter, mpjpe, pa_mpjpe
    from hand_geometry.model import HandModel, HandOutput
    from hand_geometry.motion_io import load_motion, save_motion
    from hand_geometry.poses import load_pose, relaxed_hand
    from hand_geometry.rendering import Camera, frame_camera, look_at, render_motion, side_by_side, write_video
    from hand_geometry.viewing import write_html

_HOME = {
    "Camera": "rendering",
    "HandModel": "model",
    "HandOutput": "model",
    "KeypointFit": "fitting",
    "acceleration_error": "metrics",
    "canonicalize": "features",
    "export_motion": "exporting",
    "features_to_joints": "kinematics",
    "features_to_params": "features",
    "fit_keypoints": "fitting",
    "frame_camera": "rendering",
    "import_motion": "exporting",
    "jitter": "metrics",
    "load_motion": "motion_io",
    "load_pose": "poses",
    "look_at": "rendering",
    "mirror_features": "features",
    "mpjpe": "metrics",
    "pa_mpjpe": "metrics",
    "params_to_features": "features",
    "relaxed_hand": "poses",
    "render_motion": "rendering",
    "resample_params": "features",
    "retarget_motion": "exporting",
    "save_motion": "motion_io",
    "side_by_side": "rendering",
    "write_html": "viewing",
    "write_video": "rendering",
}

__all__ = [
    "Camera",
    "HandModel",
    "HandOutput",
    "KeypointFit",
    "acceleration_error",
    "canonicalize",
    "export_motion",
    "features_to_joints",
    "features_to_params",
    "fit_keypoints",
    "frame_camera",
    "import_motion",
    "jitter",
    "load_motion",
    "load_pose",
    "look_at",
    "mirror_features",
    "mpjpe",
    "pa_mpjpe",
    "params_to_features",
    "relaxed_hand",
    "render_motion",
    "resample_params",
    "retarget_motion",
    "save_motion",
    "side_by_side",
    "write_html",
    "write_video",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hand_geometry' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hand_geometry.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
