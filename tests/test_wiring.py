"""Which model, data, parameters and split reach which stage, and where its result goes: with stand-ins for the work."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import ClutchConfig, InstructConfig, PretrainConfig, RefineConfig, Sampling
from hand_geometry import features_to_joints, mirror_features
from hiw_data import BuildConfig
from kedro.config import OmegaConfigLoader
from kedro.io import AbstractDataset, DataCatalog
from kedro.runner import SequentialRunner
from shift_tokenizer import ShiftConfig, TokenizerTraining

from pipelines import data, evaluation, llm, studies, tokenizer
from pipelines.pipeline_registry import register_pipelines
from pipelines.protocol import Protocol

ROOT = Path(__file__).parents[1]
PIPELINES = register_pipelines()

WIRES = {
    "build_store": (
        {"sources": "params:data.sources", "config": "params:data.build", "path": "params:data.store"},
        "hiw_store",
    ),
    "describe_store": ({"store": "hiw_store"}, "quality_report data_card"),
    "train": (
        {
            "store": "hiw_store",
            "config": "params:tokenizer.model",
            "training": "params:tokenizer.training",
            "checkpoints": "params:checkpoints",
        },
        "shift tokenizer_history",
    ),
    "tokenize": ({"store": "hiw_store", "shift": "shift"}, "tokens"),
    "pretrain": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "shift": "shift",
            "model": "params:llm",
            "config": "params:pretrain",
            "checkpoints": "params:checkpoints",
        },
        "clutch_pretrained pretrain_history",
    ),
    "refine": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "config": "params:refine",
            "checkpoints": "params:checkpoints",
        },
        "clutch_refined refine_history",
    ),
    "refine_control": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "config": "params:refine",
            "checkpoints": "params:checkpoints",
        },
        "clutch_control control_history",
    ),
    "instruct": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_refined",
            "config": "params:instruct",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "clutch instruct_history",
    ),
    "sweep_refinement": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "evaluator": "evaluator",
            "config": "params:refine",
            "plan": "params:refinement_sweep",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "refinement_sweep",
    ),
    "study_refinement": (
        {
            "store": "hiw_store",
            "tokens": "tokens",
            "clutch": "clutch_pretrained",
            "evaluator": "evaluator",
            "judge": "judge",
            "refine": "params:refine",
            "instruct": "params:instruct",
            "plan": "params:refinement_study",
            "protocol": "params:evaluation.protocol",
            "checkpoints": "params:checkpoints",
        },
        "refinement_study",
    ),
    "refinement_page": ({"study": "refinement_study"}, "refinement_study_page"),
    "ablate_tokenizer": (
        {
            "store": "hiw_store",
            "config": "params:tokenizer.model",
            "training": "params:tokenizer.training",
            "plan": "params:ablation",
            "checkpoints": "params:checkpoints",
        },
        "ablation",
    ),
    "as_markdown": ({"study": "ablation"}, "ablation_table"),
    "fit_evaluator": (
        {"store": "hiw_store", "config": "params:evaluation.evaluator", "checkpoints": "params:checkpoints"},
        "evaluator evaluator_history",
    ),
    "measure_tokenizer": (
        {"store": "hiw_store", "shift": "shift", "protocol": "params:evaluation.protocol"},
        "tokenizer_metrics reconstructions",
    ),
    "measure_m2t": (
        {"store": "hiw_store", "clutch": "clutch", "evaluator": "evaluator", "protocol": "params:evaluation.protocol"},
        "m2t_metrics captions",
    ),
    "set_goals": ({"values": "params:evaluation.goals"}, "goals"),
    "fit_judge": (
        {
            "store": "hiw_store",
            "config": "params:evaluation.judge",
            "sources": "params:evaluation.judge_sources",
            "checkpoints": "params:checkpoints",
        },
        "judge judge_history",
    ),
    "draw_motions": ({"store": "hiw_store", "clutch": "clutch", "protocol": "params:evaluation.protocol"}, "motions"),
    "measure_t2m": (
        {
            "store": "hiw_store",
            "evaluator": "evaluator",
            "motions": "motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "t2m_metrics",
    ),
    "measure_judge": (
        {
            "store": "hiw_store",
            "judge": "judge",
            "motions": "motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "judge_metrics",
    ),
    "measure_obedience": (
        {
            "store": "hiw_store",
            "motions": "motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "claims_metrics",
    ),
    "measure_motion": (
        {
            "store": "hiw_store",
            "motions": "motions",
            "reconstructions": "reconstructions",
            "protocol": "params:evaluation.protocol",
        },
        "motion_metrics",
    ),
    "measure_refinement": (
        {
            "store": "hiw_store",
            "refined": "clutch_refined",
            "control": "clutch_control",
            "evaluator": "evaluator",
            "judge": "judge",
            "protocol": "params:evaluation.protocol",
        },
        "refinement_metrics",
    ),
    "measure_form": (
        {"clutch": "clutch", "store": "hiw_store", "protocol": "params:evaluation.protocol"},
        "form_metrics",
    ),
    "gather": (
        {
            "store": "hiw_store",
            "tokenizer": "tokenizer_metrics",
            "t2m": "t2m_metrics",
            "judged": "judge_metrics",
            "claims": "claims_metrics",
            "motion": "motion_metrics",
            "m2t": "m2t_metrics",
            "refinement": "refinement_metrics",
            "form": "form_metrics",
            "evaluator": "evaluator",
            "judge": "judge",
            "goals": "goals",
            "protocol": "params:evaluation.protocol",
        },
        "metrics",
    ),
    "make_page": (
        {
            "metrics": "metrics",
            "quality": "quality_report",
            "samples": "samples",
            "tokenizer": "tokenizer_history",
            "evaluator": "evaluator_history",
            "judge": "judge_history",
            "pretrain": "pretrain_history",
            "refine": "refine_history",
            "control": "control_history",
            "instruct": "instruct_history",
            "store": "hiw_store",
            "shift": "shift",
            "tokens": "tokens",
        },
        "report_page",
    ),
    "choose_samples": (
        {
            "store": "hiw_store",
            "reconstructions": "reconstructions",
            "motions": "motions",
            "captions": "captions",
            "protocol": "params:evaluation.protocol",
        },
        "samples",
    ),
}
PLACES = {
    "hiw_store": "data/hiw.zarr",
    "quality_report": "reports/data_quality.json",
    "data_card": "reports/data_card.md",
    "shift": "data/models/shift",
    "tokens": "data/tokens.npz",
    "clutch": "data/models/clutch",
    "clutch_pretrained": "data/models/clutch_pretrained",
    "clutch_refined": "data/models/clutch_refined",
    "clutch_control": "data/models/clutch_control",
    "evaluator": "data/models/evaluator",
    "judge": "data/models/judge",
    "samples": "data/samples.npz",
    "metrics": "reports/metrics.json",
    "refinement_sweep": "reports/refinement_sweep.json",
    "refinement_study": "reports/refinement_study.json",
    "refinement_study_page": "reports/refinement_study.md",
    "ablation": "reports/ablation.json",
    "ablation_table": "reports/ablation.md",
    "report_page": "reports/index.html",
    "tokenizer_history": "reports/history/tokenizer.json",
    "control_history": "reports/history/control.json",
}


def nodes() -> dict[str, Any]:
    every = [n for name in ("full", "refinement_sweep", "refinement_study", "ablation") for n in PIPELINES[name].nodes]
    return {n.func.__name__: n for n in every}


def wires(node: Any) -> dict[str, str]:
    """The dataset that each argument of a node's function gets."""
    return dict(zip(inspect.signature(node.func).parameters, node.inputs, strict=True))


@pytest.mark.parametrize("name", WIRES)
def test_each_argument_of_a_node_gets_its_dataset_and_each_result_goes_to_its_own(name):
    found = nodes()[name]
    inputs, outputs = WIRES[name]
    assert wires(found) == inputs
    assert found.outputs == outputs.split()


def test_every_node_is_in_the_table():
    assert set(nodes()) == set(WIRES)


def test_each_dataset_has_its_own_place():
    loader = OmegaConfigLoader(str(ROOT / "conf"), base_env="base", default_run_env="base")
    catalog = DataCatalog.from_config(loader["catalog"])
    assert {name: str(catalog.get(name)._filepath) for name in PLACES} == PLACES


def clip(split: str, number: int, frames: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    return {
        "clip_id": f"{split}/{number}",
        "source": "made",
        "split": split,
        "fps": 15.0,
        "features": rng.normal(size=(frames, 198)).astype(np.float32),
        "valid": np.ones((frames, 2), bool),
        "captions": [f"{split} hand {number}", f"a {split} hand, number {number}"],
        "attributes": {},
    }


class Store:
    """Two clips to train on, one to validate, one to test."""

    data_hash, fps = "abc", 15.0

    def clips(self, split: str | None = None) -> list[dict[str, Any]]:
        made = [clip("train", 0), clip("train", 1), clip("val", 2), clip("test", 3)]
        return [c for c in made if split in (None, c["split"])]


TOKENS = {c["clip_id"]: np.full((2, 4), k) for k, c in enumerate(Store().clips())}


class Kept(AbstractDataset[Any, Any]):
    """Holds what it is given; the runner does not let go of it."""

    def save(self, data: Any) -> None:
        self.data = data

    def load(self) -> Any:
        return self.data

    def _describe(self) -> dict[str, Any]:
        return {}


@dataclass
class Call:
    """What a stage was trained with."""

    model: str
    config: Any
    train: list[tuple[str, int]]
    val: list[tuple[str, int]]
    checkpoints: str
    joints: Any


@dataclass(frozen=True)
class Learner:
    """Trains nothing: its name says what was done to it, in order."""

    name: str
    generation: Sampling | None = None


@pytest.fixture
def trained(monkeypatch) -> list[Call]:
    """How each stage was trained."""
    calls: list[Call] = []

    def learn(clutch, examples, config, *, val_examples, joints_fn, checkpoint_dir, on_log, **others):
        rows = [[(e["clip_id"], int(e["tokens"][0, 0])) for e in part] for part in (examples, val_examples)]
        calls.append(Call(clutch, config, *rows, checkpoint_dir, joints_fn))
        step = type(config).__name__.removesuffix("Config")
        step += "(control)" if getattr(config, "control", False) else ""
        return Learner(f"{clutch.name} {step}"), [{"step": 1.0, "seed": float(config.seed)}]

    def create(config, *, tokenizer, captions, **others):
        calls.append(Call("none", (config, tokenizer), [(c, 0) for c in captions], [], "", None))
        return Learner("new")

    monkeypatch.setattr(llm, "train_stage", learn)
    monkeypatch.setattr(llm.Clutch, "create", create)
    return calls


SETTINGS = {
    "params:llm": ClutchConfig(d_model=64),
    "params:pretrain": PretrainConfig(seed=1, steps=11),
    "params:refine": RefineConfig(seed=2, steps=12, lam=3.0),
    "params:instruct": InstructConfig(seed=3, steps=13),
    "params:evaluation.protocol": Protocol(temperature=0.6, guidance=1.25),
    "params:checkpoints": "kept",
}


@pytest.fixture
def llm_run(trained) -> tuple[dict[str, Any], list[Call]]:
    """The datasets after the three stages, and how each was trained."""
    names = ["clutch_pretrained", "clutch_refined", "clutch_control", "clutch"]
    names += [f"{stage}_history" for stage in ("pretrain", "refine", "control", "instruct")]
    catalog = DataCatalog({name: Kept() for name in names})
    given = {"hiw_store": Store(), "tokens": TOKENS, "shift": "SHIFT", **SETTINGS}
    for name, value in given.items():
        catalog[name] = value
    SequentialRunner().run(PIPELINES["llm"], catalog)
    return {name: catalog.load(name) for name in names}, trained


def test_each_model_went_the_way_that_its_name_says(llm_run):
    models = {name: value.name for name, value in llm_run[0].items() if "history" not in name}
    assert models == {
        "clutch_pretrained": "new Pretrain",
        "clutch_refined": "new Pretrain Refine",
        "clutch_control": "new Pretrain Refine(control)",
        "clutch": "new Pretrain Refine Instruct",
    }


def test_the_final_model_generates_as_it_is_evaluated(llm_run):
    assert llm_run[0]["clutch"].generation == Sampling(temperature=0.6, guidance=1.25)


def test_each_history_is_its_stages(llm_run):
    seeds = {name: value[0]["seed"] for name, value in llm_run[0].items() if "history" in name}
    assert seeds == {"pretrain_history": 1, "refine_history": 2, "control_history": 2, "instruct_history": 3}


def test_the_model_is_made_over_the_captions_of_the_train_split_and_this_tokenizer(llm_run):
    first, *_ = llm_run[1]
    assert first.config == (SETTINGS["params:llm"], "SHIFT")
    assert [text for text, _ in first.train] == [
        "train hand 0",
        "a train hand, number 0",
        "train hand 1",
        "a train hand, number 1",
    ]


def test_every_stage_learns_from_train_and_validates_on_val_with_each_clips_own_tokens(llm_run):
    _, *stages = llm_run[1]
    assert len(stages) == 4
    for call in stages:
        assert call.train == [("train/0", 0), ("train/1", 1)]
        assert call.val == [("val/2", 2)]
        assert call.joints is features_to_joints


def test_every_stage_has_its_own_settings_and_checkpoints(llm_run):
    _, *stages = llm_run[1]
    made = {call.checkpoints: call.config for call in stages}
    assert made.pop("kept/control") == RefineConfig(seed=2, steps=12, lam=3.0, control=True)
    assert made == {
        "kept/pretrain": SETTINGS["params:pretrain"],
        "kept/refine": SETTINGS["params:refine"],
        "kept/instruct": SETTINGS["params:instruct"],
    }


def test_the_tokenizer_is_trained_on_train_and_validated_on_val(monkeypatch):
    seen = {}

    def learn(clips, config, training, *, val_clips, joints_fn, mirror_fn, checkpoint_dir, on_log, **others):
        seen.update(
            train=[c["clip_id"] for c in clips],
            val=[c["clip_id"] for c in val_clips],
            settings=(config, training, checkpoint_dir),
            functions=(joints_fn, mirror_fn),
        )
        return "shift", ["history"]

    monkeypatch.setattr(tokenizer, "train_tokenizer", learn)
    model, training = ShiftConfig(width=8), TokenizerTraining(steps=3)
    assert tokenizer.train(Store(), model, training, "kept") == ("shift", ["history"])
    assert seen == {
        "train": ["train/0", "train/1"],
        "val": ["val/2"],
        "settings": (model, training, "kept/tokenizer"),
        "functions": (features_to_joints, mirror_features),
    }


def test_every_clip_of_every_split_has_its_own_tokens_whatever_its_unseen_hands_hold():
    class Shift:
        def to(self, device):
            return self

        def encode_list(self, features, valid, fps):
            assert fps == 15.0
            assert [v.tolist() for v in valid] == [c["valid"].tolist() for c in Store().clips()]
            return [torch.full((2, 4), round(float(f[0, 0]) * 1000)) for f in features]

    made = tokenizer.tokenize(Store(), Shift())
    expected = {c["clip_id"]: round(float(c["features"][0, 0]) * 1000) for c in Store().clips()}
    assert {name: int(ids[0, 0]) for name, ids in made.items()} == expected
    assert len(set(expected.values())) == 4


def test_the_store_is_built_from_the_listed_sources_at_its_place(monkeypatch):
    seen = []
    monkeypatch.setattr(data, "build", lambda *given, **named: seen.append((given, named)) or "store")
    config = BuildConfig(seed=5)
    assert data.build_store([{"type": "procedural", "clips": 3}], config, "data/hiw.zarr") == "store"
    ((sources, path, settings), named) = seen[0]
    assert [(s.name, s.clips) for s in sources] == [("procedural", 3)]
    assert (str(path), settings, named) == ("data/hiw.zarr", config, {"overwrite": True})


class Model:
    """A language model that says of each motion who drew it, from what and how."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, texts, seconds, *, samples, seed, temperature, guidance):
        pairs = zip(texts, seed, strict=True)
        drawn = [f"{self.name}: {t} | {seconds} s, {temperature}, {guidance}, seed {s}" for t, s in pairs]
        return [[{"features": f"{one}, sample {k}"} for k in range(samples)] for one in drawn]

    def caption(self, motions, valid, fps, *, detailed):
        return [
            f"{self.name} of {float(m[0, 0]):.4f}, {v.sum()} seen, {fps}, {detailed}"
            for m, v in zip(motions, valid, strict=True)
        ]


class Measured(Store):
    """Three clips to test on, of two lengths and sources; the second's left hand is not seen."""

    def clips(self, split: str | None = None) -> list[dict[str, Any]]:
        made = [clip("test", 3), clip("test", 4, 12), clip("test", 5) | {"source": "other"}]
        made[1]["valid"][:, 0] = False
        return made if split == "test" else super().clips(split)


PROTOCOL = Protocol(samples=2, temperature=0.5, guidance=1.5, seed=7)
"""How the models are asked in the tests: each setting has a value of its own."""


SEEDS = {3: 4145905875, 4: 1769543030, 5: 511583744}
"""The seed of each clip: 7 and the CRC-32 of its name, so that clips of one caption get different motions."""


def drawn(model: str, clip_number: int, sample: int, temperature: float = 0.5) -> str:
    seconds = {3: 8 / 15, 4: 12 / 15, 5: 8 / 15}[clip_number]
    text = f"a test hand, number {clip_number}"
    return f"{model}: {text} | {seconds} s, {temperature}, 1.5, seed {SEEDS[clip_number]}, sample {sample}"


def test_each_clip_gets_the_motions_of_its_own_caption_and_length():
    made = evaluation.draw_motions(Measured(), Model("final"), PROTOCOL)
    assert made["generated"] == [[drawn("final", number, sample) for sample in (0, 1)] for number in (3, 4, 5)]
    assert made["generated_own_length"][1] == [
        "final: a test hand, number 4 | None s, 0.5, 1.5, seed 1769543030, sample 0"
    ]
    assert made["generated_high_level"][1] == ["final: test hand 4 | 0.8 s, 0.5, 1.5, seed 1769543030, sample 0"]


def test_the_arms_of_the_comparison_are_the_models_of_their_names(monkeypatch):
    seen = {}

    def compare(evaluator, clips, arms, *, control, texts, judge, seed):
        seen.update(arms=arms, about=(evaluator, [c["clip_id"] for c in clips], control, texts, judge, seed))
        return {"made": {"figures": 1}}

    def variety(store, control, refined, evaluator, protocol):
        seen["variety"] = (control.name, refined.name, evaluator, protocol.split)
        return 0.9

    monkeypatch.setattr(evaluation, "compare_arms", compare)
    monkeypatch.setattr(evaluation, "same_variety", variety)
    found = evaluation.measure_refinement(
        Measured(), Model("refined"), Model("control"), "evaluator", "judge", PROTOCOL
    )
    assert found == {"made": {"figures": 1, "control_temperature": 0.9}}
    firsts = {name: [motions[0] for motions in runs[0]] for name, runs in seen["arms"].items()}
    assert firsts == {
        "control": [drawn("control", number, 0) for number in (3, 4, 5)],
        "refined": [drawn("refined", number, 0) for number in (3, 4, 5)],
        "control_same_multimodality": [drawn("control", number, 0, 0.9) for number in (3, 4, 5)],
    }
    texts = [f"a test hand, number {number}" for number in (3, 4, 5)]
    assert seen["about"] == ("evaluator", ["test/3", "test/4", "test/5"], "control", texts, "judge", 7)
    assert seen["variety"] == ("control", "refined", "evaluator", "test")


def test_the_temperature_of_equal_variety_is_the_controls_on_val(monkeypatch):
    """The refined model's variety at the protocol's temperature is the target, and the control's is moved to it."""

    class Evaluator:
        def embed_motions(self, motions):
            return motions

    asked = []

    def variety(motions):
        asked.append(motions[0][0])
        return 5.0 if motions[0][0].startswith("refined") else 1.0

    def solve(function, target):
        return function(0.8) + target, None

    monkeypatch.setattr(evaluation, "multimodality", variety)
    monkeypatch.setattr(evaluation, "temperature_of_multimodality", solve)
    assert evaluation.same_variety(Measured(), Model("control"), Model("refined"), Evaluator(), PROTOCOL) == 6.0
    seconds = 8 / 15
    assert asked == [
        f"refined: a val hand, number 2 | {seconds} s, 0.5, 1.5, seed 2821466564, sample 0",
        f"control: a val hand, number 2 | {seconds} s, 0.8, 1.5, seed 2821466564, sample 0",
    ]


def test_motion_to_text_is_measured_on_each_clips_own_motion_and_hands(monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate_m2t", lambda *given, **named: (given, named))
    (given, named), said = evaluation.measure_m2t(Measured(), Model("final"), "evaluator", PROTOCOL)
    clips = Measured().clips("test")
    values = [float(c["features"][0, 0]) for c in clips]
    assert said == [f"final of {v:.4f}, {seen} seen, 15.0, True" for v, seen in zip(values, (16, 12, 16), strict=True)]
    assert given[0] == "evaluator"
    assert [c["clip_id"] for c in given[1]] == ["test/3", "test/4", "test/5"]
    assert given[2] == said
    assert named["seed"] == 7


def test_the_tokenizer_is_measured_on_what_it_makes_of_the_test_clips_with_train_for_the_baselines(monkeypatch):
    class Shift:
        def encode_list(self, features, valid, fps):
            assert [int(v.sum()) for v in valid] == [16, 12, 16]
            return [torch.as_tensor(f) for f in features]

        def decode_list(self, tokens):
            return [t + 1 for t in tokens]

    monkeypatch.setattr(evaluation, "evaluate_tokenizer", lambda *given: given)
    (clips, made, learnt), again = evaluation.measure_tokenizer(Measured(), Shift(), PROTOCOL)
    assert [c["clip_id"] for c in clips] == ["test/3", "test/4", "test/5"]
    for motion, one in zip(made, clips, strict=True):
        np.testing.assert_array_equal(motion, one["features"] + 1)
    assert again == made
    assert [c["clip_id"] for c in learnt] == ["train/0", "train/1"]


@pytest.mark.parametrize(("fit", "package"), [("fit_evaluator", "train_evaluator"), ("fit_judge", "train_judge")])
def test_those_who_measure_learn_from_train_and_validate_on_val(monkeypatch, fit, package):
    seen = {}

    def learn(clips, config, *, val_clips, data_hash, checkpoint_dir, on_log):
        seen.update(train=[c["clip_id"] for c in clips], val=[c["clip_id"] for c in val_clips])
        return config, data_hash, checkpoint_dir

    monkeypatch.setattr(evaluation, package, learn)
    name = fit.removeprefix("fit_")
    sources = ([],) if fit == "fit_judge" else ()
    assert getattr(evaluation, fit)(Store(), "settings", *sources, "kept") == ("settings", "abc", f"kept/{name}")
    assert seen == {"train": ["train/0", "train/1"], "val": ["val/2"]}


def test_the_figures_stand_under_their_own_names(monkeypatch):
    monkeypatch.setattr(evaluation, "believed_shares", lambda t2m, judged: ("believed", t2m, judged))
    monkeypatch.setattr(evaluation, "check_goals", lambda document, goals: ("goals", goals))
    by = SimpleNamespace(seed=1, data_hash="e"), SimpleNamespace(seed=2, data_hash="j")
    made = evaluation.gather(
        Store(), "shift", "t2m", "judged", "claims", "motion", "m2t", "arms", "form", *by, "wanted", PROTOCOL
    )
    assert made == {
        "data_hash": "abc",
        "measured_by": {"evaluator": {"seed": 1, "data_hash": "e"}, "judge": {"seed": 2, "data_hash": "j"}},
        "generation": {"temperature": 0.5, "guidance": 1.5},
        "tokenizer": "shift",
        "text_to_motion": "t2m",
        "judge": "judged",
        "believed": ["believed", "t2m", "judged"],
        "claims": "claims",
        "motion": "motion",
        "motion_to_text": "m2t",
        "refinement": "arms",
        "well_formed_share": "form",
        "goals": ("goals", "wanted"),
    }


def test_a_sample_to_look_at_is_of_one_clip_throughout():
    clips = Measured().clips("test")
    made = [np.full((2, 3), number) for number in (3, 4, 5)]
    generated = {"generated": [[m * 10, m * 11] for m in made], "generated_high_level": None}
    said = [f"said of {number}" for number in (3, 4, 5)]
    shown = evaluation.choose_samples(Measured(), made, generated, said, PROTOCOL)
    assert shown["clip_id"].tolist() == ["test/3", "test/4", "test/5"]
    assert shown["caption"].tolist() == [f"a test hand, number {n}" for n in (3, 4, 5)]
    assert shown["generated_caption"].tolist() == said
    assert shown["source"].tolist() == ["made", "made", "other"]
    for k, (number, one) in enumerate(zip((3, 4, 5), clips, strict=True)):
        np.testing.assert_array_equal(shown[f"truth_{k}"], one["features"])
        np.testing.assert_array_equal(shown[f"valid_{k}"], one["valid"])
        assert shown[f"reconstruction_{k}"][0, 0] == number
        assert shown[f"generations_{k}"][:, 0, 0].tolist() == [number * 10, number * 11]


def test_the_sweep_compares_each_point_with_the_control_on_val(monkeypatch):
    """Every arm starts at the pretrained model; it differs from the stage's own settings in its point and its steps."""
    trained, compared = [], []

    def stage(clutch, store, tokens, config, checkpoints):
        trained.append((clutch, config, checkpoints))
        return Model(f"lam {config.lam:g}{' control' if config.control else ''}"), []

    def compare(evaluator, clips, control, refined, *, texts, seed):
        compared.append((evaluator, [c["clip_id"] for c in clips], control[0][0], refined[0][0], texts, seed))
        return {}

    monkeypatch.setattr(studies, "run_stage", stage)
    monkeypatch.setattr(studies, "compare_refinement", compare)
    plan = studies.SweepPlan(steps=5, grid={"lam": [1.0, 4.0]})
    own = RefineConfig(seed=2, steps=12, lam=3.0, learning_rate=0.5)
    rows = studies.sweep_refinement(Store(), TOKENS, "pretrained", "evaluator", own, plan, PROTOCOL, "kept")
    assert [row["lam"] for row in rows] == [1.0, 4.0]
    assert {clutch for clutch, *_ in trained} == {"pretrained"}
    assert [(c.control, c.lam, c.steps, c.seed, c.learning_rate) for _, c, _ in trained] == [
        (True, 3.0, 5, 2, 0.5),
        (False, 1.0, 5, 2, 0.5),
        (False, 4.0, 5, 2, 0.5),
    ]
    assert len({place for *_, place in trained}) == 3
    said = f"a val hand, number 2 | {8 / 15} s, 0.5, 1.5, seed 2821466564, sample 0"
    assert compared == [
        ("evaluator", ["val/2"], f"lam 3 control: {said}", f"lam {lam}: {said}", ["a val hand, number 2"], 7)
        for lam in (1, 4)
    ]
