"""Two processes of a stage are one process to float tolerance: batches, losses, weights, states."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("training_worker.py")
STAGES = ["pretrain", "refine", "zero1", "zero3", "instruct", "muon"]

Result = tuple[dict[str, torch.Tensor], dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Weights and histories of one process alone, then of each of two that work together."""
    folders = [tmp_path_factory.mktemp(name) for name in ("alone", "together")]
    runs = [(0, 1, folders[0]), (0, 2, folders[1]), (1, 2, folders[1])]
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(world), folder],
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
    assert not list(folders[1].glob("state-*"))  # complete: nothing to resume
    return [
        (load_file(folder / f"{rank}.safetensors"), json.loads((folder / f"{rank}.json").read_text()))
        for rank, _, folder in runs
    ]


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
