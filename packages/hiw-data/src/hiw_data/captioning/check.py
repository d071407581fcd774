"""The fact-checker: each claim of a caption held against motion codes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from hand_geometry.codes import FULFILLED, NOT_MEASURABLE, Claim, MotionCodes, Norm, Verdict, evaluate

from hiw_data.captioning.norms import load_norms
from hiw_data.captioning.parse import CaptionClaim, parse_caption
from hiw_data.captioning.scripted import direction_claim
from hiw_data.sources.families import FAMILIES

SUPPORTED, CONTRADICTED, UNMEASURED = STATUSES = ("supported", "contradicted", "not measurable")
_OPPOSITE = {"slow": "fast", "fast": "slow", "small": "large", "large": "small"}
_DIRECTIONS = {family.name: tuple(family.directions) for family in FAMILIES}


@dataclass(frozen=True)
class CheckedClaim:
    """A claim of a caption and its verdict.

    Attributes:
        words: What the caption says.
        claim: The claim, as ``Claim`` writes it; "" if motion does not show such a thing.
        negated: The caption denies it.
        implied: It is understood rather than said.
        status: One of STATUSES.
        evidence: The measurement.
    """

    words: str
    claim: str
    negated: bool
    implied: bool
    status: str
    evidence: str


@dataclass(frozen=True)
class CaptionCheck:
    """A caption with its checked claims; ``supported``, ``contradicted`` and ``unmeasured`` count them."""

    text: str
    claims: tuple[CheckedClaim, ...]

    def count(self, status: str) -> int:
        """How many claims have a status."""
        return sum(claim.status == status for claim in self.claims)

    @property
    def contradictions(self) -> list[CheckedClaim]:
        """The claims that the motion contradicts."""
        return [claim for claim in self.claims if claim.status == CONTRADICTED]

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


def check_caption(text: str, codes: MotionCodes, *, implied: bool = True) -> CaptionCheck:
    """Holds each claim of a caption against the motion's codes.

    Args:
        text: A caption in English, from anywhere.
        codes: Of the clip that it describes.
        implied: Whether what is understood rather than said is held against the codes: that a hand which alone is named
            moves alone. Not so for a text that describes one hand of two on purpose.

    Returns:
        Each claim supported, contradicted or not measurable, with the evidence. Speed and size are relative to the
        action where its norm is known (see ``norms``); where it is not, only the opposite class is a contradiction.
    """
    said = [claim for claim in parse_caption(text) if implied or not claim.implied]
    return CaptionCheck(text, tuple(_checked(claim, said, codes) for claim in said))


def _checked(said: CaptionClaim, others: list[CaptionClaim], codes: MotionCodes) -> CheckedClaim:
    if said.claim is None:
        return CheckedClaim(said.words, "", said.negated, said.implied, UNMEASURED, "motion alone does not show it")
    norm = norm_of(said, others) if said.claim.kind in ("speed", "size") else None
    verdict = evaluate(said.claim, codes, norm)
    if norm is None and said.claim.kind in ("speed", "size"):
        verdict = _without_norm(said.claim, verdict, codes)
    status = {FULFILLED: SUPPORTED, NOT_MEASURABLE: UNMEASURED}.get(verdict.status, CONTRADICTED)
    if said.negated and status != UNMEASURED:
        status = SUPPORTED if status == CONTRADICTED else CONTRADICTED
    return CheckedClaim(said.words, str(said.claim), said.negated, said.implied, status, verdict.evidence)


def _without_norm(claim: Claim, verdict: Verdict, codes: MotionCodes) -> Verdict:
    """What is quick for an unknown action is open: only the opposite of what is measured is a contradiction."""
    if verdict.status == FULFILLED or claim.value not in _OPPOSITE:
        return verdict if verdict.status == FULFILLED else Verdict(NOT_MEASURABLE, verdict.evidence)
    opposite = evaluate(replace(claim, value=_OPPOSITE[claim.value]), codes)
    return verdict if opposite.status == FULFILLED else Verdict(NOT_MEASURABLE, verdict.evidence)


def norm_of(said: CaptionClaim, others: list[CaptionClaim]) -> Norm | None:
    """The norm of the action in the direction that the caption says, or of the action in any."""
    norms, claims = load_norms(), {c.claim for c in others}
    for direction in _DIRECTIONS.get(said.action, ()):
        for hand in ("left", "right", "both", "either", "one"):
            for number in range(1, 6):
                if direction_claim(said.action, direction, hand, number) in claims:
                    return norms.get(f"{said.action}/{direction}")
    return norms.get(said.action)
