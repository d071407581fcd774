"""Clips: the plain dictionary that travels between packages, and what makes one well-formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import ClipError

FEATURES = 198
"""Numbers per frame: left hand 99, right hand 99; per hand wrist 6D, 15 joints x 6D, translation."""

SPLITS = ("train", "val", "test")


class Clip(TypedDict):
    """A motion of two hands with its captions.

    Keys:
        clip_id: unique in a store.
        source: name of the source, such as "fingerspelling".
        split: "train", "val" or "test"; "" until a build has assigned it.
        fps: frames a second.
        features: (T, 198) float32, canonical; T is a multiple of 4 and at least 8.
        valid: (T, 2) bool, left then right: False where a hand was not seen or a frame is padding.
        captions: index 0 is high-level, later ones are finer-grained.
        attributes: JSON scalars that describe the clip.
        origin: what was recorded; all clips of one origin share a split.
        residual: (T, 2) float32, metres: how far the fitted hand is from what was observed, NaN where
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


def pad_clip(clip: Clip, *, multiple: int = 4, minimum: int = 8) -> Clip:
    """Repeats the last frame, marked invalid, until the length is a multiple."""
    missing = padded_length(len(clip["features"]), multiple=multiple, minimum=minimum) - len(clip["features"])
    if missing == 0:
        return clip
    padded = clip.copy()
    padded["features"] = np.concatenate([clip["features"], np.repeat(clip["features"][-1:], missing, 0)])
    padded["valid"] = np.concatenate([clip["valid"], np.zeros((missing, 2), bool)])
    if "residual" in clip:
        padded["residual"] = np.concatenate([clip["residual"], np.full((missing, 2), np.nan, np.float32)])
    return padded


def check_clip(clip: Clip) -> None:
    """Raises ClipError unless a clip keeps the promises of `Clip`."""
    name, features, valid = clip["clip_id"], clip["features"], clip["valid"]
    if features.ndim != 2 or features.shape[1] != FEATURES:
        raise ClipError(f"Expected features of shape (T, {FEATURES}) in clip {name}, got {features.shape}.")
    if len(features) < 8 or len(features) % 4:
        raise ClipError(f"Expected a length of at least 8 that is a multiple of 4 in {name}, got {len(features)}.")
    if valid.shape != (len(features), 2) or valid.dtype != np.bool_:
        raise ClipError(
            f"Expected valid as bool of shape ({len(features)}, 2) in clip {name}, got {valid.dtype} {valid.shape}."
        )
    if not np.isfinite(features).all():
        raise ClipError(f"Expected finite features in clip {name}, got NaN or infinity.")
    if not valid.any():
        raise ClipError(f"Expected at least one valid hand in one frame of clip {name}, got none.")
    if not clip["captions"] or not all(isinstance(c, str) and c.strip() for c in clip["captions"]):
        raise ClipError(f"Expected at least one caption in clip {name}, none of them empty.")
