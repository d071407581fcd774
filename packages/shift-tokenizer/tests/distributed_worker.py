"""One process of several: `python distributed_worker.py FOLDER`, results as tensors and JSON in FOLDER.

Its rank and the world's size come from the environment, as from `torchrun`. With a world of one no process group is
made, so that it is the single process that the others are compared with.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from shift_tokenizer import (
    ShiftConfig,
    TokenizerTraining,
    TrainingCallback,
    atomic,
    checkpoint,
    distributed,
    train_tokenizer,
)
from shift_tokenizer.distributed import process_group
from shift_tokenizer.fsq import FiniteScalarQuantizer
from shift_tokenizer.quantizer import EmaQuantizer, ResidualQuantizer


def clips() -> list[dict]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(12):
        steps = rng.normal(size=(4 * (3 + number % 3), 198)).cumsum(0) * 0.1
        valid = np.ones((len(steps), 2), bool)
        valid[:, number % 2] = number % 3 > 0
        made.append({"features": steps.astype(np.float32), "valid": valid, "source": "abc"[number % 3]})
    return made


def quantizers(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Four kinds, each drawn from the first latents and moved by ten uneven batches; chance differs by rank."""
    torch.manual_seed(0)
    settings = {"decay": 0.8, "reset_every": 2, "reset_threshold": 0.3}
    made = {
        "sample": ResidualQuantizer([EmaQuantizer(12, 4, **settings)]),
        "kmeans": ResidualQuantizer([EmaQuantizer(12, 4, kmeans=True, **settings)]),
        "cosine": ResidualQuantizer([EmaQuantizer(12, 4, cosine=True, **settings)]),
        "residual": ResidualQuantizer([EmaQuantizer(12, 4, **settings) for _ in range(3)]),
        "fsq": ResidualQuantizer([FiniteScalarQuantizer((3, 4), 4, decay=0.8)]),
    }
    chance = torch.Generator().manual_seed(7 + 1000 * rank)
    data = torch.Generator().manual_seed(1)
    for step in range(10):
        whole = torch.randn(60, 4, generator=data) * torch.linspace(0.2, 3, 60)[:, None] + 0.1 * step
        visible = torch.arange(60) % 5 > 0
        cut = [0, 17, 60][rank : rank + 2] if world == 2 else [0, 60]
        own, seen = whole[cut[0] : cut[1]], visible[cut[0] : cut[1]]
        for quantizer in made.values():
            if step == 0:
                quantizer.initialise(own, chance)
            quantizer.update(own, quantizer(own)[0], seen, chance)
    return {f"{name}.{k}": v for name, q in made.items() for k, v in q.state_dict().items()}


def exchanged(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Gradients (1, 2) times 1 on rank 0 and times 10 on rank 1, none of a second parameter on rank 0; and rows."""
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))]
    parameters[0].grad = torch.tensor([1.0, 2.0]) * 10**rank
    parameters[1].grad = torch.full((3,), 7.0) if rank else None
    distributed.sum_gradients(parameters)
    rows = torch.arange(6.0)[:, None] if world == 1 else torch.arange(6.0)[:, None][[slice(0, 2), slice(2, 6)][rank]]
    mean, std = distributed.moments(rows)
    drawn = distributed.draw_rows(rows, 50, torch.Generator().manual_seed(0))
    grads = [torch.zeros(3) if p.grad is None else p.grad for p in parameters]
    return {"first": grads[0], "second": grads[1], "mean": mean, "std": std, "drawn": drawn}


def trained(folder: Path) -> dict[str, torch.Tensor]:
    config = ShiftConfig(width=12, codebook_size=16, code_dim=4, dilations=(1,), reset_every=2, decay=0.8)
    training = TokenizerTraining(
        steps=6, batch_size=5, window=12, checkpoint_every=2, validate_every=3, log_every=3, keep="best"
    )

    def joints(features: torch.Tensor) -> torch.Tensor:
        hands = features.unflatten(-1, (2, 33, 3))
        return hands[..., -1:, :] + 0.1 * hands[..., :5, :]

    called: list[str] = []

    class Watch(TrainingCallback):
        def on_checkpoint(self, step: int, folder: Path, best: bool) -> None:
            called.append(folder.name)

    write = atomic.write_beside
    checkpoint.write_beside = lambda path: called.append(Path(path).name) or write(path)
    tokenizer, history = train_tokenizer(
        clips(),
        config,
        training,
        val_clips=clips()[:3],
        joints_fn=joints,
        checkpoint_dir=folder / "state",
        callbacks=[Watch()],
    )
    told = {"history": history, "provenance": tokenizer.provenance, "wrote": called}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(told))
    logged = torch.tensor([[entry["loss"], entry["perplexity"]] for entry in history])
    return {**tokenizer.state_dict(), "logged": logged}


def main() -> None:
    rank, world, folder = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), Path(sys.argv[1])
    with process_group():
        assert torch.distributed.is_initialized() == (world > 1)
        results = {f"quantizer.{name}": value for name, value in quantizers(rank, world).items()}
        results |= {f"exchange.{name}": value for name, value in exchanged(rank, world).items()}
        results |= {f"training.{name}": value for name, value in trained(folder).items()}
    save_file({name: value.contiguous() for name, value in results.items()}, folder / f"{rank}.safetensors")
    assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    main()
