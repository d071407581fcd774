"""Are the hands visible enough? As in CLUTCH: both in at least 80% of the frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import OptionError

REQUIRED = ("both", "one")


def not_visible(valid: NDArray[np.bool_], *, hands: str = "both", share: float = 0.8) -> str | None:
    """Why a clip is dropped, or None.

    Args:
        valid: (T, 2) bool, as stored.
        hands: "both": both must be visible in `share` of the frames; "one": one and the same hand.
        share: 0 to 1.

    Raises:
        OptionError: an option out of range.
    """
    seen = seen_share(valid, hands=hands)
    if hands not in REQUIRED or not 0 <= share <= 1:
        raise OptionError(f"Expected hands of {REQUIRED} and a share of 0 to 1, got {hands!r} and {share}.")
    if seen >= share:
        return None
    what = "both hands" if hands == "both" else "a hand"
    return f"Expected {what} in at least {share:.0%} of the frames, got {seen:.0%}."


def seen_share(valid: NDArray[np.bool_], *, hands: str = "both") -> float:
    """In which share of the frames both hands are visible, or the hand that is visible most; 0 to 1.

    Args:
        valid: (T, 2) bool, as stored.
        hands: "both" or "one".
    """
    return float(valid.all(1).mean()) if hands == "both" else float(valid.mean(0).max())
