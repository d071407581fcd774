"""Rewards that are measured: whether a motion does what its caption says, and moves as hands can. No learned judge.

A motion is held against what its caption states and its true motion does (`evaluation.claims`), and against how the
true motion touches, bends and shakes. Each term is in [0, 1], 1 for the true motion itself:

- ``claims``: the share of the caption's claims that the whole motion fulfils.
- ``seconds``: the share of the same asked second by second: hands that are to move move, and come to rest where the
  true ones do.
- ``contact``: F1 of the pairs that touch at all, within the hands and across them, each 1 where neither motion has any.
- ``limits``: 1 where no more joint angles are beyond their limits than in the true motion, falling to 0 at
  `LIMIT_SCALE` more of them.
- ``jitter``: the true motion's jitter over the motion's, each with `JITTER_FLOOR` on top, at most 1.

A learned judge as the reward is soon played against: it names more of the motions right and another judge does not.
What is measured can be played against as well, so grade by what was not rewarded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hand_geometry import features_to_params, jitter, limit_violation
from hand_geometry.codes import MotionCodes, parse_claim
from hand_geometry.contact_metrics import WHERES, contact_masks
from numpy.typing import NDArray

from clutch_llm.evaluation.claims import ClaimReader, Stated, claims_of, codes_of, is_met
from clutch_llm.evaluation.grouping import seen_like
from clutch_llm.evaluation.judge import joints_of
from clutch_llm.evaluation.unseen import NOTHING, fill_unseen
from clutch_llm.planning import claims_in, plan_of
from clutch_llm.stages import REWARD_TERMS

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Share of the joint angles: a motion that has so much more of them beyond their limits than the true one gets nothing.
LIMIT_SCALE = 0.05
#: Metres a frame cubed: jitter that is next to none.
JITTER_FLOOR = 0.0005

_WHOLE = -1  # the second of a claim of the whole motion


@dataclass(frozen=True)
class Target:
    """What motions for a caption are held against.

    Attributes:
        stated: claims of the caption that the true motion fulfils, of the whole motion and by second.
        valid: (T, 2) frames in which the true motion's hands are seen: in others a motion may do as it likes.
        fps: frames a second.
        touching: pairs that touch in the true motion, within the hands (8,) and across them (10,).
        beyond_limits: share of its joint angles that are beyond their limits.
        jitter: its jitter in metres a frame cubed.
    """

    stated: tuple[Stated, ...]
    valid: Bools
    fps: float
    touching: tuple[Bools, Bools]
    beyond_limits: float
    jitter: float


def targets_of(clips: Sequence[Mapping[str, Any]], texts: Sequence[str], reader: ClaimReader | None) -> list[Target]:
    """Measure the true motions.

    Args:
        clips: with features (T, 198), valid (T, 2) and fps.
        texts: the caption of each that motions will be drawn for.
        reader: of captions; None holds motions against the plan that the true motion follows (`planning.plan_of`),
            whatever the caption says of it.
    """
    features = [fill_unseen(clip["features"], clip["valid"], NOTHING) for clip in clips]
    valid = [np.asarray(clip["valid"], dtype=bool) for clip in clips]
    fps = [float(clip["fps"]) for clip in clips]
    codes, measured = codes_of(features, valid, fps), _measured(features, valid)
    return [
        Target(tuple(_stated(text, code, reader)), seen, rate, *figures)
        for text, code, seen, rate, figures in zip(texts, codes, valid, fps, measured, strict=True)
    ]


def reward_terms(motions: Sequence[NDArray[np.float32]], targets: Sequence[Target]) -> dict[str, Array]:
    """Measure motions, each against its own target.

    Args:
        motions: features (T_i, 198), N of them, finite.
        targets: N of them.

    Returns:
        (N,) in [0, 1] for each of `REWARD_TERMS`; ``claims`` and ``seconds`` are NaN where the caption states nothing.
    """
    valid = [seen_like(target.valid, len(motion)) for motion, target in zip(motions, targets, strict=True)]
    codes = codes_of(motions, valid, [target.fps for target in targets])
    rows = [
        {
            "claims": _met([s for s in target.stated if s.second == _WHOLE], code),
            "seconds": _met([s for s in target.stated if s.second != _WHOLE], code),
            "contact": float(np.mean([_f1(a, b) for a, b in zip(touching, target.touching, strict=True)])),
            "limits": 1.0 - min(1.0, max(0.0, beyond - target.beyond_limits) / LIMIT_SCALE),
            "jitter": min(1.0, (target.jitter + JITTER_FLOOR) / (shaking + JITTER_FLOOR)),
        }
        for target, code, (touching, beyond, shaking) in zip(targets, codes, _measured(motions, valid), strict=True)
    ]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in REWARD_TERMS}


def weighted(terms: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Rewards (N,) in [0, 1]: the weighted mean of the terms that are known of each motion; 0 where none is."""
    values = np.stack([terms[name] for name in REWARD_TERMS])
    weight = np.where(np.isfinite(values), np.array([[weights.get(name, 0.0)] for name in REWARD_TERMS]), 0.0)
    total = weight.sum(0)
    summed = (weight * np.nan_to_num(values)).sum(0)
    return np.asarray(np.divide(summed, total, out=np.zeros_like(summed), where=total > 0))


def _stated(text: str, codes: MotionCodes, reader: ClaimReader | None) -> list[Stated]:
    if reader is not None:
        return claims_of(reader, text, codes)
    return [Stated(parse_claim(name)) for name in claims_in(plan_of(codes))]


def _met(stated: Sequence[Stated], codes: MotionCodes) -> float:
    return float(np.mean([is_met(one, codes) for one in stated])) if stated else float("nan")


def _f1(touching: Bools, wanted: Bools) -> float:
    count = int(touching.sum() + wanted.sum())
    return 2 * int((touching & wanted).sum()) / count if count else 1.0


@torch.no_grad()
def _measured(
    motions: Sequence[NDArray[np.float32]], valid: Sequence[Bools]
) -> list[tuple[tuple[Bools, Bools], float, float]]:
    """Of each motion the pairs that touch, the share of angles beyond limits and the jitter; 0 where nothing is seen.

    Motions of a length are measured together.
    """
    joints = joints_of(motions)
    lengths = np.array([len(motion) for motion in motions])
    found: dict[int, tuple[tuple[Bools, Bools], float, float]] = {}
    for length in np.unique(lengths):
        members = np.flatnonzero(lengths == length).tolist()
        points, seen = np.stack([joints[i] for i in members]), np.stack([valid[i] for i in members])
        masks = contact_masks(points, seen)
        within, across = (np.asarray(masks[where].any(-2)) for where in WHERES)
        pose = features_to_params(torch.from_numpy(np.stack([motions[i] for i in members])))["hand_pose"]
        for k, i in enumerate(members):
            beyond = float(limit_violation(pose[k], seen[k]).share)
            shaking = float(jitter(torch.from_numpy(points[k]), torch.from_numpy(seen[k]), fps=1.0))
            found[i] = (within[k], across[k]), float(np.nan_to_num(beyond)), float(np.nan_to_num(shaking))
    return [found[i] for i in range(len(motions))]
