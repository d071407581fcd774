"""The command `shift-tokenizer`: train, encode, decode, eval, inspect, on NumPy files and Zarr stores."""

import argparse
import importlib
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from .arrays import check_out, read_tokens, write_array
from .atomic import write_beside
from .command_log import add_log_file, command_log
from .config import ShiftConfig
from .distributed import process_group, rank
from .errors import ConfigError, RateError, ShiftTokenizerError
from .evaluation import evaluate_reconstruction
from .motions import read_clip
from .rates import same_rate
from .settings import TokenizerTraining
from .stores import read_clips
from .tokenizer import ShiftTokenizer
from .training import train_tokenizer
from .usage import codebook_usage
from .windows import check_clips

_EXAMPLES = """examples:
  shift-tokenizer train clips/ --out tokenizer --joints hand_geometry:features_to_joints
  shift-tokenizer train hiw.zarr --split train --val-split val --out tokenizer
  shift-tokenizer eval tokenizer hiw.zarr --split test --joints hand_geometry:features_to_joints
  shift-tokenizer encode wave.npz --model tokenizer --out wave.tokens.npz
  shift-tokenizer decode wave.tokens.npz --model tokenizer --out wave_again.npz
  shift-tokenizer inspect tokenizer --data clips/

Training that was stopped goes on when the same command is given again. Several processes train together under
`torchrun --nproc-per-node 4 -m shift_tokenizer.cli train ...`. A model is a folder, or "owner/name" on the hub.

A clip is a .npz file with "features" (T, 198), and optionally "valid" (T, 2) and "fps"; a .npy file with the features
alone, taken as 15 frames a second; or, with hand-geometry installed, a motion file as it writes them. With it, motion
of another rate than the tokenizer's is resampled. Many clips are a folder of them, or a Zarr store as hiw-data writes
it (needs zarr).
Per frame: left hand 99, then right hand 99; each wrist rotation 6D, 15 joint rotations 6D, translation in metres.
Tokens and motion are written with their rate in .npz files.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command."""
    options = _parser().parse_args(arguments)
    told = shlex.join(["shift-tokenizer", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        with command_log(options.log_file, level=logging.INFO, told=told):
            options.run(options)
    except (ShiftTokenizerError, OSError) as error:
        print(f"shift-tokenizer: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shift-tokenizer",
        description="Motion of two hands to discrete tokens and back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    train = commands.add_parser("train", help="train a tokenizer on clips", epilog=_EXAMPLES, formatter_class=_Raw)
    train.add_argument("clips", nargs="+", type=Path, help="files or folders of clips, Zarr stores")
    train.add_argument("--split", help="of stores, the split to train on")
    train.add_argument("--val", nargs="+", type=Path, help="clips to validate on")
    train.add_argument("--val-split", help="of stores, the split to validate on")
    train.add_argument("--out", type=Path, required=True, help="folder for the tokenizer")
    train.add_argument("--config", type=Path, help='JSON: {"model": {...}, "training": {...}}, fields as in the README')
    train.add_argument("--steps", type=int, help="training steps, instead of those of the configuration")
    train.add_argument("--seed", type=int, help="seed, instead of that of the configuration")
    train.add_argument("--joints", help="module:function from features to joints in metres, for the joint losses")
    train.add_argument("--checkpoints", type=Path, help="folder of the run's state, best and last; OUT/checkpoints")
    train.set_defaults(run=_train)
    _add_device(train)
    for name, run, what in (("encode", _encode, "a clip"), ("decode", _decode, "tokens")):
        command = commands.add_parser(name, help=f"{name} {what}", epilog=_EXAMPLES, formatter_class=_Raw)
        command.add_argument("input", type=Path, help=f"{what}: a file as described below")
        command.add_argument("--model", required=True, help="folder or hub name of the tokenizer")
        command.add_argument("--out", type=Path, required=True, help="file to write: .npz; or .npy, without the rate")
        command.set_defaults(run=run)
        _add_device(command)
    evaluate = commands.add_parser("eval", help="reconstruction error", epilog=_EXAMPLES, formatter_class=_Raw)
    evaluate.add_argument("model", help="folder or hub name of the tokenizer")
    evaluate.add_argument("data", nargs="+", type=Path, help="files or folders of clips, Zarr stores")
    evaluate.add_argument("--split", help="of stores, the split to measure on")
    evaluate.add_argument("--joints", help="module:function from features to joints in metres, for errors in mm")
    evaluate.add_argument("--out", type=Path, help="JSON file for the figures")
    evaluate.set_defaults(run=_eval)
    _add_device(evaluate)
    inspect = commands.add_parser("inspect", help="sizes and code usage", epilog=_EXAMPLES, formatter_class=_Raw)
    inspect.add_argument("model", help="folder or hub name of the tokenizer")
    inspect.add_argument("--data", nargs="*", type=Path, help="clips whose tokens are counted")
    inspect.set_defaults(run=_inspect)
    _add_device(inspect)
    add_log_file(commands)
    return parser


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (a CUDA device if there is one), cpu, cuda, cuda:N")


_Raw = argparse.RawDescriptionHelpFormatter


def _train(options: argparse.Namespace) -> None:
    settings = _read_settings(options.config)
    training = settings.get("training", {})
    training |= {name: getattr(options, name) for name in ("steps", "seed") if getattr(options, name) is not None}
    training |= {"device": options.device} if options.device != "auto" else {}
    config = ShiftConfig.from_dict(settings.get("model", {}))
    of = (config.frames_per_latent, config.fps)
    clips, val_clips = read_clips(options.clips, *of, split=options.split), None
    if options.val or options.val_split:
        val_clips = read_clips(options.val or options.clips, *of, split=options.val_split)
    with process_group():
        tokenizer, _ = train_tokenizer(
            clips,
            config,
            TokenizerTraining.from_dict(training),
            val_clips=val_clips,
            joints_fn=_import_function(options.joints) if options.joints else None,
            checkpoint_dir=options.checkpoints or options.out / "checkpoints",
            on_log=_print_metrics,
        )
        if rank() == 0:
            tokenizer.save_pretrained(options.out)
            print(f"Wrote {options.out}")


def _eval(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model, device=options.device)
    joints_fn = _import_function(options.joints) if options.joints else None
    clips = read_clips(options.data, tokenizer.config.frames_per_latent, tokenizer.config.fps, split=options.split)
    figures = evaluate_reconstruction(tokenizer, clips, joints_fn)
    for name, value in figures.items():
        print(f"{name:40} {value:.4g}")
    if options.out:
        with write_beside(options.out) as part:
            part.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _encode(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model, device=options.device)
    config = tokenizer.config
    check_out(options.out, config.fps)
    clip = read_clip(options.input, config.frames_per_latent, config.fps)
    tokens = tokenizer.encode(torch.from_numpy(clip["features"]), torch.from_numpy(clip["valid"]), fps=clip["fps"])
    write_array(options.out, "tokens", tokens.cpu().numpy(), config.fps)
    print(
        f"{len(clip['features'])} frames at {config.fps:g} a second -> {tokens.shape[0]} steps of {tokens.shape[1]} "
        f"tokens: {options.out}"
    )


def _decode(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model, device=options.device)
    check_out(options.out, tokenizer.config.fps)
    tokens, fps = read_tokens(options.input)
    if not same_rate(fps, tokenizer.config.fps):
        raise RateError(
            f"{options.input}: expected tokens of {tokenizer.config.fps:g} frames a second, got {fps:g}. Decode them "
            "with the tokenizer that made them."
        )
    features = tokenizer.decode(torch.from_numpy(tokens))
    write_array(options.out, "features", features.cpu().numpy(), tokenizer.config.fps)
    print(f"{len(features)} frames at {tokenizer.config.fps:g} a second: {options.out}")


def _inspect(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model, device=options.device)
    config, trained = tokenizer.config, tokenizer.provenance
    print(json.dumps(config.to_dict(), indent=2))
    if trained:
        print(f"trained for {trained.get('step')} steps on {trained.get('clips')} clips: {trained.get('data_sha256')}")
    print(f"parameters: {sum(p.numel() for p in tokenizer.parameters()):,}")
    print(f"{config.fps:g} frames a second, {config.frames_per_latent} frames a step")
    print(f"tokens a step: {config.n_slots}, codebook of each: {', '.join(map(str, config.slot_codebook))}")
    if options.data:
        clips = read_clips(options.data, config.frames_per_latent, config.fps)
        check_clips(clips, config.frames_per_latent, config.fps)
        valid = [torch.from_numpy(clip["valid"]) for clip in clips]
        tokens = tokenizer.encode_list([torch.from_numpy(clip["features"]) for clip in clips], valid)
        usages, over = codebook_usage(tokens, config, valid=valid), f"{len(clips)} clips"
    else:
        usages, over = tokenizer.running_usage(), "the end of training"
    for number, usage in enumerate(usages):
        print(f"codebook {number} over {over}: {usage.in_use:.0%} in use, perplexity {usage.perplexity:.0f}")


def _print_metrics(step: int, metrics: dict[str, float]) -> None:
    shown = ("loss", "rotation", "translation", "pose", "joint", "perplexity", "val_reconstruction", "val_mpjpe_mm")
    print(f"step {step}: " + ", ".join(f"{name} {metrics[name]:.4g}" for name in shown if name in metrics))


def _read_settings(path: Path | None) -> dict[str, dict[str, Any]]:
    if path is None:
        return {}
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a JSON file, got: {error}. Correct it.") from error
    if not isinstance(settings, dict) or set(settings) - {"model", "training"}:
        raise ConfigError(
            f'{path}: expected {{"model": {{...}}, "training": {{...}}}}, got something else. Correct it.'
        )
    return settings


def _import_function(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    module, _, function = name.partition(":")
    try:
        found: Callable[[torch.Tensor], torch.Tensor] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"--joints: expected module:function, got {name!r} ({error}). Install or correct it."
        ) from error
    return found


if __name__ == "__main__":
    main()
