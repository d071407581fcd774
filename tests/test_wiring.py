"""Which model, data, parameters and split reach which stage, and where its result goes: with stand-ins for the work."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import ClutchConfig, InstructConfig, PretrainConfig, RefineConfig
from hand_geometry import features_to_joints, mirror_features
from hiw_data import BuildConfig
from kedro.config import OmegaConfigLoader
from kedro.io import AbstractDataset, DataCatalog
from kedro.runner import SequentialRunner
from shift_tokenizer import ShiftConfig, TokenizerTraining

from pipelines import data, llm, tokenizer
from pipelines.pipeline_registry import register_pipelines

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


def test_an_argument_that_is_named_like_a_dataset_gets_that_dataset():
    """So that two of one type are not crossed: `refined` and `control`, `evaluator` and `judge`, histories."""
    named = {"refined": "clutch_refined", "control": "clutch_control", "store": "hiw_store"}
    alike = ("evaluator", "judge", "shift", "tokens", "samples", "reconstructions", "motions", "captions", "metrics")
    stages = ("tokenizer", "evaluator", "judge", "pretrain", "refine", "control", "instruct")
    for node in nodes().values():
        expected = named | {name: name for name in alike}
        if node.func.__name__ == "make_page":
            expected |= {name: f"{name}_history" for name in stages} | {"quality": "quality_report"}
        if node.func.__name__ == "gather":
            figures = {"tokenizer": "tokenizer", "t2m": "t2m", "judged": "judge", "m2t": "m2t", "form": "form"}
            expected |= {name: f"{of}_metrics" for name, of in (figures | {"refinement": "refinement"}).items()}
        for argument, dataset in wires(node).items():
            assert dataset == expected.get(argument, dataset), f"{node.func.__name__}({argument})"


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


@pytest.fixture
def trained(monkeypatch) -> list[Call]:
    """Trains nothing: a model is a text that says what was done to it, in order."""
    calls: list[Call] = []

    def learn(clutch, examples, config, *, val_examples, joints_fn, checkpoint_dir, on_log, **others):
        rows = [[(e["clip_id"], int(e["tokens"][0, 0])) for e in part] for part in (examples, val_examples)]
        calls.append(Call(clutch, config, *rows, checkpoint_dir, joints_fn))
        step = type(config).__name__.removesuffix("Config")
        step += "(control)" if getattr(config, "control", False) else ""
        return f"{clutch} {step}", [{"step": 1.0, "seed": float(config.seed)}]

    def create(config, *, tokenizer, captions, **others):
        calls.append(Call("none", (config, tokenizer), [(c, 0) for c in captions], [], "", None))
        return "new"

    monkeypatch.setattr(llm, "train_stage", learn)
    monkeypatch.setattr(llm.Clutch, "create", create)
    return calls


SETTINGS = {
    "params:llm": ClutchConfig(d_model=64),
    "params:pretrain": PretrainConfig(seed=1, steps=11),
    "params:refine": RefineConfig(seed=2, steps=12, lam=3.0),
    "params:instruct": InstructConfig(seed=3, steps=13),
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
    models = {name: value for name, value in llm_run[0].items() if "history" not in name}
    assert models == {
        "clutch_pretrained": "new Pretrain",
        "clutch_refined": "new Pretrain Refine",
        "clutch_control": "new Pretrain Refine(control)",
        "clutch": "new Pretrain Refine Instruct",
    }


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
