"""Baselines against each other and against our own model: trained alike, drawn alike, measured by the same library."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from clutch_llm import Clutch, ClutchConfig, PretrainConfig
from clutch_llm.evaluation import (
    Evaluator,
    Judge,
    evaluate_m2t,
    evaluate_t2m,
    judge_motions,
    measure_claims,
    measure_motions,
)
from hiw_data import HiwStore
from hiw_data.captioning import caption_claims
from shift_tokenizer import ShiftConfig, TokenizerTraining, find_device

from pipelines.baselines.language_model import generate_lengths
from pipelines.baselines.plan import BaselinesPlan, makers
from pipelines.baselines.results import Result, draw, run_baseline
from pipelines.baselines.table import table
from pipelines.evaluation import without_nan
from pipelines.protocol import Clips, Protocol, texts_of
from pipelines.tracking import git_revision, log_summary, study_run

logger = logging.getLogger(__name__)

OURS = "clutch"
"""The row of our own model as the other pipelines have trained it."""


def compare_baselines(
    store: HiwStore,
    evaluator: Evaluator,
    judge: Judge,
    plan: BaselinesPlan,
    tokenizer: ShiftConfig,
    training: TokenizerTraining,
    llm: ClutchConfig,
    pretrain: PretrainConfig,
    protocol: Protocol,
    checkpoints: str,
) -> dict[str, Any]:
    """Train every baseline with every seed and measure what they make of the test captions; and the table of that."""
    folder = Path(checkpoints) / "baselines"
    made = makers(plan, tokenizer, training, llm, pretrain, protocol, folder, store.data_hash)
    results: dict[str, dict[int, Result]] = {name: {} for name in plan.chosen}
    for seed in plan.seeds:
        for name in plan.chosen:
            logger.info("%s, seed %d", name.replace("_", " "), seed)
            about = {"baseline": name, "seed": seed, "minutes": plan.minutes}
            with study_run(f"{name}, seed {seed}", about, "baselines"):
                result = run_baseline(name, made[name], store, 60 * plan.minutes, seed, protocol, folder)
                log_summary(result.record)
            results[name][seed] = result
    clips = protocol.clips(store)
    ours = draw_ours(plan.model, clips, protocol)
    if ours is not None:
        results[OURS] = {0: ours}
    figures = measure(store, evaluator, judge, clips, results, protocol)
    study: dict[str, Any] = without_nan(
        {
            "data_hash": store.data_hash,
            "revision": git_revision(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
            "split": protocol.split,
            "samples": protocol.samples,
            "generation": protocol.generation,
            "minutes": plan.minutes,
            "seeds": plan.seeds,
            "measured_by": {
                "evaluator": {"seed": evaluator.seed, "data_hash": evaluator.data_hash},
                "judge": {"seed": judge.seed, "data_hash": judge.data_hash},
            },
            "records": {name: {str(seed): one.record for seed, one in own.items()} for name, own in results.items()},
            "figures": figures,
        }
    )
    study["table"] = table(study)
    for source, tables in study["table"].items():
        for row, cells in tables["motion"].items():
            log_summary({source: {row: {figure: cell["mean"] for figure, cell in cells.items()}}})
    return study


def draw_ours(model: str | None, clips: Clips, protocol: Protocol) -> Result | None:
    """What our own model makes of the same captions; None where there is none."""
    if model is None or not Path(model).is_dir():
        logger.info("There is no model at %s: the table has no row of it.", model)
        return None
    clutch = Clutch.from_pretrained(model, device=find_device())
    motions = draw(lambda *asked: generate_lengths(clutch, *asked), clips, protocol)
    features, valid = [clip["features"] for clip in clips], [clip["valid"] for clip in clips]
    captions = clutch.caption(features, valid, fps=clutch.fps, detailed=True)
    tokens = clutch.tokenizer.encode_list(features, valid)
    made = [motion.cpu().numpy() for motion in clutch.tokenizer.decode_list(tokens)]
    parameters = clutch.n_parameters + sum(p.numel() for p in clutch.tokenizer.parameters())
    return Result(motions, captions, made, {"parameters": parameters})


def measure(
    store: HiwStore,
    evaluator: Evaluator,
    judge: Judge,
    clips: Clips,
    results: Mapping[str, Mapping[int, Result]],
    protocol: Protocol,
) -> dict[str, Any]:
    """All figures of all results side by side, an arm "NAME/SEED" each, and "NAME reconstruction/SEED" of those with
    a tokenizer of their own.
    """
    arms, captions = {}, {}
    for name, own in results.items():
        for seed, one in own.items():
            arms[f"{name}/{seed}"] = one.motions
            if one.captions is not None:
                captions[f"{name}/{seed}"] = one.captions
            if one.reconstructions is not None:
                arms[f"{name} reconstruction/{seed}"] = [[motion] for motion in one.reconstructions]
    texts, seed = texts_of(clips), protocol.seed
    return {
        "text_to_motion": evaluate_t2m(
            evaluator, clips, arms, pool_clips=store.clips(split="val"), texts=texts, seed=seed
        ),
        "judge": judge_motions(judge, clips, arms, seed=seed),
        "claims": measure_claims(caption_claims, clips, arms, texts=texts, seed=seed),
        "motion": measure_motions(clips, arms, seed=seed),
        "motion_to_text": evaluate_m2t(evaluator, clips, captions, seed=seed),
    }
