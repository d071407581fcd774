import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    """One process alone, then each of two that work together."""
    folders = [tmp_path_factory.mktemp(name) for name in ("alone", "together")]
    runs = [(0, 1, folders[0]), (0, 2, folders[1]), (1, 2, folders[1])]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", WORKER, str(rank), str(world), folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, world, folder in runs
    ]
    for process in processes:
        try:
            output, _ = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 0, output
    return [load_file(folder / f"{rank}.safetensors") for rank, _, folder in runs]


@pytest.mark.parametrize("name", ["sample", "kmeans", "cosine", "residual", "fsq"])
def test_two_processes_move_the_codes_as_one_does(results: list[dict[str, torch.Tensor]], name: str) -> None:
    alone, *together = ({k: v for k, v in result.items() if k.startswith(f"quantizer.{name}.")} for result in results)
    assert any(k.endswith("counts") for k in alone)
    for key, value in alone.items():
        assert torch.equal(together[0][key], together[1][key]), key
        torch.testing.assert_close(together[0][key], value, atol=1e-5, rtol=1e-5, msg=lambda m, key=key: f"{key}: {m}")


def test_two_processes_train_the_tokenizer_that_one_does(results: list[dict[str, torch.Tensor]]) -> None:
    alone, *together = ({k: v for k, v in result.items() if k.startswith("training.")} for result in results)
    for key, value in alone.items():
        assert torch.equal(together[0][key], together[1][key]), key
        torch.testing.assert_close(together[0][key], value, atol=2e-4, rtol=2e-4, msg=lambda m, key=key: f"{key}: {m}")
    fresh = alone["training.streams.0.quantizer.levels.0.codebook"]
    assert float(fresh.std()) > 0
