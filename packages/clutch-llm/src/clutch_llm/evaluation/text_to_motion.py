"""Text to motion: does it say what the caption says, look like true motion, come near the true one.

Every source has rows: truth, the tokenizer's reconstruction (the ceiling of anything that speaks its tokens),
each generation, a random caption's motion (true motion that answers another caption: perfect to look at,
wrong in what it says) and chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clutch_llm.evaluation.arms import Arm, RowOptions, Samples, arm_row, embed_arm, empty_row
from clutch_llm.evaluation.evaluator import Evaluator
from clutch_llm.evaluation.grouping import (
    Clip,
    arms_of,
    by_source,
    checked_arms,
    head,
    other_indices,
    parts,
    texts_of,
)
from clutch_llm.evaluation.metrics import GROUP_SIZE, TOP_K, chance_r_precision
from clutch_llm.evaluation.motion_errors import Motion, joint_tensors
from clutch_llm.evaluation.unseen import filled

Texts = Sequence[str]


def evaluate_t2m(
    evaluator: Evaluator,
    clips: Sequence[Clip],
    generated: Samples | Mapping[str, Samples],
    reconstructions: Sequence[Motion] | None = None,
    *,
    pool_clips: Sequence[Clip] | None = None,
    texts: Texts | Mapping[str, Texts] | None = None,
    split_by: Sequence[str] = (),
    group_size: int = GROUP_SIZE,
    groupings: int = 20,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """All text-to-motion figures, per source.

    Args:
        evaluator: trained on the train split.
        clips: held-out clips.
        generated: per clip a list of motions (T, 198) for its caption; or several such, by name (one row
            each). An arm without any motion of a source is left out there.
        reconstructions: the tokenizer's reconstruction of each clip.
        pool_clips: clips of another split; a random caption's motion is drawn among those of the same source
            (their FID and KID are then what true motion itself gets at this size: the floor). Drawn among
            ``clips`` where there are none.
        texts: the captions that were generated from; by arm where they differ (``texts_of``): an arm is measured
            against what it was asked. Each clip's first where None.
        split_by: names of boolean attributes: the same rows again for the clips that have it and those that do not.
        group_size: candidates of R-precision.
        groupings: shuffles of R-precision.
        seed: of every random choice.

    Returns:
        ``{source: {"clips", "seconds", "synthetic", "group_size", "groups", "overlap", "samples_per_caption",
        "compared", "rows": {row: {figure: value or None}}, "parts": {attribute: {"true" | "false": {"clips",
        "rows"}}}}}``. Distances are between unit vectors (0 to 2); FID and KID take them times sqrt(E), of
        ``compared`` motions of every arm against as many true ones.
    """
    arms = checked_arms(generated, reconstructions, clips)
    asked = texts_of(texts, list(arms), clips)
    options = RowOptions(group_size, groupings, seed)
    result: dict[str, dict[str, Any]] = {}
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        said = [asked[""][i] for i in members]
        pool = [c for c in pool_clips or [] if c["source"] == source]
        mean = evaluator.mean.cpu().numpy()
        true_motions = filled(own, mean)
        true_joints = joint_tensors([c["features"] for c in own])
        compared = [int(i) for i in np.random.default_rng(seed).permutation(len(own))[: len(pool) or None]]
        true_arm = embed_arm(evaluator, said, [[m] for m in true_motions], own, truth=true_joints)
        truth = true_arm.made[:, 0]
        made: dict[str, Arm] = {"truth": _without_error(true_arm)}
        if reconstructions is not None:
            decoded = [[reconstructions[i]] for i in members]
            made["reconstruction"] = embed_arm(evaluator, said, decoded, own, truth=true_joints)
        here = arms_of(arms, members)
        for name, many in here.items():
            own_texts = [asked[name][i] for i in members]
            made[name] = embed_arm(evaluator, own_texts, many, own, name=name, truth=true_joints)
        others = random_clips(own, pool, compared, seed)
        made["random_caption"] = embed_arm(
            evaluator,
            said,
            [[m] for m in filled(others, mean)],
            own,
            truth=true_joints,
            seen=[c["valid"] for c in others],
        )

        def rows(
            within: Sequence[int],
            made: dict[str, Arm] = made,
            truth: Any = truth,
            compared: Any = compared,
            pooled: bool = bool(pool),
        ) -> dict[str, Any]:
            kept = [i for i in compared if i in set(within)]
            found = {}
            for name, arm in made.items():
                against = None if name == "truth" or (name == "random_caption" and not pooled) else truth
                found[name] = arm_row(arm, against, options, members=within, compared=kept)
            chance = {f"r_precision_{key}": value for key, value in chance_r_precision(group_size).items()}
            chance |= {f"r_precision_full_top{k}": min(1.0, k / len(within)) for k in TOP_K}
            return found | {"chance": empty_row() | chance}

        groups = len(own) // group_size
        result[source] = head(own) | {
            "group_size": group_size,
            "groups": groups,
            "overlap": groups == 1 and len(own) > group_size,
            "compared": len(compared),
            "samples_per_caption": {name: made[name].samples for name in here},
            "rows": rows(range(len(own))),
            "parts": {
                attribute: {label: {"clips": len(w), "rows": rows(w)} for label, w in split.items()}
                for attribute, split in parts(own, split_by).items()
            },
        }
    return result


def _without_error(arm: Arm) -> Arm:
    """The truth has no error against itself that would be worth a figure; its jitter is one."""
    assert arm.errors is not None
    return Arm(arm.said, arm.made, arm.errors.only("jitter_mm_frame3"))


def random_clips(clips: Sequence[Clip], pool: Sequence[Clip], first: Sequence[int], seed: int) -> list[Clip]:
    """For each clip another one, whose true motion another caption describes.

    Args:
        clips: of one source.
        pool: clips of another split and the same source; none: another of ``clips``, whose captions differ.
        first: the clips that get motions of the pool before any is used twice.
        seed: of the choice.
    """
    if not pool:
        return [clips[j] for j in other_indices(clips, seed=seed)]
    order = np.random.default_rng(seed).permutation(len(pool))
    turn = [*first, *sorted(set(range(len(clips))) - set(first))]
    picks = dict(zip(turn, np.resize(order, len(clips)), strict=True))
    return [pool[int(picks[i])] for i in range(len(clips))]
