import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

WORKER = Path(__file__).with_name("distributed_worker.py")


RUNS = [("alone", 0, 1), ("together", 0, 2), ("together", 1, 2)]


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What one process alone, and two that work together, left behind."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("alone", "together")}
    torchrun = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", WORKER, made[name]],
            env=os.environ | torchrun | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, rank, world in RUNS
    ]
    for process in processes:
        try:
            output, _ = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 0, output
    return made


@pytest.fixture(scope="module")
def results(folders: dict[str, Path]) -> list[dict[str, torch.Tensor]]:
    return [load_file(folders[name] / f"{rank}.safetensors") for name, rank, _ in RUNS]


def test_all_processes_return_one_history_and_rank_0_alone_writes(folders: dict[str, Path]) -> None:
    alone, first, second = (json.loads((folders[name] / f"{rank}.json").read_text()) for name, rank, _ in RUNS)
    assert first["history"] == second["history"]
    assert first["provenance"] == second["provenance"]
    assert [entry["step"] for entry in second["history"]] == [entry["step"] for entry in alone["history"]]
    assert second["history"][-1]["val_mpjpe_mm"] == pytest.approx(alone["history"][-1]["val_mpjpe_mm"], rel=1e-3)
    assert second["provenance"]["best_step"] == alone["provenance"]["best_step"]
    assert (first["provenance"]["processes"], alone["provenance"]["processes"]) == (2, 1)
    assert sorted(first["wrote"]) == sorted(alone["wrote"])
    assert "training_state.safetensors" in first["wrote"]
    assert second["wrote"] == []
    assert sorted(path.name for path in (folders["together"] / "state").iterdir()) == ["best", "last"]


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


def test_gradients_and_rows_are_those_of_all_processes(results: list[dict[str, torch.Tensor]]) -> None:
    alone, *together = ({k[9:]: v for k, v in result.items() if k.startswith("exchange.")} for result in results)
    assert alone["first"].tolist() == [1.0, 2.0]
    for result in together:
        assert result["first"].tolist() == [11.0, 22.0]
        assert result["second"].tolist() == [7.0, 7.0, 7.0]
    for result in (alone, *together):
        assert result["mean"].tolist() == [2.5]
        assert result["std"].tolist() == pytest.approx([(35 / 12) ** 0.5])
        assert torch.equal(result["drawn"], alone["drawn"])
    assert alone["drawn"].unique().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
