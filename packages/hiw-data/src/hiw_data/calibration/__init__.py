"""How good the annotator is: on drawn motions that are known, on two calibrated views, on a truth of your own."""

from hiw_data.calibration.loop import LoopConfig, closed_loop
from hiw_data.calibration.measures import HandErrors, hand_errors, summary_of
from hiw_data.calibration.scenes import Scene, draw, in_camera, known_motion
from hiw_data.calibration.stereo import StereoRig, compare_views, triangulated
from hiw_data.calibration.truth import compare_with_truth
from hiw_data.calibration.wide import wide_angle

__all__ = [
    "HandErrors",
    "LoopConfig",
    "Scene",
    "StereoRig",
    "closed_loop",
    "compare_views",
    "compare_with_truth",
    "draw",
    "hand_errors",
    "in_camera",
    "known_motion",
    "summary_of",
    "triangulated",
    "wide_angle",
]
