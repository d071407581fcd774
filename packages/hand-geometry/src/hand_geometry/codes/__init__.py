"""Motion codes: what two hands do, measured on joints, as events, states, movements and claims. No words here.

After PoseScript (posecodes), MotionScript (motioncodes) and HandX, whose groups of measurements are all here. The order
is measurements (``geometry``, ``contact``) -> ``events``, ``states``, ``movement``, ``relation`` -> ``claims``.
"""

from hand_geometry.codes.api import MotionCodes, codes_of_clips, motion_codes
from hand_geometry.codes.claims import KINDS, VOCABULARY, Claim, parse_claim, vocabulary_claims
from hand_geometry.codes.evaluate import CONTRADICTED, FULFILLED, NOT_MEASURABLE, Norm, Verdict, evaluate, holds
from hand_geometry.codes.movement import Movement
from hand_geometry.codes.relation import Pairing
from hand_geometry.codes.summary import HandSummary
from hand_geometry.codes.table import Event, State
from hand_geometry.codes.thresholds import CodeThresholds

__all__ = [
    "CONTRADICTED",
    "FULFILLED",
    "KINDS",
    "NOT_MEASURABLE",
    "VOCABULARY",
    "Claim",
    "CodeThresholds",
    "Event",
    "HandSummary",
    "MotionCodes",
    "Movement",
    "Norm",
    "Pairing",
    "State",
    "Verdict",
    "codes_of_clips",
    "evaluate",
    "holds",
    "motion_codes",
    "parse_claim",
    "vocabulary_claims",
]
