"""The study of reinforcement: which arm is trained how, what is drawn from it, and what is measured; with stand-ins."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import RefineConfig, ReinforceConfig

from pipelines import refinement_study, reinforcement_study
from pipelines.protocol import Protocol
from pipelines.reinforcement_study import ReinforcementPlan, reinforcement_page, study_reinforcement

REFINE = RefineConfig(steps=99, alpha=0.5, lam=3.0)
REINFORCE = ReinforceConfig(samples=3, kl=0.3)
PROTOCOL = Protocol(samples=2, temperature=0.7, seed=5)
PLAN = ReinforcementPlan(seeds=[0, 1], steps=100, best_of=3, margins={"kid": 0.004})
ARMS = ("control", "refined", "soft_mixture", "expected_codes", "reinforced")
PACE = dict(zip(ARMS, (0.1, 0.2, 0.2, 0.1, 0.5), strict=True))


class Store:
    """Two clips of each split."""

    data_hash, fps = "abc", 15.0

    def clips(self, split: str) -> list[dict[str, Any]]:
        return [
            {"clip_id": f"{split}/{n}", "source": "made", "captions": ["a hand", f"a hand {n}"], "attributes": {},
             "fps": 15.0, "features": np.zeros((8, 198), np.float32), "valid": np.ones((8, 2), bool)}
            for n in range(2)
        ]  # fmt: skip


class Model:
    """Remembers the stages it went through, and keeps them in a folder."""

    kept: dict[Path, tuple[Any, ...]] = {}  # noqa: RUF012

    def __init__(self, stages: tuple[Any, ...] = ()) -> None:
        self.stages = stages
        self.model = SimpleNamespace(device=torch.device("cpu"), state_dict=lambda: {"w": torch.ones(1)})

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        Model.kept[folder] = self.stages

    @staticmethod
    def from_pretrained(folder: Path, device: Any = None) -> "Model":
        return Model(Model.kept[folder])


def arm_of(config: Any) -> str:
    if isinstance(config, ReinforceConfig):
        return "reinforced"
    if config.control:
        return "control"
    return {"gumbel": "refined", "soft": "soft_mixture", "expected": "expected_codes"}[config.relaxation]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for training, generation and measures, and remembers what was asked of them.

    A motion is full of 1000 x (its arm's number) + steps + its seed / 10, and its first number that of the sample.
    """
    asked = SimpleNamespace(trained=[], compared=[], measured=[], chosen=[])

    def run_stage(model: Model, store: Store, tokens: Any, config: Any, folder: str) -> tuple[Model, list]:
        asked.trained.append((model.stages, config))
        return Model((*model.stages, config)), []

    def generate(model: Model, clips: list, protocol: Protocol, *, temperature: float | None = None) -> list:
        (stage,) = model.stages
        value = 1000 * ARMS.index(arm_of(stage)) + stage.steps + stage.seed / 10
        motions = [np.full((8, 198), value) for _ in range(protocol.samples)]
        for k, motion in enumerate(motions):
            motion[0, 0] = k
        return [motions for _ in clips]

    def best(group: list, stated: Any) -> dict[str, Any]:
        asked.chosen.append(([int(motion["features"][0, 0]) for motion in group], group[0]["fps"], stated))
        return group[-1]

    def compare_arms(evaluator: Any, clips: list, arms: dict[str, list], **options: Any) -> dict:
        asked.compared.append(({name: [float(r[0][0][1, 0]) for r in runs] for name, runs in arms.items()}, options))
        row = {"kid_mean": 0.25, "jitter_mm_frame3": 1.5}
        better = {"change": 0.2, "ci95_low": 0.1, "ci95_high": 0.3, "margin": None, "no_worse": None}
        none = {"change": 0.1, "ci95_low": -0.1, "ci95_high": 0.3, "margin": None, "no_worse": None}
        changes = {name: {"kid": none, "judge_hand": better} for name in arms if name != "control"}
        return {"made": {"arms": {name: dict(row) for name in arms}, "changes": changes}}

    def measure(figures: dict[str, float]) -> Any:
        def called(*given: Any, **options: Any) -> dict:
            together = given[-1]
            counts = {name: [len(many) for many in own] for name, own in together.items()}
            asked.measured.append((counts, options))
            return {
                "made": {
                    "rows": dict.fromkeys([*together, "truth"], figures),
                    "by_second": {name: {} for name in (*together, "truth")},
                }
            }

        return called

    monkeypatch.setattr(refinement_study, "run_stage", run_stage)
    monkeypatch.setattr(refinement_study, "generate", generate)
    monkeypatch.setattr(refinement_study, "Clutch", Model)
    monkeypatch.setattr(refinement_study, "TokenizedClips", lambda store, split, tokens: store.clips(split))
    monkeypatch.setattr(refinement_study, "_step_seconds", lambda _, __, config: [PACE[arm_of(config)]] * 2)
    monkeypatch.setattr(reinforcement_study, "compare_arms", compare_arms)
    monkeypatch.setattr(reinforcement_study, "measure_claims", measure({"claims": 0.5}))
    monkeypatch.setattr(reinforcement_study, "measure_motions", measure({"contact_across_f1": 0.75}))
    monkeypatch.setattr(reinforcement_study, "best_by_claims", best)
    monkeypatch.setattr(reinforcement_study, "claim_reader", lambda: lambda text: f"claims of {text}")
    return asked


@pytest.fixture
def study(work, tmp_path) -> dict[str, Any]:
    arguments = (Store(), {}, Model(), "evaluator", "judge", REFINE, REINFORCE, PLAN, PROTOCOL, str(tmp_path))
    return study_reinforcement(*arguments)


def test_every_arm_starts_from_the_pretrained_model_with_every_seed_and_budget(work, study) -> None:
    expected = {
        "control": replace(REFINE, control=True),
        "refined": REFINE,
        "soft_mixture": replace(REFINE, relaxation="soft", temperature_start=1.0, temperature_end=1.0),
        "expected_codes": replace(REFINE, relaxation="expected"),
        "reinforced": REINFORCE,
    }
    steps = {"control": (100, 200), "expected_codes": (100, 200), "reinforced": (100, 40)}
    wanted = [
        ((), replace(config, steps=count, seed=seed))
        for arm, config in expected.items()
        for count in dict.fromkeys(steps.get(arm, (100,)))
        for seed in (0, 1)
    ]
    assert len(work.trained) == len(wanted)
    assert all(one in work.trained for one in wanted)
    assert study["steps"]["equal_time"] == {
        "control": 200, "refined": 100, "soft_mixture": 100, "expected_codes": 200, "reinforced": 40,
    }  # fmt: skip
    assert study["processor_seconds_a_step"] == pytest.approx(PACE)


def test_all_arms_are_compared_seed_by_seed_with_the_control_of_their_budget(work, study) -> None:
    first, second = (values for values, _ in work.compared)
    assert first["control"] == first["best_of_n"] == [100.0, 100.1]
    assert first["reinforced"] == [4100.0, 4100.1]
    assert second["control"] == second["best_of_n"] == [200.0, 200.1]
    assert second["refined"] == [1100.0, 1100.1]
    assert second["reinforced"] == [4040.0, 4040.1]
    for _, options in work.compared:
        assert options == {
            "control": "control",
            "texts": ["a hand 0", "a hand 1"],
            "judge": "judge",
            "margins": {"kid": 0.004},
            "seed": 5,
        }


def test_the_best_of_n_is_chosen_by_the_claims_of_its_own_caption(work, study) -> None:
    """Two motions a caption are asked for, each the best of three; two clips, seeds and budgets."""
    assert len(work.chosen) == 2 * 2 * 2 * 2
    for k, (group, fps, stated) in enumerate(work.chosen):
        assert group == ([0, 1, 2], [3, 4, 5])[k % 2]
        assert (fps, stated) == (15.0, f"claims of a hand {k // 2 % 2}")


def test_claims_and_contacts_are_those_of_all_seeds_motions(work, study) -> None:
    for counts, _ in work.measured:
        assert counts == {arm: [4, 4] for arm in (*ARMS, "best_of_n")}
    row = study["equal_time"]["made"]["arms"]["reinforced"]
    assert row == {"kid_mean": 0.25, "jitter_mm_frame3": 1.5, "claims": 0.5, "contact_across_f1": 0.75}
    assert study["equal_steps"]["made"]["arms"]["truth"]["claims"] == 0.5


def test_the_page_tells_what_was_rewarded_from_what_was_not(study) -> None:
    page = reinforcement_page(study)
    assert "Test split, 2 seeds. Reward: claims 1, seconds 0.5" in page
    assert "best of 3 motions" in page
    assert "## Equal time\n\nSteps: control 200, refined 100" in page
    assert (
        "| arm | claims (rewarded) | contact F1 across (rewarded) | jitter, mm/frame³ (rewarded) | R-precision" in page
    )
    assert "| reinforced | 0.500 | 0.750 | 1.500 | - | 0.250 |" in page
    assert "- reinforced, against the control: judge hand +0.200 (+0.100 to +0.300)." in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "different seeds"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"steps": 0}, "steps of at least 1"),
        ({"best_of": 1}, "best_of of at least 2"),
        ({"margins": {"kid": -0.1}}, "margins of at least 0"),
    ],
)
def test_a_plan_that_compares_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReinforcementPlan(**{"seeds": [0], "steps": 1, **changes})
