"""Every environment's configuration builds: right names, right types, the sizes it promises."""

import inspect
import re
import shutil
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path

import click
import pytest
import torch
from clutch_llm import AdaptConfig, ClutchConfig
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from shift_tokenizer import ShiftConfig, ShiftTokenizer

from pipelines.data import SOURCES
from pipelines.parameters import ParameterError, check_value, expected_types
from pipelines.places import HUB_NAMES, PATHS, resolve_paths

ROOT = Path(__file__).parents[1]


def parameters(environment: str, **changes) -> dict:
    """All parameters of an environment, as the typed configurations that the nodes receive."""
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=environment, runtime_params=changes or None) as session:
        return session.load_context().params


@pytest.mark.parametrize("environment", ["base", "test", "paper", "interleaved", "smollm2", "wheel"])
def test_every_environment_gives_typed_configurations(environment):
    found = parameters(environment)
    assert isinstance(found["tokenizer"]["model"], ShiftConfig)
    assert isinstance(found["llm"], ClutchConfig)


@pytest.mark.parametrize("environment", ["base", "test", "paper", "interleaved", "wheel"])
def test_every_pipeline_finds_its_parameters(environment):
    found = parameters(environment)
    for name in {name for pipeline in pipelines.values() for name in pipeline.inputs() if name.startswith("params:")}:
        value = found
        for key in name.removeprefix("params:").split("."):
            assert key in value, f"{name} is missing"
            value = value[key] if isinstance(value, dict) else vars(value)


def test_the_paper_environment_is_the_papers():
    found = parameters("paper")
    assert found["llm"].base_model == "google/flan-t5-base"
    assert found["tokenizer"]["model"] == ShiftConfig.paper()
    for stage in ("pretrain", "refine", "instruct"):
        assert found[stage].zero_stage == 2
        assert found[stage].precision == "bf16"


@pytest.mark.parametrize("environment", ["base", "test"])
def test_the_demo_reads_first_and_trains_on_whole_motions(environment):
    found = parameters(environment)
    assert found["llm"].motion_form == "step"
    assert found["llm"].architecture == "decoder-only"
    assert found["llm"].plan
    assert found["pretrain"].tasks["plan"] > 0
    assert found["pretrain"].tasks["complete"] > 0
    assert {found[stage].target_truncation for stage in ("pretrain", "refine", "instruct")} == {0.0}
    assert any(source.get("paraphrases", 0) > 0 for source in found["data"]["sources"])


@pytest.mark.parametrize("environment", ["paper", "interleaved"])
def test_as_published_a_code_has_a_position_and_no_task_needs_a_plan(environment):
    found = parameters(environment)
    assert found["llm"].motion_form == "interleaved"
    assert not found["llm"].plan
    for stage in ("pretrain", "refine", "instruct"):
        assert not found[stage].tasks.get("plan")
        assert not found[stage].tasks.get("complete")
    assert found["refine"].tasks["masked"] == 0.15


@pytest.mark.parametrize("environment", ["base", "test", "paper", "interleaved", "wheel"])
def test_the_budget_of_an_environment_can_be_told(environment, monkeypatch, capsys):
    from clutch_llm.cli import main

    monkeypatch.chdir(ROOT)
    main(["budget", "--gpus", "2", "--env", environment])
    told = capsys.readouterr().out
    assert all(stage in told for stage in ("pretrain", "refine", "instruct"))


def test_the_papers_models_have_the_papers_sizes():
    found = parameters("paper")
    with torch.device("meta"):
        tokenizer = ShiftTokenizer(found["tokenizer"]["model"])
    assert sum(p.numel() for p in tokenizer.parameters()) == 34_960_099  # as in the released checkpoint
    assert tokenizer.codebooks().shape == (2, 4096, 64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pretrain": {"stpes": 3}}, "parameter of 'pretrain', got the unknown name 'stpes'. Did you mean 'steps'"),
        ({"pretrain": {"steps": "many"}}, "Expected a valid integer for the parameter 'pretrain.steps', got 'many'"),
        ({"pretrain": {"steps": "3"}}, "'pretrain.steps', got '3'"),
        ({"pretrain": {"steps": True}}, "'pretrain.steps', got True"),
        ({"pretrain": {"steps": 2.5}}, "'pretrain.steps', got 2.5"),
        ({"pretrain": {"steps": 0}}, "parameter 'pretrain': Expected PretrainConfig.steps of at least 1, got 0"),
        ({"pretrain": {"learning_rate": False}}, "Expected a valid number for the parameter 'pretrain.learning_rate'"),
        ({"pretrain": {"learning_rate": "1e-3"}}, "Write it with a point: 1.0e-3"),
        ({"refine": {"tasks": {"t2m": "all"}}}, "'refine.tasks.t2m', got 'all'"),
        ({"refine": {"clip": 1.0}}, "Expected 'max_grad_norm' in 'refine', got its old name 'clip'"),
        ({"instruct": {"unconditional": 0.1}}, "Expected 'condition_dropout' in 'instruct', got its old name"),
        ({"tokenzier": {}}, "Did you mean 'tokenizer'"),
        ({"tokenizer": 3}, "Expected a section at 'tokenizer', got 3"),
        ({"tokenizer": {"modle": {}}}, "Did you mean 'model'"),
        ({"data": {"build": {"split": [0.8, "some", 0.1]}}}, "'data.build.split.1', got 'some'"),
        ({"data": {"build": {"fps": 0}}}, "The parameter 'data.build'"),
        ({"tokenizer": {"model": {"decomposition": "fingers"}}}, "decomposition"),
        ({"ablation": {"only": ["fast"]}}, "Correct `ablation` in conf"),
        ({"baselines": {"only": ["gan"]}}, "Correct `baselines` in conf"),
        ({"checkpoints": 3}, "Expected a valid string for the parameter 'checkpoints', got 3"),
    ],
)
def test_a_wrong_parameter_is_one_clear_error(change, words):
    with pytest.raises(click.ClickException, match=re.escape(words)):
        parameters("base", **change)


@pytest.mark.parametrize("change", [{"pretrain": {"learning_rate": 1}}, {"tokenizer": {"model": {"dilations": [1]}}}])
def test_an_int_counts_as_a_float_and_a_list_as_a_tuple(change):
    parameters("base", **change)


def test_what_of_a_model_is_trained_is_a_setting_of_each_stage():
    change = {"adapt": {"method": "lora", "rank": 4}, "gradient_checkpointing": True}
    found = parameters("smollm2", pretrain=change, refine=change, instruct=change)
    for stage in ("pretrain", "refine", "instruct"):
        assert found[stage].adapt == AdaptConfig(method="lora", rank=4)
        assert found[stage].gradient_checkpointing
    with pytest.raises(click.ClickException, match=re.escape("of 'pretrain.adapt', got the unknown name 'ranks'")):
        parameters("base", pretrain={"adapt": {"ranks": 4}})


@dataclass(frozen=True)
class Inner:
    steps: int = 1


@dataclass(frozen=True)
class Outer:
    inner: Inner
    several: list[Inner] = field(default_factory=list)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"inner": {"stps": 1}}, "of 'outer.inner', got the unknown name 'stps'. Did you mean 'steps'?"),
        ({"inner": {}, "several": [{}, {"steps": "a"}]}, "'outer.several.1.steps', got 'a'"),
        ({"inner": {}, "several": [{"stps": 3}]}, "of 'outer.several.0', got the unknown name 'stps'"),
    ],
)
def test_a_configuration_inside_another_is_checked_too(value, words):
    with pytest.raises(ParameterError, match=re.escape(words)):
        check_value(value, Outer, "outer")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"build": {"fps": 30}}}, "Expected 'tokenizer.model.fps' equal to 'data.build.fps', got 15.0 and 30"),
        (
            {"tokenizer": {"model": {"frames_per_latent": 8}}},
            "Expected 'data.build.multiple' a multiple of 'tokenizer.model.frames_per_latent', got 4 and 8",
        ),
        (
            {"tokenizer": {"training": {"window": 30}}},
            "Expected 'tokenizer.training.window' a multiple of 'tokenizer.model.frames_per_latent', got 30 and 4",
        ),
        (
            {"llm": {"max_steps": 15}},
            "Expected 'data.sources[0].max_frames' of at most 'llm.max_steps' x 'tokenizer.model.frames_per_latent' "
            "= 60 frames, got 64: the language model could not hold the longest clips. Raise llm.max_steps to 16",
        ),
        (
            {"data": {"sources": [{"type": "procedural", "frames": 160}]}},
            "Expected 'data.sources[0].frames' of at most 'llm.max_steps' x 'tokenizer.model.frames_per_latent' = 128",
        ),
        (
            {"data": {"sources": [{"type": "procedural"}]}, "llm": {"max_steps": 18}},
            "= 72 frames, got 120: the language model could not hold the longest clips. Raise llm.max_steps to 30",
        ),
        (
            {"data": {"sources": [{"type": "npz", "folder": "clips", "max_frames": 140}]}},
            "= 128 frames, got 140: the language model could not hold the longest clips. Raise llm.max_steps to 35",
        ),
        (
            {"data": {"sources": [{"type": "npz", "folder": "clips", "max_frames": 130}]}},  # 132 with their padding
            "= 128 frames, got 132: the language model could not hold the longest clips. Raise llm.max_steps to 33",
        ),
    ],
)
def test_settings_that_do_not_agree_stop_the_run_at_its_start(change, words):
    with pytest.raises(click.ClickException, match=re.escape(words)):
        parameters("base", **change)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:\n  sources:\n    npz: {folder: my_clips}\n", "`data.sources` is a list"),
        ("data: [\n", "can't be read"),
        ("data: ${globals:nowhere}\n", "can't be read"),
    ],
)
def test_a_file_that_does_not_fit_the_others_is_one_clear_error(text, words, tmp_path):
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf/mine").mkdir()
    (tmp_path / "conf/mine/parameters.yml").write_text(text)
    bootstrap_project(ROOT)
    with (
        KedroSession.create(tmp_path, env="mine") as session,
        pytest.raises(click.ClickException, match=re.escape(words)),
    ):
        session.load_context()


def test_a_batch_is_shared_out_evenly_or_the_run_stops(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(click.ClickException, match=r"'pretrain.batch_size' a multiple of the 3 processes, got 16"):
        parameters("base")
    even = {stage: {"batch_size": 12} for stage in ("pretrain", "refine", "instruct")}
    parameters("base", **even)  # reinforcement, with its batch of 8, is off
    with pytest.raises(click.ClickException, match=r"'reinforce.batch_size' a multiple of the 3 processes, got 8"):
        parameters("base", **even, reinforce={"steps": 5})


@pytest.mark.parametrize("environment", ["base", "test", "paper"])
def test_every_path_is_below_the_project_wherever_it_is_asked_from(environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = parameters(
        environment,
        data={"sources": [{"type": "npz", "folder": "my_clips", "groups": "groups.csv"}]},
        refine={"deepspeed_config": "zero.json"},
    )
    data = "data/test" if environment == "test" else "data"
    assert found["checkpoints"] == str(ROOT / data / "checkpoints")
    assert found["data"]["store"] == str(ROOT / data / "hiw.zarr")
    assert found["data"]["sources"][0]["folder"] == str(ROOT / "my_clips")
    assert found["data"]["sources"][0]["groups"] == str(ROOT / "groups.csv")
    assert found["refine"].deepspeed_config == str(ROOT / "zero.json")


def test_paths_that_say_where_they_are_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "t5").mkdir()
    given = {
        "store": "s3://bucket/hiw.zarr",
        "sources": [{"folder": "/clips"}, {"folder": "~/clips", "type": "npz"}],
        "base_model": "google/flan-t5-base",
        "other": {"base_model": "t5", "deepspeed_config": None},
        "split": "test",
    }
    assert resolve_paths(given, tmp_path) == {
        "store": "s3://bucket/hiw.zarr",
        "sources": [{"folder": "/clips"}, {"folder": "/home/ann/clips", "type": "npz"}],
        "base_model": "google/flan-t5-base",
        "other": {"base_model": str(tmp_path / "t5"), "deepspeed_config": None},
        "split": "test",
    }


def test_the_demos_configuration_names_no_dataset_in_its_weights():
    for environment in ("base", "paper", "test"):
        assert "source_weights" not in (ROOT / "conf" / environment / "parameters.yml").read_text()


def test_every_setting_that_says_it_is_a_path_is_known_as_one():
    """So that a new one is not forgotten: by the words of its definition."""
    for hint in expected_types(pipelines.values()).values():
        for line in (inspect.getdoc(hint) or "").splitlines() if is_dataclass(hint) else ():
            said = re.match(r"\s*(\w+): (?:the )?(?:path|folder|file)\b", line)
            assert said is None or said[1] in PATHS | HUB_NAMES, line
    for source in SOURCES.values():
        hints = inspect.signature(source).parameters
        assert {name for name, p in hints.items() if "Path" in str(p.annotation)} <= PATHS
