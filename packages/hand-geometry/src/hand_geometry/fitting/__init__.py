"""Fitting MANO parameters to 21 keypoints: NumPy and SciPy only, one banded Cholesky per step and clip."""

from hand_geometry.fitting.keypoints import KeypointFit, fit_keypoints

__all__ = ["KeypointFit", "fit_keypoints"]
