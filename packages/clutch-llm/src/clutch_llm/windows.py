"""From features of any length to windows that a model was trained for: seen, canonical, whole latent steps.

Convention: features (T, 198) are as in `hand_geometry`, left hand then right, canonical as the clips of training are:
the mean of both wrists in the first frame is the origin; a hand that is not seen there counts where it is seen next; a
hand that is never seen counts as resting beside the other one. A window of a longer motion is made canonical again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypedDict

import numpy as np
import torch
from hand_geometry import canonical_origin, features_to_params, relaxed_hand
from shift_tokenizer import ShiftTokenizer

from clutch_llm.errors import DataError

FEATURES = 198
TRANSLATION = slice(96, 99)  # of the 99 features of a hand
SIDES = ("left", "right")


class CaptionedWindow(TypedDict):
    """What happens from ``start`` to ``stop``, in seconds from the first frame of the motion."""

    start: float
    stop: float
    text: str


@dataclass(frozen=True)
class Window:
    """A piece of a motion, ready to be encoded.

    Attributes:
        features: (T, 198) float32, T whole latent steps.
        valid: (T, 2) bool.
        start: first frame in the motion.
        stop: one past the last.
    """

    features: torch.Tensor
    valid: torch.Tensor
    start: int
    stop: int


def check_motion(features: object, valid: object, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A motion and which hands are seen, as tensors: (T, 198) float32 and (T, 2) bool.

    Raises:
        DataError: when a shape does not fit, no hand is ever seen, or a hand that is seen is not finite.
    """
    rows = torch.as_tensor(_array(features), dtype=torch.float32, device=device)
    if rows.ndim != 2 or rows.shape[1] != FEATURES or len(rows) == 0:
        raise DataError(
            f"Expected motion features of shape (T, {FEATURES}) with T >= 1, got {tuple(rows.shape)}. "
            "Make them with hand_geometry.params_to_features."
        )
    seen = np.ones((len(rows), 2), dtype=bool) if valid is None else _array(valid)
    if seen.shape != (len(rows), 2):
        raise DataError(
            f"Expected valid of shape ({len(rows)}, 2), one flag for each hand and frame, got {seen.shape}."
        )
    mask = torch.as_tensor(seen.astype(bool), device=device)
    if not mask.any():
        raise DataError("Expected a motion in which a hand is seen, got none in any frame. Correct valid.")
    broken = ~torch.isfinite(rows.unflatten(1, (2, -1))).all(2) & mask
    if broken.any():
        frame, hand = (int(v) for v in broken.nonzero()[0])
        raise DataError(
            f"Expected finite features of each hand that is seen, got NaN or infinity in frame {frame} of the "
            f"{SIDES[hand]} hand. Mark such frames as not valid."
        )
    return rows, mask


def _array(value: object) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def canonical_motion(features: torch.Tensor, valid: torch.Tensor, tokenizer: ShiftTokenizer) -> torch.Tensor:
    """Move both hands so that the motion begins where the clips of training do, see the module's convention.

    Args:
        features: (T, 198), of any origin; anything finite may stand where a hand is not seen.
        valid: (T, 2) bool, true somewhere.
        tokenizer: fills the frames in which a hand is not seen.

    Returns:
        (T, 198); the frames in which a hand is not seen are filled.
    """
    first = int(valid.any(1).nonzero()[0, 0])
    filled = with_resting_hands(tokenizer.fill_unseen(features, valid), valid, first)
    return _moved(filled, canonical_origin_of(filled[first]))


def cut_windows(
    features: torch.Tensor, valid: torch.Tensor, tokenizer: ShiftTokenizer, *, max_steps: int
) -> list[Window]:
    """The fewest windows of nearly equal length that cover a motion, each of at most ``max_steps`` latent steps.

    A motion that is short enough is its only window. Of a longer one, frames before the first and after the last that
    show a hand are left out, and so are windows without any.

    Args:
        features: (T, 198), canonical; a window that begins with the first frame is taken as it is.
        valid: (T, 2) bool, true somewhere.
        tokenizer: fills the frames in which a hand is not seen.
        max_steps: latent steps of the longest window.
    """
    step = tokenizer.config.frames_per_latent
    seen = valid.any(1).nonzero()[:, 0]
    first, last = int(seen[0]), int(seen[-1]) + 1
    begin, end = (first, last) if len(features) > max_steps * step else (0, len(features))
    steps = -(-(end - begin) // step)
    count = -(-steps // max_steps)
    edges = [begin + step * (steps * k // count) for k in range(count)] + [end]
    whole = with_resting_hands(tokenizer.fill_unseen(features, valid), valid, first)
    windows = []
    for start, stop in pairwise(edges):
        rows, mask = whole[start:stop], valid[start:stop]
        if not mask.any():
            continue
        if start > 0:
            rows = _moved(rows, canonical_origin_of(rows[0]))
        missing = -len(rows) % step
        padded = torch.cat([rows, rows[-1:].expand(missing, -1)])
        windows.append(Window(padded, torch.cat([mask, mask.new_zeros(missing, 2)]), start, stop))
    return windows


def with_resting_hands(features: torch.Tensor, valid: torch.Tensor, first: int) -> torch.Tensor:
    """Where a hand is never seen, put its wrist where it rests beside the other one of frame ``first``."""
    hands = features.unflatten(1, (2, -1)).clone()
    rest = torch.stack([relaxed_hand(name)["transl"] for name in SIDES]).to(features)
    for side in (~valid.any(0)).nonzero()[:, 0].tolist():
        hands[:, side, TRANSLATION] = hands[first, 1 - side, TRANSLATION] - rest[1 - side] + rest[side]
    return hands.flatten(1)


def canonical_origin_of(frame: torch.Tensor) -> torch.Tensor:
    """The mean of the wrists of a frame (198,), shape (3,)."""
    return torch.as_tensor(canonical_origin(features_to_params(frame[None].cpu()))).to(frame)


def _moved(features: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
    hands = features.unflatten(1, (2, -1)).clone()
    hands[..., TRANSLATION] -= origin
    return hands.flatten(1)


def join_texts(texts: list[str]) -> str:
    """One text of the captions of neighbouring windows: each once where it stays the same, "A, then B" where not."""
    kept = [text for text in texts if text]
    changed = [text for k, text in enumerate(kept) if k == 0 or text != kept[k - 1]]
    return ", then ".join(changed)


def pairs_of(motions: Any, valid: Any) -> list[tuple[Any, Any]]:
    """Each motion with what is seen of it, from one motion or several."""
    if isinstance(motions, np.ndarray | torch.Tensor) and motions.ndim == 2:
        motions, valid = [motions], None if valid is None else [valid]
    motions = list(motions)
    masks = [None] * len(motions) if valid is None else list(valid)
    if len(masks) != len(motions):
        raise DataError(f"Expected valid for each of {len(motions)} motions, got {len(masks)}.")
    return list(zip(motions, masks, strict=True))
