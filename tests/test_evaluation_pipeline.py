"""The wires of the evaluation pipeline: which model, row, text and split reach which figure.

Every model is a stand-in of which it is known what it makes; the pipeline runs as Kedro runs it.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
import yaml
from clutch_llm import Clutch, ClutchConfig
from clutch_llm.evaluation import EvaluatorConfig, JudgeConfig, read_goals
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from shift_tokenizer import ShiftConfig, ShiftTokenizer

from pipelines import evaluation
from pipelines.evaluation import without_nan
from pipelines.protocol import Protocol, generate

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "packages/clutch-llm/tests/evaluation_clips.py"
_spec = importlib.util.spec_from_file_location("evaluation_clips", CLIPS)
assert _spec is not None
evaluation_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = evaluation_clips
_spec.loader.exec_module(evaluation_clips)  # type: ignore[union-attr]

LEFT_TRANSL = slice(96, 99)
GOALS = {
    "met": {
        "name": "error",
        "figure": "text_to_motion.rows.generated.mpjpe_abs_mm",
        "source": "hands",
        "at_most": 1.0,
        "kind": "difference",
    },
    "elsewhere": {"name": "no", "figure": "text_to_motion.rows.generated.fid", "source": "feet", "at_most": 1.0},
}


class Store:
    """Clips of three splits; every caption is of one clip alone, so that a motion says which prompt it answers."""

    data_hash, fps = "abc", 15.0

    def __init__(self) -> None:
        self.all = []
        for split, count, first in (("train", 120, 0), ("val", 40, 2000), ("test", 36, 3000)):
            clips = evaluation_clips.make_clips(count, first=first, split=split, source="hands")
            for k, clip in enumerate(clips):
                clip["captions"] = [f"{text}, number {split} {k}" for text in clip["captions"]]
                clip["attributes"]["unseen_combination"] = bool(k % 2)
            self.all += clips
        for clip in self.all:  # training is elsewhere: a mean pose of the test clips is another one
            if clip["split"] == "train":
                clip["features"][:, LEFT_TRANSL] += 0.2

    def clips(self, split: str | None = None) -> list[dict[str, Any]]:
        return [c for c in self.all if split in (None, c["split"])]


@dataclass
class Model:
    """Makes of a caption its clip's true motion, the left wrist shaken by `strength`, the more the hotter it is."""

    store: Store
    strength: float = 0.0
    of_another: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)

    max_seconds = 100.0

    def generate(
        self, texts: list[str], seconds: list[float] | None = None, **settings: Any
    ) -> list[list[dict[str, Any]]]:
        self.calls.append({"texts": list(texts), "seconds": seconds, **settings})
        asked = zip(texts, seconds or [None] * len(texts), strict=True)
        return [[self._make(text, own, k, settings) for k in range(settings["samples"])] for text, own in asked]

    def _make(self, text: str, seconds: float | None, k: int, settings: dict[str, Any]) -> dict[str, Any]:
        clips = self.store.clips()
        at = next(i for i, c in enumerate(clips) if text in c["captions"])
        detailed = text == clips[at]["captions"][-1]
        features = clips[at - self.of_another]["features"].copy()
        features[:, LEFT_TRANSL] += 0.05 * (not detailed)  # what is made of a high-level caption is 50 mm to the side
        noise = np.random.default_rng([k, at]).normal(0, 0.01, (len(features), 3)).astype(np.float32)
        features[:, LEFT_TRANSL] += self.strength * settings["temperature"] * noise
        frames = 8 if seconds is None else round(seconds * 15)
        return {"features": np.resize(features, (frames, 198)), "fps": 15.0}

    def caption(
        self, motions: list[np.ndarray], valid: list[np.ndarray], fps: float, *, detailed: bool = False
    ) -> list[str]:
        assert detailed
        assert fps == 15.0
        assert [v.shape for v in valid] == [(len(m), 2) for m in motions]
        clips = self.store.clips()
        return [next(c["captions"][-1] for c in clips if c["features"] is m) for m in motions]

    def generate_free(self, texts: list[str], **settings: Any) -> list[np.ndarray]:
        self.calls.append({"free": list(texts), **settings})
        return [np.array([k]) for k in range(len(texts))]

    @staticmethod
    def well_formed(ids: np.ndarray) -> bool:
        return bool(ids[0] % 4 == 0)


class Shift:
    """A tokenizer that keeps everything but moves the left wrist by 20 mm."""

    @staticmethod
    def encode_list(motions: list[np.ndarray], valid: list[np.ndarray], *, fps: float) -> list[np.ndarray]:
        assert fps == 15.0
        assert [v.shape for v in valid] == [(len(m), 2) for m in motions]
        return [m.copy() for m in motions]

    @staticmethod
    def decode_list(tokens: list[np.ndarray]) -> list[torch.Tensor]:
        moved = [torch.from_numpy(t) for t in tokens]
        for m in moved:
            m[:, 96] += 0.02
        return moved


class Kept(MemoryDataset):
    """What the runner would drop once no node needs it any more."""

    def _release(self) -> None:
        pass


@dataclass
class Ran:
    store: Store
    models: dict[str, Model]
    metrics: dict[str, Any]
    samples: dict[str, np.ndarray]
    catalog: DataCatalog


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = Store()
    models = {
        "clutch": Model(store),
        "clutch_refined": Model(store, strength=0.5),
        "clutch_control": Model(store, strength=1.0),
    }
    sizes = {"width": 32, "hidden": 24, "embedding": 16, "word_width": 16}
    values = {
        **models,
        "hiw_store": store,
        "shift": Shift(),
        "params:checkpoints": str(tmp_path_factory.mktemp("checkpoints")),
        "params:evaluation.evaluator": EvaluatorConfig(**sizes, steps=60, batch_size=32, learning_rate=4e-3),
        "params:evaluation.judge": JudgeConfig(width=24, steps=80, batch_size=32, learning_rate=1e-2, dropout=0.1),
        "params:evaluation.judge_sources": [],
        "params:evaluation.goals": GOALS,
        "params:evaluation.protocol": Protocol(
            samples=2,
            temperature=0.7,
            guidance=1.5,
            seed=5,
            shown=3,
            split_by=["unseen_combination"],
            group_by=["speed"],
        ),
    }
    outputs = {name: Kept(copy_mode="assign") for name in evaluation.create_pipeline().all_outputs()}
    inputs = {name: MemoryDataset(value, copy_mode="assign") for name, value in values.items()}
    catalog = DataCatalog(inputs | outputs)
    SequentialRunner().run(evaluation.create_pipeline(), catalog)
    torch.set_num_threads(threads)
    return Ran(store, models, catalog.load("metrics"), catalog.load("samples"), catalog)


def test_every_section_is_measured_on_the_test_split_alone(ran: Ran) -> None:
    for section in ("tokenizer", "text_to_motion", "judge", "motion_to_text", "refinement"):
        assert ran.metrics[section]["hands"]["clips"] == 36, section
    test_texts = {c["captions"][-1] for c in ran.store.clips("test")}
    (own_length,) = [c for c in ran.models["clutch"].calls if "texts" in c and c["seconds"] is None]
    assert set(own_length["texts"]) == test_texts
    json.dumps(ran.metrics, allow_nan=False)


def test_the_models_are_asked_as_the_protocol_says(ran: Ran) -> None:
    calls = [c for c in ran.models["clutch"].calls if "texts" in c]
    assert all((c["temperature"], c["guidance"]) == (0.7, 1.5) for c in calls)
    seeds = {text: 5 + crc32(c["clip_id"].encode()) for c in ran.store.clips("test") for text in c["captions"]}
    assert all(c["seed"] == [seeds[text] for text in c["texts"]] for c in calls)
    high_level = {c["captions"][0] for c in ran.store.clips("test")}
    timed = [c for c in calls if c["seconds"] is not None and not high_level & set(c["texts"])]
    assert [c["samples"] for c in timed] == [2, 1]
    by_text = {c["captions"][-1]: c for c in ran.store.clips("test")}
    for call in timed:
        share = 1.0 if call["samples"] == 2 else 1.25
        assert len(set(call["seconds"])) == 4
        assert [share * len(by_text[t]["features"]) / 15 for t in call["texts"]] == call["seconds"]
    (free,) = [c for c in ran.models["clutch"].calls if "free" in c]
    assert free["free"] == [c["captions"][-1] for c in ran.store.clips("test")]
    assert (free["seed"], free["temperature"]) == ([seeds[text] for text in free["free"]], 0.7)
    assert ran.metrics["generation"] == {"temperature": 0.7, "guidance": 1.5}


def test_each_motion_answers_its_own_prompt(ran: Ran) -> None:
    rows = ran.metrics["text_to_motion"]["hands"]["rows"]
    assert rows["generated"]["mpjpe_abs_mm"] == pytest.approx(0.0, abs=1e-3)
    assert rows["generated"]["fid"] == pytest.approx(0.0, abs=1e-3)
    assert rows["generated_high_level"]["mpjpe_abs_mm"] > 20  # moved sideways by 50 mm along each axis, one hand
    assert rows["reconstruction"]["mpjpe_abs_mm"] == pytest.approx(10.0, abs=0.01)
    assert rows["random_caption"]["mpjpe_abs_mm"] > 5
    assert ran.metrics["text_to_motion"]["hands"]["compared"] == 36
    judged = ran.metrics["judge"]["hands"]["rows"]
    assert judged["generated"]["hand"] == judged["truth"]["hand"] > 0.8
    assert judged["random_caption"]["hand"] < 0.8
    believed = ran.metrics["believed"]["hands"]["generated"]
    assert believed["judge_hand"] == pytest.approx(judged["generated"]["hand"] / judged["reconstruction"]["hand"])


def test_seen_and_unseen_combinations_are_reported_apart(ran: Ran) -> None:
    for section in ("text_to_motion", "judge", "motion_to_text"):
        parts = ran.metrics[section]["hands"]["parts"]
        assert {label: parts["unseen_combination"][label]["clips"] for label in ("true", "false")} == {
            "true": 18,
            "false": 18,
        }


def test_an_arm_that_is_another_clips_motion_is_told_from_the_truth(ran: Ran) -> None:
    wrong = Model(ran.store, of_another=True)
    args = (ran.catalog.load("reconstructions"), Protocol(temperature=0.7, seed=5))
    motions = evaluation.draw_motions(ran.store, wrong, args[1])
    found = evaluation.measure_t2m(ran.store, ran.catalog.load("evaluator"), motions, *args)["hands"]["rows"]
    judged = evaluation.measure_judge(ran.store, ran.catalog.load("judge"), motions, {}, *args)["hands"]["rows"]
    truth = ran.metrics["text_to_motion"]["hands"]["rows"]["generated"]
    assert found["generated"]["mpjpe_abs_mm"] > 5
    assert found["generated"]["mm_dist"] > truth["mm_dist"]
    assert judged["generated"]["hand"] < judged["truth"]["hand"] - 0.2


def test_the_refined_arm_is_the_refined_model_and_the_control_the_control(ran: Ran) -> None:
    found = ran.metrics["refinement"]["hands"]
    rows = found["arms"]
    assert rows["refined"]["mpjpe_abs_mm"] == pytest.approx(rows["control"]["mpjpe_abs_mm"] / 2, rel=0.01)
    assert found["changes"]["refined"]["mpjpe_abs"]["change"] == pytest.approx(-0.5, abs=0.01)
    assert found["changes"]["refined"]["mpjpe_abs"]["no_worse"] is True
    assert "judge_hand" in rows["refined"]
    assert found["control"] == "control"


def test_the_control_is_drawn_again_as_varied_as_the_refined_model_chosen_on_val(ran: Ran) -> None:
    found = ran.metrics["refinement"]["hands"]
    # its shaking is twice the refined model's and proportional to the temperature: half of 0.7
    assert found["control_temperature"] == pytest.approx(0.35, abs=0.08)
    rows = found["arms"]
    assert rows["control_same_multimodality"]["mpjpe_abs_mm"] == pytest.approx(
        found["control_temperature"] / 0.7 * rows["control"]["mpjpe_abs_mm"], rel=0.01
    )
    val = {c["captions"][-1] for c in ran.store.clips("val")}
    measured = (0.7, found["control_temperature"])
    tried = [c for c in ran.models["clutch_control"].calls if c["temperature"] not in measured]
    assert tried
    assert all(set(c["texts"]) <= val for c in tried)


def test_the_mean_pose_is_that_of_training(ran: Ran) -> None:
    rows = ran.metrics["tokenizer"]["hands"]["rows"]
    assert rows["reconstruction"]["mpjpe_abs_mm"] == pytest.approx(10.0, abs=0.01)
    # training's left wrist is 200 mm along each axis from the test clips': 346 mm, over both hands 173
    assert rows["mean_pose"]["mpjpe_abs_mm"] == pytest.approx(173, abs=25)
    assert rows["static_pose"]["mpjpe_abs_mm"] < 60


def test_captions_are_those_of_their_motions(ran: Ran) -> None:
    rows = ran.metrics["motion_to_text"]["hands"]["rows"]
    assert rows["generated"]["bleu_4"] == pytest.approx(1.0)
    assert rows["generated"]["retrieval_top1"] == rows["truth_fine"]["retrieval_top1"]


def test_only_the_unconstrained_share_of_well_formed_motions_is_reported(ran: Ran) -> None:
    assert ran.metrics["well_formed_share"] == {"unconstrained": 9 / 36}


def test_the_document_says_what_it_was_measured_on_and_by_whom(ran: Ran) -> None:
    assert ran.metrics["data_hash"] == "abc"
    assert ran.metrics["measured_by"]["evaluator"] == {"seed": 0, "data_hash": "abc"}
    assert ran.metrics["measured_by"]["judge"] == {"seed": 0, "data_hash": "abc"}
    (goal,) = ran.metrics["goals"]
    assert goal["name"] == "error"
    assert goal["met"] is True
    assert goal["value"] == ran.metrics["text_to_motion"]["hands"]["rows"]["generated"]["mpjpe_abs_mm"]


def test_the_measures_were_trained_on_train_and_looked_at_on_val(ran: Ran) -> None:
    words = ran.catalog.load("evaluator").vocabulary.words
    assert "train" in words
    assert "test" not in words
    assert "val" not in words
    (history,) = [h for h in ran.catalog.load("evaluator_history") if "val_hands_top1" in h]
    assert history["step"] == 60
    assert ran.catalog.load("judge").reliability["hands"]["hand"]["clips"] == 40


def test_the_page_shows_each_clip_with_what_was_made_of_it(ran: Ran) -> None:
    clips = {c["clip_id"]: c for c in ran.store.clips("test")}
    shown = list(ran.samples["clip_id"])
    assert len(shown) == 3
    for k, clip_id in enumerate(shown):
        clip = clips[clip_id]
        assert ran.samples["caption"][k] == ran.samples["generated_caption"][k] == clip["captions"][-1]
        np.testing.assert_array_equal(ran.samples[f"truth_{k}"], clip["features"])
        assert ran.samples[f"generations_{k}"].shape == (2, len(clip["features"]), 198)
        np.testing.assert_allclose(ran.samples[f"generations_{k}"][0], clip["features"], atol=1e-6)
        moved = ran.samples[f"reconstruction_{k}"] - clip["features"]
        np.testing.assert_allclose(moved[:, 96], 0.02, atol=1e-6)
        np.testing.assert_array_equal(ran.samples[f"valid_{k}"], clip["valid"])


def test_a_limit_of_clips_is_one_a_source() -> None:
    store = Store()
    store.all += [c | {"source": "others"} for c in store.clips("test")]
    assert [c["source"] for c in Protocol(max_clips=2).clips(store)] == ["hands", "hands", "others", "others"]
    assert len(Protocol(max_clips=2).clips(store, "val", 5)) == 5
    assert Protocol(max_clips=1).clips(store, "val")[0]["split"] == "val"


def test_one_sample_a_caption_needs_no_temperature() -> None:
    store = Store()
    model = Model(store)
    motions = generate(model, store.clips("test")[:3], Protocol(samples=1, temperature=0.9))
    assert [len(m) for m in motions] == [1, 1, 1]
    assert {c["temperature"] for c in model.calls} == {0.9}


@pytest.mark.parametrize(
    "values", [{"samples": 0}, {"temperature": 0.0}, {"guidance": float("nan")}, {"shown": 0}, {"max_clips": -1}]
)
def test_a_protocol_that_cannot_be_followed_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"evaluation.protocol.{next(iter(values))}"):
        Protocol(**values)


def test_what_is_not_finite_becomes_nothing() -> None:
    assert without_nan({"a": [1.0, float("nan")], "b": (float("inf"), 2), "c": "x"}) == {
        "a": [1.0, None],
        "b": [None, 2],
        "c": "x",
    }


def test_the_goals_of_the_configuration_are_the_demos() -> None:
    """Written by hand: the name of a figure, its side and its bound."""
    values = yaml.safe_load((ROOT / "conf/base/parameters.yml").read_text(encoding="utf-8"))["evaluation"]["goals"]
    goals = dict(zip(values, read_goals(values), strict=True))
    bounds = {key: (goal.source, goal.at_least, goal.at_most) for key, goal in goals.items()}
    assert bounds == {
        "tokenizer_procedural": ("procedural", None, 0.28),
        "tokenizer_fingerspelling": ("fingerspelling", None, 0.5),
        "r_precision": ("procedural", 0.85, None),
        "action": ("procedural", 0.85, None),
        "hand": ("procedural", 0.85, None),
        "m2t_procedural": ("procedural", 5.0, None),
        "m2t_fingerspelling": ("fingerspelling", 5.0, None),
        "refinement_error": ("procedural", None, -0.03),
        "refinement_jitter": ("procedural", None, -0.08),
        "refinement_kid": ("procedural", None, 0.015),
    }
    assert goals["r_precision"].figure == "text_to_motion.rows.generated.r_precision_top3"
    assert goals["r_precision"].of == "text_to_motion.rows.reconstruction.r_precision_top3"
    assert goals["action"].figure == "judge.rows.generated.family"
    assert goals["refinement_kid"].figure == "refinement.changes.refined.kid.ci95_high"


def test_the_goals_of_the_configuration_read_what_is_measured(ran: Ran) -> None:
    values = yaml.safe_load((ROOT / "conf/base/parameters.yml").read_text(encoding="utf-8"))["evaluation"]["goals"]
    metrics = json.loads(json.dumps(ran.metrics).replace('"speed', '"family'))
    renamed = {key: goal | {"source": "hands"} for key, goal in values.items()}
    found = evaluation.check_goals(metrics, read_goals(renamed))
    assert len(found) == len(values)
    assert all(goal["value"] is not None for goal in found)


def test_a_real_model_can_be_asked_for_all_of_it() -> None:
    store = Store()
    store.all = [c for c in store.all if c["split"] == "test"][:3]
    shift = ShiftTokenizer(ShiftConfig(width=8, codebook_size=8, code_dim=4, dilations=(1,))).eval()
    config = ClutchConfig(d_model=16, d_ff=16, heads=2, layers=1, max_steps=8)
    clutch = Clutch.create(config, tokenizer=shift, captions=[t for c in store.all for t in c["captions"]])
    protocol = Protocol(samples=2, temperature=0.7, guidance=1.5)
    motions = evaluation.draw_motions(store, clutch, protocol)
    lengths = [len(c["features"]) for c in store.all]
    assert [[len(m) for m in several] for several in motions["generated"]] == [[n, n] for n in lengths]
    assert [[len(m) for m in several] for several in motions["generated_high_level"]] == [[n] for n in lengths]
    assert all(len(m) >= 4 for several in motions["generated_own_length"] for m in several)
    share = evaluation.measure_form(clutch, store, protocol)["unconstrained"]
    assert share is not None
    assert 0.0 <= share <= 1.0


def test_arms_are_measured_against_what_they_were_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(evaluation, "evaluate_t2m", lambda *args, **options: given.update(options))
    store = Store()
    evaluation.measure_t2m(store, None, {}, [], Protocol(seed=3, split_by=["unseen_combination"]))
    assert set(given["texts"]) == {"", "generated_high_level"}
    assert given["texts"][""] == [c["captions"][1] for c in store.clips("test")]
    assert given["texts"]["generated_high_level"] == [c["captions"][0] for c in store.clips("test")]
    assert [c["split"] for c in given["pool_clips"]] == ["val"] * 40
    assert (given["seed"], given["split_by"]) == (3, ["unseen_combination"])
