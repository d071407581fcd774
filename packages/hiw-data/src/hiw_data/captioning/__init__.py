"""Captions of motion: written from motion codes, parsed for their claims, and held against the codes.

``facts`` and ``words`` say codes in English; ``normalise``, ``clauses``, ``postures`` and ``parse`` read claims from
English (words of ``lexicon``); ``check`` holds them against the codes, by the ``norms`` of actions; ``stated`` gives
them to other packages. ``scripted`` says what the scripted source's attributes mean as claims.

``vlm`` asks vision and language models (``endpoint``, ``client``, ``limits``, ``cache``; ``questions`` with the prompts
of ``prompts/``, ``validation``), lets them choose from a closed vocabulary (``narrations``, ``embeddings``,
``vocabulary``) and drops what fits nothing (``outliers``); ``results`` says what is kept. ``local_model`` and
``local_server`` are a small language model of this machine behind the same protocol.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiw_data.captioning.check import CaptionCheck, CheckedClaim, check_caption
    from hiw_data.captioning.endpoint import Endpoint, Secret, endpoint_from_environment
    from hiw_data.captioning.jobs import CaptionConfig, CaptionJob, CaptionRun
    from hiw_data.captioning.parse import CaptionClaim, parse_caption
    from hiw_data.captioning.stated import caption_claims
    from hiw_data.captioning.vlm import caption_clips
    from hiw_data.captioning.vocabulary import Vocabulary
    from hiw_data.captioning.words import MotionCaption, MotionCaptions, describe_motion

_WHERE = {
    "CaptionCheck": "check",
    "CheckedClaim": "check",
    "check_caption": "check",
    "Endpoint": "endpoint",
    "Secret": "endpoint",
    "endpoint_from_environment": "endpoint",
    "CaptionConfig": "jobs",
    "CaptionJob": "jobs",
    "CaptionRun": "jobs",
    "caption_clips": "vlm",
    "Vocabulary": "vocabulary",
    "CaptionClaim": "parse",
    "parse_caption": "parse",
    "caption_claims": "stated",
    "MotionCaption": "words",
    "MotionCaptions": "words",
    "describe_motion": "words",
}

__all__ = [
    "CaptionCheck",
    "CaptionClaim",
    "CaptionConfig",
    "CaptionJob",
    "CaptionRun",
    "CheckedClaim",
    "Endpoint",
    "MotionCaption",
    "MotionCaptions",
    "Secret",
    "Vocabulary",
    "caption_claims",
    "caption_clips",
    "check_caption",
    "describe_motion",
    "endpoint_from_environment",
    "parse_caption",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `hiw --help` waits for nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
