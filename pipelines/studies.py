"""The refinement sweep: what refinement's settings do. One MLflow run per setting."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from clutch_llm import Clutch, RefineConfig
from clutch_llm.evaluation import Evaluator, compare_refinement
from hiw_data import HiwStore
from kedro.pipeline import Pipeline, node

from pipelines.evaluation import Motions, Protocol, generate
from pipelines.llm import run_stage
from pipelines.processes import ALONE
from pipelines.tracking import log_summary, study_run


def sweep_refinement(
    store: HiwStore,
    tokens: dict[str, np.ndarray],
    clutch: Clutch,
    evaluator: Evaluator,
    config: RefineConfig,
    grid: dict[str, list[float]],
    protocol: Protocol,
    checkpoints: str,
) -> list[dict[str, Any]]:
    """Refine once for each point of the grid and once with cross-entropy alone; compare each with the latter."""
    clips = protocol.clips(store)

    def motions(arm: RefineConfig, name: str) -> Motions:
        model, _ = run_stage(clutch, store, tokens, arm, f"{checkpoints}/sweep/{name}")
        return generate(model, clips, protocol)

    with study_run("control", {"control": True, "steps": config.steps}, "refinement_sweep"):
        control = motions(replace(config, control=True), "control")
    rows = []
    for values in itertools.product(*grid.values()):
        point: dict[str, Any] = dict(zip(grid, values, strict=True))
        name = " ".join(f"{key}={value:g}" for key, value in point.items())
        with study_run(name, {**point, "steps": config.steps}, "refinement_sweep"):
            refined = motions(replace(config, **point), name.replace(" ", "_"))
            figures = compare_refinement(
                evaluator,
                clips,
                control,
                refined,
                texts=[c["captions"][-1] for c in clips],
                seed=protocol.seed,
            )
            log_summary(figures)
        rows.append({**point, "figures": figures})
    return rows


def create_refinement_sweep() -> Pipeline:
    """`clutch_pretrained` x grid -> `refinement_sweep`; compare its runs in the MLflow UI."""
    inputs = [
        "hiw_store",
        "tokens",
        "clutch_pretrained",
        "evaluator",
        "params:refinement_sweep.refine",
        "params:refinement_sweep.grid",
        "params:evaluation.protocol",
        "params:checkpoints",
    ]
    return Pipeline([node(sweep_refinement, inputs, "refinement_sweep")], tags=["stage.refinement_sweep", ALONE])
