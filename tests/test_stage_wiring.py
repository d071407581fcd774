"""Which data, settings and model reach each stage of training, and where its result goes; the work is stood in for."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from clutch_llm import ClutchConfig, InstructConfig, PretrainConfig, RefineConfig, ReinforceConfig, Sampling
from hand_geometry import features_to_joints, mirror_features
from hiw_data import BuildConfig
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from shift_tokenizer import ShiftConfig, TokenizerTraining

from pipelines import data, llm, tokenizer
from pipelines.pipeline_registry import register_pipelines
from pipelines.protocol import Protocol
from tests.wiring_stand_ins import TOKENS, Kept, Store, whole_clips

PIPELINES = register_pipelines()


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

    monkeypatch.setattr(tokenizer, "HiwDataset", whole_clips)
    monkeypatch.setattr(llm, "train_stage", learn)
    monkeypatch.setattr(llm.Clutch, "create", create)
    return calls


SETTINGS = {
    "params:llm": ClutchConfig(d_model=64),
    "params:pretrain": PretrainConfig(seed=1, steps=11),
    "params:refine": RefineConfig(seed=2, steps=12, lam=3.0),
    "params:instruct": InstructConfig(seed=3, steps=13),
    "params:reinforce": ReinforceConfig(seed=4),
    "params:evaluation.protocol": Protocol(temperature=0.6, guidance=1.25),
    "params:checkpoints": "kept",
}


@pytest.fixture
def llm_run(trained) -> tuple[dict[str, Any], list[Call]]:
    """The datasets after the three stages, and how each was trained."""
    names = ["clutch_pretrained", "clutch_refined", "clutch_control", "clutch"]
    names += [f"{stage}_history" for stage in ("pretrain", "refine", "control", "instruct", "reinforce")]
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
    seeds = {name: value[0]["seed"] for name, value in llm_run[0].items() if "history" in name and value}
    assert seeds == {"pretrain_history": 1, "refine_history": 2, "control_history": 2, "instruct_history": 3}


def test_reinforcement_comes_last_where_it_takes_any_steps(trained):
    config, reward = SETTINGS["params:instruct"], ReinforceConfig(seed=4, steps=14)
    given = Store(), TOKENS, Learner("new"), config
    made, history, rewards = llm.instruct(*given, reward, Protocol(temperature=0.6), "kept")
    assert (made.name, made.generation.temperature) == ("new Instruct Reinforce", 0.6)
    assert (history[0]["seed"], rewards[0]["seed"]) == (3, 4)
    assert [(call.checkpoints, call.config) for call in trained] == [
        ("kept/instruct", config),
        ("kept/reinforce", reward),
    ]
    assert llm.instruct(*given, ReinforceConfig(), Protocol(), "kept")[2] == []


def test_the_model_is_made_over_all_texts_of_the_train_split_and_this_tokenizer(llm_run):
    first, *_ = llm_run[1]
    assert first.config == (SETTINGS["params:llm"], "SHIFT")
    assert [text for text, _ in first.train] == [
        "train hand 0",
        "a train hand, number 0",
        "train hand 1",
        "a train hand, number 1",
        "once more, training",
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
    monkeypatch.setattr(tokenizer, "HiwDataset", whole_clips)
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
