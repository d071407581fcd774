"""Refinement's studies: which model, settings, seed and split make which motions, with stand-ins for the work."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import InstructConfig, RefineConfig

from pipelines import refinement_study, studies
from pipelines.protocol import Protocol
from pipelines.refinement_study import StudyPlan, refinement_page, study_refinement
from pipelines.studies import SweepPlan, sweep_refinement

REFINE = RefineConfig(steps=100, seed=9, alpha=0.5, lam=3.0, source_temperature=1.5, source_weights={"made": 0.7})
INSTRUCT = InstructConfig(steps=40, seed=9)
PROTOCOL = Protocol(samples=2, temperature=0.7, seed=5)


class Store:
    """Three clips of each split."""

    data_hash, fps = "abc", 15.0

    def clips(self, split: str) -> list[dict[str, Any]]:
        return [
            {"clip_id": f"{split}/{n}", "source": "made", "captions": ["a hand", f"a hand {n}"], "attributes": {},
             "fps": 15.0, "features": np.zeros((8, 198), np.float32), "valid": np.ones((8, 2), bool)}
            for n in range(3)
        ]  # fmt: skip


class Model:
    """Remembers the stages it went through, and keeps them in a folder."""

    def __init__(self, stages: tuple[Any, ...] = ()) -> None:
        self.stages = stages
        self.model = SimpleNamespace(device=torch.device("cpu"), state_dict=lambda: {"w": torch.ones(1)})

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        KEPT[folder] = self.stages

    @staticmethod
    def from_pretrained(folder: Path, device: Any = None) -> "Model":
        return Model(KEPT[folder])


KEPT: dict[Path, tuple[Any, ...]] = {}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for training, generation and comparison, and remembers what was asked of them."""
    asked = SimpleNamespace(trained=[], drawn=[], compared=[], varied=[])

    def run_stage(model: Model, store: Store, tokens: Any, config: Any, folder: str) -> tuple[Model, list]:
        asked.trained.append((model.stages, config))
        return Model((*model.stages, config)), []

    def generate(model: Model, clips: list, protocol: Protocol, *, temperature: float | None = None) -> list:
        asked.drawn.append((model.stages, [c["clip_id"] for c in clips], protocol, temperature))
        code = float(sum(s.steps + 1000 * s.seed for s in model.stages)) + 10_000 * isinstance(
            model.stages[-1], InstructConfig
        )
        value = code + 0.5 * any(getattr(s, "control", False) for s in model.stages)
        return [[np.full((8, 198), value + (temperature or 0.0) / 10, np.float64)] * 2 for _ in clips]

    def compare_arms(evaluator: Any, clips: list, arms: dict[str, list], *, control: str, **options: Any) -> dict:
        values = {name: [float(run[0][0][0, 0]) for run in runs] for name, runs in arms.items()}
        asked.compared.append((control, values, options, [c["clip_id"] for c in clips]))
        change = {"change": -0.1, "ci95_low": -0.2, "ci95_high": 0.02, "margin": 0.01, "no_worse": False}
        better = {"change": 0.05, "ci95_low": -0.01, "ci95_high": 0.1, "margin": 0.03, "no_worse": True}
        none = {"change": None, "ci95_low": None, "ci95_high": None, "margin": None, "no_worse": None}
        changes = {"mpjpe_abs": change, "r_precision_top3": better, "multimodality": none}
        return {"made": {"arms": {}, "changes": {"refined": changes}}}

    def same_variety(store: Any, control: Model, refined: Model, evaluator: Any, protocol: Protocol) -> float:
        asked.varied.append((control.stages, refined.stages))
        return 0.9

    for name, stand_in in (
        ("run_stage", run_stage),
        ("generate", generate),
        ("compare_arms", compare_arms),
        ("same_variety", same_variety),
        ("Clutch", Model),
    ):
        monkeypatch.setattr(refinement_study, name, stand_in)
    monkeypatch.setattr(refinement_study, "_step_seconds", lambda _, __, c: [0.1, 0.1] if c.control else [0.15, 0.15])
    monkeypatch.setattr(refinement_study, "TokenizedClips", lambda store, split, tokens: store.clips(split))
    return asked


def study(tmp_path: Path, plan: StudyPlan, protocol: Protocol = PROTOCOL) -> dict[str, Any]:
    arguments = (Store(), {}, Model(), "evaluator", "judge", REFINE, INSTRUCT, plan, protocol, str(tmp_path))
    return study_refinement(*arguments)


def test_every_arm_goes_from_one_start_through_both_stages_with_every_seed(work, tmp_path) -> None:
    result = study(tmp_path, StudyPlan(seeds=[0, 1]))
    expected = []
    for seed in (0, 1):
        for arm in (
            replace(REFINE, seed=seed),
            replace(REFINE, seed=seed, control=True),
            replace(REFINE, seed=seed, control=True, steps=150),  # a step of the control takes two thirds of the time
        ):
            tuned = replace(INSTRUCT, seed=seed, control=arm.control)  # a control has no loss in motion space at all
            expected += [((), arm), ((arm,), tuned)]
    assert work.trained == expected
    assert result["steps"] == {"refined": 100, "control": 100, "control_equal_time": 150}
    assert result["seeds"] == [0, 1]


def test_refinement_is_compared_with_each_control_seed_by_seed(work, tmp_path) -> None:
    plan = StudyPlan(seeds=[0, 1], margins={"kid": 0.004})
    result = study(tmp_path, plan)
    refined, control, timed = [100.0, 1100.0], [100.5, 1100.5], [150.5, 1150.5]
    tuned = [10_000.0 + v + 40 + 1000 * k for k, v in enumerate(refined)]
    tuned_control = [10_000.0 + v + 40 + 1000 * k for k, v in enumerate(control)]
    tuned_timed = [10_000.0 + v + 40 + 1000 * k for k, v in enumerate(timed)]
    varied = [v + 0.09 for v in tuned_control]
    assert [(c, v) for c, v, _, _ in work.compared] == [
        ("control", {"control": control, "refined": refined}),
        ("control_equal_time", {"control_equal_time": timed, "refined": refined}),
        ("control", {"control": tuned_control, "refined": tuned}),
        ("control_equal_time", {"control_equal_time": tuned_timed, "refined": tuned}),
        ("control_same_multimodality", {"control_same_multimodality": pytest.approx(varied), "refined": tuned}),
    ]
    for _, _, options, clips in work.compared:
        assert options == {
            "texts": ["a hand 0", "a hand 1", "a hand 2"],
            "judge": "judge",
            "margins": {"kid": 0.004},
            "seed": 5,
        }
        assert clips == ["test/0", "test/1", "test/2"]
    assert list(result["after_refinement"]) == ["control", "control_equal_time"]
    assert list(result["after_instruction"]) == ["control", "control_equal_time", "control_same_multimodality"]


def test_the_controls_temperature_is_found_for_the_models_that_ship(work, tmp_path) -> None:
    result = study(tmp_path, StudyPlan(seeds=[3]))
    tuned = replace(INSTRUCT, seed=3)
    control, refined = replace(REFINE, seed=3, control=True), replace(REFINE, seed=3)
    plain = replace(tuned, control=True)
    assert work.varied == [((control, plain), (refined, tuned))]
    assert result["temperatures"] == {"protocol": 0.7, "control_same_multimodality": [0.9]}
    assert work.drawn[-1] == ((control, plain), ["test/0", "test/1", "test/2"], PROTOCOL, 0.9)


def test_a_study_that_was_stopped_goes_on_where_it_was(work, tmp_path) -> None:
    first = study(tmp_path, StudyPlan(seeds=[0]))
    trained, drawn = len(work.trained), len(work.drawn)
    again = study(tmp_path, StudyPlan(seeds=[0]))
    assert (len(work.trained), len(work.drawn)) == (trained, drawn)
    assert again == first
    study(tmp_path, StudyPlan(seeds=[0, 1]))
    assert len(work.trained) == 2 * trained
    colder = replace(PROTOCOL, temperature=0.5)
    study(tmp_path, StudyPlan(seeds=[0]), colder)
    assert len(work.trained) == 2 * trained  # other motions of the same models
    assert len(work.drawn) == 3 * drawn


def test_the_page_says_what_was_shown_and_what_was_not(work, tmp_path) -> None:
    page = refinement_page(study(tmp_path, StudyPlan(seeds=[0, 1])))
    assert "Test split, 2 seeds" in page
    assert "Steps: refined 100, control 100, control equal time 150." in page
    assert "## After instruction, made: refined against control_equal_time" in page
    assert "| mpjpe abs | -10.0% | -20.0% to +2.0% | 1.0% | not shown |" in page
    assert "| r precision top3 | +0.050 | -0.010 to +0.100 | 0.030 | yes |" in page
    assert "| multimodality | - | - to - | - | - |" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "different seeds"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"seeds": [0], "margins": {"kid": -0.1}}, "margins of at least 0"),
    ],
)
def test_a_plan_that_compares_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudyPlan(**changes)


def test_the_sweep_chooses_on_val_with_the_settings_of_the_stage(work, monkeypatch, tmp_path) -> None:
    compared = []

    def compare_refinement(evaluator: Any, clips: list, control: list, refined: list, **options: Any) -> dict:
        compared.append(([c["clip_id"] for c in clips], options["texts"]))
        return {"value": float(refined[0][0][0, 0] - control[0][0][0, 0])}

    monkeypatch.setattr(studies, "run_stage", refinement_study.run_stage)
    monkeypatch.setattr(studies, "generate", refinement_study.generate)
    monkeypatch.setattr(studies, "compare_refinement", compare_refinement)
    plan = SweepPlan(steps=10, grid={"lam": [1.0, 2.0], "alpha": [0.25]})
    rows = sweep_refinement(Store(), {}, Model(), "evaluator", REFINE, plan, PROTOCOL, str(tmp_path))
    base = replace(REFINE, steps=10)
    assert [config for _, config in work.trained] == [
        replace(base, control=True),
        replace(base, lam=1.0, alpha=0.25),
        replace(base, lam=2.0, alpha=0.25),
    ]
    assert all(protocol.split == "val" for _, _, protocol, _ in work.drawn)
    assert compared == [(["val/0", "val/1", "val/2"], ["a hand 0", "a hand 1", "a hand 2"])] * 2
    assert [(row["lam"], row["alpha"], row["split"], row["figures"]["value"]) for row in rows] == [
        (1.0, 0.25, "val", -0.5),
        (2.0, 0.25, "val", -0.5),
    ]


@pytest.mark.parametrize("grid", [{"lambda": [1.0]}, {"lam": []}])
def test_a_sweep_over_nothing_is_refused(grid: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"Correct `refinement_sweep\.grid` in conf"):
        SweepPlan(steps=1, grid=grid)
