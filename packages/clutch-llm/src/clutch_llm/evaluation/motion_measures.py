"""What can be measured of motion beside words: contacts, how fast and when it moves, and whether hands can do so.

Contacts are those of ``hand_geometry.contact_metrics`` (as HandX reports them), limits and penetration those of
``hand_geometry.plausibility``. Nothing here is learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hand_geometry import features_to_params
from hand_geometry.contact_metrics import WHERES, Where, contact_masks
from hand_geometry.plausibility import hand_depths, limit_excess, self_depths
from numpy.typing import NDArray
from torch import Tensor

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
Masks = Mapping[Where, Bools]

QUARTERS = 4
PENETRATION_EVERY = 4
"""Frames: penetration is taken on one of so many, of the first sample; it is slow to measure and changes slowly."""
BEYOND = 1e-3
"""Radians: angles beyond a limit by less than this are not."""

_TOGETHER = 256
"""Motions that are measured at once."""


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


def touching_pairs(joints: Sequence[NDArray[np.float32]], valid: Sequence[Bools]) -> list[Masks]:
    """Which pairs touch in each frame of motions, within a hand and across hands (`contact_masks`).

    Args:
        joints: (T_i, 2, 21, 3) in metres of each; those of a length are measured together.
        valid: (T_i, 2) of each.
    """
    lengths = np.array([len(own) for own in joints])
    found: dict[int, Masks] = {}
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths == length).tolist()
        for start in range(0, len(alike), _TOGETHER):
            some = alike[start : start + _TOGETHER]
            masks = contact_masks(np.stack([joints[i] for i in some]), np.stack([valid[i] for i in some]))
            found |= {i: {where: mask[k] for where, mask in masks.items()} for k, i in enumerate(some)}
    return [found[i] for i in range(len(joints))]


def contact_figures(made: Bools, true: Bools) -> Array:
    """Precision, recall and F1 of the pairs that touch at all, and F1 of those that touch in each frame; of one motion.

    Args:
        made: (T', P) which pairs touch in each frame (`touching_pairs`).
        true: (T, P) of the true motion; frames that both have count by frame.

    Returns:
        (4,), NaN where nothing touches: precision where the motion has no contact, recall where the true one has none,
        F1 where neither has.
    """
    shared = min(len(made), len(true))
    ever, wanted = made.any(0), true.any(0)
    hits = (ever & wanted).sum()
    in_frame = (made[:shared] & true[:shared]).sum(), made[:shared].sum() + true[:shared].sum()
    ratios = ((hits, ever.sum()), (hits, wanted.sum()), (2 * hits, ever.sum() + wanted.sum()))
    return np.array([_ratio(*r) for r in (*ratios, (2 * in_frame[0], in_frame[1]))])


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")


CONTACT_NAMES = ("precision", "recall", "f1", "frame_f1")
PLAUSIBLE = ("beyond_limits_share", "beyond_limits_deg", "self_penetration_mm", "hand_penetration_mm")


@torch.no_grad()
def plausibility(
    motions: Sequence[Motion], joints: Sequence[NDArray[np.float32]], valid: Sequence[Bools]
) -> NDArray[np.float64]:
    """Share of the joint angles beyond their limits, mean excess in degrees, and two mean depths of penetration.

    Args:
        motions: features (T_i, 198) of each; their frames are measured together.
        joints: (T_i, 2, 21, 3) of each, metres.
        valid: (T_i, 2) of each.

    Returns:
        (N, 4) as ``PLAUSIBLE``; NaN where no hand is seen (of the last: where never both are).
    """
    frames = torch.from_numpy(np.concatenate([np.asarray(m, np.float32) for m in motions]))
    seen = torch.from_numpy(np.concatenate(valid))
    excess = limit_excess(features_to_params(frames)["hand_pose"])[seen]
    few = torch.from_numpy(np.concatenate([own[::PENETRATION_EVERY] for own in joints]))
    thin = [v[::PENETRATION_EVERY] for v in valid]
    some = torch.from_numpy(np.concatenate(thin))
    return np.stack(
        [
            _means((excess > BEYOND).to(excess.dtype), [v.sum() for v in valid]),
            np.rad2deg(_means(excess, [v.sum() for v in valid])),
            1e3 * _means(self_depths(few[some]), [v.sum() for v in thin]),
            1e3 * _means(hand_depths(few[some.all(1)]), [v.all(1).sum() for v in thin]),
        ],
        axis=1,
    )


def _means(values: Tensor, counts: Sequence[int]) -> Array:
    """The mean of each motion's values, which stand one after the other, so many of each; NaN where it has none."""
    return np.array([float(own.mean()) if len(own) else np.nan for own in values.split([int(n) for n in counts])])


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
        wanted = touching_pairs(joints_of(truth), valid)
        found = {
            name: _measure(own, many, None if name == "truth" else wanted, valid, seen[name])
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
    wanted: Sequence[Masks] | None,
    valid: Sequence[Bools],
    seen: Sequence[Bools],
) -> tuple[dict[str, Array], Array]:
    """Of each clip, the mean over its samples: figures by name (N,), and speeds (N, 5).

    Args:
        clips: N.
        samples: of each clip its motions.
        wanted: of each clip which pairs touch in its true motion; None leaves contacts out.
        valid: (T, 2) of each clip.
        seen: (T, 2) of the motion that is shown for each clip: which hands count. In contacts, which are held against
            the true motion's, those count that are seen in both.
    """
    owner = [i for i, many in enumerate(samples) for _ in many]
    flat = [motion for many in samples for motion in many]
    joints = joints_of(flat)
    masks = [seen_like(seen[i], len(motion)) for i, motion in zip(owner, flat, strict=True)]
    speeds = [speed_by_quarter(own, mask, clips[i]["fps"]) for i, own, mask in zip(owner, joints, masks, strict=True)]
    first = np.unique(owner, return_index=True)[1].tolist()  # of each clip its first sample
    possible = [
        plausibility(*([many[k] for k in first[start : start + _TOGETHER]] for many in (flat, joints, masks)))
        for start in range(0, len(first), _TOGETHER)
    ]
    figures = dict(zip(PLAUSIBLE, np.concatenate(possible).T, strict=True))
    if wanted is not None:
        names = [f"contact_{where}_{name}" for where in WHERES for name in CONTACT_NAMES]
        both = [mask & seen_like(valid[i], len(mask)) for i, mask in zip(owner, masks, strict=True)]
        told = touching_pairs(joints, both)
        contacts = [
            np.concatenate([contact_figures(made[where], wanted[i][where]) for where in WHERES])
            for i, made in zip(owner, told, strict=True)
        ]
        figures |= dict(zip(names, _by_clip(contacts, owner).T, strict=True))
    return figures, _by_clip(speeds, owner)


def _by_clip(rows: Sequence[Array], owner: Sequence[int]) -> Array:
    """Of each clip the mean over its motions' rows (`_nan_mean`), (N, columns); motions stand clip by clip."""
    starts = np.unique(owner, return_index=True)[1].tolist()
    ends = [*starts[1:], len(rows)]
    return np.stack([_nan_mean(rows[start:end]) for start, end in zip(starts, ends, strict=True)])


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
