"""A picture of a video, as sources give it to trackers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        time: seconds from the start of the file.
        image: (height, width, 3) uint8, RGB, upright.
    """

    time: float
    image: NDArray[np.uint8]
