"""What can be measured of motion beside words: contacts, how fast and when it moves, and whether hands can do so.

Contacts are those of ``hand_geometry.contact_metrics`` (as HandX reports them), limits and penetration those of
``hand_geometry.plausibility``. Nothing here is learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from hand_geometry import features_to_params, hand_penetration, limit_violation, self_penetration
from hand_geometry.contact_metrics import contact_mask
from numpy.typing import NDArray

from clutch_llm.evaluation.arms import Samples
from clutch_llm.evaluation.grouping import (
    Clip,
    by_source,
    checked_arms,
    head,
    motions_by_row,
    other_indices,
    seen_like,
)
from clutch_llm.evaluation.intervals import interval_over_clips_and_seeds, with_interval
from clutch_llm.evaluation.judge import joints_of
from clutch_llm.evaluation.motion_errors import Motion
from clutch_llm.evaluation.unseen import NOTHING, filled

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Where = Literal["within", "across"]

WHERES: tuple[Where, ...] = ("within", "across")
QUARTERS = 4
PENETRATION_EVERY = 4
"""Frames: penetration is taken on one of so many, of the first sample; it is slow to measure and changes slowly."""


def joint_speeds(joints: NDArray[np.float32], valid: Bools, fps: float) -> Array:
    """Mean speed of the joints between neighbouring frames, m/s.

    Args:
        joints: (T, 2, 21, 3) in metres.
        valid: (T, 2); a hand counts between two frames in which it is seen.
        fps: frames a second.

    Returns:
        (T - 1,): the mean over both hands' joints; NaN where no hand counts.
    """
    both = valid[1:] & valid[:-1]
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1).mean(-1) * fps  # (T - 1, 2)
    seen = both.sum(1)
    return np.divide(np.where(both, steps, 0.0).sum(1), seen, out=np.full(len(seen), np.nan), where=seen > 0)


def speed_by_quarter(joints: NDArray[np.float32], valid: Bools, fps: float) -> Array:
    """(5,): the mean joint speed of a motion in m/s, and of each of its quarters; NaN where nothing is seen."""
    speeds = joint_speeds(joints, valid, fps)
    pieces = [speeds, *np.array_split(speeds, QUARTERS)]
    return np.array([np.nanmean(p) if np.isfinite(p).any() else np.nan for p in pieces])


def contact_figures(made: NDArray[np.float32], true: NDArray[np.float32], valid: Bools, where: Where) -> Array:
    """Precision, recall and F1 of the pairs that touch at all, and F1 of those that touch in each frame; of one motion.

    Args:
        made: joints (T', 2, 21, 3) in metres.
        true: joints (T, 2, 21, 3).
        valid: (T, 2) of the true motion; frames that both have count by frame.
        where: "within" a hand (thumb to fingertips) or "across" hands (fingertips to the other palm).

    Returns:
        (4,), NaN where nothing touches: precision where the motion has no contact, recall where the true one has none,
        F1 where neither has.
    """
    a = contact_mask(made, seen_like(valid, len(made)), where=where)
    b = contact_mask(true, valid, where=where)
    shared = min(len(a), len(b))
    ever, wanted = a.any(0), b.any(0)
    hits = (ever & wanted).sum()
    in_frame = (a[:shared] & b[:shared]).sum(), a[:shared].sum() + b[:shared].sum()
    ratios = ((hits, ever.sum()), (hits, wanted.sum()), (2 * hits, ever.sum() + wanted.sum()))
    return np.array([_ratio(*r) for r in (*ratios, (2 * in_frame[0], in_frame[1]))])


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")


CONTACT_NAMES = ("precision", "recall", "f1", "frame_f1")
PLAUSIBLE = ("beyond_limits_share", "beyond_limits_deg", "self_penetration_mm", "hand_penetration_mm")


@torch.no_grad()
def plausibility(motion: Motion, joints: NDArray[np.float32], valid: Bools) -> Array:
    """(4,): share of the joint angles beyond their limits, mean excess in degrees, and two mean depths of penetration.

    Args:
        motion: features (T, 198).
        joints: (T, 2, 21, 3) of it, metres.
        valid: (T, 2).

    Returns:
        As ``PLAUSIBLE``; NaN where no hand is seen (of the last: where never both are).
    """
    pose = features_to_params(torch.from_numpy(np.asarray(motion, np.float32)))["hand_pose"]
    limits = limit_violation(pose, valid)
    few, seen = joints[::PENETRATION_EVERY], valid[::PENETRATION_EVERY]
    itself = float(self_penetration(few, seen)) if seen.any() else np.nan
    other = float(hand_penetration(few, seen)) if seen.all(1).any() else np.nan
    return np.array([float(limits.share), float(np.rad2deg(float(limits.excess))), 1e3 * itself, 1e3 * other])


def measure_motions(
    clips: Sequence[Clip],
    generated: Samples | Mapping[str, Samples],
    reconstructions: Sequence[Motion] | None = None,
    *,
    group_by: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Contacts, limits, penetration and speeds of motions, per source.

    Args:
        clips: held-out clips.
        generated: per clip a list of motions (T, 198) for its caption; or several such, by name. An arm without any
            motion of a source is left out there.
        reconstructions: the tokenizer's reconstruction of each clip.
        group_by: names of attributes, such as one that says slow or fast: speeds by their values.
        seed: of the random captions and the intervals.

    Returns:
        ``{source: {"clips", "seconds", "synthetic", "rows": {row: figures}, "speeds": {row: figures}, "speeds_by":
        {attribute: {row: figures}}}}``. Figures of ``rows``: ``contact_WHERE_precision``, ``_recall``, ``_f1`` (pairs
        that touch at all in a clip, means over clips) and ``_frame_f1``, and those of ``PLAUSIBLE``. Of ``speeds``:
        ``all`` and ``quarter_1`` to ``quarter_4`` of the motion, mean joint speed in m/s, and as ``all_of_truth`` and
        so on as a share of the true motions'. Of ``speeds_by`` the same for each value of the attribute. Each has an
        interval over clips at ``_ci95_low`` and ``_ci95_high``. Rows: truth, reconstruction, the generated ones,
        ``random_caption``.
    """
    arms = checked_arms(generated, reconstructions, clips)
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        valid = [np.asarray(c["valid"], dtype=bool) for c in own]
        truth = filled(own, NOTHING)
        others = other_indices(own, seed=seed)
        motions = motions_by_row(truth, reconstructions, arms, members, others)
        seen = dict.fromkeys(motions, valid) | {"random_caption": [valid[j] for j in others]}
        true_joints = joints_of(truth)
        found = {
            name: _measure(own, many, true_joints, valid, seen[name], contacts=name != "truth")
            for name, many in motions.items()
        }
        result[source] = head(own) | {
            "rows": {name: _row(figures, seed) for name, (figures, _) in found.items()},
            "speeds": {
                name: _speeds(speeds, found["truth"][1], range(len(own)), _QUARTER_NAMES, seed)
                for name, (_, speeds) in found.items()
            },
            "speeds_by": {
                attribute: {
                    name: {
                        key: figure
                        for value, who in values.items()
                        for key, figure in _speeds(speeds, found["truth"][1], who, (value,), seed).items()
                    }
                    for name, (_, speeds) in found.items()
                }
                for attribute, values in _values(own, group_by)
            },
        }
    return result


_QUARTER_NAMES = ("all", *(f"quarter_{k + 1}" for k in range(QUARTERS)))


def _measure(
    clips: Sequence[Clip],
    samples: Samples,
    truth: Sequence[NDArray[np.float32]],
    valid: Sequence[Bools],
    seen: Sequence[Bools],
    *,
    contacts: bool,
) -> tuple[dict[str, Array], Array]:
    """Of each clip, the mean over its samples: figures by name (N,), and speeds (N, 5)."""
    flat = [(i, m) for i, many in enumerate(samples) for m in many]
    joints = joints_of([m for _, m in flat])
    speeds: list[list[Array]] = [[] for _ in clips]
    touching: list[list[Array]] = [[] for _ in clips]
    possible: list[Array] = []
    for (i, motion), own in zip(flat, joints, strict=True):
        mask = seen_like(seen[i], len(motion))
        speeds[i].append(speed_by_quarter(own, mask, clips[i]["fps"]))
        if contacts:
            touching[i].append(np.concatenate([contact_figures(own, truth[i], valid[i], where) for where in WHERES]))
        if len(possible) == i:  # the first sample of each clip
            possible.append(plausibility(motion, own, mask))
    figures = dict(zip(PLAUSIBLE, np.stack(possible).T, strict=True))
    if contacts:
        names = [f"contact_{where}_{name}" for where in WHERES for name in CONTACT_NAMES]
        figures |= dict(zip(names, np.stack([_nan_mean(t) for t in touching]).T, strict=True))
    return figures, np.stack([_nan_mean(s) for s in speeds])


def _nan_mean(rows: Sequence[Array]) -> Array:
    """The mean of the finite entries of each column; NaN where there are none."""
    x = np.stack(rows)
    known = np.isfinite(x)
    count = known.sum(0)
    return np.divide(np.where(known, x, 0.0).sum(0), count, out=np.full(x.shape[1], np.nan), where=count > 0)


def _row(figures: Mapping[str, Array], seed: int) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    for name, values in figures.items():
        row |= with_interval(name, values, seed=seed)
    return row


def _speeds(speeds: Array, truth: Array, members: Sequence[int], names: Sequence[str], seed: int) -> dict[str, Any]:
    """Mean speeds of some clips, the first columns under the names given, and as shares of the true ones."""
    row: dict[str, float | None] = {}
    own = np.asarray(members, dtype=np.int64)
    for column, name in enumerate(names):
        made, true = speeds[own, column], truth[own, column]
        row |= with_interval(name, made, seed=seed)
        both = np.isfinite(made) & np.isfinite(true)
        share = f"{name}_of_truth"
        row |= {share: None, f"{share}_ci95_low": None, f"{share}_ci95_high": None}
        if both.any() and true[both].sum() > 0:
            row[share] = float(made[both].sum() / true[both].sum())
            ends = interval_over_clips_and_seeds(made[both][None], baseline=true[both][None], seed=seed)
            if ends:
                row[f"{share}_ci95_low"], row[f"{share}_ci95_high"] = ends[0] + 1.0, ends[1] + 1.0
    return row


def _values(clips: Sequence[Clip], attributes: Sequence[str]) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """The clips of each value of an attribute, values in alphabetical order."""
    for attribute in attributes:
        said = [c.get("attributes", {}).get(attribute) for c in clips]
        values = sorted({str(v) for v in said if v is not None})
        if values:
            yield attribute, {v: [i for i, s in enumerate(said) if s is not None and str(s) == v] for v in values}
