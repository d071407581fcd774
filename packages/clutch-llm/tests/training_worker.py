"""One process of several: `python training_worker.py RANK WORLD FOLDER [kill|go-on]`; what it trained, in FOLDER.

With "kill" a few stages are left near their end, with "go-on" they are taken up where they were left. With a world of
one no process group is made, so that it is the single process that the others are compared with.
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clutch_llm import Clutch, ClutchConfig, InstructConfig, PretrainConfig, RefineConfig, build_corpus, train_stage
from hand_geometry import features_to_joints
from safetensors.torch import save_file
from shift_tokenizer import ShiftConfig, ShiftTokenizer

CAPTIONS = ("the left hand waves", "both hands clap twice", "the right hand makes a fist")
SHARED: dict[str, Any] = {"steps": 6, "batch_size": 8, "log_every": 2, "warmup": 1, "checkpoint_every": 2}


def clips() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(12):
        frames = 8 + 8 * (number % 3)
        valid = np.ones((frames, 2), bool)
        valid[frames // 2 :, number % 2] = number % 4 > 0
        made.append(
            {
                "clip_id": f"clip-{number}",
                "source": "ab"[number % 4 == 0],
                "fps": 15.0,
                "features": (0.3 * rng.normal(size=(frames, 198)).cumsum(0)).astype(np.float32),
                "valid": valid,
                "captions": [CAPTIONS[number % 3], f"{CAPTIONS[number % 3]} slowly"],
            }
        )
    return made


class KilledError(Exception):
    """Raised in all processes alike."""


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    part = sys.argv[4] if len(sys.argv) > 4 else "whole"
    logging.basicConfig(level=logging.INFO if part == "go-on" else logging.WARNING)
    if world > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        os.environ["LOCAL_RANK"] = str(rank)
        store = torch.distributed.FileStore(str(folder / f"store-{part}"), world)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    tokenizer = ShiftTokenizer(ShiftConfig(width=16, codebook_size=24, code_dim=8), seed=1).eval()
    examples = build_corpus(clips(), tokenizer)
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8, dropout=0.0)
    clutch = Clutch.create(config, tokenizer=tokenizer, captions=CAPTIONS)
    stages = {
        "pretrain": PretrainConfig(micro_batch_size=2, **SHARED),
        "refine": RefineConfig(**SHARED),
        "zero1": RefineConfig(zero_stage=1, micro_batch_size=2, **SHARED),
        "zero3": RefineConfig(zero_stage=3, **SHARED),
        "zero2": RefineConfig(zero_stage=2, micro_batch_size=2, keep="best", **SHARED),
        "instruct": InstructConfig(**SHARED),
        "muon": PretrainConfig(optimizer="muon", micro_batch_size=2, **SHARED),
    }
    if part != "whole":
        stages = {name: stages[name] for name in ("pretrain", "zero1", "zero2")}
    results, rows = {}, {}
    for name, stage in stages.items():
        keywords: dict[str, Any] = {"val_examples": examples[:5], "joints_fn": features_to_joints}

        def kill(step: int, row: dict[str, float]) -> None:
            if step == 6:
                raise KilledError

        if part == "go-on":
            keywords["checkpoint_dir"] = folder / f"state-{name}"
        elif part == "kill" or name in (
            "pretrain",
            "zero1",
        ):  # these are killed near their end and go on from their state
            try:
                train_stage(clutch, examples, stage, checkpoint_dir=folder / f"state-{name}", on_log=kill, **keywords)
            except KilledError:
                keywords["checkpoint_dir"] = folder / f"state-{name}"
            if part == "kill":
                continue
        trained, rows[name] = train_stage(clutch, examples, stage, **keywords)
        results |= {f"{name}.{key}": p.detach().contiguous() for key, p in trained.model.named_parameters()}
    if part != "kill":
        save_file(results, folder / f"{rank}.safetensors")
        (folder / f"{rank}.json").write_text(json.dumps(rows))
    if world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
