"""From clips to examples: each clip with the tokens of its motion, and its mirror image when asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from shift_tokenizer import ShiftTokenizer

from clutch_llm.errors import DataError

Clip = dict[str, Any]
MirrorFn = Callable[[torch.Tensor], torch.Tensor]

_SWAPS = {
    "left": "right",
    "clockwise": "counterclockwise",
    "leftward": "rightward",
    "leftwards": "rightwards",
}
_SWAPS |= {b: a for a, b in _SWAPS.items()}
_WORD = re.compile(r"[A-Za-z]+")


def build_corpus(
    clips: Sequence[Clip],
    tokenizer: ShiftTokenizer,
    *,
    mirror_fn: MirrorFn | None = None,
    batch_size: int = 256,
) -> list[Clip]:
    """Give each clip its motion tokens: ``example["tokens"]``, shape (L, n_slots) int64.

    Args:
        clips: clips with ``features`` (T, 198), T a multiple of the tokenizer's frames per latent step.
        tokenizer: a trained SHIFT tokenizer.
        mirror_fn: `hand_geometry.mirror_features`; with it, every clip is followed, at the end of the list, by its
            mirror image, whose captions have left and right swapped and whose ``clip_id`` ends in ``#mirror``.
        batch_size: clips encoded at a time.

    Raises:
        DataError: when a clip has no captions, or its length is not whole latent steps.
    """
    step = tokenizer.config.frames_per_latent
    for clip in clips:
        _check_clip(clip, step)
    originals = list(clips)
    if mirror_fn is not None:
        originals += [mirror_clip(clip, mirror_fn) for clip in clips]
    examples: list[Clip] = []
    for start in range(0, len(originals), batch_size):
        chunk = originals[start : start + batch_size]
        features = [torch.from_numpy(np.ascontiguousarray(c["features"], dtype=np.float32)) for c in chunk]
        with torch.no_grad():
            tokens = tokenizer.encode_list(features)
        examples += [{**c, "tokens": np.asarray(t, dtype=np.int64)} for c, t in zip(chunk, tokens, strict=True)]
    return examples


def _check_clip(clip: Clip, step: int) -> None:
    name = clip.get("clip_id", "?")
    if not clip.get("captions"):
        raise DataError(f"Expected clip {name!r} with at least one caption, got none. Caption it or leave it out.")
    frames = len(clip["features"])
    if frames < step or frames % step:
        raise DataError(
            f"Expected clip {name!r} with whole latent steps of {step} frames, got {frames} frames. "
            "Pad it at its end with its last frame, marked invalid."
        )


def mirror_clip(clip: Clip, mirror_fn: MirrorFn) -> Clip:
    """The clip seen in a mirror: hands swapped, left and right swapped in its captions."""
    features = mirror_fn(torch.from_numpy(np.ascontiguousarray(clip["features"], dtype=np.float32)))
    return {
        **clip,
        "clip_id": f"{clip['clip_id']}#mirror",
        "features": np.asarray(features, dtype=np.float32),
        "valid": np.ascontiguousarray(np.asarray(clip["valid"])[:, ::-1]),
        "captions": [mirror_caption(caption) for caption in clip["captions"]],
    }


def mirror_caption(caption: str) -> str:
    """A caption of the mirror image: left <-> right, clockwise <-> counterclockwise.

    Example:
        >>> mirror_caption("the left hand stirs clockwise")
        'the right hand stirs counterclockwise'
    """
    return _WORD.sub(lambda match: _SWAPS.get(match.group(), match.group()), caption)
