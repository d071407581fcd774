"""How well the tokenizer reconstructs held-out motion, beside what no tokenizer is needed for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clutch_llm.evaluation.grouping import Clip, by_source, head, require_one_per_clip
from clutch_llm.evaluation.motion_errors import MEASURES, Motion, clip_errors, hold, joint_tensors, mean_pose

INTERVALS = ("mpjpe_root_mm", "mpjpe_abs_mm")


def _row(motions: Sequence[Motion], clips: Sequence[Clip], truth: Sequence[Tensor]) -> dict[str, float | None]:
    errors = clip_errors(motions, clips, truth=truth)
    row = {name: errors.mean(name) for name in MEASURES}
    for name in INTERVALS:
        low, high = errors.interval(name) or (None, None)
        row |= {f"{name}_ci95_low": low, f"{name}_ci95_high": high}
    return row


def _held(pose: NDArray[np.float32], clips: Sequence[Clip], truth: Sequence[Tensor]) -> dict[str, float | None]:
    return _row([hold(pose, len(c["features"])) for c in clips], clips, truth)


def _unknown() -> dict[str, float | None]:
    keys = [f"{name}_ci95_{end}" for name in INTERVALS for end in ("low", "high")]
    return dict.fromkeys([*MEASURES, *keys])


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def evaluate_tokenizer(
    clips: Sequence[Clip], reconstructions: Sequence[Motion], train_clips: Sequence[Clip]
) -> dict[str, dict[str, Any]]:
    """Joint errors of the reconstructions and of the trivial baselines, per source.

    Args:
        clips: held-out clips.
        reconstructions: decoded features (T_i, 198), one per clip, same order.
        train_clips: the mean pose is theirs, source by source; a source that is not among them has no mean pose.

    Returns:
        ``{source: {"clips", "seconds", "synthetic", "rows": {"reconstruction" | "mean_pose" | "static_pose" |
        "truth": {measure: value}}, "mpjpe_root_share_of_mean_pose", "mpjpe_abs_share_of_mean_pose"}}``.
        ``static_pose`` is the static-pose baseline: each clip's own mean pose, held still. Read its acceleration error
        and jitter with care: what does not move cannot shake. The mean pose is the mean feature vector (a pose), not
        the mean of joint positions (which is none).
    """
    require_one_per_clip("reconstructions", reconstructions, clips)
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        learnt = [c for c in train_clips if c["source"] == source]
        joints = joint_tensors([c["features"] for c in own])
        rows = {
            "reconstruction": _row([reconstructions[i] for i in members], own, joints),
            "mean_pose": _held(mean_pose(learnt), own, joints) if learnt else _unknown(),
            "static_pose": _row([hold(mean_pose([c]), len(c["features"])) for c in own], own, joints),
            "truth": _row([c["features"] for c in own], own, joints),
        }
        result[source] = head(own) | {
            "rows": rows,
            "mpjpe_root_share_of_mean_pose": _ratio(
                rows["reconstruction"]["mpjpe_root_mm"], rows["mean_pose"]["mpjpe_root_mm"]
            ),
            "mpjpe_abs_share_of_mean_pose": _ratio(
                rows["reconstruction"]["mpjpe_abs_mm"], rows["mean_pose"]["mpjpe_abs_mm"]
            ),
        }
    return result
