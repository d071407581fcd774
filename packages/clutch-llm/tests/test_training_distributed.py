"""Two processes of a stage are one process to float tolerance: batches, losses, weights, states."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("training_worker.py")
STAGES = ["pretrain", "refine", "zero1", "zero2", "zero3", "instruct", "muon"]
TAKEN_UP = ["pretrain", "zero1", "zero2"]

Result = tuple[dict[str, torch.Tensor], dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Weights and histories of one process alone, then of each of two that work together."""
    folders = [tmp_path_factory.mktemp(name) for name in ("alone", "together")]
    runs = [(0, 1, folders[0]), (0, 2, folders[1]), (1, 2, folders[1])]
    run_together(runs)
    assert not list(folders[1].glob("state-*"))  # complete: nothing to resume
    return [read(rank, folder) for rank, _, folder in runs]


@pytest.fixture(scope="module", params=[(2, 1), (1, 2)], ids=["two, then one", "one, then two"])
def taken_up(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Result:
    """What the second number of processes makes of the states that the first has left."""
    folder = tmp_path_factory.mktemp("taken-up")
    for part, world in zip(("kill", "go-on"), request.param, strict=True):
        run_together([(rank, world, folder) for rank in range(world)], part)
        assert sorted(p.name for p in folder.glob("state-*/*")) == ["step-00000004"] * (3 if part == "kill" else 0)
    return read(0, folder)


def read(rank: int, folder: Path) -> Result:
    return load_file(folder / f"{rank}.safetensors"), json.loads((folder / f"{rank}.json").read_text())


def run_together(runs: Sequence[tuple[int, int, Path]], *parts: str) -> None:
    """Run the worker in several processes, each a rank of a world with its folder; all must succeed."""
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(world), folder, *parts],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, world, folder in runs
    ]
    try:
        outputs = [process.communicate(timeout=400)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
        assert "is not used" not in output, output  # states are found again and whole
        assert output.count("going on from step 4 of") == (len(TAKEN_UP) if "go-on" in parts else 0), output


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_train_the_model_that_one_does(results: list[Result], stage: str) -> None:
    alone, *together = ({k: v for k, v in r.items() if k.startswith(f"{stage}.")} for r, _ in results)
    assert alone
    for key, value in alone.items():
        assert torch.equal(together[0][key], together[1][key]), key
        torch.testing.assert_close(together[0][key], value, atol=1e-4, rtol=1e-3, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_log_what_one_does(results: list[Result], stage: str) -> None:
    alone, *together = (rows[stage] for _, rows in results)
    assert together[0] == together[1]
    assert len(together[0]) == len(alone) == 3
    for one, other in zip(alone, together[0], strict=True):
        assert other == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize("stage", TAKEN_UP)
def test_another_number_of_processes_goes_on_as_if_nothing_had_been(
    results: list[Result], taken_up: Result, stage: str
) -> None:
    """Weights, and what each step was trained on: its losses, before and after."""
    (alone, rows), (found, again) = results[0], taken_up
    for key in (key for key in alone if key.startswith(f"{stage}.")):
        torch.testing.assert_close(found[key], alone[key], atol=1e-4, rtol=1e-3, msg=lambda m, key=key: f"{key}: {m}")
    assert [row["step"] for row in again[stage]] == [2, 4, 6]
    for one, other in zip(rows[stage], again[stage], strict=True):
        assert other == pytest.approx(one, rel=1e-3)
