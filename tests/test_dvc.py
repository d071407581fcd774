"""dvc.yaml says the same as the pipelines, the catalog and the parameters."""

from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from pipelines.pipeline_registry import register_pipelines

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PIPELINES = register_pipelines()


@pytest.fixture(scope="module")
def catalog() -> DataCatalog:
    loader = OmegaConfigLoader(str(ROOT / "conf"), base_env="base", default_run_env="base")
    return DataCatalog.from_config(loader["catalog"])


def files(names, catalog: DataCatalog) -> set[str]:
    """The files and folders behind dataset names; what lives in memory has none."""
    sources = [catalog.get(name) for name in names if not name.startswith("param")]
    return {str(source._filepath) for source in sources if hasattr(source, "_filepath")}


def listed(entries) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries or []}


def test_the_stages_are_the_pipelines_of_full_in_their_order():
    together = sum((PIPELINES[name] for name in STAGES), Pipeline([]))
    assert set(together.nodes) == set(PIPELINES["full"].nodes)
    assert list(STAGES) == [name for name in PIPELINES if name in STAGES]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_pipeline(stage):
    assert STAGES[stage]["cmd"] == f"kedro run --pipeline {stage}"
    assert stage in PIPELINES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_what_its_pipeline_writes(stage, catalog):
    written = files(PIPELINES[stage].all_outputs(), catalog)
    spec = STAGES[stage]
    assert listed(spec.get("outs")) | listed(spec.get("metrics")) | listed(spec.get("plots")) == written


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_its_pipeline_reads(stage, catalog):
    read = files(PIPELINES[stage].inputs(), catalog)
    dependencies = listed(STAGES[stage]["deps"])
    assert {path for path in dependencies if path.startswith(("data/", "reports/"))} == read


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_parameters_its_pipeline_reads(stage):
    names = {name.removeprefix("params:").split(".")[0] for name in PIPELINES[stage].inputs() if "params:" in name}
    params = STAGES[stage].get("params", [])
    listed_names = {key.split(".")[0] for entry in params for keys in entry.values() for key in keys}
    assert listed_names == names - {"checkpoints"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_code_that_exists(stage):
    code = [path for path in listed(STAGES[stage]["deps"]) if not path.startswith(("data/", "reports/"))]
    assert code
    assert all((ROOT / path).exists() for path in code), code
