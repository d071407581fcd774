"""``clutch``: generate hand motion from text, complete and caption it, look into a model, measure, serve."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hand_geometry.command_log import add_log_file, command_log

from clutch_llm.cli_budget import add_budget
from clutch_llm.cli_complete import add_complete, check_script, generate_script
from clutch_llm.cli_pack import add_pack
from clutch_llm.errors import ClutchError
from clutch_llm.evaluation.cli import add_commands
from clutch_llm.serving.cli import add_commands as add_serving

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch

EXAMPLES = """examples:
  clutch generate "the right hand waves quickly" --out wave.mp4
  clutch generate "both hands clap" --seconds 3 --samples 4 --seed 7 --out clap.gif
  clutch generate "the left hand makes a fist" "both hands clap" --out two.html
  clutch generate "the left hand makes a fist" --out fist.glb --explain --rank 4
  clutch generate --script lines.txt --out long.mp4
  clutch caption wave.npz
  clutch caption long.npz --windows
  clutch info --model data/models/clutch
  clutch serve data/models/clutch
  clutch chat data/models/clutch --view
  clutch budget --gpus 4 --env paper
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", help="model folder, or a model of the Hugging Face hub (default: data/models/clutch "
                                        "where it is there, else the model of the package)")  # fmt: skip
    common.add_argument("--verbose", action="store_true", help="tell what is done, and where an error comes from")
    running = argparse.ArgumentParser(add_help=False)
    running.add_argument("--device", default="auto",
                         help="cpu, cuda, mps, or auto for what is there (default: %(default)s)")  # fmt: skip
    running.add_argument("--dtype", default="float32",
                         help="numbers to compute in: float32, bfloat16 or float16 (default: %(default)s)")  # fmt: skip

    parser = argparse.ArgumentParser(
        prog="clutch", description="Text to two-hand motion and back.", epilog=EXAMPLES, formatter_class=formatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    generate = commands.add_parser(
        "generate", help="text to motion", epilog=EXAMPLES, formatter_class=formatter, parents=[common, running]
    )
    generate.add_argument(
        "texts", nargs="*", metavar="TEXT", help="what the hands should do; several make several motions"
    )
    generate.add_argument("--script", type=Path, metavar="FILE",
                          help="instead of texts: lines of seconds and a sentence, for one motion")  # fmt: skip
    generate.add_argument("--out", type=Path, required=True,
                          help="video (.mp4, .gif, .webp), film strip (.png), page to play it on (.html), or a motion "
                               "for other programs (.npz, .glb, .bvh, .usd, .npy, .pth)")  # fmt: skip
    generate.add_argument("--seconds", type=float, help="exact length; left out, the model decides")
    generate.add_argument("--samples", type=int, default=1, help="motions to draw; they are numbered in the file names")
    generate.add_argument("--seed", type=int, default=0, help="the same text and seed give the same motions")
    saved = "(default: what is saved with the model)"
    generate.add_argument("--temperature", type=float, help=f"below 1 safer, above 1 more varied {saved}")
    generate.add_argument("--top-k", type=int, help=f"draw each token among the k likeliest alone, 0 for all {saved}")
    generate.add_argument("--guidance", type=float, help=f"above 1 follows the text more closely {saved}")
    generate.add_argument("--greedy", action="store_true", default=None, help="the likeliest motion")
    generate.add_argument("--explain", action="store_true", help="tell what the model set out to do, if it has plans")
    generate.add_argument("--rank", type=int, default=1, metavar="N",
                          help="draw N motions for each and keep the one that does most of its plan")  # fmt: skip
    generate.set_defaults(run=_generate)

    add_complete(commands, [common, running], _open)

    caption = commands.add_parser("caption", help="motion to text", parents=[common, running])
    caption.add_argument("motions", type=Path, nargs="+",
                         help="files: .npz, .glb, .bvh, .usd, .npy or .pth; other rates are resampled")  # fmt: skip
    caption.add_argument("--detailed", action="store_true", help="tell the shape of the hand as well")
    caption.add_argument("--windows", action="store_true",
                         help="of a motion longer than the model's: a line for each window, with times")  # fmt: skip
    caption.set_defaults(run=_caption)

    info = commands.add_parser("info", help="what a model folder holds", parents=[common])
    info.set_defaults(run=_info)
    add_budget(commands)
    add_pack(commands)
    add_commands(commands)
    add_serving(commands, running)
    add_log_file(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. What the user can mend is one line and exit code 1; any other error keeps its traceback."""
    from hand_geometry.errors import HandGeometryError
    from shift_tokenizer.errors import ShiftTokenizerError

    args = build_parser().parse_args(arguments)
    level = logging.INFO if getattr(args, "verbose", False) else logging.WARNING
    told = shlex.join(["clutch", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with command_log(args.log_file, level=level, form="%(name)s: %(message)s", told=told):
            args.run(args)
    except (ClutchError, ShiftTokenizerError, HandGeometryError, OSError) as error:
        logging.getLogger(__name__).info("the error came from here:", exc_info=error)
        print(f"clutch: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from error


def _open(args: argparse.Namespace, **how: Any) -> Clutch:
    from clutch_llm.clutch import Clutch
    from clutch_llm.packaged import default_model

    return Clutch.from_pretrained(args.model or default_model(), **how)


def _generate(args: argparse.Namespace) -> None:
    from clutch_llm.motion_files import check_target, write_motions

    check_target(args.out)
    check_script(args)
    clutch = _open(args, device=args.device, dtype=args.dtype)
    if args.script is not None:
        generate_script(args, clutch)
        return
    motions = clutch.generate(
        args.texts,
        args.seconds,
        samples=args.samples,
        seed=args.seed,
        temperature=args.temperature,
        top_k=args.top_k,
        greedy=args.greedy,
        guidance=args.guidance,
        explain=args.explain,
        rank=args.rank,
    )
    if args.explain:
        for text, own in zip(args.texts, motions, strict=True):
            for motion in own:
                print(f"{text}: {', '.join(motion['plan']) or 'nothing that it could tell'}")
    for path in write_motions(args.out, args.texts, motions):
        print(path)


def _caption(args: argparse.Namespace) -> None:
    from clutch_llm.motion_files import read_motion
    from clutch_llm.windows import join_texts

    clutch = _open(args, device=args.device, dtype=args.dtype)
    motions = [read_motion(path, clutch.tokenizer) for path in args.motions]
    captioned = clutch.caption_windows(
        [m.features for m in motions], [m.valid for m in motions], clutch.fps, detailed=args.detailed
    )
    for path, windows in zip(args.motions, captioned, strict=True):
        name = f"{path}: " if len(args.motions) > 1 else ""
        if args.windows:
            for window in windows:
                print(f"{name}{window['start']:.1f} to {window['stop']:.1f} s: {window['text']}")
        else:
            print(name + join_texts([window["text"] for window in windows]))


def _info(args: argparse.Namespace) -> None:
    clutch = _open(args)
    layout, config, drawn = clutch.vocabulary.layout, clutch.config, clutch.generation
    frames = clutch.tokenizer.config.frames_per_latent
    rows = {
        "parameters": f"{clutch.n_parameters / 1e6:.2f} M",
        "base model": config.base_model or f"none: {config.layers} layers of width {config.d_model}",
        "tokens": f"{layout.text_size} text, {layout.n_motion} motion, 3 marks"
        + (f", {layout.lengths} lengths, {layout.plan_size} of plans" if layout.stepwise else ""),
        "motion": f"{clutch.fps:g} frames/s, {frames} frames a step, {layout.n_slots} tokens a step, "
        f"up to {round(clutch.max_seconds, 1):g} s",
        "generation": "greedy"
        if drawn.greedy
        else f"temperature {drawn.temperature:g}, top k {drawn.top_k or 'off'}, guidance {drawn.guidance:g}",
        "stages": ", ".join(f"{s['stage']} ({s['steps']} steps)" for s in clutch.stages) or "none: not trained",
    }
    for name, value in rows.items():
        print(f"{name:12} {value}")
