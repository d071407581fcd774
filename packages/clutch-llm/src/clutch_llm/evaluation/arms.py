"""One way to make motion from text ("arm"): its motions embedded once, its figures over any subset of the clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clutch_llm.evaluation.evaluator import Evaluator
from clutch_llm.evaluation.grouping import Clip, require_one_per_clip
from clutch_llm.evaluation.metrics import (
    GROUP_SIZE,
    TOP_K,
    diversity,
    fid,
    kid,
    mm_dist,
    multimodality,
    r_precision,
    r_precision_full,
)
from clutch_llm.evaluation.motion_errors import ClipErrors, Motion, clip_errors, joint_tensors, stack_samples

Samples = Sequence[Sequence[Motion]]
ERRORS = ("mpjpe_abs_mm", "mpjpe_root_mm", "jitter_mm_frame3")
FIGURES = (
    *(f"r_precision_top{k}" for k in TOP_K),
    "r_precision_top3_std",
    *(f"r_precision_full_top{k}" for k in TOP_K),
    "mm_dist",
    "fid",
    "kid_mean",
    "kid_std",
    "diversity",
    "multimodality",
    *ERRORS,
)


def empty_row() -> dict[str, float | None]:
    """A row with every figure, none of them known."""
    return dict.fromkeys(FIGURES)


def spread_out(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Unit vectors (..., E) scaled to a unit component on average.

    The scale that FID and KID's kernel are made for.
    """
    return embeddings.astype(np.float64) * np.sqrt(embeddings.shape[-1])


@dataclass(frozen=True)
class Arm:
    """What one arm made of N captions.

    Attributes:
        said: (N, E) embeddings of the captions that it was given.
        made: (N, S, E) embeddings of its motions, S samples a caption.
        errors: of each clip against its true motion, the mean over its samples; None where there is no truth.
    """

    said: NDArray[np.float32]
    made: NDArray[np.float32]
    errors: ClipErrors | None

    @property
    def samples(self) -> int:
        """Motions a caption."""
        return int(self.made.shape[1])


@dataclass(frozen=True)
class RowOptions:
    """How figures are taken: candidates of R-precision, its shuffles, the seed of every random choice."""

    group_size: int = GROUP_SIZE
    groupings: int = 20
    seed: int = 0


def embed_arm(
    evaluator: Evaluator,
    texts: Sequence[str],
    samples: Samples,
    clips: Sequence[Clip] | None,
    *,
    name: str = "motions",
    truth: Sequence[Tensor] | None = None,
    seen: Sequence[NDArray[np.bool_]] | None = None,
) -> Arm:
    """Embed an arm's motions.

    Args:
        evaluator: of texts and motions.
        texts: N captions that the motions were made from.
        samples: N lists of motions (T, 198); as many of each as the shortest list has are taken.
        clips: N true clips for the joint errors; None leaves these out.
        name: of the arm, for messages.
        truth: joints of the clips, see ``clip_errors``; None works them out.
        seen: which hands of the motions are seen, see ``clip_errors``; None: all.

    Raises:
        ValueError: if a caption has no motion.
    """
    if clips is not None:
        require_one_per_clip(f"motions {name!r}", samples, clips)
    count = min((len(s) for s in samples), default=0)
    if count == 0:
        raise ValueError(f"Expected at least one motion per caption, got none for some of {name!r}. Generate them.")
    flat = evaluator.embed_motions([s[k] for s in samples for k in range(count)])
    errors = None
    if clips is not None:
        truth = joint_tensors([c["features"] for c in clips]) if truth is None else truth
        by_sample = [[s[k] for s in samples] for k in range(count)]
        errors = stack_samples([clip_errors(motions, clips, ERRORS, truth=truth, seen=seen) for motions in by_sample])
    return Arm(evaluator.embed_texts(list(texts)), flat.reshape(len(samples), count, -1), errors)


def arm_row(
    arm: Arm,
    truth: NDArray[np.float32] | None,
    options: RowOptions,
    *,
    members: Sequence[int] | None = None,
    compared: Sequence[int] | None = None,
) -> dict[str, Any]:
    """All figures of one arm: means over its samples.

    FID and KID compare one sample of each caption with as many true motions, sample by sample, so that every arm is
    measured at the same number of motions however many it drew.

    Args:
        arm: the arm.
        truth: (N, E) embeddings of the true motions for FID and KID; None leaves these out.
        options: group size, groupings, seed.
        members: indices of the clips that count; None for all.
        compared: those of ``members`` that FID and KID take; None for all of them.

    Returns:
        One value per figure; None where it cannot be had.
    """
    own = np.arange(len(arm.made)) if members is None else np.asarray(members, dtype=np.int64)
    said, made = arm.said[own], arm.made[own]
    row: dict[str, Any] = empty_row()
    by_sample = [made[:, k] for k in range(arm.samples)]
    found = [
        r_precision(said, m, group_size=options.group_size, groupings=options.groupings, seed=options.seed + k)
        for k, m in enumerate(by_sample)
    ]
    for key in ("top1", "top2", "top3", "top3_std"):
        row[f"r_precision_{key}"] = _mean([f[key] for f in found])
    full = [r_precision_full(said, m) for m in by_sample]
    for k in TOP_K:
        row[f"r_precision_full_top{k}"] = _mean([f[f"top{k}"] for f in full])
    row["mm_dist"] = _mean([mm_dist(said, m) for m in by_sample])
    row["diversity"] = _mean([diversity(m, seed=options.seed) for m in by_sample])
    row["multimodality"] = multimodality(list(made))
    if truth is not None:
        kept = own if compared is None else np.asarray(compared, dtype=np.int64)
        real = spread_out(truth[kept])
        drawn = [spread_out(arm.made[kept, k]) for k in range(arm.samples)]
        row["fid"] = _mean([fid(real, d) for d in drawn])
        distances = [kid(real, d, seed=options.seed) for d in drawn]
        row["kid_mean"] = _mean([d["mean"] for d in distances])
        row["kid_std"] = _mean([d["std"] for d in distances])
    if arm.errors is not None:
        errors = arm.errors.of(own)
        row |= {name: errors.mean(name) for name in ERRORS}
    return row


def _mean(values: Sequence[Any]) -> float | None:
    """The mean; None if any value is."""
    return None if any(v is None for v in values) else float(np.mean(values))
