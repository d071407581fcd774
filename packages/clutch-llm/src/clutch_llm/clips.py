"""`Clip`: what training takes, and the check at its border.

Clips come as plain dictionaries, from `hiw_data` or from anywhere else. `check_clip` and `check_example` turn what came
into what the rest of the package may rely on; past them nothing looks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray
from shift_tokenizer import ShiftConfig
from shift_tokenizer.windows import Clips

from clutch_llm.errors import DataError
from clutch_llm.stored import StoredMotion

#: Numbers a frame: left hand 99, right hand 99; per hand wrist rotation 6D, 15 joints x 6D, translation in metres.
FEATURES = 198


class Clip(TypedDict):
    """A motion of two hands and what is said of it.

    Keys:
        clip_id: its name.
        source: the dataset it comes from; batches are balanced by it.
        fps: frames a second.
        features: (T, 198) float32, or what `numpy.asarray` reads so (`stored.StoredMotion`). What stands where a hand
            is not seen changes nothing.
        valid: (T, 2) bool, left then right: whether the hand is seen in the frame.
        captions: the first is high-level, later ones are finer-grained.
        mirrored_captions: the captions of the mirror image, one for each; without them, the words are changed.
        paraphrases: other ways to ask for the motion, which text to motion is trained on beside the captions.
        mirrored_paraphrases: those of the mirror image.
    """

    clip_id: str
    source: str
    fps: float
    features: NDArray[np.float32]
    valid: NDArray[np.bool_]
    captions: list[str]
    mirrored_captions: NotRequired[list[str]]
    paraphrases: NotRequired[list[str]]
    mirrored_paraphrases: NotRequired[list[str]]


class Example(Clip):
    """A clip with the tokens of its motion.

    Keys:
        tokens: (L, n_slots) int64, T = L * frames_per_latent.
        plan: what the motion does, see `planning`; training measures it where it is needed.
    """

    tokens: NDArray[np.int64]
    plan: NotRequired[list[str]]


_REQUIRED = ("clip_id", "source", "fps", "features", "valid", "captions")


def check_clip(clip: Mapping[str, Any], config: ShiftConfig) -> Clip:
    """Check a clip against the motion tokenizer that is to read it; keys that are not of `Clip` are kept.

    Raises:
        DataError: a key is missing, a shape or type is wrong, a seen hand is not finite, the clip has no captions, its
            length is not whole latent steps, or its rate is not the tokenizer's.
    """
    name = clip.get("clip_id", "?")
    missing = [key for key in _REQUIRED if key not in clip]
    if missing:
        raise DataError(f"Expected clip {name!r} with the keys {', '.join(_REQUIRED)}, got no {', '.join(missing)}.")
    _check_captions(name, clip)
    if float(clip["fps"]) != config.fps:
        raise DataError(
            f"Expected clip {name!r} at the {config.fps:g} frames a second of the motion tokenizer, got "
            f"{clip['fps']:g}. Resample it with hand_geometry.resample_params."
        )
    features, valid = np.asarray(clip["features"]), np.asarray(clip["valid"])
    if features.ndim != 2 or features.shape[1] != FEATURES:
        raise DataError(f"Expected features of shape (T, {FEATURES}) in clip {name!r}, got {features.shape}.")
    frames, step = len(features), config.frames_per_latent
    if frames < step or frames % step:
        raise DataError(
            f"Expected clip {name!r} with whole latent steps of {step} frames, got {frames} frames. "
            "Pad it at its end with its last frame, marked invalid."
        )
    if valid.shape != (frames, 2) or valid.dtype != np.bool_:
        raise DataError(
            f"Expected valid as bool of shape ({frames}, 2) in clip {name!r}, got {valid.dtype} {valid.shape}. "
            "One flag a frame and hand, left then right."
        )
    if not np.isfinite(features.reshape(frames, 2, -1)[valid]).all():
        raise DataError(
            f"Expected finite features where a hand of clip {name!r} is seen, got NaN or infinity. "
            "Mark these frames invalid, or leave the clip out."
        )
    return cast(Clip, clip)


def _check_captions(name: str, clip: Mapping[str, Any]) -> None:
    captions = clip["captions"]
    if not len(captions) or not all(isinstance(c, str) and c.strip() for c in captions):
        raise DataError(
            f"Expected clip {name!r} with at least one caption, none of them empty, got {captions!r}. "
            "Caption it or leave it out."
        )
    images = clip.get("mirrored_captions")
    if images and len(images) != len(captions):
        raise DataError(
            f"Expected a mirrored caption for each of the {len(captions)} of clip {name!r}, got {len(images)}. "
            "Give as many, or none."
        )


def check_example(example: Mapping[str, Any], config: ShiftConfig) -> Example:
    """Check a clip and its tokens.

    Raises:
        DataError: as `check_clip`; or the tokens are missing, or not this motion's of this tokenizer.
    """
    clip = check_clip(example, config)
    if "tokens" not in example:
        raise DataError(f"Expected tokens of clip {clip['clip_id']!r}, got none. Make examples with build_corpus.")
    tokens = np.asarray(example["tokens"])
    expected = (len(clip["features"]) // config.frames_per_latent, config.n_slots)
    if tokens.shape != expected or tokens.min() < 0 or tokens.max() >= config.codebook_size:
        raise DataError(
            f"Expected tokens of shape {expected} in 0..{config.codebook_size - 1} for the "
            f"{len(clip['features'])} frames of clip {clip['clip_id']!r}, got {tokens.shape} in "
            f"{tokens.min(initial=0)}..{tokens.max(initial=0)}. Encode it with this model's tokenizer."
        )
    return cast(Example, example)


def check_examples(examples: Clips, config: ShiftConfig) -> list[Example]:
    """Check every example of a corpus: at least one.

    Of examples that are no list, what `Example` names is kept, but for the features: they stay where they are, see
    `stored.StoredMotion`.
    """
    if not len(examples):
        raise DataError("Expected examples to train on, got none. Build the corpus from a non-empty split.")
    checked = (check_example(examples[number], config) for number in range(len(examples)))
    if isinstance(examples, list | tuple):
        return list(checked)
    return [_without_motion(example, examples, number) for number, example in enumerate(checked)]


def _without_motion(example: Example, examples: Clips, number: int) -> Example:
    kept = {key: example[key] for key in get_type_hints(Example) if example.get(key) is not None}  # type: ignore[literal-required]
    kept |= {key: np.asarray(example[key]) for key in ("valid", "tokens")}
    return cast(Example, kept | {"features": StoredMotion(examples, number, len(example["features"]))})
