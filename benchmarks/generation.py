"""Clips a second of text to motion, 32 sentences at once, against the released recipe with the same weights.

    python benchmarks/generation.py
    python benchmarks/generation.py --rounds 5 --batch 32

The released recipe: prompts padded to 160 tokens, tokens drawn from the whole vocabulary with keys and values cached,
motions decoded one by one. Ours: prompts as wide as the longest, each code drawn from its slot's codebook alone,
motions decoded together. Weights are random, so nothing would end a motion: both write the longest there is. The last
line is the step form, of the same width and its own weights, which is what the demo uses.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from clutch_llm import Clutch, ClutchConfig
from clutch_llm.generation import Stepper
from clutch_llm.prompts import Prompt, PromptBuilder
from hiw_data.sources.procedural import ProceduralSource
from shift_tokenizer import ShiftConfig, ShiftTokenizer

WIDTH = 160


def released(clutch: Clutch, texts: list[str]) -> list[np.ndarray]:
    """Features of each motion, by the released recipe."""
    builder, layout, n = PromptBuilder(clutch.vocabulary), clutch.vocabulary.layout, clutch.vocabulary.layout.n_slots
    prompts = [builder.t2m(text) for text in texts]
    filler = np.full(WIDTH, layout.pad), np.zeros(WIDTH, dtype=np.int64)
    with torch.inference_mode():
        stepper = Stepper(clutch.model, [*prompts, Prompt(*filler)])
        rows = len(texts)
        stepper.mask, stepper.encoded = (
            stepper.mask[:rows],
            type(stepper.encoded)(*(None if part is None else part[:rows] for part in stepper.encoded)),
        )
        last = torch.full((rows, 1), layout.pad)
        written = []
        for k in range(1 + n * clutch.config.max_steps):
            position = torch.full((rows, 1), k)
            logits = clutch.model.head(stepper.step(last, position))
            last = torch.multinomial(logits.softmax(-1), 1)
            written.append(last)
        ids = torch.cat(written, 1)[:, 1:].reshape(rows, -1, n)
        codes = (ids - torch.as_tensor(layout.slot_offsets)) % layout.codebook_size  # whatever was drawn
        return [np.asarray(clutch.tokenizer.decode(one[None])[0]) for one in codes]


def main() -> None:
    """Make the models, let the ways take turns, print clips a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    clips = [clip for clip in ProceduralSource(64, seed=3).stream(15.0) if isinstance(clip, dict)]
    texts = [clips[k % len(clips)]["captions"][0] for k in range(args.batch)]
    tokenizer = ShiftTokenizer(ShiftConfig(width=80, codebook_size=512, dilations=(3, 1))).eval()
    forms: dict[str, dict[str, Any]] = {
        "interleaved": {},
        "step": {"architecture": "decoder-only", "motion_form": "step", "plan": True, "d_ff": 352, "layers": 4},
    }
    made = {
        name: Clutch.create(ClutchConfig(text_vocabulary=2000, **sizes), tokenizer=tokenizer, captions=texts)
        for name, sizes in forms.items()
    }
    seconds = made["step"].max_seconds
    ways: dict[str, Callable[[], Any]] = {
        "released recipe": lambda: released(made["interleaved"], texts),
        "ours, same weights": lambda: made["interleaved"].generate(texts, seconds=seconds),
        "ours, step form": lambda: made["step"].generate(texts, seconds=seconds),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - began)
    first = median(taken["released recipe"][1:])
    for name, times in taken.items():
        middle = median(times[1:])
        print(f"{name:20} {args.batch / middle:7.1f} clips/s of {seconds:.1f} s   {first / middle:.2f} times")


if __name__ == "__main__":
    main()
