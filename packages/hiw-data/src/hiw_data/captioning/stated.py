"""What a caption states, in the plain form that other packages take: entry point ``clutch_llm.caption_claims``."""

from __future__ import annotations

from hand_geometry.codes import Claim, Norm

from hiw_data.captioning.check import norm_of
from hiw_data.captioning.parse import parse_caption


def caption_claims(text: str) -> list[tuple[Claim, bool, Norm | None]]:
    """The claims of a caption that motion can show.

    Args:
        text: English, from anywhere.

    Returns:
        For each claim: the claim, whether the caption denies it, and, of speed and size, what is normal for the action
        where that is known.
    """
    said = parse_caption(text)
    return [
        (one.claim, one.negated, norm_of(one, said) if one.claim.kind in ("speed", "size") else None)
        for one in said
        if one.claim is not None
    ]
