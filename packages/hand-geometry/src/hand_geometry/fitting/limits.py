"""What a finger joint can do: prior and limits of each angle about the anatomical axes, radians.

The numbers are round figures of the usual ranges of motion, widened until real fingerspelling stayed inside.
"""

from __future__ import annotations

import numpy as np

from hand_geometry.assets import Array

LIMIT_SOFTNESS = 0.05
"""Standard deviation beyond a limit, radians."""


def angle_priors() -> tuple[Array, Array, Array, Array]:
    """Mean, standard deviation, lower and upper limit of the 45 angles (joint by joint: flexion, abduction,
    twist).

    Returns:
        Four arrays of shape (45,), radians, in MANO joint order. They hold for both hands.
    """
    mean = np.zeros((5, 3, 3))
    deviation = np.empty((5, 3, 3))
    low, high = np.empty((5, 3, 3)), np.empty((5, 3, 3))
    fingers, thumb = slice(0, 4), 4
    mean[fingers, :, 0], mean[thumb, :, 0] = (0.3, 0.4, 0.2), (0.1, 0.1, 0.2)
    deviation[fingers, :, 0], deviation[thumb, :, 0] = (0.9, 0.8, 0.6), (0.5, 0.5, 0.6)
    deviation[fingers, :, 1], deviation[thumb, :, 1] = (0.25, 0.04, 0.04), (0.45, 0.2, 0.05)
    deviation[fingers, :, 2], deviation[thumb, :, 2] = (0.10, 0.04, 0.04), (0.4, 0.1, 0.05)
    low[fingers, :, 0], high[fingers, :, 0] = (-0.5, -0.15, -0.25), (1.6, 1.9, 1.4)
    low[thumb, :, 0], high[thumb, :, 0] = (-0.7, -0.6, -0.6), (0.9, 1.2, 1.5)
    for axis, bound in ((1, 0.45), (2, 0.3)):
        low[fingers, :, axis], high[fingers, :, axis] = -bound, bound
        low[thumb, :, axis], high[thumb, :, axis] = -0.8, 0.8
    return mean.ravel(), deviation.ravel(), low.ravel(), high.ravel()
