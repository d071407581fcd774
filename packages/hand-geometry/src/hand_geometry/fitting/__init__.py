"""Fitting MANO parameters to 21 keypoints: NumPy and SciPy only, one banded Cholesky per step and clip.

``hand_geometry.fitting.gradient`` holds the slower form in torch, which takes further differentiable terms.
"""

from hand_geometry.fitting.calibration import KnownMotion, calibrate_landmarks
from hand_geometry.fitting.keypoints import KeypointFit, fit_keypoints
from hand_geometry.fitting.table import LandmarkTable
from hand_geometry.fitting.table_calibration import calibrate_table

__all__ = ["KeypointFit", "KnownMotion", "LandmarkTable", "calibrate_landmarks", "calibrate_table", "fit_keypoints"]
