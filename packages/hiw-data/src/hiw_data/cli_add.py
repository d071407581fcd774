"""The command `hiw add`."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from hiw_data.errors import OptionError

HELP = """Adds the clips of sources to a store that is there, at its rate and with its settings. Its clips, their splits
and their shards stay as they are; new clips of a group that is there join its split; what is there already is passed
over.

  hiw add my.zarr video:more_videos
  hiw add my.zarr leap:recordings npz:my_clips -o leap.captions=both -o npz.licence=CC-BY-4.0
  hiw add my.zarr arctic:data/arctic -o arctic.mano=data/mano -o arctic.name=arctic2
  hiw add my.zarr procedural -o procedural.clips=500 -o procedural.seed=7 -o procedural.name=scripted

SOURCE is TYPE:FOLDER, or TYPE alone for fingerspelling and procedural; `hiw sources` lists the types. Options are those
of the source in a configuration (`data.sources`), their values JSON or text. An interrupted run goes on when it is
started again. Exit status 1 if not one clip could be used."""


def add_add(subparsers: Any) -> None:
    """Adds the command to `hiw`; it sets ``run``, a function of the parsed arguments."""
    command = subparsers.add_parser(
        "add",
        help="add clips of any source to a store",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("store", type=Path)
    command.add_argument("sources", nargs="+", metavar="SOURCE", help="TYPE:FOLDER, or TYPE")
    command.add_argument(
        "-o", "--option", action="append", default=[], metavar="TYPE.NAME=VALUE", help="of a source; may be repeated"
    )
    command.add_argument("--no-resume", action="store_true", help="start anew where a run was interrupted")
    command.set_defaults(run=run_add)


def run_add(arguments: argparse.Namespace) -> int:
    """`hiw add`: returns its exit status."""
    from hiw_data.adding import add
    from hiw_data.sources.registry import make_source
    from hiw_data.store import HiwStore

    before = HiwStore.open(arguments.store)
    work = Path(f"{arguments.store}.work")
    asked = source_options(arguments.sources, arguments.option)
    if "video" in asked:  # so that what took long is there when an interrupted run goes on
        asked["video"].setdefault("work", str(work))
    after = add(
        arguments.store,
        [make_source(kind, **options) for kind, options in asked.items()],
        resume=not arguments.no_resume,
    )
    shutil.rmtree(work, ignore_errors=True)
    skipped = after.summary()["skipped"]["count"] - before.summary()["skipped"]["count"]
    print(f"{len(after) - len(before)} clips added, {skipped} not used; {after.path} has {len(after)}.")
    if skipped > 0:
        for row in after.summary()["skipped"]["clips"][-skipped:][:20]:
            print(f"  {row['clip_id']}: {row['reason']}")
    print(f"Next: hiw inspect {arguments.store}")
    return 0


def source_options(sources: list[str], options: list[str]) -> dict[str, dict[str, Any]]:
    """What the command's words ask for: type of source -> its options.

    Raises:
        OptionError: a type twice, a type without its folder, or an option of none of them.
    """
    from hiw_data.sources.registry import WITHOUT_FOLDER

    asked: dict[str, dict[str, Any]] = {}
    for word in sources:
        kind, colon, folder = word.partition(":")
        if kind in asked:
            raise OptionError(f"Expected each type of source once, got {kind} twice. Add them one after the other.")
        if bool(colon and folder) == (kind in WITHOUT_FOLDER):
            raise OptionError(f"Expected TYPE:FOLDER, or one of {', '.join(WITHOUT_FOLDER)} alone, got {word!r}.")
        asked[kind] = {"folder": folder} if colon else {}
    for text in options:
        name, equals, value = text.partition("=")
        kind, dot, option = name.partition(".")
        if not (equals and dot) or kind not in asked:
            raise OptionError(f"Expected TYPE.NAME=VALUE of a type among {', '.join(asked)}, got {text!r}.")
        try:
            asked[kind][option] = json.loads(value)
        except ValueError:
            asked[kind][option] = value
    return asked
