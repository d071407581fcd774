"""Which clips, captions and seeds each baseline gets, and whose figures stand in which row, with stand-ins."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.baselines import as_markdown, baselines_page, results, study
from pipelines.baselines.base import Baseline
from pipelines.baselines.plan import TITLES
from pipelines.baselines.results import run_baseline
from pipelines.baselines.study import compare_baselines
from pipelines.pipeline_registry import register_pipelines
from pipelines.processes import ALONE
from pipelines.protocol import Protocol
from tests.baseline_clips import LLM, PLAN, PRETRAIN, SHIFT, TRAINING, moving_clip

PROTOCOL = Protocol(split="test", samples=2, temperature=0.7, guidance=1.5, seed=5)
EVALUATOR, JUDGE = SimpleNamespace(seed=1, data_hash="abc"), SimpleNamespace(seed=2, data_hash=None)
PLANNED = replace(PLAN, only=["retrieval", "diffusion"], seeds=[0, 1], minutes=0.5)


class Store:
    """Three clips of each split, of two lengths."""

    data_hash, fps = "abc", 15.0

    def clips(self, split: str) -> list[dict[str, Any]]:
        return [moving_clip(k, frames=8 + 4 * (k % 2), split=split) for k in range(3)]


class StandIn(Baseline):
    """Learns nothing: each number of a motion is a code of its name, training seed, caption and seed."""

    def __init__(self, name: str, asked: SimpleNamespace) -> None:
        super().__init__()
        self.name, self.asked = name, asked

    @property
    def made_of(self) -> dict[str, Any]:
        return {"name": self.name}

    def fit(self, clips: Any, budget: Any, seed: int) -> None:
        self.asked.fitted.append((self.name, [clip["clip_id"] for clip in clips], budget.seconds, seed))
        self.seed, self.parameters, self.steps = seed, 1000 * (1 + seed), {"network": 7}

    def generate(self, texts: Any, frames: Any, seed: int) -> list[np.ndarray]:
        self.asked.drawn.append((self.name, list(texts), list(frames), seed))
        value = {"retrieval": 10.0, "diffusion": 20.0}[self.name] + self.seed
        return [np.full((count, 198), value, np.float32) for count in frames]

    def caption(self, clips: Any) -> list[str] | None:
        return [f"{self.name} {self.seed} says"] * len(clips) if self.name == "retrieval" else None

    def reconstruct(self, clips: Any) -> list[np.ndarray] | None:
        if self.name == "retrieval":
            return None
        return [np.full((len(clip["features"]), 198), 30.0 + self.seed, np.float32) for clip in clips]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand-ins for the baselines and for the measures; a figure is the number that the arm's motions are full of."""
    asked = SimpleNamespace(fitted=[], drawn=[], measured=[])

    def makers(*_: Any) -> dict[str, Any]:
        return {name: lambda name=name: StandIn(name, asked) for name in TITLES}

    def rows(arms: dict[str, Any], *figures: str) -> dict[str, Any]:
        found = {name: {f: float(many[0][0][0, 0]) for f in figures} for name, many in arms.items()}
        return {"truth": dict.fromkeys(figures, 1.0), **found, "random_caption": dict.fromkeys(figures, 0.5)}

    def measured(name: str, arms: dict[str, Any], **options: Any) -> None:
        asked.measured.append((name, {arm: [len(many) for many in own] for arm, own in arms.items()}, options))

    def t2m(evaluator: Any, clips: Any, arms: Any, **options: Any) -> Any:
        measured("t2m", arms, **options, clips=[c["clip_id"] for c in clips], evaluator=evaluator)
        return {"made": {"rows": rows(arms, "r_precision_top3", "kid_mean", "jitter_mm_frame3")}}

    def judged(judge: Any, clips: Any, arms: Any, **options: Any) -> Any:
        measured("judge", arms, **options, judge=judge)
        about = {"way": {"learnt": True}, "mood": {"learnt": False}}
        return {"made": {"attributes": about, "rows": rows(arms, "way", "mood")}}

    def claims(reader: Any, clips: Any, arms: Any, **options: Any) -> Any:
        measured("claims", arms, **options)
        return {"made": {"rows": rows(arms, "claims")}}

    def motions(clips: Any, arms: Any, **options: Any) -> Any:
        measured("motion", arms, **options)
        return {"made": {"rows": rows(arms, "contact_across_f1")}}

    def m2t(evaluator: Any, clips: Any, captions: Any, **options: Any) -> Any:
        asked.said = captions
        figures = dict.fromkeys(("retrieval_top1", "bleu_4", "rouge_l"), 0.25)
        names = ("truth_high_level", "truth_fine", *captions, "random_caption")
        return {"made": {"rows": {name: dict(figures) for name in names}}}

    for name, stand_in in (
        ("makers", makers),
        ("evaluate_t2m", t2m),
        ("judge_motions", judged),
        ("measure_claims", claims),
        ("measure_motions", motions),
        ("evaluate_m2t", m2t),
    ):
        monkeypatch.setattr(study, name, stand_in)
    return asked


def compare(tmp_path: Path, plan: Any = PLANNED, protocol: Protocol = PROTOCOL) -> dict[str, Any]:
    settings = (plan, SHIFT, TRAINING, LLM, PRETRAIN, protocol, str(tmp_path))
    return compare_baselines(Store(), EVALUATOR, JUDGE, *settings)


def test_each_baseline_learns_from_the_train_split_and_is_asked_for_the_measured_one(work, tmp_path):
    compare(tmp_path)
    train = ["train/0", "train/1", "train/2"]
    assert work.fitted == [(name, train, 30.0, seed) for seed in (0, 1) for name in ("retrieval", "diffusion")]
    texts = ["the right hand rises", "the right hand sinks", "the right hand is pushed forward"]
    once = [("retrieval", texts, [8, 12, 8], seed) for seed in (5, 8)]
    assert work.drawn[:2] == once
    assert len(work.drawn) == 8
    compare(tmp_path / "val", protocol=replace(PROTOCOL, split="val", max_clips=1))
    assert work.drawn[-1] == ("diffusion", texts[:1], [8], 6)


def test_all_are_measured_together_on_the_same_clips_and_captions(work, tmp_path):
    compare(tmp_path)
    assert [name for name, _, _ in work.measured] == ["t2m", "judge", "claims", "motion"]
    counts = {"retrieval/0": [2] * 3, "retrieval/1": [2] * 3, "diffusion/0": [2] * 3, "diffusion/1": [2] * 3}
    counts |= {"diffusion reconstruction/0": [1] * 3, "diffusion reconstruction/1": [1] * 3}
    assert all(arms == counts for _, arms, _ in work.measured)
    options = work.measured[0][2]
    assert options["clips"] == ["test/0", "test/1", "test/2"]
    assert [clip["clip_id"] for clip in options["pool_clips"]] == ["val/0", "val/1", "val/2"]
    assert options["texts"][1] == "the right hand sinks"
    assert (options["seed"], options["evaluator"], work.measured[1][2]["judge"]) == (5, EVALUATOR, JUDGE)
    assert work.said == {f"retrieval/{seed}": [f"retrieval {seed} says"] * 3 for seed in (0, 1)}


def test_each_row_is_the_baselines_own_over_its_seeds(work, tmp_path):
    found = compare(tmp_path)
    motion, words = found["table"]["made"]["motion"], found["table"]["made"]["words"]
    assert list(motion) == ["truth", "diffusion reconstruction", "retrieval", "diffusion", "random_caption"]
    for row, mean in (("retrieval", 10.5), ("diffusion", 20.5), ("diffusion reconstruction", 30.5)):
        for figure in ("r_precision_top3", "kid_mean", "way", "claims", "contact_across_f1"):
            assert motion[row][figure] == {"mean": mean, "spread": pytest.approx(0.5**0.5)}
    assert "mood" not in motion["truth"]
    assert motion["truth"]["claims"]["mean"] == 1.0
    assert motion["diffusion"]["parameters"] == {"mean": 1500.0, "spread": pytest.approx(500000**0.5)}
    assert motion["random_caption"]["parameters"]["mean"] is None
    assert list(words) == ["truth_fine", "retrieval", "random_caption"]
    assert found["records"]["diffusion"]["1"]["steps"] == {"network": 7}
    assert found["measured_by"] == {"evaluator": vars(EVALUATOR), "judge": vars(JUDGE)}
    json.dumps(found)


def test_what_is_done_is_not_done_again(work, tmp_path):
    first = compare(tmp_path)
    assert compare(tmp_path)["table"] == first["table"]
    assert len(work.fitted) == 4
    compare(tmp_path, replace(PLANNED, seeds=[0, 1, 2]))
    assert [(name, seed) for name, _, _, seed in work.fitted[4:]] == [("retrieval", 2), ("diffusion", 2)]
    compare(tmp_path, replace(PLANNED, minutes=1.0, seeds=[0], only=["diffusion"]))
    compare(tmp_path, replace(PLANNED, seeds=[0], only=["diffusion"]), replace(PROTOCOL, seed=6))
    assert len(work.fitted) == 8


class Shift:
    """A tokenizer that keeps nothing but the length."""

    def encode_list(self, features: Any, valid: Any) -> Any:
        return features

    def decode_list(self, tokens: Any) -> list[torch.Tensor]:
        return [torch.full((len(own), 198), 50.0) for own in tokens]

    def parameters(self) -> list[torch.Tensor]:
        return [torch.zeros(2)]


def test_our_own_model_is_a_row_where_there_is_one(work, tmp_path, monkeypatch):
    asked = []

    class Clutch:
        fps, n_parameters, tokenizer = 15.0, 40, Shift()

        @staticmethod
        def from_pretrained(folder: str, device: Any) -> "Clutch":
            asked.append(folder)
            return Clutch()

        def generate(self, texts: list[str], seconds: list[float], seed: list[int]) -> list:
            frames = [round(own * 15) for own in seconds]
            asked.append((texts, frames, seed))
            return [[{"features": np.full((own, 198), 40.0)}] for own in frames]

        def caption(self, features: Any, valid: Any, fps: float, detailed: bool) -> list[str]:
            return ["ours"] * len(features)

    monkeypatch.setattr(study, "Clutch", Clutch)
    folder = tmp_path / "clutch"
    plan = replace(PLANNED, seeds=[0], model=str(folder))
    assert "clutch" not in compare(tmp_path, plan)["table"]["made"]["motion"]
    folder.mkdir()
    found = compare(tmp_path, plan)["table"]["made"]["motion"]
    assert list(found)[1:3] == ["diffusion reconstruction", "clutch reconstruction"]
    assert found["clutch"]["claims"]["mean"] == 40.0
    assert found["clutch reconstruction"]["claims"]["mean"] == 50.0
    assert (found["clutch"]["parameters"]["mean"], found["clutch"]["training_seconds"]["mean"]) == (42.0, None)
    assert work.said["clutch/0"] == ["ours"] * 3
    texts = ["the right hand rises", "the right hand sinks", "the right hand is pushed forward"]
    assert asked == [str(folder), (texts, [8, 12, 8], [5, 6, 7]), (texts, [8, 12, 8], [8, 9, 10])]


def test_training_is_charged_with_what_it_shares_and_not_with_being_timed(work, monkeypatch, tmp_path):
    """100 s pass, 30 of them for timing, and a tokenizer that is there already took 40; 12 motions take 6 s."""
    now = [1000.0]
    monkeypatch.setattr(results, "clock", lambda: now[0])

    class Costly(StandIn):
        def fit(self, clips: Any, budget: Any, seed: int) -> None:
            super().fit(clips, budget, seed)
            now[0] += 100.0
            budget.timing += 30.0
            budget.charge(40.0)

        def generate(self, texts: Any, frames: Any, seed: int) -> list[np.ndarray]:
            now[0] += 3.0  # of three clips, for each of two samples
            return super().generate(texts, frames, seed)

    found = run_baseline("diffusion", lambda: Costly("diffusion", work), Store(), 60.0, 1, PROTOCOL, tmp_path).record
    assert found == {"parameters": 2000, "steps": {"network": 7}, "training_seconds": 110.0, "generation_seconds": 1.0}


def test_the_page_has_a_table_for_each_direction_and_is_printed(work, tmp_path, caplog):
    found = compare(tmp_path)
    with caplog.at_level(logging.INFO):
        page = baselines_page(found)
    assert page == as_markdown(found)
    assert page in caplog.text
    assert "trained for 0.5 minutes of processor time" in page
    assert "- `diffusion`: diffusion on features (MDM-like)" in page
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    head = ["", "R@3", "KID", "way", "jitter mm", "claims", "contact F1", "parameters", "training s", "s a motion"]
    assert lines[0] == head
    diffusion = next(line for line in lines if line[0] == "diffusion")
    assert diffusion[:8] == [
        "diffusion",
        *["20.500 ± 0.707"] * 3,
        "20.50 ± 0.71",
        *["20.500 ± 0.707"] * 2,
        "0.00 M ± 0.00 M",
    ]
    assert ["truth fine", "0.250", "0.250", "0.250"] in lines


def test_the_registered_pipeline_is_one_study_for_one_process():
    (first, second) = register_pipelines()["baselines"].nodes
    assert (first.outputs, second.inputs, second.outputs) == (["baselines"], ["baselines"], ["baselines_table"])
    assert {"stage.baselines", ALONE} <= first.tags
