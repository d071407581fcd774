"""The command `shift-tokenizer`: train, encode, decode, eval, inspect, on NumPy files and Zarr stores."""

import argparse
import contextlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from .arrays import read_clip, read_tokens, write_array
from .config import ShiftConfig
from .distributed import rank
from .errors import ConfigError, ShiftTokenizerError
from .evaluation import evaluate_reconstruction
from .files import write_atomic
from .settings import TokenizerTraining
from .stores import read_clips
from .tokenizer import ShiftTokenizer
from .training import train_tokenizer
from .usage import codebook_usage

_EXAMPLES = """examples:
  shift-tokenizer train clips/ --out tokenizer --joints hand_geometry:features_to_joints
  shift-tokenizer train hiw.zarr --split train --val-split val --out tokenizer
  shift-tokenizer eval tokenizer hiw.zarr --split test --joints hand_geometry:features_to_joints
  shift-tokenizer encode wave.npz --model tokenizer --out wave.tokens.npy
  shift-tokenizer decode wave.tokens.npy --model tokenizer --out wave_again.npy
  shift-tokenizer inspect tokenizer --data clips/

Training that was stopped goes on when the same command is given again. Several processes train together under
`torchrun --nproc-per-node 4 -m shift_tokenizer.cli train ...`. A model is a folder, or "owner/name" on the hub.

A clip is a .npy file with features (T, 198), or a .npz file with "features" and optionally "valid" (T, 2). Many
clips are a folder of them, or a Zarr store as hiw-data writes it (needs zarr).
Per frame: left hand 99, then right hand 99; each wrist rotation 6D, 15 joint rotations 6D, translation in metres.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options.run(options)
    except ShiftTokenizerError as error:
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
    for name, run, what in (("encode", _encode, "a clip"), ("decode", _decode, "tokens")):
        command = commands.add_parser(name, help=f"{name} {what}", epilog=_EXAMPLES, formatter_class=_Raw)
        command.add_argument("input", type=Path, help=f"{what}, .npy or .npz")
        command.add_argument("--model", required=True, help="folder or hub name of the tokenizer")
        command.add_argument("--out", type=Path, required=True, help="file to write, .npy or .npz")
        command.set_defaults(run=run)
    evaluate = commands.add_parser("eval", help="reconstruction error", epilog=_EXAMPLES, formatter_class=_Raw)
    evaluate.add_argument("model", help="folder or hub name of the tokenizer")
    evaluate.add_argument("data", nargs="+", type=Path, help="files or folders of clips, Zarr stores")
    evaluate.add_argument("--split", help="of stores, the split to measure on")
    evaluate.add_argument("--joints", help="module:function from features to joints in metres, for errors in mm")
    evaluate.add_argument("--out", type=Path, help="JSON file for the figures")
    evaluate.set_defaults(run=_eval)
    inspect = commands.add_parser("inspect", help="sizes and code usage", epilog=_EXAMPLES, formatter_class=_Raw)
    inspect.add_argument("model", help="folder or hub name of the tokenizer")
    inspect.add_argument("--data", nargs="*", type=Path, help="clips whose tokens are counted")
    inspect.set_defaults(run=_inspect)
    return parser


_Raw = argparse.RawDescriptionHelpFormatter


def _train(options: argparse.Namespace) -> None:
    settings = _read_settings(options.config)
    training = settings.get("training", {})
    training |= {name: getattr(options, name) for name in ("steps", "seed") if getattr(options, name) is not None}
    config = ShiftConfig.from_dict(settings.get("model", {}))
    step = config.frames_per_latent
    clips, val_clips = read_clips(options.clips, step, split=options.split), None
    if options.val or options.val_split:
        val_clips = read_clips(options.val or options.clips, step, split=options.val_split)
    with _processes():
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


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Joins the other processes where torchrun started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or torch.distributed.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _eval(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model)
    joints_fn = _import_function(options.joints) if options.joints else None
    clips = read_clips(options.data, tokenizer.config.frames_per_latent, split=options.split)
    figures = evaluate_reconstruction(tokenizer, clips, joints_fn)
    for name, value in figures.items():
        print(f"{name:40} {value:.4g}")
    if options.out:
        write_atomic(options.out, (json.dumps(figures, indent=2) + "\n").encode())


def _encode(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model)
    clip = read_clip(options.input, tokenizer.config.frames_per_latent)
    tokens = tokenizer.encode(torch.from_numpy(clip["features"]), torch.from_numpy(clip["valid"]))
    write_array(options.out, "tokens", tokens.numpy())
    print(f"{len(clip['features'])} frames -> {tokens.shape[0]} steps of {tokens.shape[1]} tokens: {options.out}")


def _decode(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model)
    features = tokenizer.decode(torch.from_numpy(read_tokens(options.input)))
    write_array(options.out, "features", features.numpy())
    print(f"{len(features)} frames: {options.out}")


def _inspect(options: argparse.Namespace) -> None:
    tokenizer = ShiftTokenizer.from_pretrained(options.model)
    config, trained = tokenizer.config, tokenizer.provenance
    print(json.dumps(config.to_dict(), indent=2))
    if trained:
        print(f"trained for {trained.get('step')} steps on {trained.get('clips')} clips: {trained.get('data_sha256')}")
    print(f"parameters: {sum(p.numel() for p in tokenizer.parameters()):,}")
    print(f"tokens a step: {config.n_slots}, codebook of each: {', '.join(map(str, config.slot_codebook))}")
    if options.data:
        clips = read_clips(options.data, config.frames_per_latent)
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
