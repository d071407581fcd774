"""Given frames in a motion that was made around them: kept as they are, the rest led to them without a jump."""

from __future__ import annotations

import numpy as np
import torch
from hand_geometry.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix
from shift_tokenizer import ShiftTokenizer

from clutch_llm.given import HAND_FEATURES, parts_of, runs_of
from clutch_llm.windows import TRANSLATION

#: Frames over which what was made departs from what was given.
BLEND_FRAMES = 6


def keep_given(
    made: np.ndarray, given: np.ndarray, known: np.ndarray, tokenizer: ShiftTokenizer, *, blend: int = BLEND_FRAMES
) -> np.ndarray:
    """The given numbers exactly, and around them the made ones, moved by what is missing at the edges.

    At the edge of a gap the made motion is off from the given one by the tokenizer's error and more. That difference is
    added to the gap's first and last ``blend`` frames, all of it at the edge and less and less away from it.

    Args:
        made: (T, 198), features.
        given: (T, 198).
        known: (T, 198) bool, which of them count.
        tokenizer: says what of a hand is given together.
        blend: frames, at least 1; a shorter gap takes all it has.

    Returns:
        (T, 198) float32; rotations are rotations.
    """
    out = made.astype(np.float32, copy=True)
    for columns in parts_of(tokenizer):
        flags = known[:, columns[0]]
        if not flags.any():
            continue
        own = out[:, columns]
        missing = given[:, columns] - own
        for start, stop in runs_of(~flags):
            count = min(blend, stop - start)
            fade = 0.5 * (1 + np.cos(np.pi * np.arange(1, count + 1) / (count + 1)))[:, None]
            if start > 0:
                own[start : start + count] += fade * missing[start - 1]
            if stop < len(own):
                own[stop - count : stop] += fade[::-1] * missing[stop]
        own[flags] = given[flags][:, columns]
        out[:, columns] = own
    return np.where(known, given, _rotations(out)).astype(np.float32)


def _rotations(features: np.ndarray) -> np.ndarray:
    """The same with each six numbers of a rotation those of the nearest one."""
    hands = torch.from_numpy(features).reshape(-1, 2, HAND_FEATURES).clone()
    turns = hands[..., : TRANSLATION.start].unflatten(-1, (-1, 6))
    hands[..., : TRANSLATION.start] = matrix_to_rotation_6d(rotation_6d_to_matrix(turns)).flatten(-2)
    return hands.reshape(features.shape).numpy()
