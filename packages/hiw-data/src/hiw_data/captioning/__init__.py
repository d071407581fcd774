"""Captions of motion: written from motion codes, parsed for their claims, and held against the codes.

``facts`` and ``words`` say codes in English; ``normalise``, ``clauses``, ``postures`` and ``parse`` read claims from
English (words of ``lexicon``); ``check`` holds them against the codes, by the ``norms`` of actions. ``scripted`` says
what the scripted source's attributes mean as claims.
"""

from hiw_data.captioning.check import CaptionCheck, CheckedClaim, check_caption
from hiw_data.captioning.parse import CaptionClaim, parse_caption
from hiw_data.captioning.words import MotionCaption, MotionCaptions, describe_motion

__all__ = [
    "CaptionCheck",
    "CaptionClaim",
    "CheckedClaim",
    "MotionCaption",
    "MotionCaptions",
    "check_caption",
    "describe_motion",
    "parse_caption",
]
