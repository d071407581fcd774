"""Every environment's configuration builds: right names, right types, the sizes it promises."""

from pathlib import Path

import pytest
import torch
from clutch_llm import ClutchConfig
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from shift_tokenizer import ShiftConfig, ShiftTokenizer

ROOT = Path(__file__).parents[1]


def parameters(environment: str, **changes) -> dict:
    """All parameters of an environment, as the typed configurations that the nodes receive."""
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=environment, runtime_params=changes or None) as session:
        return session.load_context().params


@pytest.mark.parametrize("environment", ["base", "test", "paper"])
def test_every_environment_gives_typed_configurations(environment):
    found = parameters(environment)
    assert isinstance(found["tokenizer"]["model"], ShiftConfig)
    assert isinstance(found["llm"], ClutchConfig)


@pytest.mark.parametrize("environment", ["base", "test", "paper"])
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


def test_the_papers_models_have_the_papers_sizes():
    found = parameters("paper")
    with torch.device("meta"):
        tokenizer = ShiftTokenizer(found["tokenizer"]["model"])
    assert sum(p.numel() for p in tokenizer.parameters()) == 34_960_099  # as in the released checkpoint
    assert tokenizer.codebooks().shape == (2, 4096, 64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pretrain": {"stpes": 3}}, "Did you mean 'steps'"),
        ({"pretrain": {"steps": "many"}}, "Expected int for the parameter 'pretrain.steps', got 'many'"),
        ({"tokenzier": {}}, "Did you mean 'tokenizer'"),
        ({"tokenizer": {"modle": {}}}, "Did you mean 'model'"),
        ({"data": {"build": {"split": [0.8, "some", 0.1]}}}, "data.build.split"),
        ({"tokenizer": {"model": {"decomposition": "fingers"}}}, "decomposition"),
    ],
)
def test_a_wrong_parameter_is_one_clear_error(change, words):
    with pytest.raises(Exception, match=words):
        parameters("base", **change)
