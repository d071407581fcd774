"""Steps of the language model's training side by side, in one process: medians and their ratios,
and between what bounds half of the rounds' own ratios lie.

    python benchmarks/training.py                     both forms of a motion, on scripted clips
    python benchmarks/training.py --rounds 40 --only deepspeed

- padding: a batch as it is drawn here against every sample of it padded to 160 tokens, prompt and answer each, as the
  released code does. Model, samples and optimizer are the same.
- refinement: a step of stage 2 against a step of cross-entropy on the same batch (`RefineConfig.control`).
- DeepSpeed: a step through its engine with ZeRO-1 against the same in plain torch.
- Muon: a step of the model's matrices by `torch.optim.Muon`, which computes in bfloat16, against ours.

The model has the demo's sizes and random weights, and its batches are the demo's: 16 whole motions.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import Any

import torch
import torch.nn.functional as F
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, RefineConfig, build_corpus
from clutch_llm.engine import start_engine
from clutch_llm.model import IGNORE, ClutchModel, TokenBatch
from clutch_llm.optimizers import BETAS, MOMENTUM, Muon, parameter_groups
from clutch_llm.step_batches import StepBatches
from clutch_llm.training import _Run
from hand_geometry import features_to_joints
from hiw_data.clips import pad_clip
from hiw_data.sources.procedural import ProceduralSource
from shift_tokenizer import ShiftConfig, ShiftTokenizer

WIDTH = 160
FORMS: dict[str, dict[str, Any]] = {
    "step": {"architecture": "decoder-only", "motion_form": "step", "plan": True, "d_ff": 352, "layers": 4},
    "interleaved": {},
}
SHARED: dict[str, Any] = {"steps": 1000, "batch_size": 16, "target_truncation": 0.0}
T2M: dict[str, Any] = {"tasks": {"t2m": 1.0}}


def widened(parts: Sequence[TokenBatch], pad: int) -> TokenBatch:
    """All samples in one batch, prompt and target `WIDTH` wide."""
    fill = {"prompt": pad, "target": IGNORE}
    columns: dict[str, torch.Tensor] = {}
    for name in vars(parts[0]):
        rows = []
        for part in parts:
            value = getattr(part, name)
            if value.shape[1] > WIDTH:
                raise SystemExit(f"Expected samples of at most {WIDTH} tokens, got {value.shape[1]} in {name}.")
            deeper = (0, 0) * (value.ndim - 2)
            rows.append(F.pad(value, (*deeper, 0, WIDTH - value.shape[1]), value=fill.get(name, 0)))
        columns[name] = torch.cat(rows)
    return TokenBatch(**columns)


class Plain:
    """Plain torch: AdamW and clipping, as the engine has them."""

    def __init__(self, model: ClutchModel, config: PretrainConfig) -> None:
        self.model, self.config = copy.deepcopy(model).train(), config
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=BETAS, fused=True)

    def step(self, parts: Sequence[TokenBatch]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.model(*parts).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()


def timed(ways: dict[str, Callable[[int], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, in which they take turns; the first two rounds are not counted."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            began = time.perf_counter()
            way(number)
            taken[name].append(time.perf_counter() - began)
    return {name: times[2:] for name, times in taken.items()}


def line(title: str, seconds: dict[str, list[float]]) -> None:
    """Median milliseconds of each, the first as a multiple of the second, and quartiles of the rounds' ratios."""
    (one, first), (other, second) = ((name, median(times)) for name, times in seconds.items())
    low, _, high = quantiles([a / b for a, b in zip(*seconds.values(), strict=True)], n=4)
    print(
        f"{title:26} {one} {1e3 * first:7.1f} ms   {other} {1e3 * second:7.1f} ms   {first / second:.2f} times "
        f"({low:.2f} to {high:.2f})",
        flush=True,
    )


def fresh_run(clutch: Clutch, examples: Sequence[Any], config: Any) -> _Run:
    """The loop of a stage with an engine of its own."""
    return _Run(start_engine(copy.deepcopy(clutch.model), config), clutch, examples, config, features_to_joints)


def compare_padding(clutch: Clutch, examples: Sequence[Any], rounds: int) -> None:
    """Print how much padding costs, of each direction."""
    vocabulary = clutch.vocabulary
    for task in ("t2m", "m2t"):
        stage = PretrainConfig(tasks={task: 1.0}, **SHARED)
        drawn = StepBatches(examples, stage, clutch.tokenizer, vocabulary)
        ours = [drawn.draw(step).micro_batches[0].parts for step in range(rounds + 2)]
        wide = [[widened(parts, vocabulary.layout.pad)] for parts in ours]
        one, other = Plain(clutch.model, stage), Plain(clutch.model, stage)
        line(f"padding, {task}", timed({"padded": stepping(one, wide), "ours": stepping(other, ours)}, rounds))


def compare_refinement(clutch: Clutch, examples: Sequence[Any], rounds: int) -> None:
    """Print how much the loss in motion space costs."""
    refined, control = (
        fresh_run(clutch, examples, RefineConfig(control=alone, **T2M, **SHARED)) for alone in (False, True)
    )
    line("refinement, t2m", timed({"refined": refined.teach, "plain": control.teach}, rounds))


def compare_deepspeed(clutch: Clutch, examples: Sequence[Any], rounds: int) -> None:
    """Print how much the engine costs."""
    stage = PretrainConfig(zero_stage=1, **T2M, **SHARED)
    spread, plain = fresh_run(clutch, examples, stage), Plain(clutch.model, stage)
    drawn = StepBatches(examples, stage, clutch.tokenizer, clutch.vocabulary)

    def torch_step(step: int) -> None:
        plain.step(drawn.draw(step).micro_batches[0].parts)

    line("DeepSpeed, t2m", timed({"ZeRO-1": spread.teach, "torch": torch_step}, rounds))


def compare_muon(clutch: Clutch, examples: Sequence[Any], rounds: int) -> None:
    """Print what torch's step costs beside ours, on copies of the model's matrices and random gradients."""

    def matrices() -> list[torch.nn.Parameter]:
        copied = parameter_groups(copy.deepcopy(clutch.model))[0]
        for parameter in copied:
            parameter.grad = torch.randn_like(parameter)
        return copied

    theirs = torch.optim.Muon(matrices(), lr=1e-3, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    ours = Muon(matrices(), lr=1e-3)
    line("Muon, matrices", timed({"torch": lambda _: theirs.step(), "ours": lambda _: ours.step()}, rounds))


COMPARISONS = {
    "padding": compare_padding,
    "refinement": compare_refinement,
    "deepspeed": compare_deepspeed,
    "muon": compare_muon,
}


def stepping(plain: Plain, batches: Sequence[Sequence[TokenBatch]]) -> Callable[[int], None]:
    """Steps on batches that are made already."""
    return lambda number: plain.step(batches[number])


def main() -> None:
    """Make models and batches, and print a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=list(COMPARISONS), nargs="+", default=list(COMPARISONS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    clips = [pad_clip(clip) for clip in ProceduralSource(96, seed=3).stream(15.0) if isinstance(clip, dict)]
    tokenizer = ShiftTokenizer(ShiftConfig(width=80, codebook_size=512, dilations=(3, 1))).eval()
    examples = build_corpus(clips, tokenizer)
    captions = [caption for example in examples for caption in example["captions"]]
    for form, sizes in FORMS.items():
        config = ClutchConfig(text_vocabulary=2000, dropout=0.0, max_steps=32, **sizes)
        clutch = Clutch.create(config, tokenizer=tokenizer, captions=captions)
        print(f"{form}: {clutch.n_parameters / 1e6:.1f} M parameters, batches of 16, one thread")
        for name in args.only:
            COMPARISONS[name](clutch, examples, args.rounds)


if __name__ == "__main__":
    main()
