"""Finishing of fitted motion: what becomes of what is known of each frame."""

import numpy as np
from hand_geometry import relaxed_hand
from hiw_data.motion import FittedMotion, finish_motion


def _still(frames: int, fps: float) -> FittedMotion:
    motion = FittedMotion.empty(frames, fps)
    for side, name in enumerate(("left", "right")):
        rest = {key: np.repeat(value.numpy()[None], frames, 0) for key, value in relaxed_hand(name).items()}
        motion.put(
            side,
            rest["global_orient"],
            rest["hand_pose"],
            rest["transl"],
            np.ones(frames, bool),
            np.arange(frames, dtype=np.float32) / 1000,  # frame k is k millimetres off
        )
    return motion


def test_a_residual_stays_with_the_frame_that_it_was_measured_in() -> None:
    slower, faster = (finish_motion(_still(10, fps), fps=15.0).residual[:, 0] * 1000 for fps in (30.0, 7.5))
    assert slower.round(3).tolist() == [0, 2, 4, 6, 8]
    assert faster.round(3).tolist()[::2] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    trimmed = _still(10, 15.0)
    trimmed.valid[:3] = False
    assert (finish_motion(trimmed, fps=15.0).residual[:, 1] * 1000).round(3).tolist() == [3, 4, 5, 6, 7, 8, 9]
