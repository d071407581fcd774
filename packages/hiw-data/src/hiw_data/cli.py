"""The command `hiw`: build, import, inspect and describe stores of hand motion and text."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hand_geometry.command_log import add_log_file, command_log

from hiw_data.captioning.cli import add_commands
from hiw_data.captioning.cli_vlm import add_vlm_commands
from hiw_data.cli_add import add_add
from hiw_data.cli_annotate import add_annotate
from hiw_data.cli_browse import add_browse
from hiw_data.cli_calibrate import add_calibrate
from hiw_data.sources.cli import add_commands as add_source_commands
from hiw_data.store.cli import add_commands as add_store_commands

EPILOG = """examples:
  hiw annotate videos/ --out my.zarr            videos of hands -> motion and words
  hiw build                                     real fingerspelling and 2500 synthetic clips -> data/hiw.zarr
  hiw build --source procedural --clips 200 --out tiny.zarr
  hiw build --source fingerspelling --languages ase fsl --out asl_lsf.zarr
  hiw import recordings/ --licence CC-BY-4.0 --out mine.zarr
  hiw import recordings/ --groups subjects.csv --long skip --out mine.zarr --overwrite
  hiw add data/hiw.zarr video:videos             clips of any source into a store that is there
  hiw inspect data/hiw.zarr                     counts, splits, validity, residuals
  hiw inspect data/hiw.zarr --clip 3            one clip: captions, attributes, frames
  hiw browse data/hiw.zarr                      look through it in a browser
  hiw card data/hiw.zarr > CARD.md              the data card
  hiw validate data/hiw.zarr                    every file and clip against its checksum
  hiw repair data/hiw.zarr                      drop what is damaged, keep the rest
  hiw export data/hiw.zarr out --to parquet     for the Hugging Face hub; or --to webdataset
  hiw calibrate loop --out report              the annotator against drawn motions that are known
  hiw caption data/hiw.zarr                     captions from the motion itself; --frames FOLDER asks models

A store is one folder (Zarr 3). Read it in Python with
  from hiw_data import HiwStore, HiwDataset
"""

IMPORT_HELP = """A folder of .npz files becomes a store. Each file is one recording:
  global_orient (T, 2, 3)      wrist rotation, axis-angle in radians; hand 0 left, 1 right
  hand_pose     (T, 2, 15, 3)  finger joints, axis-angle, MANO order, flat hand = zeros
  transl        (T, 2, 3)      MANO translation, metres
  valid         (T, 2)         optional: False or 0 where a hand was not seen
  fps           ()             optional, see --source-fps
  group         ()             optional text: subject, session or take; all clips of a group share a split
  captions      texts          where missing or empty: NAME.txt beside NAME.npz, in UTF-8, one a line, the
                               high-level one first
A file that cannot be used is skipped and listed with its reason. The exit status is 1 if none can be used."""


_LISTED = 50
"""As many skipped clips are shown at most."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="hiw", description=__doc__, epilog=EPILOG, formatter_class=raw)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="build a store from the sources that ship with the package")
    build.add_argument(
        "--source",
        nargs="+",
        choices=["fingerspelling", "procedural"],
        metavar="NAME",
        default=["fingerspelling", "procedural"],
        help="fingerspelling, procedural; default both",
    )
    build.add_argument("--clips", type=int, default=2500, help="number of procedural clips (default %(default)s)")
    build.add_argument("--procedural-seed", type=int, default=0, help="draws the procedural clips")
    build.add_argument("--languages", nargs="+", metavar="CODE", help="sign languages, such as ase; default all")
    build.add_argument("--limit", type=int, help="at most so many fingerspelling recordings")
    build.add_argument("--workers", type=int, default=2, help="processes that fit hands (default %(default)s)")
    _add_store_options(build)

    imported = commands.add_parser(
        "import", help="build a store from your own .npz files", description=IMPORT_HELP, formatter_class=raw
    )
    imported.add_argument("folder", type=Path)
    imported.add_argument("--name", default="npz", help="of this source in the store (default %(default)s)")
    imported.add_argument("--licence", default="not stated", help="goes into the data card")
    imported.add_argument(
        "--source-fps", type=float, default=15.0, help="frame rate of files that do not say (default %(default)s)"
    )
    imported.add_argument(
        "--groups", type=Path, metavar="CSV", help="columns clip (NAME without .npz) and group; decides the splits"
    )
    imported.add_argument(
        "--max-frames", type=int, default=64, help="of one clip, at the store's rate (default %(default)s)"
    )
    imported.add_argument(
        "--long",
        choices=["cut", "skip", "refuse"],
        default="cut",
        help="longer recordings: cut into pieces, skip and list, or end the import (default %(default)s)",
    )
    imported.add_argument(
        "--piece-captions",
        choices=["first", "all"],
        default="first",
        help="pieces of a cut recording keep its first caption, or all; NAME#0.txt, NAME#1.txt, ... beside it caption "
        "single pieces (default %(default)s)",
    )
    imported.add_argument("--smoothing", type=float, default=0.0, help="Gaussian over time, seconds (default none)")
    _add_store_options(imported)

    inspect = commands.add_parser("inspect", help="show what is in a store")
    inspect.add_argument("store", type=Path)
    inspect.add_argument("--clip", type=int, metavar="N", help="show clip number N instead")
    inspect.add_argument("--json", action="store_true", help="the whole quality report as JSON")
    inspect.add_argument("--verify", action="store_true", help="read everything and compare the content hash")

    card = commands.add_parser("card", help="print the data card of a store")
    card.add_argument("store", type=Path)
    add_add(commands)
    add_annotate(commands)
    add_browse(commands)
    add_calibrate(commands)
    add_commands(commands)
    add_source_commands(commands)
    add_store_commands(commands)
    add_vlm_commands(commands)
    add_log_file(commands)
    return top


def _add_store_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=Path("data/hiw.zarr"), help="the store (default %(default)s)")
    command.add_argument("--fps", type=float, default=15.0, help="frames a second in the store (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="draws the splits (default %(default)s)")
    there = command.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace a store that is there")
    there.add_argument("--append", action="store_true", help="add to a store that is there; its clips stay as they are")
    command.add_argument("--no-resume", action="store_true", help="start anew where a build was interrupted")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = parser().parse_args(argv)
    from hand_geometry.errors import HandGeometryError

    from hiw_data.errors import HiwDataError

    chosen = getattr(arguments, "run", None)  # the commands of captioning and of the store bring their own
    run = chosen or {"build": _build, "import": _import, "inspect": _inspect, "card": _card}[arguments.command]
    try:
        told = shlex.join(["hiw", *(sys.argv[1:] if argv is None else argv)])
        with command_log(arguments.log_file, level=logging.INFO, form="%(levelname)s %(message)s", told=told):
            return run(arguments) or 0
    except (HiwDataError, HandGeometryError, OSError) as error:
        print(f"hiw {arguments.command}: {error}", file=sys.stderr)
        return 1


def _build(arguments: argparse.Namespace) -> None:
    from hiw_data import FingerspellingSource, ProceduralSource, Source

    sources: list[Source] = []
    if "fingerspelling" in arguments.source:
        sources.append(FingerspellingSource(arguments.languages, arguments.limit, arguments.workers))
    if "procedural" in arguments.source:
        longest, shortest = max(32, round(8 * arguments.fps)), max(1, round(2 * arguments.fps))
        sources.append(ProceduralSource(arguments.clips, arguments.procedural_seed, longest, min_frames=shortest))
    _build_store(sources, arguments)


def _import(arguments: argparse.Namespace) -> None:
    from hiw_data import NpzSource

    source = NpzSource(
        arguments.folder,
        name=arguments.name,
        licence=arguments.licence,
        fps=arguments.source_fps,
        max_frames=arguments.max_frames,
        long=arguments.long,
        piece_captions=arguments.piece_captions,
        groups=arguments.groups,
        smoothing=arguments.smoothing,
    )
    _build_store([source], arguments)


def _build_store(sources: Sequence[object], arguments: argparse.Namespace) -> None:
    from hiw_data import BuildConfig, build

    config = BuildConfig(fps=arguments.fps, seed=arguments.seed)
    options = {"overwrite": arguments.overwrite, "append": arguments.append, "resume": not arguments.no_resume}
    store = build(sources, arguments.out, config, **options)  # type: ignore[arg-type]
    print(_overview(store.summary()))
    print(f"\nWrote {arguments.out}. Next: hiw browse {arguments.out}, hiw card {arguments.out}")


def _inspect(arguments: argparse.Namespace) -> None:
    from hiw_data import HiwStore, OptionError

    store = HiwStore.open(arguments.store)
    if arguments.verify:
        store.verify()
        print("The content is what was written.")
    if arguments.json:
        print(json.dumps(store.summary(), indent=2, ensure_ascii=False))
    elif arguments.clip is not None:
        if not 0 <= arguments.clip < len(store):
            raise OptionError(f"Expected --clip of 0 to {len(store) - 1}, got {arguments.clip}.")
        print(json.dumps(store.metadata[arguments.clip], indent=2, ensure_ascii=False))
    else:
        print(_overview(store.summary()))


def _overview(summary: dict) -> str:
    lines = [
        f"{summary['clips']} clips, {summary['frames']} frames, {summary['seconds']} s at {summary['fps']:g} fps",
        f"content hash {summary['data_hash']}, schema version {summary['schema_version']}",
    ]
    for name, source in summary["sources"].items():
        kind = "synthetic" if source["info"]["synthetic"] else "real"
        splits = ", ".join(f"{n} {split}" for split, n in source["clips_by_split"].items())
        seen = ", ".join(f"{side} {share:.0%}" for side, share in source["valid_share"].items())
        lines += ["", f"{name} ({kind}): {source['clips']} clips ({splits})", f"  seen: {seen}"]
        lines.append(f"  distinct captions: {', '.join(str(n) for n in source['distinct_captions'])}")
        if source.get("fit_residual_mm"):
            lines.append("  fit residual, mm: " + ", ".join(f"{k} {v}" for k, v in source["fit_residual_mm"].items()))
    lines += ["", *(f"note: {note}" for note in summary["notes"])] if summary.get("notes") else []
    skipped = summary["skipped"]
    if skipped["count"]:
        lines += ["", f"skipped: {skipped['count']}"]
        lines += [f"  {s['clip_id']}: {s['reason']}" for s in skipped["clips"][:_LISTED]]
        if skipped["count"] > _LISTED:
            lines.append(f"  and {skipped['count'] - _LISTED} more, see quality.json in the store")
    return "\n".join(lines)


def _card(arguments: argparse.Namespace) -> None:
    from hiw_data import HiwStore
    from hiw_data.card import data_card

    store = HiwStore.open(arguments.store)
    print(data_card(store.summary(), store.data_hash))


if __name__ == "__main__":
    sys.exit(main())
