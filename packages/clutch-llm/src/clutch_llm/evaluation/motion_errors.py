"""Joint errors of motions against the truth, clip by clip, ready to be averaged or bootstrapped.

Errors are means over valid hand-frames (acceleration, jitter: over windows whose frames are all valid) of
each clip; the mean over clips is weighted by how many there were, so that it equals the mean over all of
them. A motion of another length than the truth is compared over the frames that both have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hand_geometry import acceleration_error, features_to_joints, jitter, mpjpe, pa_mpjpe
from numpy.typing import NDArray
from torch import Tensor

from clutch_llm.evaluation.grouping import Clip, require_one_per_clip
from clutch_llm.evaluation.intervals import bootstrap_interval

Motion = NDArray[np.float32]

_WINDOW = {
    "mpjpe_root_mm": 1,
    "mpjpe_abs_mm": 1,
    "pa_mpjpe_mm": 1,
    "acceleration_error_m_s2": 3,
    "jitter_mm_frame3": 4,
}
MEASURES = tuple(_WINDOW)


@dataclass(frozen=True)
class ClipErrors:
    """Per-clip errors and weights, each (N,), by measure."""

    values: dict[str, NDArray[np.float64]]
    weights: dict[str, NDArray[np.float64]]

    def of(self, members: Sequence[int] | NDArray[np.int64]) -> ClipErrors:
        """The errors of some of the clips."""
        own = np.asarray(members, dtype=np.int64)
        return ClipErrors({k: v[own] for k, v in self.values.items()}, {k: w[own] for k, w in self.weights.items()})

    def only(self, *measures: str) -> ClipErrors:
        """The same clips with some of the measures; the others are not known."""
        unknown = {k: np.zeros_like(w) for k, w in self.weights.items() if k not in measures}
        return ClipErrors(self.values, self.weights | unknown)

    def mean(self, measure: str) -> float | None:
        """Mean over all valid frames of all clips; None if there are none."""
        total = self.weights[measure].sum()
        return float((self.values[measure] * self.weights[measure]).sum() / total) if total else None

    def interval(self, measure: str, *, seed: int = 0) -> tuple[float, float] | None:
        """95% bootstrap interval of the mean, clips drawn with replacement; None if nothing was valid."""
        kept = self.weights[measure] > 0
        if not kept.any():
            return None
        return bootstrap_interval(self.values[measure][kept], self.weights[measure][kept], seed=seed)


@torch.no_grad()
def joint_tensors(motions: Sequence[Motion]) -> list[Tensor]:
    """Joints (T_i, 2, 21, 3) in metres of each motion (T_i, 198), in one pass over all frames."""
    if not len(motions):
        return []
    frames = [torch.as_tensor(np.asarray(m, dtype=np.float32)) for m in motions]
    return list(features_to_joints(torch.cat(frames)).split([len(f) for f in frames]))


def _windows(valid: Tensor, length: int) -> int:
    if len(valid) < length:
        return 0
    return int(valid.unfold(0, length, 1).all(-1).sum())


def _measure(name: str, predicted: Tensor, truth: Tensor, valid: Tensor, fps: float) -> float:
    if name == "mpjpe_root_mm":
        return 1e3 * float(mpjpe(predicted, truth, valid, align="root"))
    if name == "mpjpe_abs_mm":
        return 1e3 * float(mpjpe(predicted, truth, valid, align="none"))
    if name == "pa_mpjpe_mm":
        return 1e3 * float(pa_mpjpe(predicted, truth, valid))
    if name == "acceleration_error_m_s2":
        return float(acceleration_error(predicted, truth, valid, fps))
    return 1e3 * float(jitter(predicted, valid, fps=1.0))  # a second of one frame: per frame cubed


@torch.no_grad()
def clip_errors(
    motions: Sequence[Motion],
    clips: Sequence[Clip],
    measures: Sequence[str] = MEASURES,
    *,
    truth: Sequence[Tensor] | None = None,
    seen: Sequence[NDArray[np.bool_]] | None = None,
) -> ClipErrors:
    """Compare ``motions[i]`` (T_i, 198) with ``clips[i]``; metres become millimetres here.

    Args:
        motions: one per clip.
        clips: the truth, with ``features``, ``valid`` and ``fps``.
        measures: which of ``MEASURES`` to take.
        truth: the joints of the clips, where they are known already (``joint_tensors`` of their features).
        seen: (T_i, 2) in which frames each motion's hands are seen, which count where the clip's are seen too; None: in
            all of them.

    Returns:
        Errors per clip: root-aligned, absolute and Procrustes-aligned MPJPE in mm, acceleration error in
        m/s^2, and the motion's own jitter (mean norm of the third difference) in mm per frame^3.

    Raises:
        ValueError: if there is not one motion per clip.
    """
    require_one_per_clip("motions", motions, clips)
    values = {name: np.zeros(len(clips)) for name in measures}
    weights = {name: np.zeros(len(clips)) for name in measures}
    wanted = joint_tensors([c["features"] for c in clips]) if truth is None else truth
    for i, (predicted, true, clip) in enumerate(zip(joint_tensors(motions), wanted, clips, strict=True)):
        n = min(len(predicted), len(true))
        known = np.asarray(clip["valid"], dtype=bool)[:n]
        valid = torch.as_tensor(known if seen is None else known & np.asarray(seen[i], dtype=bool)[:n])
        for name in measures:
            weights[name][i] = _windows(valid, _WINDOW[name])
            if weights[name][i]:
                values[name][i] = _measure(name, predicted[:n], true[:n], valid, clip["fps"])
    return ClipErrors(values, weights)


def stack_samples(errors: Sequence[ClipErrors]) -> ClipErrors:
    """Several samples per clip as one: each clip's mean over its samples, at the clip's own weight."""
    names = errors[0].values
    values = {name: np.mean([e.values[name] for e in errors], axis=0) for name in names}
    weights = {name: np.mean([e.weights[name] for e in errors], axis=0) for name in names}
    return ClipErrors(values, weights)


def mean_pose(clips: Sequence[Clip]) -> NDArray[np.float32]:
    """The mean feature vector (198,) of the clips, each hand over its valid frames; zeros for a hand never seen."""
    half = 99
    out = np.zeros(2 * half, np.float32)
    for hand in (0, 1):
        part = slice(hand * half, (hand + 1) * half)
        seen = [np.asarray(c["features"])[np.asarray(c["valid"])[:, hand], part] for c in clips]
        frames = np.concatenate(seen) if seen else np.zeros((0, half))
        if len(frames):
            out[part] = frames.mean(0)
    return out


def hold(pose: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """One pose (198,) held still for ``frames`` frames."""
    return np.repeat(pose[None].astype(np.float32), frames, axis=0)
