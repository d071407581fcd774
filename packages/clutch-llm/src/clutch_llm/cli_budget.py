"""``clutch budget``: what training will take, before it is started."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_budget(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    budget = commands.add_parser("budget", help="memory and hours of training, by stage, and what is assumed")
    budget.add_argument("--env", default="base", help="environment of the configuration (default: %(default)s)")
    budget.add_argument("--conf", type=Path, default=Path("conf"),
                        help="folder with a folder for each environment (default: %(default)s)")  # fmt: skip
    budget.add_argument("--gpus", type=int, default=1, help="that train together (default: %(default)s)")
    budget.add_argument("--peak-tflops", type=float, default=312.0,
                        help="of a GPU in training (default: %(default)s, an A100's in bf16)")  # fmt: skip
    budget.add_argument(
        "--utilisation", type=float, default=0.3, help="share of it that is reached (default: %(default)s)"
    )
    budget.add_argument("--prompt-tokens", type=int, default=64, help="of a prompt (default: %(default)s)")
    budget.set_defaults(run=_budget)


def _budget(args: argparse.Namespace) -> None:
    from shift_tokenizer import ShiftConfig

    from clutch_llm.budget import Assumptions, budget_of, budget_table, read_environment, sizes_of

    config, stages, tokenizer = read_environment(args.conf, args.env)
    shift = ShiftConfig.from_dict(tokenizer)
    assumed = Assumptions(
        gpus=args.gpus,
        peak_tflops=args.peak_tflops,
        utilisation=args.utilisation,
        prompt_tokens=args.prompt_tokens,
        n_slots=shift.n_slots,
        codebooks=len(set(shift.slot_codebook)),
        codebook_size=shift.codebook_size,
    )
    print(budget_table(sizes_of(config, assumed), budget_of(config, stages, assumed), assumed))
