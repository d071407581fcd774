"""The ablation: what each part of the tokenizer is worth, as published and at equal bits, over several seeds.

An arm is a recipe (losses and sizes) with changes of its own to the model. All arms take the same steps; those of
`equal_time` are trained once more for as long as their reference takes, by processor time, which neighbours on a busy
machine disturb less than the clock: a few steps of all arms are timed in turns first.
Every run that is done is kept by what it is made of, and so are the times, so that a study that was stopped goes on at
the run it was at.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import shift_tokenizer
import torch
from clutch_llm.atomic import write_beside
from clutch_llm.evaluation import evaluate_tokenizer
from hand_geometry import features_to_joints
from hiw_data import HiwStore
from kedro.pipeline import Pipeline, node
from shift_tokenizer import ShiftConfig, ShiftTokenizer, TokenizerTraining, codebook_usage, train_tokenizer

from pipelines.parameters import check_seeds
from pipelines.processes import ALONE
from pipelines.tokenizer import train
from pipelines.tracking import log_summary, study_run

_ROUNDS, _TIMED_STEPS = 2, 8
MEASURES = ("mpjpe_root_mm", "mpjpe_abs_mm", "pa_mpjpe_mm")
BASELINES = ("mean_pose", "static_pose")


@dataclass(frozen=True)
class AblationPlan:
    """What is compared with what.

    Attributes:
        steps: of training, the same for all arms.
        seeds: every arm is trained once with each.
        recipes: by name, changes to `model` (ShiftConfig) and `training` (TokenizerTraining).
        arms: by name, the `recipe` and further changes to the model.
        equal_time: comparisons, each a `reference` arm and the `arms` that are trained again for as long as it took.
        only: the arms to run; null for all.
    """

    steps: int
    seeds: list[int]
    recipes: dict[str, Any]
    arms: dict[str, Any]
    equal_time: list[Any] = field(default_factory=list)
    only: list[str] | None = None

    def __post_init__(self) -> None:
        named = [*(self.only or ()), *(n for c in self.equal_time for n in (c["reference"], *c["arms"]))]
        unknown = sorted(set(named) - set(self.arms))
        unknown += sorted({arm["recipe"] for arm in self.arms.values()} - set(self.recipes))
        check_seeds(self.seeds, "ablation")
        if unknown:
            raise ValueError(
                f"Expected arms among {', '.join(self.arms)} and recipes among {', '.join(self.recipes)}; got "
                f"{', '.join(unknown)}. Correct `ablation` in conf."
            )

    @property
    def chosen(self) -> list[str]:
        """The arms to run, in their order."""
        return [name for name in self.arms if self.only is None or name in self.only]

    def settings(
        self, arm: str, model: ShiftConfig, training: TokenizerTraining
    ) -> tuple[ShiftConfig, TokenizerTraining]:
        """The configuration of an arm, given the one of the demo."""
        changes = dict(self.arms[arm])
        recipe = self.recipes[changes.pop("recipe")] or {}
        return (
            ShiftConfig.from_dict({**model.to_dict(), **recipe.get("model", {}), **changes}),
            TokenizerTraining.from_dict({**training.to_dict(), **recipe.get("training", {}), "steps": self.steps}),
        )


def ablate_tokenizer(
    store: HiwStore, config: ShiftConfig, training: TokenizerTraining, plan: AblationPlan, checkpoints: str
) -> dict[str, Any]:
    """Train every arm with every seed and measure it on the test split: rows, and their table over the seeds."""
    folder = Path(checkpoints) / "ablation"
    made = {arm: plan.settings(arm, config, training) for arm in plan.chosen}
    paces = _paces(store, made, folder)
    planned = [(arm, arm, plan.steps) for arm in made]
    for comparison in plan.equal_time:
        reference = comparison["reference"]
        for arm in comparison["arms"]:
            if arm in made and reference in made:
                steps = max(1, round(plan.steps * paces[reference] / paces[arm]))
                planned.append((f"{arm} in the time of {reference}", arm, steps))
    rows = []
    for seed in plan.seeds:
        for name, arm, steps in planned:
            model, settings = made[arm]
            row = _run(store, name, model, replace(settings, seed=seed, steps=steps), folder)
            rows.append(row | {"processor_seconds": paces[arm] * steps})
    return {"rows": rows, "table": table(rows), "baselines": _baselines(rows)}


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread (standard deviation; none for one seed) over the seeds, an entry for each arm and source.

    `codes_in_use` is over the clips that were learnt from.
    """
    entries = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        for source in own[0]["figures"]:
            entry: dict[str, Any] = {"arm": arm, "source": source, "seeds": len(own)}
            made = [row["figures"][source]["rows"]["reconstruction"] for row in own]
            measured = {name: [m[name] for m in made if m.get(name) is not None] for name in MEASURES}
            measured |= {name: [row[name] for row in own] for name in ("codes_in_use", "processor_seconds", "steps")}
            for name, values in measured.items():
                spread = statistics.stdev(values) if len(values) > 1 else None
                entry[name] = {"mean": statistics.fmean(values) if values else None, "spread": spread}
            entries.append(entry | {key: own[0][key] for key in ("tokens_per_second", "bits_per_second", "parameters")})
    return entries


def as_markdown(study: Mapping[str, Any]) -> str:
    """The table as a page of Markdown: a section for each source, an arm a row, errors as mean ± spread."""
    lines = ["# Ablation of the tokenizer", "", "Test split; mean ± standard deviation over the seeds. Errors in mm."]
    heads = ["arm", "root-aligned", "absolute", "PA", "tokens/s", "bits/s", "steps", "processor s", "codes in use"]
    for source, baselines in study["baselines"].items():
        lines += ["", f"## {source}", "", "| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
        for name, figures in baselines.items():
            errors = " | ".join(f"{figures[measure]:.1f}" for measure in MEASURES)
            lines.append(f"| *{name.replace('_', ' ')}* | {errors} |" + " |" * (len(heads) - 4))
        for entry in study["table"]:
            if entry["source"] == source:
                cells = [entry["arm"].replace("_", " "), *(_spread(entry[measure]) for measure in MEASURES)]
                cells += [f"{entry['tokens_per_second']:.0f}", f"{entry['bits_per_second']:.0f}"]
                cells += [f"{entry[name]['mean']:.0f}" for name in ("steps", "processor_seconds")]
                lines.append("| " + " | ".join([*cells, f"{entry['codes_in_use']['mean']:.0%}"]) + " |")
    return "\n".join(lines) + "\n"


def _spread(value: Mapping[str, float | None]) -> str:
    mean, spread = value["mean"], value["spread"]
    return "-" if mean is None else f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def _paces(
    store: HiwStore, arms: Mapping[str, tuple[ShiftConfig, TokenizerTraining]], folder: Path
) -> dict[str, float]:
    """Processor seconds of one training step of each arm, those not known yet timed in turns."""
    files = {arm: folder / f"pace-{_mark(store, model, training)}.json" for arm, (model, training) in arms.items()}
    taken: dict[str, list[float]] = {arm: [] for arm, path in files.items() if not path.is_file()}
    clips = store.clips(split="train") if taken else []
    for _ in range(_ROUNDS):
        for arm, seconds in taken.items():
            seconds += _step_seconds(clips, *arms[arm])
    for arm, seconds in taken.items():
        _keep(files[arm], statistics.median(seconds))
    return {arm: float(json.loads(path.read_text())) for arm, path in files.items()}


def _step_seconds(clips: list[Any], model: ShiftConfig, training: TokenizerTraining) -> list[float]:
    """Processor seconds of a few steps, the first left out."""
    stamps: list[float] = []
    short = replace(training, steps=_TIMED_STEPS + 1, log_every=1)
    train_tokenizer(
        clips, model, short, joints_fn=features_to_joints, on_log=lambda *_: stamps.append(time.process_time())
    )
    return [last - first for first, last in pairwise(stamps)]


def _run(store: HiwStore, name: str, model: ShiftConfig, training: TokenizerTraining, folder: Path) -> dict[str, Any]:
    """One training with its figures, or those that are kept from before."""
    mark = _mark(store, model, training)
    kept, about = folder / f"{mark}.json", {"arm": name, "seed": training.seed}
    if kept.is_file():
        done: dict[str, Any] = json.loads(kept.read_text())
        return about | done
    params = {**model.to_dict(), "steps": training.steps, "seed": training.seed}
    with study_run(f"{name}, seed {training.seed}", params, "ablation"):
        tokenizer, _ = train(store, model, training, str(folder / mark))
        clips, learnt = store.clips(split="test"), store.clips(split="train")
        motions = tokenizer.decode_list(_tokens(tokenizer, clips))
        figures = evaluate_tokenizer(clips, [np.asarray(m.cpu()) for m in motions], learnt)
        log_summary(figures)
    rate = model.n_slots * store.fps / model.frames_per_latent
    valid = [torch.from_numpy(clip["valid"]) for clip in learnt]
    usage = codebook_usage(_tokens(tokenizer, learnt), model, valid=valid)
    row = {
        "steps": training.steps,
        "tokens_per_second": rate,
        "bits_per_second": rate * float(np.log2(model.codebook_size)),
        "parameters": sum(p.numel() for p in tokenizer.parameters()),
        "codes_in_use": statistics.fmean(u.in_use for u in usage),
        "figures": figures,
        "model": model.to_dict(),
        "training": training.to_dict(),
    }
    _keep(kept, row)
    return about | row


def _tokens(tokenizer: ShiftTokenizer, clips: Sequence[Mapping[str, Any]]) -> list[torch.Tensor]:
    """Tokens of each clip; what stands where a hand is not seen changes nothing."""
    return tokenizer.encode_list([clip["features"] for clip in clips], [clip["valid"] for clip in clips])


def _mark(store: HiwStore, model: ShiftConfig, training: TokenizerTraining) -> str:
    """What a run is known by: all that it is made of."""
    made_of = {
        "model": model.to_dict(),
        "training": training.to_dict(),
        "data": store.data_hash,
        "version": shift_tokenizer.__version__,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _keep(path: Path, value: Any) -> None:
    with write_beside(path) as partial:
        partial.write_text(json.dumps(value))


def _baselines(rows: Any) -> dict[str, Any]:
    """Figures that need no tokenizer, by source: the same for all arms."""
    first = next(iter(rows))
    return {s: {name: f["rows"][name] for name in BASELINES} for s, f in first["figures"].items()}


def create_ablation() -> Pipeline:
    """`hiw_store` x arms x seeds -> `ablation`, and `ablation_table` for reading."""
    inputs = [
        "hiw_store",
        "params:tokenizer.model",
        "params:tokenizer.training",
        "params:ablation",
        "params:checkpoints",
    ]
    return Pipeline(
        [node(ablate_tokenizer, inputs, "ablation"), node(as_markdown, "ablation", "ablation_table")],
        tags=["stage.ablation", ALONE],
    )
