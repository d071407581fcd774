"""The ablation's plan, its bookkeeping and its table, with a stand-in for training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from shift_tokenizer import ShiftConfig, ShiftTokenizer, TokenizerTraining

from pipelines import ablation
from pipelines.ablation import AblationPlan, ablate_tokenizer, as_markdown, table

ROOT = Path(__file__).parents[1]
MODEL = ShiftConfig(width=8, codebook_size=16, code_dim=4, dilations=(1,))
TRAINING = TokenizerTraining()


class Store:
    """Three short clips for every split."""

    data_hash, fps = "abc", 15.0

    def clips(self, split: str) -> list[dict]:
        rng = np.random.default_rng(len(split))
        flat = np.tile(np.concatenate([np.tile([1, 0, 0, 0, 1, 0], 16), np.zeros(3)]), 2)
        return [
            {
                "clip_id": f"{split}/{n}",
                "source": "made",
                "fps": 15.0,
                "features": (flat + 0.05 * rng.normal(size=(16, 198))).astype(np.float32),
                "valid": np.ones((16, 2), bool),
                "attributes": {},
                "origin": "",
                "captions": ["a hand"],
                "synthetic": True,
            }
            for n in range(3)
        ]


@pytest.fixture
def plan() -> AblationPlan:
    return AblationPlan(
        steps=100,
        seeds=[0, 1],
        recipes={"default": {}, "old": {"model": {"mirror_left": False}, "training": {"joint_weight": 0.0}}},
        arms={
            "slow": {"recipe": "default"},
            "quick": {"recipe": "default", "decomposition": "part", "residual_depth": 2},
            "old": {"recipe": "old", "decomposition": "plain"},
        },
        equal_time=[{"reference": "slow", "arms": ["quick"]}],
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ShiftConfig, TokenizerTraining]]:
    """Trains nothing; a step of the part-only tokenizer takes half the time."""
    calls: list[tuple[ShiftConfig, TokenizerTraining]] = []

    def train(store: Store, config: ShiftConfig, training: TokenizerTraining, checkpoints: str) -> tuple:
        calls.append((config, training))
        return ShiftTokenizer(config, seed=training.seed), []

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation, "_step_seconds", lambda _, config, __: [0.1 if config.n_modalities == 1 else 0.2])
    return calls


def test_every_arm_is_trained_with_every_seed_and_again_for_equal_time(
    plan: AblationPlan, trained: list, tmp_path: Path
) -> None:
    result = ablate_tokenizer(Store(), MODEL, TRAINING, plan, str(tmp_path))
    made = [(row["arm"], row["seed"], row["steps"]) for row in result["rows"]]
    one = [("slow", 0, 100), ("quick", 0, 100), ("old", 0, 100), ("quick in the time of slow", 0, 200)]
    assert made == one + [(arm, 1, steps) for arm, _, steps in one]
    assert [training.seed for _, training in trained] == [0] * 4 + [1] * 4
    old, settings = trained[2]
    assert (old.decomposition, old.mirror_left, settings.joint_weight) == ("plain", False, 0.0)
    assert result["rows"][0]["tokens_per_second"] == result["rows"][1]["tokens_per_second"] == 15
    assert result["rows"][0]["bits_per_second"] == 60
    assert 0 < result["rows"][0]["codes_in_use"] <= 1
    json.dumps(result)
    page = as_markdown(result).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert [row[0] for row in rows[2:]] == ["*mean pose*", "*static pose*", "slow", "quick", "old", one[3][0]]
    assert rows[4][4:8] == ["15", "60", "100", "20"]


def test_what_stands_where_a_hand_is_not_seen_changes_no_figure(
    plan: AblationPlan, trained: list, tmp_path: Path
) -> None:
    class Hidden(Store):
        def __init__(self, stand_in: float) -> None:
            self.stand_in = stand_in

        def clips(self, split: str) -> list[dict]:
            clips = super().clips(split)
            for clip in clips:
                clip["valid"][4:12, 0], clip["features"][4:12, :99] = False, self.stand_in
            return clips

    plan = replace(plan, seeds=[0], equal_time=[])
    zeros, nines = (
        ablate_tokenizer(Hidden(stand_in), MODEL, TRAINING, plan, str(tmp_path / str(stand_in)))["rows"]
        for stand_in in (0.0, 9.0)
    )
    assert zeros == nines


def test_the_mean_pose_is_that_of_the_clips_that_were_learnt_from(
    plan: AblationPlan, trained: list, tmp_path: Path
) -> None:
    """Both hands of the train split are a metre aside of those that are measured."""

    class Aside(Store):
        def clips(self, split: str) -> list[dict]:
            clips = super().clips(split)
            for clip in clips if split == "train" else ():
                clip["features"][:, [96, 195]] += 1.0
            return clips

    baselines = ablate_tokenizer(Aside(), MODEL, TRAINING, plan, str(tmp_path))["baselines"]["made"]
    assert baselines["mean_pose"]["mpjpe_abs_mm"] == pytest.approx(1000, abs=30)
    assert baselines["static_pose"]["mpjpe_abs_mm"] < 150


def test_a_study_that_was_stopped_goes_on_where_it_was(
    plan: AblationPlan, trained: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, limit = ablation.train, 3

    def killed(*arguments: object) -> tuple:
        if len(trained) == limit:
            raise KeyboardInterrupt
        return stand_in(*arguments)

    monkeypatch.setattr(ablation, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        ablate_tokenizer(Store(), MODEL, TRAINING, plan, str(tmp_path))
    limit = 100
    result = ablate_tokenizer(Store(), MODEL, TRAINING, plan, str(tmp_path))
    assert len(trained) == len(result["rows"]) == 8
    assert ablate_tokenizer(Store(), MODEL, TRAINING, plan, str(tmp_path)) == result
    assert len(trained) == 8
    ablate_tokenizer(Store(), MODEL, TRAINING, replace(plan, steps=60, seeds=[0]), str(tmp_path))
    assert len(trained) == 12


def test_the_table_has_mean_and_spread_over_the_seeds() -> None:
    def row(arm: str, seed: int, error: float) -> dict:
        figures = {"made": {"rows": {"reconstruction": {"mpjpe_root_mm": error, "mpjpe_abs_mm": 2 * error}}}}
        about = {"tokens_per_second": 15, "bits_per_second": 60, "parameters": 5}
        return {
            "arm": arm,
            "seed": seed,
            "steps": 10,
            "processor_seconds": 2.0,
            "codes_in_use": 1.0,
            "figures": figures,
            **about,
        }

    first, second = table([row("a", 0, 10.0), row("b", 0, 7.0), row("a", 1, 14.0)])
    assert (first["arm"], first["source"], first["seeds"]) == ("a", "made", 2)
    assert first["mpjpe_root_mm"] == {"mean": 12.0, "spread": pytest.approx(8**0.5)}
    assert first["mpjpe_abs_mm"]["mean"] == 24.0
    assert second["mpjpe_root_mm"] == {"mean": 7.0, "spread": None}


def test_the_configured_arms_hold_what_the_comparison_asks_for() -> None:
    values = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "base" / "parameters.yml"))
    model = ShiftConfig.from_dict(values["tokenizer"]["model"])
    training = TokenizerTraining.from_dict(values["tokenizer"]["training"])
    plan = AblationPlan(**values["ablation"])
    made = {arm: plan.settings(arm, model, training) for arm in plan.chosen}
    assert len(plan.seeds) == 3
    equal = [made[arm][0] for arm in ("shift", "residual_x4", "plain_at_4x_rate", "part_residual_x2")]
    assert {config.n_slots / config.frames_per_latent for config in equal} == {1.0}
    assert {config.codebook_size for config in equal} == {model.codebook_size}
    assert len({json.dumps(made[arm][1].to_dict()) for arm in ("shift", "residual_x4", "part_residual_x2")}) == 1
    assert made["default"][0] == model
    published = [made[f"{name}_as_published"][0] for name in ("shift", "plain", "part", "modality")]
    assert {config.frames_per_latent for config in published} == {4}
    assert not any(config.mirror_left for config in published)
    single = made["plain_as_published"][1]
    weights = (single.rotation_weight, single.translation_weight, single.pose_weight)
    assert weights == pytest.approx((6 / 99, 3 / 99, 90 / 99), abs=1e-3)


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1, 0]])
def test_seeds_that_make_no_comparison_are_refused(plan: AblationPlan, seeds: list[int]) -> None:
    with pytest.raises(ValueError, match=r"different seeds of at least 0.*Correct `ablation.seeds` in conf"):
        replace(plan, seeds=seeds)


@pytest.mark.parametrize("wrong", [{"only": ["fast"]}, {"equal_time": [{"reference": "x", "arms": []}]}])
def test_a_plan_that_names_what_is_not_there_is_refused(plan: AblationPlan, wrong: dict) -> None:
    with pytest.raises(ValueError, match="Correct `ablation` in conf"):
        replace(plan, **wrong)
