"""The schema of a clip, the plain dictionary that travels between packages, and its check at this package's border.

No `from __future__ import annotations` here: with it, `TypedDict` could not tell required keys from optional ones.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import ClipError

FEATURES = 198
"""Numbers per frame: left hand 99, right hand 99; per hand wrist 6D, 15 joints x 6D, translation."""

SPLITS = ("train", "val", "test")

LATENT_STEPS = 2
"""The least length of a clip, in latent steps of `multiple` frames."""


def printable(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file's name that are none are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class Clip(TypedDict):
    """A motion of two hands with its captions.

    Keys:
        clip_id: unique in a store.
        source: name of the source, such as "fingerspelling".
        split: "train", "val" or "test"; "" until a build has assigned it. A source that comes with splits of its own
            sets it, and the build keeps it.
        fps: frames a second.
        features: (T, 198) float32, canonical; T is a multiple of the build's `multiple`, and at least twice that.
        valid: (T, 2) bool, left then right: False where a hand was not seen or a frame is padding.
        captions: index 0 is high-level, later ones are finer-grained.
        attributes: JSON scalars that describe the clip. Of a piece of a longer recording they hold `piece` (from 1),
            `pieces`, `start_seconds` and `end_seconds`.
        origin: the recording that the clip is of, or is a piece of; its clips share a split. Default: `clip_id`.
        group: a subject, session or take that several recordings share; its clips share a split. Decides before
            `origin`.
        held_out: True if what the clip shows (a combination of attributes, a language) is in no clip of train; its
            source has set `split` to "val" or "test".
        mirrored_captions: as many as `captions`: the captions of the clip's mirror image.
        caption_provenance: as many as `captions`: JSON objects that say who made each, such as
            `{"maker": "motion codes", "version": "1"}`.
        atomic_answers: a JSON object, the answers from which a caption was summed up.
        motion_codes: JSON, what was measured of the motion (`hand_geometry.motion_codes`).
        licence: of this clip, where it is not that of its whole source.
        betas: (2, 10) float32, MANO shape of the left and the right hand.
        hand_model: name of the hand model that `betas` belong to, such as "mano".
        camera: a JSON object, the camera that saw the hands.
        timestamps: (T,) float64, seconds of each frame in its recording.
        paraphrases: other sentences that ask for the motion, for training alone; none of them is a caption by which a
            model is graded.
        mirrored_paraphrases: the same of the mirror image.
        filled: (T, 2) bool: True where a hand was not seen, but interpolated over a short gap; `valid` is True there.
        residual: (T, 2) float32, metres: distance of the fitted hand to what was observed, NaN where
            nothing was; only from sources that fit. Used for the quality report, not stored.
    """

    clip_id: str
    source: str
    split: str
    fps: float
    features: NDArray[np.float32]
    valid: NDArray[np.bool_]
    captions: list[str]
    attributes: dict[str, Any]
    origin: NotRequired[str]
    group: NotRequired[str]
    held_out: NotRequired[bool]
    mirrored_captions: NotRequired[list[str]]
    caption_provenance: NotRequired[list[dict[str, Any]]]
    atomic_answers: NotRequired[dict[str, Any]]
    motion_codes: NotRequired[Any]
    licence: NotRequired[str]
    betas: NotRequired[NDArray[np.float32]]
    hand_model: NotRequired[str]
    camera: NotRequired[dict[str, Any]]
    timestamps: NotRequired[NDArray[np.float64]]
    paraphrases: NotRequired[list[str]]
    mirrored_paraphrases: NotRequired[list[str]]
    filled: NotRequired[NDArray[np.bool_]]
    residual: NotRequired[NDArray[np.float32]]


@dataclass(frozen=True)
class SkippedClip:
    """A clip that could not be used, and why."""

    clip_id: str
    source: str
    reason: str


def padded_length(frames: int, *, multiple: int = 4, minimum: int = 8) -> int:
    """The stored length of a clip: rounded up to a multiple, at least the minimum.

    >>> padded_length(5), padded_length(13)
    (8, 16)
    """
    return max(minimum, -(-frames // multiple) * multiple)


def pad_clip(clip: Clip, *, multiple: int = 4) -> Clip:
    """Repeats the last frame, marked invalid, until the length is a multiple and two latent steps at least."""
    frames = len(clip["features"])
    missing = padded_length(frames, multiple=multiple, minimum=LATENT_STEPS * multiple) - frames
    padded = clip.copy()
    if missing == 0:
        return padded
    padded["features"] = np.concatenate([clip["features"], np.repeat(clip["features"][-1:], missing, 0)])
    padded["valid"] = np.concatenate([clip["valid"], np.zeros((missing, 2), bool)])
    if "filled" in clip:
        padded["filled"] = np.concatenate([clip["filled"], np.zeros((missing, 2), bool)])
    if "residual" in clip:
        padded["residual"] = np.concatenate([clip["residual"], np.full((missing, 2), np.nan, np.float32)])
    if "timestamps" in clip:
        later = clip["timestamps"][-1] + np.arange(1, missing + 1) / clip["fps"]
        padded["timestamps"] = np.concatenate([clip["timestamps"], later])
    return padded


def check_clip(clip: Mapping[str, Any], *, multiple: int | None = None) -> None:
    """Raises ClipError unless a clip keeps the promises of `Clip`.

    Args:
        clip: anything that a source has made.
        multiple: frames of a latent step, to check the length of a finished clip; None takes any length.
    """
    if not isinstance(clip, Mapping):
        raise ClipError(f"Expected a clip as a mapping, got {type(clip).__name__}.")
    name = clip.get("clip_id")
    if not isinstance(name, str) or not name:
        raise ClipError(f"Expected clip_id as a text that is not empty, got {name!r}.")
    keys = set(clip)
    if missing := sorted(Clip.__required_keys__ - keys):
        raise ClipError(f"Expected {', '.join(missing)} in clip {name}, got only {', '.join(sorted(keys))}.")
    if unknown := sorted(keys - Clip.__required_keys__ - Clip.__optional_keys__):
        raise ClipError(f"Expected the keys of hiw_data.Clip in clip {name}, got also {', '.join(unknown)}.")
    _check_words(clip, name)
    _check_arrays(clip, name)
    frames = len(clip["features"])
    if multiple is not None and (frames % multiple or frames < LATENT_STEPS * multiple):
        raise ClipError(
            f"Expected a length of at least {LATENT_STEPS * multiple} that is a multiple of {multiple} in clip {name}, "
            f"got {frames}."
        )


def _check_words(clip: Mapping[str, Any], name: str) -> None:
    for key in ("source", "origin", "group", "licence", "hand_model"):
        if not (isinstance(clip.get(key, "-"), str) and clip.get(key, "-")):
            raise ClipError(f"Expected {key} as a text that is not empty in clip {name}, got {clip[key]!r}.")
    if clip["split"] not in ("", *SPLITS):
        raise ClipError(f"Expected a split of {SPLITS}, or '', in clip {name}, got {clip['split']!r}.")
    if not isinstance(clip.get("held_out", False), bool) or (clip.get("held_out") and clip["split"] not in SPLITS[1:]):
        raise ClipError(f"Expected held_out as True or False, and True in val and test alone, in clip {name}.")
    captions = clip["captions"]
    if not _are_texts(captions):
        raise ClipError(f"Expected at least one caption in clip {name}, none of them empty, got {captions!r}.")
    mirrored = clip.get("mirrored_captions", captions)
    if not _are_texts(mirrored) or len(mirrored) != len(captions):
        raise ClipError(f"Expected as many mirrored_captions as captions in clip {name}, got {mirrored!r}.")
    made = clip.get("caption_provenance", [{}] * len(captions))
    if not isinstance(made, list) or len(made) != len(captions) or not all(isinstance(one, dict) for one in made):
        raise ClipError(f"Expected as many dicts in caption_provenance as captions in clip {name}, got {made!r}.")
    texts = ("clip_id", "source", "origin", "group", "licence", "hand_model", "captions", "mirrored_captions")
    for key in (*texts, "attributes", "caption_provenance", "atomic_answers", "motion_codes", "camera"):
        try:  # names of files may hold bytes that are no text
            json.dumps(clip.get(key), allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise ClipError(f"Expected {key} that JSON can hold in clip {name}, got: {error}.") from error
    for key in ("attributes", "atomic_answers", "camera"):
        if not isinstance(clip.get(key, {}), dict):
            raise ClipError(f"Expected {key} as a dict in clip {name}, got {clip[key]!r}.")
    for key in ("paraphrases", "mirrored_paraphrases"):
        if key in clip and not _are_texts(clip[key]):
            raise ClipError(f"Expected {key} of clip {name} as a list of texts, none empty, got {clip[key]!r}.")


def _are_texts(texts: object) -> bool:
    return isinstance(texts, list) and bool(texts) and all(isinstance(t, str) and t.strip() for t in texts)


def _check_arrays(clip: Mapping[str, Any], name: str) -> None:
    fps, features, valid = clip["fps"], clip["features"], clip["valid"]
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not (math.isfinite(fps) and fps > 0):
        raise ClipError(f"Expected fps as a positive number in clip {name}, got {fps!r}.")
    for key, array in (("features", features), ("valid", valid), ("residual", clip.get("residual", valid))):
        if not isinstance(array, np.ndarray):
            raise ClipError(f"Expected {key} as a NumPy array in clip {name}, got {type(array).__name__}.")
    if features.ndim != 2 or features.shape[1] != FEATURES or not len(features):
        raise ClipError(f"Expected features of shape (T, {FEATURES}) in clip {name}, got {features.shape}.")
    if features.dtype != np.float32 or not np.isfinite(features).all():
        raise ClipError(f"Expected finite float32 features in clip {name}, got {features.dtype}, NaN or infinity.")
    if valid.shape != (len(features), 2) or valid.dtype != np.bool_:
        raise ClipError(
            f"Expected valid as bool of shape ({len(features)}, 2) in clip {name}, got {valid.dtype} {valid.shape}."
        )
    if not valid.any():
        raise ClipError(f"Expected at least one valid hand in one frame of clip {name}, got none.")
    if clip.get("residual", valid).shape != valid.shape:
        raise ClipError(f"Expected residual of shape {valid.shape} in clip {name}, got {clip['residual'].shape}.")
    filled = clip.get("filled", np.zeros_like(valid))
    if not isinstance(filled, np.ndarray) or filled.shape != valid.shape or filled.dtype != np.bool_:
        raise ClipError(f"Expected filled as bool of shape {valid.shape} in clip {name}, got {filled!r}.")
    if (filled & ~valid).any():
        raise ClipError(f"Expected filled frames of clip {name} to be valid ones, got some that are not.")
    betas = clip.get("betas", np.zeros((2, 10), np.float32))
    if not isinstance(betas, np.ndarray) or betas.shape != (2, 10) or betas.dtype != np.float32 or not _finite(betas):
        raise ClipError(f"Expected betas as finite float32 of shape (2, 10) in clip {name}, got {betas!r}.")
    times = clip.get("timestamps", np.zeros(len(features)))
    if not isinstance(times, np.ndarray) or times.shape != (len(features),) or times.dtype != np.float64:
        raise ClipError(f"Expected timestamps as float64 of shape ({len(features)},) in clip {name}, got {times!r}.")
    if not _finite(times) or (np.diff(times) < 0).any():
        raise ClipError(f"Expected timestamps that are finite and never fall in clip {name}.")


def _finite(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all())
