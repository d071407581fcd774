"""Contact of two hands as numbers: how well a motion's contacts match another's, and how much contact there is.

Convention:
    Joints ``(..., T, 2, 21, 3)`` in metres, hands left then right; ``valid (..., T, 2)`` bool. Within a hand a contact
    is the thumb's tip within 20 mm of another fingertip (8 pairs); across hands a fingertip within 25 mm of the other
    palm (10 pairs). The measures are those that HandX (CVPR 2026) reports; our palm is a shape, not sampled points.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hand_geometry.codes.api import checked_joints
from hand_geometry.codes.contact import contact_distances
from hand_geometry.codes.geometry import measure
from hand_geometry.codes.runs import runs_of
from hand_geometry.codes.thresholds import CodeThresholds
from hand_geometry.errors import InputError, ShapeError

Where = Literal["within", "across"]
Bools = NDArray[np.bool_]

WHERES: tuple[Where, ...] = ("within", "across")


class ContactScores(NamedTuple):
    """Means over clips, 0 to 1; NaN where no clip has a contact to count (``precision``: none predicted)."""

    precision: float
    recall: float
    f1: float


class ContactStatistics(NamedTuple):
    """Share of seen frames with contact; mean length of one in seconds (NaN without any); contacts a second."""

    ratio: float
    mean_duration: float
    per_second: float


def contact_scores(
    pred: Any,
    target: Any,
    valid: Any = None,
    *,
    where: Where,
    level: Literal["clip", "frame"] = "clip",
    min_frames: int = 1,
) -> ContactScores:
    """Precision, recall and F1 of contacts, one value a clip, then the mean over clips.

    Args:
        pred: Joints, shape (..., T, 2, 21, 3), metres.
        target: Joints, the same shape.
        valid: Which hands count in both, shape (..., T, 2) bool; None for all.
        where: "within": thumb tip to fingertips of the same hand; "across": fingertips to the other palm.
        level: "clip" compares which pairs touch at all in a clip, as HandX does; "frame" which touch in each frame.
        min_frames: Shorter contacts do not count.

    Raises:
        ShapeError: If the shapes differ.
        InputError: If ``where``, ``level`` or ``min_frames`` is out of range.
    """
    if level not in ("clip", "frame"):
        raise InputError(f"level: Expected 'clip' or 'frame', got {level!r}.")
    a, b = (contact_mask(joints, valid, where=where, min_frames=min_frames) for joints in (pred, target))
    if a.shape != b.shape:
        raise ShapeError("target", str(a.shape[:-1]), b.shape[:-1], "Compare motions of the same length.")
    if level == "clip":
        a, b = np.any(a, axis=-2, keepdims=True), np.any(b, axis=-2, keepdims=True)
    hits, found, wanted = ((x.reshape(-1, *x.shape[-2:]).sum((1, 2))) for x in (a & b, a, b))
    return ContactScores(*(_mean_ratio(x, y) for x, y in ((hits, found), (hits, wanted), (2 * hits, found + wanted))))


def contact_statistics(joints: Any, valid: Any = None, fps: float = 15.0, *, where: Where) -> ContactStatistics:
    """How much contact a motion has.

    Args:
        joints: Shape (..., T, 2, 21, 3), metres.
        valid: Which hands count, shape (..., T, 2) bool; None for all.
        fps: Frames a second.
        where: "within" a hand or "across" hands.

    Raises:
        ShapeError: If a shape does not fit.
        InputError: If ``fps`` is not positive or ``where`` is unknown.
    """
    x, seen = checked_joints(joints, valid, fps)
    mask = contact_mask(x, seen, where=where)
    frames = seen.any(-1) if where == "within" else seen.all(-1)
    total = int(frames.sum())
    if total == 0:
        return ContactStatistics(float("nan"), float("nan"), float("nan"))
    runs = runs_of(np.moveaxis(mask, -1, -2).reshape(-1, mask.shape[-2]).view(np.int8))
    lengths = (runs.stop - runs.start)[runs.value == 1]
    mean = float(lengths.mean() / fps) if len(lengths) else float("nan")
    return ContactStatistics(float(mask.any(-1).sum() / total), mean, float(len(lengths) * fps / total))


def contact_mask(joints: Any, valid: Any = None, *, where: Where, min_frames: int = 1) -> Bools:
    """Which pairs touch in which frames.

    Args:
        joints: Shape (..., T, 2, 21, 3), metres.
        valid: Which hands count, shape (..., T, 2) bool; None for all.
        where: "within": left thumb to index, middle, ring, pinky tip, then right; "across": left tips, thumb first, to
            the right palm, then right tips to the left one.
        min_frames: Shorter contacts are left out.

    Returns:
        Shape (..., T, 8) within, (..., T, 10) across, bool.

    Raises:
        ShapeError: If a shape does not fit.
        InputError: If ``where`` or ``min_frames`` is out of range.
    """
    if where not in WHERES:
        raise InputError(f"where: Expected 'within' or 'across', got {where!r}.")
    return contact_masks(joints, valid, min_frames=min_frames)[where]


def contact_masks(joints: Any, valid: Any = None, *, min_frames: int = 1) -> dict[Where, Bools]:
    """`contact_mask` for both of ``WHERES``, of one measuring.

    Raises:
        ShapeError: If a shape does not fit.
        InputError: If ``min_frames`` is below 1.
    """
    if min_frames < 1:
        raise InputError(f"min_frames: Expected 1 or more, got {min_frames}.")
    x, seen = checked_joints(joints, valid, 1.0)
    lead, frames, t = x.shape[:-4], x.shape[-4], CodeThresholds()
    m = measure(x.reshape(-1, *x.shape[-4:]), seen.reshape(-1, frames, 2), 1.0, t.smoothing_s)
    distances = contact_distances(m)
    masks: dict[Where, Bools] = {
        "within": np.asarray((distances.thumb_tips < t.tip_contact_m) & m.valid),
        "across": np.asarray((distances.tip_palm < t.palm_contact_m) & m.valid[0] & m.valid[1]),
    }
    for where, mask in masks.items():
        rows = np.ascontiguousarray(mask.transpose(2, 1, 0, 3)).reshape(-1, frames)  # clip, hand, pair
        if min_frames > 1:
            runs = runs_of(rows.view(np.int8))
            keep = (runs.value == 1) & (runs.stop - runs.start >= min_frames)
            rows = np.repeat(keep, runs.stop - runs.start).reshape(rows.shape)
        masks[where] = np.moveaxis(rows.reshape(*lead, -1, frames), -1, -2)
    return masks


def _mean_ratio(part: NDArray[np.integer], whole: NDArray[np.integer]) -> float:
    counted = whole > 0
    return float((part[counted] / whole[counted]).mean()) if counted.any() else float("nan")
