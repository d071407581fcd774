"""``clutch pack``: a model that was trained and measured becomes the model that comes with the package."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clutch_llm.errors import DataError

#: What the card says was measured: its words, and where it stands in metrics.json below a source.
FIGURES = (
    ("R-precision top 3", ("text_to_motion", "rows", "generated", "r_precision_top3")),
    ("R-precision top 3 of the reconstruction", ("text_to_motion", "rows", "reconstruction", "r_precision_top3")),
    ("the action, by the judge", ("judge", "rows", "generated", "family")),
    ("the action, asked for in phrasings held out", ("judge", "rows", "generated_held_out_phrasing", "family")),
    ("the action, told it and its count alone", ("judge", "rows", "generated_terse", "family")),
    ("the action, a quarter longer", ("judge", "rows", "generated_other_length", "family")),
    ("the hand, by the judge", ("judge", "rows", "generated", "hand")),
    ("claims fulfilled", ("claims", "rows", "generated", "claims")),
    ("motion to text, retrieval top 1 of 32", ("motion_to_text", "rows", "generated", "retrieval_top1")),
)


def add_pack(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    pack = commands.add_parser("pack", help="make a model folder the small one that comes with the package")
    pack.add_argument("folder", type=Path, nargs="?", default=Path("data/models/clutch"),
                      help="of a trained model (default: %(default)s)")  # fmt: skip
    pack.add_argument("--metrics", type=Path, default=Path("reports/metrics.json"),
                      help="what was measured of it (default: %(default)s)")  # fmt: skip
    pack.add_argument("--out", type=Path, help="folder to write (default: in the package)")
    pack.add_argument("--made-by", default="make demo", help="the command that makes it (default: %(default)s)")
    pack.set_defaults(run=_pack)


def figures_in(metrics: dict[str, Any]) -> list[tuple[str, float]]:
    """The figures of the card: name with its source, and value; those that were not measured are left out."""
    return [
        (f"{source}: {words}", float(value))
        for source in sorted(metrics.get("text_to_motion", {}))
        for words, path in FIGURES
        for value in _at(metrics, source, path)
    ]


def _at(metrics: dict[str, Any], source: str, path: tuple[str, ...]) -> Iterator[float]:
    found: Any = metrics.get(path[0], {}).get(source, {})
    for key in path[1:]:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, int | float):
        yield found


def _pack(args: argparse.Namespace) -> None:
    from clutch_llm.files import load_model
    from clutch_llm.packaged import PACKAGED, pack_model

    try:
        metrics = json.loads(args.metrics.read_text(encoding="utf-8"))
        figures = figures_in(metrics)
        data_hash = metrics["data_hash"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"Expected metrics of the evaluation in {args.metrics}, got {type(error).__name__}: {error}. "
            "Run kedro run --pipeline evaluation."
        ) from error
    parts = load_model(args.folder)
    seeds = sorted({stage["seed"] for stage in parts["stages"]})
    facts = {
        "command": f"`{args.made_by}`, then `clutch pack`",
        "data": f"`{data_hash}`",
        "seed": ", ".join(map(str, seeds)),
    }
    target = args.out or PACKAGED
    size = pack_model(args.folder, target, facts, figures)
    print(f"{target}: {size / 2**20:.1f} MiB")
