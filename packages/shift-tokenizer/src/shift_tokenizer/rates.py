"""Frames a second: the rate of files that tell none, and the check that motion has the tokenizer's rate."""

import math

from .errors import RateError

DEFAULT_FPS = 15.0  # frames a second, of files and clips that tell no rate
_RELATIVE_TOLERANCE = 1.5e-3  # lets 29.97 (NTSC) pass for 30, which is a thousandth off


def same_rate(one: float, other: float) -> bool:
    """Whether two rates (frames a second) are the same, to 0.15 %."""
    return math.isclose(one, other, rel_tol=_RELATIVE_TOLERANCE)


def check_rate(fps: float, expected: float, what: str = "motion") -> None:
    """Raises RateError unless `fps` is the rate that is expected."""
    if not same_rate(float(fps), expected):
        raise RateError(
            f"Expected {what} of {expected:g} frames a second, which is the tokenizer's rate, got {float(fps):g}. "
            "Resample it first, for example with hand_geometry.resample_params; `shift-tokenizer encode` does."
        )
