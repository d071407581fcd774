"""``clutch``: generate hand motion from text, caption motion, look into a model folder."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clutch_llm.errors import ClutchError, DataError

if TYPE_CHECKING:
    from clutch_llm.clutch import Motion

DEFAULT_MODEL = "data/models/clutch"

EXAMPLES = """examples:
  clutch generate "the right hand waves quickly" --out wave.mp4
  clutch generate "both hands clap" --seconds 3 --samples 4 --seed 7 --out clap.gif
  clutch generate "the left hand makes a fist" --out fist.npz
  clutch caption wave.npz
  clutch info --model data/models/clutch
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(
        prog="clutch",
        description="Text to two-hand motion and back.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="text to motion", epilog=EXAMPLES,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    generate.add_argument("text", help="what the hands should do")
    generate.add_argument("--out", type=Path, required=True,
                          help="video (.mp4, .gif, .webp), film strip (.png) or motion (.npz)")  # fmt: skip
    generate.add_argument("--seconds", type=float, help="exact length; left out, the model decides")
    generate.add_argument("--samples", type=int, default=1, help="motions to draw; they are numbered in the file names")
    generate.add_argument("--seed", type=int, default=0, help="the same seed gives the same motions")
    generate.add_argument("--temperature", type=float, default=1.0, help="below 1 safer, above 1 more varied")
    generate.add_argument("--top-k", type=int, help="draw each token among the k likeliest alone")
    generate.add_argument("--guidance", type=float, default=1.0, help="above 1 follows the text more closely")
    generate.add_argument("--greedy", action="store_true", help="the likeliest motion")
    caption = commands.add_parser("caption", help="motion to text")
    caption.add_argument("motions", type=Path, nargs="+", help=".npz files, as hand-geometry and clutch write them")
    caption.add_argument("--detailed", action="store_true", help="tell the shape of the hand as well")
    info = commands.add_parser("info", help="what a model folder holds")
    for command in (generate, caption, info):
        command.add_argument("--model", type=Path, default=Path(DEFAULT_MODEL),
                             help=f"model folder (default: {DEFAULT_MODEL})")  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; errors of ours become one line and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    args = build_parser().parse_args(arguments)
    try:
        {"generate": _generate, "caption": _caption, "info": _info}[args.command](args)
    except (ClutchError, OSError, ValueError) as error:
        print(f"clutch: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def _generate(args: argparse.Namespace) -> None:
    from clutch_llm.clutch import Clutch

    clutch = Clutch.from_pretrained(args.model)
    motions = clutch.generate(
        [args.text],
        args.seconds,
        samples=args.samples,
        seed=args.seed,
        temperature=args.temperature,
        top_k=args.top_k,
        greedy=args.greedy,
        guidance=args.guidance,
    )[0]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for k, motion in enumerate(motions):
        path = args.out if len(motions) == 1 else args.out.with_stem(f"{args.out.stem}-{k + 1}")
        _write_motion(path, motion, args.text)
        print(path)


def _write_motion(path: Path, motion: Motion, text: str) -> None:
    import torch
    from hand_geometry import features_to_params, render_motion, save_motion, write_video

    if path.suffix == ".npz":
        params = features_to_params(torch.from_numpy(motion["features"]))
        valid = np.ones((len(motion["features"]), 2), dtype=bool)
        save_motion(path, params, fps=motion["fps"], valid=valid, captions=[text])
    else:
        write_video(path, render_motion(motion["features"], fps=motion["fps"]), motion["fps"])


def _caption(args: argparse.Namespace) -> None:
    from clutch_llm.clutch import Clutch

    clutch = Clutch.from_pretrained(args.model)
    motions = [_read_features(path, clutch.config.fps) for path in args.motions]
    for path, text in zip(args.motions, clutch.caption(motions, detailed=args.detailed), strict=True):
        print(f"{path}: {text}" if len(args.motions) > 1 else text)


def _read_features(path: Path, fps: float) -> np.ndarray:
    """Canonical features (T, 198) of a motion file, at the model's frame rate."""
    from hand_geometry import canonicalize, load_motion, params_to_features, resample_params

    motion = load_motion(path)
    params = {name: motion[name] for name in ("global_orient", "hand_pose", "transl")}
    if float(motion["fps"]) != fps:
        params = resample_params(params, float(motion["fps"]), fps)
    features = np.asarray(params_to_features(canonicalize(params)), dtype=np.float32)
    if len(features) == 0:
        raise DataError(f"Expected a motion of at least one frame in {path}, got none.")
    return features


def _info(args: argparse.Namespace) -> None:
    from clutch_llm.clutch import Clutch

    clutch = Clutch.from_pretrained(args.model)
    layout, config = clutch.vocabulary.layout, clutch.config
    frames = clutch.tokenizer.config.frames_per_latent
    rows = {
        "parameters": f"{clutch.n_parameters / 1e6:.2f} M",
        "base model": config.base_model or f"none: {config.layers} layers of width {config.d_model}",
        "tokens": f"{layout.text_size} text, {layout.n_motion} motion, 3 marks",
        "motion": f"{config.fps:g} frames/s, {frames} frames a step, {layout.n_slots} tokens a step, "
        f"up to {config.max_steps * frames / config.fps:g} s",
        "stages": ", ".join(f"{s['stage']} ({s['steps']} steps)" for s in clutch.stages) or "none: not trained",
    }
    for name, value in rows.items():
        print(f"{name:12} {value}")
