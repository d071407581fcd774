"""Captions that only say what was measured, as clips carry them: from general to fine-grained, worded by seed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from hiw_data.captioning.words import describe_motion
from hiw_data.store.words import Words

if TYPE_CHECKING:
    from hand_geometry import MotionCodes

    from hiw_data.clips import Clip

_FRAME_FREE = {
    "hands": None,
    "fingers": None,
    "number": None,
    "handshape": None,
    "contact": None,
    "speed": None,
    "size": None,
    "count": None,
    "order": None,
    "rest": None,
    "shape": ("line", "arc", "circle", "zigzag"),
    "relation": ("approach", "part", "near", "far"),
}
"""Kinds of claims, and their values, that hold whatever the axes of the world are."""


def is_frame_free(kind: str, value: str) -> bool:
    """Whether a claim of a kind and a value holds whatever the axes of the world are."""
    values = _FRAME_FREE.get(kind, ())
    return values is None or value in values


def measured_captions(
    codes: MotionCodes, clip_id: str, *, seed: int, variants: int, directions: bool = True
) -> list[str]:
    """What the motion tells, from general to fine-grained; the wording is drawn by the seed and the clip's name.

    Args:
        codes: of the clip.
        clip_id: of the clip.
        seed: draws the wording.
        variants: captions of each of three lengths, 1 to 5.
        directions: whether the clip's axes are x right, y down, z forward; where they are not, no direction is told.

    Returns:
        The captions; none where no hand was seen half of the time.
    """
    digest = hashlib.sha256(f"{seed} {clip_id}".encode()).digest()
    tells = None if directions else lambda claim: is_frame_free(claim.kind, claim.value)
    told = describe_motion(codes, seed=int.from_bytes(digest[:4], "big"), variants=variants, tells=tells)
    return told.texts()


def measured_maker() -> dict[str, str]:
    """Who made measured captions, as `caption_provenance` has it."""
    import hand_geometry

    return {"maker": "motion codes", "version": f"hand-geometry {hand_geometry.__version__}"}


def measured_words(clip: Clip, *, seed: int = 0, variants: int = 1, directions: bool = True) -> Words | None:
    """Measured captions of a stored clip with their codes; None where no hand was seen half of the time.

    Args:
        clip: of a store.
        seed: see `measured_captions`, as are the next two.
        variants: see there.
        directions: see there.
    """
    from hiw_data.captioning.cli import codes_of_clip

    codes = codes_of_clip(clip)
    captions = measured_captions(codes, clip["clip_id"], seed=seed, variants=variants, directions=directions)
    if not captions:
        return None
    return Words(captions, [measured_maker() for _ in captions], codes=json.loads(codes.to_json()))


def result_words(result: dict[str, Any]) -> Words | None:
    """The captions of a result (see `hiw_data.captioning.results`) that were kept, or None where none was."""
    kept = [caption for caption in result["captions"] if caption["kept"]]
    if not kept:
        return None
    said = ("level", "maker", "models", "version", "prompts", "counts", "verified", "outlier")
    provenance = [{name: caption[name] for name in said} for caption in kept]
    return Words([caption["text"] for caption in kept], provenance, answers=result["answers"])
