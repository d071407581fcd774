"""``clutch evaluate``: measure a folder of motions, of any system, against the clips of a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DEFAULT_EVALUATOR, DEFAULT_JUDGE = "data/models/evaluator", "data/models/judge"

EXAMPLES = """motion files are named by clip id: ID.npz, or ID-1.npz, ID-2.npz for several samples of a caption. They
hold features (T, 198), MANO parameters, or joints (T, 2, 21, 3) in metres, and fps.

examples:
  clutch evaluate --motions my_motions --store data/hiw.zarr
  clutch evaluate --motions my_motions --store data/hiw.zarr --split val --out figures.json
"""


def add_commands(subparsers: Any) -> None:
    """Add ``evaluate`` to the subparsers of an argparse parser; its ``run`` default is the function to call.

    Args:
        subparsers: what ``ArgumentParser.add_subparsers`` returned.
    """
    command = subparsers.add_parser(
        "evaluate",
        help="measure a folder of motions, of any system",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--motions", type=Path, required=True, help="folder of motion files")
    command.add_argument("--store", type=Path, required=True, help="store of the true clips, such as data/hiw.zarr")
    command.add_argument("--split", default="test", help="split that the motions were made for (default: %(default)s)")
    command.add_argument("--evaluator", type=Path, default=Path(DEFAULT_EVALUATOR),
                         help="folder of the evaluator (default: %(default)s)")  # fmt: skip
    command.add_argument("--judge", type=Path, default=None,
                         help=f"folder of the judge (default: {DEFAULT_JUDGE} where there is one)")  # fmt: skip
    command.add_argument("--caption", type=int, default=-1,
                         help="caption asked for: 0 the high-level, -1 the most detailed (default)")  # fmt: skip
    command.add_argument("--split-by", nargs="*", default=[], metavar="ATTRIBUTE",
                         help="boolean attributes of clips that are reported apart")  # fmt: skip
    command.add_argument("--group-by", nargs="*", default=[], metavar="ATTRIBUTE",
                         help="attributes of clips by whose values speeds are reported")  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of groups, subsets and intervals (default: %(default)s)")
    command.add_argument("--out", type=Path, help="JSON file for all figures; left out, a table alone is printed")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print; errors of the user's making are raised as ``ClutchError`` or ``OSError``.

    Claims are measured where an installed package reads captions.
    """
    from clutch_llm.evaluation.claims import claim_reader
    from clutch_llm.evaluation.evaluator import Evaluator
    from clutch_llm.evaluation.files import evaluate_files, open_store
    from clutch_llm.evaluation.folders import write_json
    from clutch_llm.evaluation.judge import Judge

    folder = args.judge or (Path(DEFAULT_JUDGE) if Path(DEFAULT_JUDGE).is_dir() else None)
    evaluator = Evaluator.from_pretrained(args.evaluator)
    judge = Judge.from_pretrained(folder) if folder else None
    store = open_store(args.store)
    found = evaluate_files(
        args.motions,
        store.clips(split=args.split),
        evaluator,
        judge=judge,
        reader=claim_reader(),
        pool_clips=store.clips(split="val" if args.split != "val" else "train"),
        caption=args.caption,
        split_by=args.split_by,
        group_by=args.group_by,
        seed=args.seed,
    )
    if args.out:
        write_json(args.out, found)
    print(table(found))


def table(found: dict[str, Any]) -> str:
    """The figures as text: a block for each source, a line for each figure, true motion beside."""
    lines = []
    for source, figures in found["text_to_motion"].items():
        lines.append(f"{source}: {figures['clips']} clips, {figures['samples_per_caption']['generated']} samples each")
        lines.append(f"  {'':36}{'generated':>12}{'truth':>12}")
        rows = figures["rows"]
        lines += [_line(name, value, rows["truth"][name]) for name, value in rows["generated"].items()]
        judged = found.get("judge", {}).get(source)
        for name, about in judged["attributes"].items() if judged else ():
            if about["learnt"]:
                lines.append(_line(f"judge: {name}", judged["rows"]["generated"][name], judged["rows"]["truth"][name]))
        lines += _block("claims", found.get("claims", {}).get(source, {}).get("rows", {}))
        lines += _block("claims", found.get("claims", {}).get(source, {}).get("by_second", {}))
        motion = found.get("motion", {}).get(source, {})
        for name in ("rows", "speeds"):
            lines += _block("motion" if name == "rows" else "speed, m/s", motion.get(name, {}))
        for attribute, rows in motion.get("speeds_by", {}).items():
            lines += _block(f"speed, m/s, {attribute}", rows)
    missing = len(found["without_motion"])
    return "\n".join([*lines, f"{missing} clips have no motion and were left out." if missing else ""]).rstrip()


def _block(title: str, rows: dict[str, dict[str, float | None]]) -> list[str]:
    """A line for each figure of the generated motion, without the ends of its interval."""
    if not rows:
        return []
    truth = rows["truth"]
    return [
        _line(name if name == title else f"{title}: {name}", value, truth.get(name))
        for name, value in rows["generated"].items()
        if not name.endswith(("_ci95_low", "_ci95_high", "_of_truth"))
    ]


def _line(name: str, value: float | None, truth: float | None) -> str:
    cells = ["-" if v is None else f"{v:.3f}" for v in (value, truth)]
    return f"  {name:36}{cells[0]:>12}{cells[1]:>12}"
