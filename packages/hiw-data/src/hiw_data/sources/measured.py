"""Words from motion codes, without directions where axes are not the wearer's: for clips that come without, and beside
those that clips come with.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import hand_geometry
import numpy as np
from hand_geometry import features_to_joints, mirror_text

from hiw_data.clips import Clip
from hiw_data.motion import MotionPiece
from hiw_data.sources.hand_recording import MOTION_MAKER

if TYPE_CHECKING:
    from hand_geometry import MotionCodes


def measured_words(piece: MotionPiece, fps: float, wearers_axes: bool) -> list[str]:
    """A short, a middle and a long sentence on what a motion shows.

    Args:
        piece: the motion.
        fps: its rate.
        wearers_axes: whether its axes are x right, y down, z forward. Where they are others, no direction is told.

    Returns:
        The three; which hands are seen, where no hand is for half of the time.
    """
    from hand_geometry import MotionCodes, motion_codes

    codes = motion_codes(np.asarray(features_to_joints(piece.features)), piece.valid, fps)
    assert isinstance(codes, MotionCodes)
    return _told(codes, wearers_axes) or [_seen(piece)]


def add_measured(
    clip: Clip, codes: MotionCodes, *, maker: str, version: str, wearers_axes: bool, after_words: bool = False
) -> None:
    """Puts a short, a middle and a long caption of what the motion shows among a clip's own, and says who made each.

    The source's first caption, the high-level one, stays first, and its others stay last. Nothing is added where no
    hand is seen for half of the time.

    Args:
        clip: with `captions` and `mirrored_captions`; changed in place.
        codes: of its motion.
        maker: of its own captions.
        version: of that maker.
        wearers_axes: as for `measured_words`; where they are others, no direction is told.
        after_words: each measured caption begins with the clip's first one, which says what motion cannot show.
    """
    words = _told(codes, wearers_axes, zlib.crc32(clip["clip_id"].encode()))
    by_source = {"maker": maker, "version": version}
    by_codes = {"maker": MOTION_MAKER, "version": f"hand-geometry {hand_geometry.__version__}"}
    own, images = clip["captions"], clip["mirrored_captions"]
    clip["captions"] = _among(own, words, after_words)
    clip["mirrored_captions"] = _among(images, [mirror_text(text) for text in words], after_words)
    makers = [by_source, *(by_codes for _ in words), *(by_source for _ in own[1:])]
    clip["caption_provenance"] = [dict(one) for one in makers]


def _told(codes: MotionCodes, wearers_axes: bool, seed: int = 0) -> list[str]:
    from hiw_data.captioning.measured import is_frame_free
    from hiw_data.captioning.words import describe_whole

    tells = None if wearers_axes else lambda claim: is_frame_free(claim.kind, claim.value)
    return [caption.text for caption in describe_whole(codes, seed, tells)]


def _among(captions: list[str], words: list[str], after_words: bool) -> list[str]:
    first = captions[0]
    return [first, *(f"{first}: {text}" if after_words else text for text in words), *captions[1:]]


def _seen(piece: MotionPiece) -> str:
    left, right = (bool(piece.valid[:, side].any()) for side in range(2))
    return "both hands are seen" if left and right else f"the {'left' if left else 'right'} hand is seen"
