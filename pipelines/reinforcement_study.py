"""What reinforcement with measured rewards teaches and what it games: arms of one budget, over several seeds.

All arms start from the same pretrained model: cross-entropy alone (the control), geometric refinement as published,
EgoLM's soft mixture, the regression of expected code vectors, and reinforcement; and the control again, of whose
motions the best of several by the captions' claims is kept. They are compared twice: after equal steps, and after as
many steps of each as take the processor time of refinement's.

Figures that the reward counts, claims, contacts and jitter, stand beside those that it does not, the evaluator's and
the judge's, on captions that no arm was trained on: what rises in the first alone is gamed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from clutch_llm import Clutch, RefineConfig, ReinforceConfig
from clutch_llm.evaluation import Evaluator, Judge, claim_reader, compare_arms, measure_claims, measure_motions
from clutch_llm.ranking import best_by_claims
from hiw_data import HiwStore
from kedro.pipeline import Pipeline, node

from pipelines.llm import StageConfig, Tokens
from pipelines.processes import ALONE
from pipelines.protocol import Clips, Motions, Protocol, texts_of
from pipelines.refinement_study import Runs, StudyPlan, paces_of
from pipelines.tracking import log_summary, study_run

CONTROL, REFINED, REINFORCED, BEST = "control", "refined", "reinforced", "best_of_n"
BUDGETS = ("equal_steps", "equal_time")

REWARDED = {"claims": "claims", "contact_across_f1": "contact F1 across", "jitter_mm_frame3": "jitter, mm/frame³"}
"""Figures that the reward counts, with their names on the page."""

UNREWARDED = {
    "r_precision_top3": "R-precision top 3",
    "kid_mean": "KID",
    "multimodality": "MultiModality",
    "judge_family": "judge: action",
    "judge_hand": "judge: hand",
    "mpjpe_abs_mm": "MPJPE, mm",
}
"""Figures that it does not count."""


@dataclass(frozen=True, kw_only=True)
class ReinforcementPlan(StudyPlan):
    """What is compared.

    Attributes:
        seeds, margins: as of `StudyPlan`.
        steps: optimizer steps of every arm where steps are equal, and of refinement where time is.
        best_of: motions of which one is kept.
    """

    section: ClassVar[str] = "reinforcement_study"
    steps: int
    best_of: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.best_of < 2:
            raise ValueError(
                f"Expected steps of at least 1 and best_of of at least 2, got {self.steps} and {self.best_of}. "
                f"Correct `{self.section}` in conf."
            )


def arms_of(refine: RefineConfig, reinforce: ReinforceConfig, steps: int) -> dict[str, StageConfig]:
    """The stage of each arm, of so many steps."""
    refine = replace(refine, steps=steps, control=False)
    return {
        CONTROL: replace(refine, control=True),
        REFINED: replace(refine, relaxation="gumbel"),
        "soft_mixture": replace(refine, relaxation="soft", temperature_start=1.0, temperature_end=1.0),
        "expected_codes": replace(refine, relaxation="expected"),
        REINFORCED: replace(reinforce, steps=steps),
    }


def study_reinforcement(
    store: HiwStore,
    tokens: Tokens,
    clutch: Clutch,
    evaluator: Evaluator,
    judge: Judge,
    refine: RefineConfig,
    reinforce: ReinforceConfig,
    plan: ReinforcementPlan,
    protocol: Protocol,
    checkpoints: str,
) -> dict[str, Any]:
    """Train every arm with every seed and budget, draw from it for held-out captions, and measure all alike."""
    runs = Runs(store, tokens, clutch, Path(checkpoints) / "reinforcement_study")
    arms = arms_of(refine, reinforce, plan.steps)
    paces = paces_of(runs, arms)
    steps = {
        "equal_steps": dict.fromkeys(arms, plan.steps),
        "equal_time": {arm: max(1, round(plan.steps * paces[REFINED] / paces[arm])) for arm in arms},
    }
    clips = protocol.clips(store)
    study: dict[str, Any] = {
        "split": protocol.split,
        "seeds": plan.seeds,
        "best_of": plan.best_of,
        "steps": steps,
        "processor_seconds_a_step": paces,
        "reward": dict(reinforce.reward),
    }
    for budget in BUDGETS:
        made: dict[str, list[Motions]] = defaultdict(list)
        for seed in plan.seeds:
            for arm, config in arms.items():
                stage = replace(config, steps=steps[budget][arm], seed=seed)
                about = {"arm": arm, "seed": seed, "steps": stage.steps, "budget": budget}
                with study_run(f"{arm}, seed {seed}, {budget}", about, "reinforcement_study"):
                    made[arm].append(runs.motions([stage], clips, protocol))
                if arm == CONTROL:
                    made[BEST].append(_best(runs, stage, clips, protocol, plan.best_of))
        study[budget] = _measure(evaluator, judge, clips, made, plan, protocol)
        log_summary({budget: study[budget]})
    return study


def _best(runs: Runs, stage: StageConfig, clips: Clips, protocol: Protocol, best_of: int) -> Motions:
    """For each motion that is asked for, the best of several by the claims of its caption."""
    drawn = runs.motions([stage], clips, replace(protocol, samples=protocol.samples * best_of))
    reader, texts = claim_reader(), texts_of(clips)
    chosen: Motions = []
    for clip, text, motions in zip(clips, texts, drawn, strict=True):
        stated = reader(text) if reader else []
        several: list[dict[str, Any]] = [{"features": motion, "fps": clip["fps"]} for motion in motions]
        groups = [several[k : k + best_of] for k in range(0, len(several), best_of)]
        chosen.append([best_by_claims(group, stated)["features"] for group in groups])
    return chosen


def _measure(
    evaluator: Evaluator,
    judge: Judge,
    clips: Clips,
    made: Mapping[str, list[Motions]],
    plan: ReinforcementPlan,
    protocol: Protocol,
) -> dict[str, dict[str, Any]]:
    """Per source ``compare_arms`` against the control, with each arm's claims and contacts in its row."""
    texts, reader = texts_of(clips), claim_reader()
    found = compare_arms(
        evaluator,
        clips,
        made,
        control=CONTROL,
        texts=texts,
        judge=judge,
        margins=plan.margins,
        seed=protocol.seed,
    )
    together = {arm: [[m for run in runs for m in run[i]] for i in range(len(clips))] for arm, runs in made.items()}
    claims = measure_claims(reader, clips, together, texts=texts, seed=protocol.seed) if reader else {}
    motion = measure_motions(clips, together, seed=protocol.seed)
    for source, figures in found.items():
        rows = figures["arms"]
        for name in ("truth", *rows):
            row = rows.setdefault(name, {})
            row |= motion[source]["rows"][name]
            if source in claims:
                row |= claims[source]["rows"][name] | claims[source]["by_second"][name]
    return found


def reinforcement_page(study: Mapping[str, Any]) -> str:
    """The study as a page of Markdown: for each budget and source every arm, what was rewarded first."""
    weights = ", ".join(f"{name} {weight:g}" for name, weight in study["reward"].items())
    seeds = len(study["seeds"])
    lines = [
        "# Reinforcement with measured rewards, against its rivals",
        "",
        f"{study['split'].capitalize()} split, {seeds} seeds. Reward: {weights}. *best of n* keeps the best of "
        f"{study['best_of']} motions of the control by its caption's claims. What rises among the rewarded figures "
        "alone is gamed.",
    ]
    for budget in BUDGETS:
        steps = ", ".join(f"{arm.replace('_', ' ')} {count}" for arm, count in study["steps"][budget].items())
        lines += ["", f"## {budget.replace('_', ' ').capitalize()}", "", f"Steps: {steps}."]
        for source, figures in study[budget].items():
            lines += ["", f"### {source}", "", *_rows(figures["arms"]), "", *_changes(figures["changes"])]
    return "\n".join(lines) + "\n"


def _rows(arms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    named = {f"{title} (rewarded)": key for key, title in REWARDED.items()} | {t: k for k, t in UNREWARDED.items()}
    rows = [["arm", *named], ["---", *["---:"] * len(named)]]
    rows += [[arm.replace("_", " "), *(_shown(row.get(key)) for key in named.values())] for arm, row in arms.items()]
    return [_line(row) for row in rows]


def _changes(changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Of every arm against the control, the changes whose intervals are to one side of zero."""
    lines = []
    for arm, measures in changes.items():
        clear = [
            f"{name.replace('_', ' ')} {_shown(found['change'], '{:+.3f}')} "
            f"({_shown(found['ci95_low'], '{:+.3f}')} to {_shown(found['ci95_high'], '{:+.3f}')})"
            for name, found in measures.items()
            if found["ci95_low"] is not None and (found["ci95_low"] > 0 or found["ci95_high"] < 0)
        ]
        lines.append(f"- {arm.replace('_', ' ')}, against the control: {'; '.join(clear) or 'no clear change'}.")
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(value: float | None, number: str = "{:.3f}") -> str:
    return "-" if value is None else number.format(value)


def create_reinforcement_study() -> Pipeline:
    """`clutch_pretrained` x arms x budgets x seeds -> `reinforcement_study`, and a page of it for reading."""
    inputs = [
        "hiw_store",
        "tokens",
        "clutch_pretrained",
        "evaluator",
        "judge",
        "params:refine",
        "params:reinforce",
        "params:reinforcement_study",
        "params:evaluation.protocol",
        "params:checkpoints",
    ]
    return Pipeline(
        [
            node(study_reinforcement, inputs, "reinforcement_study"),
            node(reinforcement_page, "reinforcement_study", "reinforcement_study_page"),
        ],
        tags=["stage.reinforcement_study", ALONE],
    )
