"""Savitzky-Golay, then Gaussian, both on rotations as rotations; with windows in seconds, so that any rate is alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hand_geometry import smooth_gaussian, smooth_savgol

from hiw_data.errors import OptionError
from hiw_data.motion import FittedMotion


def smooth_motion(
    motion: FittedMotion, *, savgol_seconds: float = 0.23, order: int = 2, gaussian_seconds: float = 0.033
) -> FittedMotion:
    """A smoothed copy; frames in which a hand is not valid neither speak nor change.

    Args:
        motion: of both hands.
        savgol_seconds: length of the Savitzky-Golay window (7 frames at 30 a second); 0 leaves it out.
        order: of its polynomial.
        gaussian_seconds: standard deviation of the Gaussian; 0 leaves it out.

    Raises:
        OptionError: an option out of range.
    """
    if not (0 <= savgol_seconds <= 10 and 0 <= gaussian_seconds <= 10 and order >= 0):
        raise OptionError(f"Expected seconds of 0 to 10 and order >= 0, got {savgol_seconds}, {gaussian_seconds}.")
    names = ("global_orient", "hand_pose", "transl")
    params = {name: getattr(motion, name) for name in names} | {"valid": motion.valid}
    window = 2 * int(savgol_seconds * motion.fps / 2) + 1
    if window > order and window > 1:
        params = smooth_savgol(params, window=window, order=order)
    if gaussian_seconds > 0:
        params = smooth_gaussian(params, sigma=gaussian_seconds * motion.fps)
    orient, pose, transl = (np.asarray(params[name], np.float32) for name in names)
    return replace(motion, global_orient=orient, hand_pose=pose, transl=transl)
