"""``clutch complete``: fill the gaps of a motion file; and the scripts of ``clutch generate --script``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clutch_llm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch

EXAMPLES = """examples:
  clutch complete start.npz --seconds 4 --text "the right hand waves" --out whole.mp4
  clutch complete wave.npz --gap 1 2 --keep --out bridged.glb
  clutch complete wave.npz --drop left --text "both hands clap" --out both.html
  clutch complete wave.npz --drop pose --text "the right hand makes a fist" --out fist.npz
  clutch complete end.npz --before 1.5 --text "the right hand waves" --out led-in.mp4
"""

#: What ``--drop`` takes, and which hands and columns of a hand it makes a gap of.
DROPPED = {
    "left": ((0,), slice(0, 99)),
    "right": ((1,), slice(0, 99)),
    "path": ((0, 1), np.r_[0:6, 96:99]),
    "pose": ((0, 1), slice(6, 96)),
    "left-path": ((0,), np.r_[0:6, 96:99]),
    "left-pose": ((0,), slice(6, 96)),
    "right-path": ((1,), np.r_[0:6, 96:99]),
    "right-pose": ((1,), slice(6, 96)),
}


def add_complete(commands: Any, parents: Sequence[argparse.ArgumentParser], open_model: Callable[..., Clutch]) -> None:
    """Add the command to a parser's subcommands.

    Args:
        commands: of ``ArgumentParser.add_subparsers``.
        parents: options that tell the model and where it runs.
        open_model: opens the model of the parsed arguments.
    """
    complete = commands.add_parser(
        "complete",
        help="fill the gaps of a motion",
        description="Gaps are the frames in which the file says that a hand is not seen, and what the options say.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=list(parents),
    )
    complete.add_argument("motion", type=Path, help=".npz, .glb, .bvh, .usd, .npy or .pth; other rates are resampled")
    complete.add_argument("--text", help="what the hands do; left out, the model decides")
    complete.add_argument("--out", type=Path, required=True, help="any format of clutch generate")
    complete.add_argument("--seconds", type=float, help="length of the whole; beyond the motion, it goes on")
    complete.add_argument("--before", type=float, default=0.0, metavar="S", help="seconds to put before the motion")
    complete.add_argument("--gap", type=float, nargs=2, action="append", default=[], metavar=("FROM", "TO"),
                          help="seconds of the file to make anew; may be given again")  # fmt: skip
    complete.add_argument("--drop", choices=DROPPED, action="append", default=[],
                          help="what to make anew at all times: a hand, or the path or the pose of one hand or both; "
                               "may be given again")  # fmt: skip
    complete.add_argument("--keep", action="store_true", help="what is given exactly, blended with what is made")
    complete.add_argument("--claim", action="append", default=[],
                          help="what has to be so: contact:both/palms=touch@1.0-1.5; may be given again")  # fmt: skip
    complete.add_argument("--rank", type=int, default=1, metavar="N",
                          help="draw N for each, keep the one that fulfils most of the claims or its plan")  # fmt: skip
    complete.add_argument("--samples", type=int, default=1, help="motions to draw; they are numbered in the file names")
    complete.add_argument("--seed", type=int, default=0, help="the same seed gives the same motions")
    complete.add_argument("--temperature", type=float, help="below 1 safer, above 1 more varied")
    complete.add_argument("--guidance", type=float, help="above 1 follows the text more closely")
    complete.set_defaults(run=lambda args: _complete(args, open_model))


def _complete(args: argparse.Namespace, open_model: Callable[..., Clutch]) -> None:
    from clutch_llm.motion_files import check_target, read_placed, write_motions

    check_target(args.out)
    clutch = open_model(args, device=args.device, dtype=args.dtype)
    motion = read_placed(args.motion, clutch.fps)
    features = with_gaps(
        motion.features, motion.valid, clutch.fps, gaps=args.gap, dropped=args.drop, before=args.before
    )
    motions = clutch.complete(
        features,
        args.text,
        seconds=args.seconds,
        keep=args.keep,
        claims=args.claim,
        rank=args.rank,
        samples=args.samples,
        seed=args.seed,
        temperature=args.temperature,
        guidance=args.guidance,
    )
    for number, made in enumerate(motions, 1):
        if "score" in made:
            print(f"{number}: fulfils {made['score']:.0%}")
    for path in write_motions(args.out, [args.text or ""], [motions]):
        print(path)


def with_gaps(
    features: np.ndarray,
    valid: np.ndarray,
    fps: float,
    *,
    gaps: Sequence[Sequence[float]] = (),
    dropped: Sequence[str] = (),
    before: float = 0.0,
) -> np.ndarray:
    """A motion with NaN where something is to be made.

    Args:
        features: (T, 198).
        valid: (T, 2) bool; a hand that is not seen is a gap.
        fps: frames a second.
        gaps: from and to, in seconds.
        dropped: names of `DROPPED`.
        before: seconds of nothing to put before it.

    Raises:
        ConfigError: when a gap is not within the motion, or ``before`` is below 0.
    """
    hands = np.array(features, dtype=np.float32).reshape(len(features), 2, -1)
    hands[~valid] = np.nan
    for start, stop in gaps:
        first, last = round(start * fps), round(stop * fps)
        if not 0 <= first < last <= len(hands):
            raise ConfigError(
                f"Expected a gap within the motion's {len(hands) / fps:.2f} seconds, of a frame or more, got "
                f"{start:g} to {stop:g}."
            )
        hands[first:last] = np.nan
    for name in dropped:
        own, columns = DROPPED[name]
        for hand in own:
            hands[:, hand, columns] = np.nan
    if not 0 <= before < float("inf"):
        raise ConfigError(f"Expected seconds of at least 0 before the motion, got {before}.")
    lead = np.full((round(before * fps), *hands.shape[1:]), np.nan, dtype=np.float32)
    return np.concatenate([lead, hands]).reshape(-1, features.shape[1])


def read_script(path: Path) -> list[tuple[str, float]]:
    """Sentences and their seconds: a line each, the seconds first; empty lines and those that begin with # are skipped.

    Raises:
        DataError: naming the line.
        OSError: when the file cannot be read.
    """
    script = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        seconds, _, text = line.strip().partition(" ")
        try:
            script.append((text.strip(), float(seconds)))
        except ValueError:
            raise DataError(
                f"{path}: Expected seconds and a sentence in line {number}, as '2.5 both hands clap', got {line!r}."
            ) from None
    if not script:
        raise DataError(f"{path}: Expected lines of seconds and a sentence, got none.")
    return script


def generate_script(args: argparse.Namespace, clutch: Clutch) -> None:
    """Write the one motion of a script.

    Args:
        args: of ``clutch generate``.
        clutch: the model.
    """
    from clutch_llm.motion_files import write_motions

    script = read_script(args.script)
    made = clutch.chain(
        script,
        seed=args.seed,
        temperature=args.temperature,
        top_k=args.top_k,
        greedy=args.greedy,
        guidance=args.guidance,
    )
    for path in write_motions(args.out, ["; ".join(text for text, _ in script)], [[made]]):
        print(path)


def check_script(args: argparse.Namespace) -> None:
    """Refuse what does not go with a script, or a generation of nothing, before any work is done."""
    if args.script is None:
        if not args.texts:
            raise ConfigError("Expected a text, or --script with a file of sentences, got neither.")
        return
    against = {"texts": args.texts, "--seconds": args.seconds, "--explain": args.explain}
    against |= {"--samples": args.samples > 1, "--rank": args.rank > 1}
    if named := [name for name, given in against.items() if given]:
        raise ConfigError(f"Expected --script alone, got {', '.join(named)} as well. A script makes one motion.")
