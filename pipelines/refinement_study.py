"""Does geometric refinement help in what ships: arms after refinement and after instruction tuning, over several seeds.

All arms start from the same pretrained model. `control` is refinement with no weight on motion and no change else, for
as many steps; `control_equal_time` for as long as refinement takes, by processor time. Each goes on through instruction
tuning. After it the control is also drawn at the temperature at which it is as varied as the refined model, chosen on
the val split. Intervals are over clips and seeds; "no worse" is by margins that stand in the configuration.

Every model and every set of motions that is done is kept by what it is made of, so that a study that was stopped goes
on where it was.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import clutch_llm
import numpy as np
from clutch_llm import Clutch, InstructConfig, RefineConfig, train_stage
from clutch_llm.atomic import write_beside
from clutch_llm.evaluation import Evaluator, Judge, claim_reader, compare_arms
from clutch_llm.training_state import fingerprint
from hand_geometry import features_to_joints
from hiw_data import HiwStore
from kedro.pipeline import Pipeline, node

from pipelines.evaluation import same_variety
from pipelines.llm import StageConfig, Tokens, run_stage
from pipelines.parameters import check_seeds
from pipelines.processes import ALONE
from pipelines.protocol import Clips, Motions, Protocol, generate, texts_of
from pipelines.tokenizer import TokenizedClips
from pipelines.tracking import log_summary, study_run

#: Steps of each arm that are timed, at most, and how often in turns: enough for a mean within a few percent.
_TIMED_STEPS, _ROUNDS = 24, 2

REFINED = "refined"
CONTROLS = ("control", "control_equal_time")
SAME_VARIETY = "control_same_multimodality"
STAGES = ("after_refinement", "after_instruction")


@dataclass(frozen=True)
class StudyPlan:
    """What is compared.

    Attributes:
        seeds: every arm is trained once with each.
        margins: by measure, how much worse than its control an arm may be and count as no worse, see
            `clutch_llm.evaluation.comparison.MARGINS`; measures that are not named keep theirs.
    """

    section: ClassVar[str] = "refinement_study"
    seeds: list[int]
    margins: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_seeds(self.seeds, self.section)
        if any(not margin >= 0 for margin in self.margins.values()):
            raise ValueError(
                f"Expected margins of at least 0, got {self.margins}. Correct `{self.section}.margins` in conf."
            )


class Runs:
    """Models by the stages that they went through, each trained once and kept.

    Args:
        store: the data.
        tokens: of every clip.
        start: the model that all runs start from.
        folder: where models and motions are kept.
    """

    def __init__(self, store: HiwStore, tokens: Tokens, start: Clutch, folder: Path) -> None:
        self.store, self.tokens, self.start, self.folder = store, tokens, start, folder

    def mark(self, stages: Sequence[StageConfig], *more: Any) -> str:
        """What a run is known by: all that it is made of."""
        made_of = [
            *(fingerprint(self.start.model, (), stage) for stage in stages),
            self.store.data_hash,
            clutch_llm.__version__,
            *more,
        ]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    def model(self, stages: Sequence[StageConfig]) -> Clutch:
        """The model after these stages."""
        if not stages:
            return self.start
        kept = self.folder / self.mark(stages)
        if not kept.is_dir():
            before = self.model(stages[:-1])
            trained, _ = run_stage(before, self.store, self.tokens, stages[-1], f"{kept}-state")
            trained.save_pretrained(kept)
        return Clutch.from_pretrained(kept, device=self.start.model.device)

    def motions(
        self, stages: Sequence[StageConfig], clips: Clips, protocol: Protocol, temperature: float | None = None
    ) -> Motions:
        """What that model makes of the clips' captions, at the protocol's temperature or another."""
        names = [clip["clip_id"] for clip in clips]
        kept = self.folder / f"{self.mark(stages, asdict(protocol), temperature, names)}.npz"
        if not kept.is_file():
            motions = generate(self.model(stages), clips, protocol, temperature=temperature)
            arrays: dict[str, Any] = {str(k): np.stack(samples) for k, samples in enumerate(motions)}
            with write_beside(kept) as partial:
                np.savez(partial, **arrays)
        with np.load(kept, allow_pickle=False) as made:
            return [list(made[str(k)]) for k in range(len(clips))]

    def number(self, name: str, made_of: Sequence[Any], compute: Callable[[], Any]) -> Any:
        """A figure that is computed once."""
        kept = self.folder / f"{name}-{self.mark((), *made_of)}.json"
        if not kept.is_file():
            value = compute()
            with write_beside(kept) as partial:
                partial.write_text(json.dumps(value))
        return json.loads(kept.read_text())


def study_refinement(
    store: HiwStore,
    tokens: Tokens,
    clutch: Clutch,
    evaluator: Evaluator,
    judge: Judge,
    refine: RefineConfig,
    instruct: InstructConfig,
    plan: StudyPlan,
    protocol: Protocol,
    checkpoints: str,
) -> dict[str, Any]:
    """Train every arm with every seed, draw from it after either stage, and compare refinement with each control."""
    runs = Runs(store, tokens, clutch, Path(checkpoints) / "refinement_study")
    paces = paces_of(runs, {REFINED: replace(refine, control=False), "control": replace(refine, control=True)})
    steps = max(1, round(refine.steps * paces[REFINED] / paces["control"]))
    arms = {
        REFINED: replace(refine, control=False),
        "control": replace(refine, control=True),
        "control_equal_time": replace(refine, control=True, steps=steps),
    }
    clips = protocol.clips(store)
    made: dict[str, dict[str, list[Motions]]] = {stage: defaultdict(list) for stage in STAGES}
    temperatures = []
    for seed in plan.seeds:
        paths = {}
        for arm, config in arms.items():
            path = (replace(config, seed=seed), replace(instruct, seed=seed, control=config.control))
            about = {"arm": arm, "seed": seed, "steps": config.steps}
            with study_run(f"{arm}, seed {seed}", about, "refinement_study"):
                for stage, stages in zip(STAGES, (path[:1], path), strict=True):
                    made[stage][arm].append(runs.motions(stages, clips, protocol))
            paths[arm] = path
        temperature = protocol.temperature
        if protocol.samples > 1:
            temperature = _same_variety(runs, paths["control"], paths[REFINED], evaluator, protocol)
        temperatures.append(temperature)
        varied = runs.motions(paths["control"], clips, protocol, temperature)
        made["after_instruction"][SAME_VARIETY].append(varied)
    options: dict[str, Any] = {"texts": texts_of(clips), "judge": judge, "margins": plan.margins}
    study: dict[str, Any] = {
        "split": protocol.split,
        "seeds": plan.seeds,
        "steps": {arm: config.steps for arm, config in arms.items()},
        "processor_seconds_a_step": paces,
        "temperatures": {"protocol": protocol.temperature, SAME_VARIETY: temperatures},
    }
    for stage in STAGES:
        own = made[stage]
        study[stage] = {
            control: compare_arms(
                evaluator,
                clips,
                {control: own[control], REFINED: own[REFINED]},
                control=control,
                seed=protocol.seed,
                **options,
            )
            for control in own
            if control != REFINED
        }
        log_summary({stage: study[stage]})
    return study


def _same_variety(
    runs: Runs,
    control: Sequence[StageConfig],
    refined: Sequence[StageConfig],
    evaluator: Evaluator,
    protocol: Protocol,
) -> float:
    """The temperature at which the control is as varied as the refined model, on the val split."""
    made_of = [runs.mark(control), runs.mark(refined), asdict(protocol)]
    return float(
        runs.number(
            "temperature",
            made_of,
            lambda: same_variety(runs.store, runs.model(control), runs.model(refined), evaluator, protocol),
        )
    )


def paces_of(runs: Runs, arms: Mapping[str, StageConfig]) -> dict[str, float]:
    """Mean processor seconds of one step of each arm, timed in turns."""

    def timed() -> dict[str, float]:
        examples = TokenizedClips(runs.store, "train", runs.tokens)
        taken: dict[str, list[float]] = defaultdict(list)
        for _ in range(_ROUNDS):
            for arm, config in arms.items():
                taken[arm] += _step_seconds(runs.start, examples, config)
        return {arm: statistics.fmean(seconds) for arm, seconds in taken.items()}

    found: dict[str, float] = runs.number("paces", [runs.mark(list(arms.values()))], timed)
    return found


def _step_seconds(clutch: Clutch, examples: TokenizedClips, config: StageConfig) -> list[float]:
    """Processor seconds of a few steps, the first left out."""
    stamps: list[float] = []
    short = replace(config, steps=min(_TIMED_STEPS, config.steps) + 1, log_every=1)
    train_stage(
        clutch,
        examples,
        short,
        joints_fn=features_to_joints,
        claim_reader=claim_reader(),
        on_log=lambda *_: stamps.append(time.process_time()),
    )
    return [last - first for first, last in pairwise(stamps)]


def refinement_page(study: Mapping[str, Any]) -> str:
    """The study as a page of Markdown: for each stage, source and control, what refinement changed."""
    lines = [
        "# Refinement against its controls",
        "",
        f"{study['split'].capitalize()} split, {len(study['seeds'])} seeds; change with its 95% interval over clips "
        "and seeds. Joint errors and jitter are fractions of the control's figure, the rest differences. *No worse* "
        "is by the margin beside it, set before.",
        "",
        "Steps: " + ", ".join(f"{arm.replace('_', ' ')} {steps}" for arm, steps in study["steps"].items()) + ".",
    ]
    for stage in STAGES:
        for control, sources in study[stage].items():
            for source, figures in sources.items():
                lines += ["", f"## {stage.replace('_', ' ').capitalize()}, {source}: refined against {control}", ""]
                lines += _table(figures, control)
    return "\n".join(lines) + "\n"


def _table(figures: Mapping[str, Any], control: str) -> list[str]:
    head = ["measure", "change", "95% interval", "margin", "no worse"]
    rows = ["| " + " | ".join(head) + " |", "|---|---:|---:|---:|---|"]
    for measure, found in figures["changes"][REFINED].items():
        number = "{:+.1%}" if measure in ("mpjpe_abs", "mpjpe_root", "jitter") else "{:+.3f}"
        change, low, high = (_shown(found[key], number) for key in ("change", "ci95_low", "ci95_high"))
        margin = _shown(found["margin"], number.replace("+", ""))
        verdict = {True: "yes", False: "not shown", None: "-"}[found["no_worse"]]
        rows.append(f"| {measure.replace('_', ' ')} | {change} | {low} to {high} | {margin} | {verdict} |")
    return rows


def _shown(value: float | None, number: str) -> str:
    return "-" if value is None else number.format(value)


def create_refinement_study() -> Pipeline:
    """`clutch_pretrained` x arms x seeds -> `refinement_study`, and `refinement_study_page` for reading."""
    inputs = [
        "hiw_store",
        "tokens",
        "clutch_pretrained",
        "evaluator",
        "judge",
        "params:refine",
        "params:instruct",
        "params:refinement_study",
        "params:evaluation.protocol",
        "params:checkpoints",
    ]
    return Pipeline(
        [
            node(study_refinement, inputs, "refinement_study"),
            node(refinement_page, "refinement_study", "refinement_study_page"),
        ],
        tags=["stage.refinement_study", ALONE],
    )
