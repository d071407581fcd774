"""The refinement sweep: what refinement's settings do, on the val split. One MLflow run per setting."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from clutch_llm import Clutch, RefineConfig
from clutch_llm.evaluation import Evaluator, compare_refinement
from hiw_data import HiwStore
from kedro.pipeline import Pipeline, node

from pipelines.llm import Tokens, run_stage
from pipelines.processes import ALONE
from pipelines.protocol import Motions, Protocol, generate
from pipelines.tracking import log_summary, study_run

#: What is chosen is chosen here; the test split is for what was chosen.
SWEPT_SPLIT = "val"


@dataclass(frozen=True)
class SweepPlan:
    """What is tried: all else is as in the stage `refine`.

    Attributes:
        steps: of every run, since a trend shows before the end.
        grid: by setting of `RefineConfig`, the values to try; all combinations are.
    """

    steps: int
    grid: dict[str, list[float]]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.grid) - set(RefineConfig.__dataclass_fields__))
        if unknown or not all(self.grid.values()):
            raise ValueError(
                f"Expected settings of refinement with values to try, got {', '.join(unknown) or self.grid}. "
                "Correct `refinement_sweep.grid` in conf."
            )


def sweep_refinement(
    store: HiwStore,
    tokens: Tokens,
    clutch: Clutch,
    evaluator: Evaluator,
    config: RefineConfig,
    plan: SweepPlan,
    protocol: Protocol,
    checkpoints: str,
) -> list[dict[str, Any]]:
    """Refine once for each point of the grid and once with cross-entropy alone; compare each with the latter."""
    config = replace(config, steps=plan.steps, control=False)
    protocol = replace(protocol, split=SWEPT_SPLIT)
    clips = protocol.clips(store)

    def motions(arm: RefineConfig, name: str) -> Motions:
        model, _ = run_stage(clutch, store, tokens, arm, f"{checkpoints}/sweep/{name}")
        return generate(model, clips, protocol)

    with study_run("control", {"control": True, "steps": config.steps}, "refinement_sweep"):
        control = motions(replace(config, control=True), "control")
    rows = []
    for values in itertools.product(*plan.grid.values()):
        point: dict[str, Any] = dict(zip(plan.grid, values, strict=True))
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
        rows.append({**point, "split": protocol.split, "figures": figures})
    return rows


def create_refinement_sweep() -> Pipeline:
    """`clutch_pretrained` x grid -> `refinement_sweep`; compare its runs in the MLflow UI."""
    inputs = [
        "hiw_store",
        "tokens",
        "clutch_pretrained",
        "evaluator",
        "params:refine",
        "params:refinement_sweep",
        "params:evaluation.protocol",
        "params:checkpoints",
    ]
    return Pipeline([node(sweep_refinement, inputs, "refinement_sweep")], tags=["stage.refinement_sweep", ALONE])
