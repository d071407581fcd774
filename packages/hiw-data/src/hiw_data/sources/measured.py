"""Words for clips that come without: from motion codes, and without directions where axes are not the wearer's."""

from __future__ import annotations

import numpy as np
from hand_geometry import features_to_joints

from hiw_data.motion import MotionPiece


def measured_words(piece: MotionPiece, fps: float, wearers_axes: bool) -> list[str]:
    """A short, a middle and a long sentence on what a motion shows.

    Args:
        piece: the motion.
        fps: its rate.
        wearers_axes: whether its axes are x right, y down, z forward. Where they are others, sentences that tell a
            direction are left out.

    Returns:
        At least one sentence: where nothing else holds, which hands are seen.
    """
    from hand_geometry import MotionCodes, motion_codes

    from hiw_data.captioning import describe_motion
    from hiw_data.captioning.measured import is_frame_free

    codes = motion_codes(np.asarray(features_to_joints(piece.features)), piece.valid, fps)
    assert isinstance(codes, MotionCodes)
    told = describe_motion(codes, variants=1 if wearers_axes else 5)
    words = []
    for length in (told.short, told.medium, told.long):
        fit = [c.text for c in length if wearers_axes or all(is_frame_free(k.kind, k.value) for k in c.claims)]
        words += fit[:1]
    return words or [_seen(piece)]


def _seen(piece: MotionPiece) -> str:
    left, right = (bool(piece.valid[:, side].any()) for side in range(2))
    return "both hands are seen" if left and right else f"the {'left' if left else 'right'} hand is seen"
