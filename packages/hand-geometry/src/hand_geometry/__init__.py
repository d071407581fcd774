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
    from hand_geometry.codes import Claim, CodeThresholds, MotionCodes, motion_codes, parse_claim
    from hand_geometry.contact_metrics import contact_scores, contact_statistics
    from hand_geometry.exporting import export_motion, import_motion, retarget_motion
    from hand_geometry.features import (
        canonical_origin,
        canonicalize,
        features_to_params,
        mirror_features,
        mirror_params,
        params_to_features,
        resample_params,
        uncanonicalize,
    )
    from hand_geometry.fitting import (
        KeypointFit,
        KnownMotion,
        LandmarkTable,
        calibrate_landmarks,
        calibrate_table,
        fit_keypoints,
    )
    from hand_geometry.fitting.gradient import fit_by_gradient
    from hand_geometry.kinematics import features_to_joints
    from hand_geometry.metrics import acceleration_error, jitter, mpjpe, mpvpe, pa_mpjpe, pa_mpvpe
    from hand_geometry.model import HandModel, HandOutput
    from hand_geometry.motion_io import load_motion, save_motion
    from hand_geometry.pair import HandPair
    from hand_geometry.plausibility import hand_penetration, limit_violation, self_penetration
    from hand_geometry.poses import load_pose, relaxed_hand
    from hand_geometry.rendering import Camera, frame_camera, look_at, render_motion, side_by_side, write_video
    from hand_geometry.smoothing import smooth_gaussian, smooth_savgol
    from hand_geometry.viewing import write_html
    from hand_geometry.wording import mirror_text

_HOME = {
    "Camera": "rendering",
    "Claim": "codes",
    "CodeThresholds": "codes",
    "HandModel": "model",
    "HandOutput": "model",
    "HandPair": "pair",
    "KeypointFit": "fitting",
    "KnownMotion": "fitting",
    "LandmarkTable": "fitting",
    "MotionCodes": "codes",
    "acceleration_error": "metrics",
    "calibrate_landmarks": "fitting",
    "calibrate_table": "fitting",
    "canonical_origin": "features",
    "canonicalize": "features",
    "contact_scores": "contact_metrics",
    "contact_statistics": "contact_metrics",
    "export_motion": "exporting",
    "features_to_joints": "kinematics",
    "features_to_params": "features",
    "fit_by_gradient": "fitting.gradient",
    "fit_keypoints": "fitting",
    "frame_camera": "rendering",
    "hand_penetration": "plausibility",
    "import_motion": "exporting",
    "jitter": "metrics",
    "limit_violation": "plausibility",
    "load_motion": "motion_io",
    "load_pose": "poses",
    "look_at": "rendering",
    "mirror_features": "features",
    "mirror_params": "features",
    "mirror_text": "wording",
    "motion_codes": "codes",
    "mpjpe": "metrics",
    "mpvpe": "metrics",
    "pa_mpjpe": "metrics",
    "pa_mpvpe": "metrics",
    "params_to_features": "features",
    "parse_claim": "codes",
    "relaxed_hand": "poses",
    "render_motion": "rendering",
    "resample_params": "features",
    "retarget_motion": "exporting",
    "save_motion": "motion_io",
    "self_penetration": "plausibility",
    "side_by_side": "rendering",
    "smooth_gaussian": "smoothing",
    "smooth_savgol": "smoothing",
    "uncanonicalize": "features",
    "write_html": "viewing",
    "write_video": "rendering",
}

__all__ = [
    "Camera",
    "Claim",
    "CodeThresholds",
    "HandModel",
    "HandOutput",
    "HandPair",
    "KeypointFit",
    "KnownMotion",
    "LandmarkTable",
    "MotionCodes",
    "acceleration_error",
    "calibrate_landmarks",
    "calibrate_table",
    "canonical_origin",
    "canonicalize",
    "contact_scores",
    "contact_statistics",
    "export_motion",
    "features_to_joints",
    "features_to_params",
    "fit_by_gradient",
    "fit_keypoints",
    "frame_camera",
    "hand_penetration",
    "import_motion",
    "jitter",
    "limit_violation",
    "load_motion",
    "load_pose",
    "look_at",
    "mirror_features",
    "mirror_params",
    "mirror_text",
    "motion_codes",
    "mpjpe",
    "mpvpe",
    "pa_mpjpe",
    "pa_mpvpe",
    "params_to_features",
    "parse_claim",
    "relaxed_hand",
    "render_motion",
    "resample_params",
    "retarget_motion",
    "save_motion",
    "self_penetration",
    "side_by_side",
    "smooth_gaussian",
    "smooth_savgol",
    "uncanonicalize",
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
