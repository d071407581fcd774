"""Two processes of a launcher go the whole `test` road and end where one does; nothing is made or written twice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mlflow

pytestmark = pytest.mark.slow

MODELS = ("shift", "clutch_pretrained", "clutch_refined", "clutch_control", "clutch", "evaluator")


@pytest.fixture(scope="module")
def pair(new_copy, environment, run) -> Path:
    folder = new_copy("pair")
    launcher = ["torchrun", "--standalone", "--nproc_per_node", "2", "-m"]
    run(
        [*launcher, "kedro", "run", "--env", "test", "--pipeline", "full"],
        folder,
        environment | {"OMP_NUM_THREADS": "1"},
    )
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_make_the_model_that_one_makes(project, pair, name):
    alone, together = (load_file(f / f"data/test/models/{name}/model.safetensors") for f in (project, pair))
    assert alone.keys() == together.keys()
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, atol=1e-4, rtol=1e-3, msg=lambda m, key=key: f"{key}: {m}")


def test_two_processes_make_the_tokens_that_one_makes(project, pair):
    with np.load(project / "data/test/tokens.npz") as alone, np.load(pair / "data/test/tokens.npz") as together:
        assert alone.files == together.files
        differ = [np.mean(alone[name] != together[name]) for name in alone.files]
    assert np.mean(differ) < 0.002  # a latent between two codes may fall to either


def test_the_histories_are_those_of_one_process(project, pair):
    for stage in ("tokenizer", "pretrain", "refine", "control", "instruct"):
        alone, together = (json.loads((f / f"reports/test/history/{stage}.json").read_text()) for f in (project, pair))
        assert [row.keys() for row in alone] == [row.keys() for row in together]
        losses = [[row["loss"] for row in history] for history in (alone, together)]
        np.testing.assert_allclose(*losses, rtol=1e-3, err_msg=stage)


def test_each_stage_is_run_and_tracked_once(pair):
    client = mlflow.MlflowClient(f"sqlite:///{pair / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("clutch").experiment_id])
    stages = [run.data.tags["stage"] for run in runs if "stage" in run.data.tags]
    assert len(stages) == len(set(stages)) == 8
    log = (pair / "logs/clutch-rank1.log").read_text()
    assert ": started" not in log, "only rank 0 tells of stages"


def test_the_other_process_leaves_no_files_of_its_own(project, pair):
    def written(folder: Path) -> set[str]:
        found = (p.relative_to(folder) for place in ("data", "reports") for p in (folder / place).rglob("*"))
        return {str(p) for p in found if p.is_file()}

    assert written(pair) <= written(project) | {"logs/clutch-rank1.log"}
