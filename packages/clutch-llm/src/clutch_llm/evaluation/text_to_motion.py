"""Text to motion: does it say what the caption says, look like true motion, come near the true one.

Every source has rows: truth, the tokenizer's reconstruction (the ceiling of anything that speaks its tokens),
each generation, a random caption's motion (true motion that answers another caption: perfect to look at,
wrong in what it says) and chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clutch_llm.evaluation.evaluator import Evaluator
from clutch_llm.evaluation.grouping import Clip, by_source, head, other_indices, require_one_per_clip
from clutch_llm.evaluation.metrics import (
    GROUP_SIZE,
    TOP_K,
    chance_r_precision,
    diversity,
    fid,
    kid,
    mm_dist,
    multimodality,
    r_precision,
)
from clutch_llm.evaluation.motion_errors import Motion, clip_errors, stack_samples

Samples = Sequence[Sequence[Motion]]
ERRORS = ("mpjpe_abs_mm", "mpjpe_root_mm", "jitter_mm_frame3")
_FIGURES = (
    *(f"r_precision_top{k}" for k in TOP_K),
    "r_precision_top3_std",
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
    return dict.fromkeys(_FIGURES)


def spread_out(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Unit vectors (N, E) scaled to a unit component on average.

    The scale that FID and KID's kernel are made for.
    """
    return embeddings.astype(np.float64) * np.sqrt(embeddings.shape[1])


def samples_row(
    evaluator: Evaluator,
    texts: NDArray[np.float32],
    truth: NDArray[np.float32] | None,
    samples: Samples,
    clips: Sequence[Clip] | None,
    *,
    group_size: int = GROUP_SIZE,
    groupings: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of one way to make motion.

    Args:
        evaluator: embeds the motions.
        texts: (N, E) embeddings of the captions.
        truth: (N, E) embeddings of the true motions for FID and KID; None leaves these out.
        samples: N lists of S motions each.
        clips: for the joint errors; None leaves these out.
        group_size: of R-precision.
        groupings: of R-precision.
        seed: of every random choice.

    Returns:
        One value per figure; None where it cannot be had.
    """
    count = min(len(s) for s in samples)
    if count == 0:
        raise ValueError("Expected at least one motion per caption, got none for some. Generate one for each clip.")
    flat = evaluator.embed_motions([s[k] for s in samples for k in range(count)])
    embedded = flat.reshape(len(samples), count, -1)
    found = [
        r_precision(texts, embedded[:, k], group_size=group_size, groupings=groupings, seed=seed + k)
        for k in range(count)
    ]
    row: dict[str, Any] = empty_row()
    for key in ("top1", "top2", "top3", "top3_std"):
        if found[0][key] is not None:
            row[f"r_precision_{key}"] = float(np.mean([f[key] for f in found]))
    row["mm_dist"] = float(np.mean([mm_dist(texts, embedded[:, k]) for k in range(count)]))
    row["diversity"] = float(np.mean([diversity(embedded[:, k], seed=seed) or 0.0 for k in range(count)]))
    row["multimodality"] = multimodality(list(embedded))
    if truth is not None:
        pooled = spread_out(embedded.transpose(1, 0, 2).reshape(len(samples) * count, -1))
        row["fid"] = fid(spread_out(truth), pooled)
        distance = kid(spread_out(truth), pooled, seed=seed)
        row["kid_mean"], row["kid_std"] = distance["mean"], distance["std"]
    if clips is not None:
        errors = stack_samples([clip_errors([s[k] for s in samples], clips, ERRORS) for k in range(count)])
        row |= {name: errors.mean(name) for name in ERRORS}
    return row


def _named(generated: Samples | Mapping[str, Samples]) -> dict[str, Samples]:
    return dict(generated) if isinstance(generated, Mapping) else {"generated": generated}


def evaluate_t2m(
    evaluator: Evaluator,
    clips: Sequence[Clip],
    generated: Samples | Mapping[str, Samples],
    reconstructions: Sequence[Motion] | None = None,
    *,
    pool_clips: Sequence[Clip] | None = None,
    texts: Sequence[str] | None = None,
    group_size: int = GROUP_SIZE,
    groupings: int = 20,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """All text-to-motion figures, per source.

    Args:
        evaluator: trained on the train split.
        clips: held-out clips.
        generated: per clip a list of motions (T, 198) for its caption; or several such, by name (one row
            each).
        reconstructions: the tokenizer's reconstruction of each clip.
        pool_clips: clips of another split; a random caption's motion is drawn among those of the same source
            (their FID and KID are then what true motion itself gets at this size: the floor). Drawn among
            ``clips`` where there are none.
        texts: the captions that were generated from; each clip's first where None.
        group_size: candidates of R-precision.
        groupings: shuffles of R-precision.
        seed: of every random choice.

    Returns:
        ``{source: {"clips", "seconds", "synthetic", "group_size", "groups", "overlap", "samples_per_caption",
        "rows": {row: {figure: value or None}}}}``. Distances are between unit vectors (0 to 2); FID and KID
        take them times sqrt(E).
    """
    arms = _named(generated)
    texts = list(texts) if texts is not None else [c["captions"][0] for c in clips]
    for name, many in {"texts": texts, **arms}.items():
        require_one_per_clip(name, many, clips)
    result: dict[str, dict[str, Any]] = {}
    options: dict[str, Any] = {"group_size": group_size, "groupings": groupings, "seed": seed}
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        said = evaluator.embed_texts([texts[i] for i in members])
        truth = evaluator.embed_motions([c["features"] for c in own])
        rows = {"truth": samples_row(evaluator, said, None, [[c["features"]] for c in own], own, **options)}
        rows["truth"] |= {"mpjpe_abs_mm": None, "mpjpe_root_mm": None}
        if reconstructions is not None:
            decoded = [[reconstructions[i]] for i in members]
            rows["reconstruction"] = samples_row(evaluator, said, truth, decoded, own, **options)
        for name, many in arms.items():
            rows[name] = samples_row(evaluator, said, truth, [many[i] for i in members], own, **options)
        pool = [c for c in pool_clips or [] if c["source"] == source]
        rows["random_caption"] = samples_row(
            evaluator, said, truth if pool else None, _random_motions(own, pool, seed), own, **options
        )
        chance = {f"r_precision_{key}": value for key, value in chance_r_precision(group_size).items()}
        rows["chance"] = empty_row() | chance
        layout = r_precision(said, truth, group_size=group_size, groupings=1, seed=seed)
        result[source] = head(own) | {key: layout[key] for key in ("group_size", "groups", "overlap")}
        result[source]["samples_per_caption"] = {
            name: min(len(many[i]) for i in members) for name, many in arms.items()
        }
        result[source]["rows"] = rows
    return result


def _random_motions(clips: Sequence[Clip], pool: Sequence[Clip], seed: int) -> list[list[Motion]]:
    """For each clip one true motion that another caption describes."""
    if not pool:
        return [[clips[j]["features"]] for j in other_indices(clips, seed=seed)]
    order = np.random.default_rng(seed).permutation(len(pool))
    picks = np.resize(order, len(clips))
    return [[pool[int(j)]["features"]] for j in picks]
