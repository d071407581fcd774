"""From clips to examples: each clip with the tokens of its motion; and the mirror images of examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hand_geometry import mirror_features, mirror_text
from shift_tokenizer import ShiftTokenizer

from clutch_llm.errors import DataError

Clip = dict[str, Any]


def build_corpus(clips: Sequence[Clip], tokenizer: ShiftTokenizer) -> list[Clip]:
    """Give each clip its motion tokens: ``example["tokens"]``, shape (L, n_slots) int64.

    Args:
        clips: clips with ``features`` (T, 198), T a multiple of the tokenizer's frames per latent step.
        tokenizer: a trained SHIFT tokenizer.

    Raises:
        DataError: when a clip has no captions, or its length is not whole latent steps.
    """
    for clip in clips:
        _check_clip(clip, tokenizer.config.frames_per_latent)
    with torch.no_grad():
        tokens = tokenizer.encode_list([_tensor(clip["features"]) for clip in clips])
    return [{**c, "tokens": t.cpu().numpy()} for c, t in zip(clips, tokens, strict=True)]


def mirrored(examples: Sequence[Clip], tokenizer: ShiftTokenizer) -> list[Clip]:
    """The mirror image of each example: hands swapped, left and right swapped in its captions.

    ``clip_id`` ends in ``#mirror``. A tokenizer that reads the left hand in a mirror has the same codes for it on the
    other side; with any other one the motions are encoded anew.
    """
    images = [mirror_clip(example) for example in examples]
    config = tokenizer.config
    if not (config.mirror_left and config.splits_parts):
        return build_corpus(images, tokenizer)
    half = config.n_slots // 2
    return [{**image, "tokens": np.roll(image["tokens"], half, axis=1)} for image in images]


def mirror_clip(clip: Clip) -> Clip:
    """The clip as seen in a mirror; tokens, if it has any, are left as they are.

    Its captions are the clip's ``mirrored_captions``, where the data carries them (written by the clip's source from
    mirrored attributes), else its captions with the words changed by ``hand_geometry.mirror_text``.
    """
    captions = list(clip["captions"])
    image = {
        **clip,
        "clip_id": f"{clip['clip_id']}#mirror",
        "features": mirror_features(_tensor(clip["features"])).numpy(),
        "valid": np.ascontiguousarray(np.asarray(clip["valid"])[:, ::-1]),
        "captions": list(clip.get("mirrored_captions") or [mirror_text(caption) for caption in captions]),
    }
    if clip.get("mirrored_captions"):
        image["mirrored_captions"] = captions
    return image


def _tensor(features: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))


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
