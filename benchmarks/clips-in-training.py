"""Memory and pace of the language model's stages on a store of many clips.

    python benchmarks/clips-in-training.py                             20,000 scripted clips, 30 steps of each stage
    python benchmarks/clips-in-training.py --clips 2000 --store made.zarr          a store that is kept, and used again

The model has the demo's sizes and its tokens are drawn at random: what is measured is how clips come in. Each stage
runs in a process of its own. *Before the first step* holds reading, checking and measuring the plans of all clips;
*peak* is the process's largest resident size, and *beside libraries* what it grew by since the store was opened.
The first digits of the weights' hash tell whether two versions train alike.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STAGES = ("pretrain", "refine", "instruct", "reinforce")
CODEBOOK = 64


def build_store(path: Path, clips: int) -> None:
    """Scripted clips as the demo has them."""
    from hiw_data import ProceduralSource, build

    build([ProceduralSource(clips)], path)


def measure(path: Path, name: str, steps: int) -> dict[str, Any]:
    """One stage, in this process."""
    import torch
    from clutch_llm import Clutch, ClutchConfig, InstructConfig, PretrainConfig, RefineConfig, ReinforceConfig
    from hiw_data import HiwStore
    from shift_tokenizer import ShiftConfig, ShiftTokenizer

    from pipelines import llm

    torch.manual_seed(0)
    shift = ShiftTokenizer(ShiftConfig(width=64, codebook_size=CODEBOOK, code_dim=16)).eval()
    store, rng = HiwStore.open(path), np.random.default_rng(0)
    latent, slots = shift.config.frames_per_latent, shift.config.n_slots
    tokens = {
        str(clip): rng.integers(CODEBOOK, size=(length // latent, slots))
        for clip, length in zip(store.column("clip_id").to_pylist(), store.lengths.tolist(), strict=True)
    }
    captions = [text for texts in store.column("captions").to_pylist()[:2000] for text in texts]
    sizes: dict[str, Any] = {"architecture": "decoder-only", "motion_form": "step", "plan": True, "max_steps": 32}
    sizes |= {"layers": 4, "d_model": 128, "d_ff": 352, "text_vocabulary": 2000}
    clutch = Clutch.create(ClutchConfig(**sizes), tokenizer=shift, captions=captions)
    batch: dict[str, Any] = {"steps": steps, "log_every": 1, "batch_size": 16}
    stages: dict[str, Any] = {
        "pretrain": PretrainConfig(**batch),
        "refine": RefineConfig(**batch),
        "instruct": InstructConfig(**batch),
        "reinforce": ReinforceConfig(**{**batch, "batch_size": 4, "samples": 2}),
    }
    before, started, stamps = _peak(), time.perf_counter(), [(0.0, 0.0)]

    def note(*_: Any) -> None:
        stamps.append((time.perf_counter(), time.process_time()))

    train_stage = llm.train_stage
    llm.train_stage = lambda *given, on_log, **how: train_stage(*given, on_log=note, **how)
    with tempfile.TemporaryDirectory() as folder:
        trained, history = llm.run_stage(clutch, store, tokens, stages[name], folder)
    digest = hashlib.sha256(json.dumps(history).encode())
    for _, value in sorted(trained.model.state_dict().items()):
        digest.update(value.contiguous().view(torch.uint8).numpy().tobytes())
    wall, processor = (np.diff([stamp[k] for stamp in stamps[1:]]).mean() for k in (0, 1))
    return {
        "before the first step, s": round(stamps[1][0] - started, 1),
        "steps/s": round(1 / wall, 2),
        "steps/s of processor time": round(1 / processor, 2),
        "peak, MiB": _peak(),
        "beside libraries, MiB": _peak() - before,
        "weights and history": digest.hexdigest()[:12],
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Build the store where there is none, and measure each stage in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--store", type=Path, help="kept there, and used again (default: a temporary one)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--here", choices=STAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.store, arguments.here, arguments.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or Path(folder) / "hiw.zarr"
        if not store.exists():
            build_store(store, arguments.clips)
        for stage in arguments.stages:
            command = [sys.executable, __file__, "--store", str(store), "--steps", str(arguments.steps)]
            done = subprocess.run([*command, "--here", stage], capture_output=True, text=True, check=False)
            print(f"{stage}: {done.stdout.splitlines()[-1] if done.returncode == 0 else done.stderr}", flush=True)


if __name__ == "__main__":
    main()
