"""`hiw sources`: every source there is, what it needs, under which licence, and whether real files were met here."""

from __future__ import annotations

import argparse
import json
from typing import Any

from hiw_data.sources.datasets import DATASETS, dataset

COLUMNS = ("name", "needs", "licence", "hands", "mano", "rules", "certainty", "met")

_BUILT_IN = (
    {
        "name": "fingerspelling",
        "title": "Fingerspelling lexicon",
        "needs": "nothing: it ships in the package spoken-to-signed (extra [fingerspelling])",
        "licence": "MIT",
        "hands": "21 landmarks, fitted to the open hand",
        "mano": "not used",
        "rules": "fitted",
        "certainty": "high",
        "met": "real files, in every build",
    },
    {
        "name": "procedural",
        "title": "Scripted two-handed actions",
        "needs": "nothing: they are scripted (synthetic)",
        "licence": "as this package",
        "hands": "the open hand",
        "mano": "not used",
        "rules": "none",
        "certainty": "high",
        "met": "made here",
    },
    {
        "name": "npz",
        "title": "Your own motion",
        "needs": "a folder of .npz files of hand_geometry.save_motion",
        "licence": "yours",
        "hands": "MANO parameters of the open hand",
        "mano": "not used",
        "rules": "none",
        "certainty": "high",
        "met": "written and read here",
    },
    {
        "name": "video",
        "title": "Your own videos",
        "needs": "video files (extra [tracking]): hiw annotate",
        "licence": "yours",
        "hands": "21 landmarks by MediaPipe, fitted to the open hand",
        "mano": "not used",
        "rules": "fitted",
        "certainty": "one view: depth is a guess",
        "met": "real files",
    },
    {
        "name": "keypoints",
        "title": "Your own keypoints",
        "needs": "a folder of .npy, .npz or .json files with 21 points a hand",
        "licence": "yours",
        "hands": "fitted to the open hand",
        "mano": "not used",
        "rules": "fitted",
        "certainty": "high in space, lower in an image",
        "met": "written and read here",
    },
)


def source_rows() -> list[dict[str, str]]:
    """One row a source, with the keys `COLUMNS`, `title` and `extra`."""
    rows = [{**row, "extra": ""} for row in _BUILT_IN]
    for name in DATASETS:
        known = dataset(name)
        rows.append({key: str(getattr(known, key)) for key in (*COLUMNS, "title", "extra")})
    return rows


def add_commands(subparsers: Any) -> None:
    """Adds `sources` to `hiw`."""
    command = subparsers.add_parser(
        "sources",
        help="list what can be imported, and what it needs",
        description="Every source: what has to lie on the disk, the licence, the hands it holds and how they are "
        "converted, and whether real files of it were met when its reader was written. docs/sources.md has more.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="only these")
    command.add_argument("--json", action="store_true", help="the table as JSON")
    command.set_defaults(run=print_sources)


def print_sources(arguments: argparse.Namespace) -> int:
    """`hiw sources`: returns its exit status."""
    from hiw_data.errors import OptionError

    rows = source_rows()
    if unknown := sorted(set(arguments.names) - {row["name"] for row in rows}):
        raise OptionError(f"Expected names of sources, got {unknown}. `hiw sources` lists them.")
    rows = [row for row in rows if not arguments.names or row["name"] in arguments.names]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['name']}: {row['title']}")
        extra = f", pip install 'hiw-data[{row['extra']}]'" * bool(row["extra"])
        for key in COLUMNS[1:]:
            print(f"    {key + ':':11} {row[key]}{extra if key == 'needs' else ''}")
    return 0
