"""The commands of sources: `hiw sources` lists them all, `hiw import-dataset` reads a dataset in its own layout."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
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
    """Adds `sources` and `import-dataset` to `hiw`."""
    command = subparsers.add_parser(
        "sources",
        help="list what can be imported, and what it needs",
        description="Every source: what has to lie on the disk, the licence, the hands it holds and how they are "
        "converted, and whether real files of it were met when its reader was written. docs/sources.md has more.",
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="only these")
    command.add_argument("--json", action="store_true", help="the table as JSON")
    command.set_defaults(run=print_sources)
    imported = subparsers.add_parser(
        "import-dataset",
        help="build a store from a dataset in its own layout",
        description="Reads a dataset or device as `hiw sources` lists it. Files that cannot be used are skipped and "
        "listed with their reason.",
        epilog="example: hiw import-dataset arctic data/arctic --mano data/mano --out arctic.zarr --fps 15",
    )
    imported.add_argument("dataset", choices=DATASETS, metavar="NAME", help="as `hiw sources` has it")
    imported.add_argument("folder", type=Path)
    imported.add_argument("--mano", type=Path, metavar="FOLDER", help="of MANO_LEFT and MANO_RIGHT, which are yours")
    imported.add_argument("--name", help="of this source in the store (default: the dataset's)")
    imported.add_argument("--licence", help="goes into the data card (default: what is known of the dataset's)")
    imported.add_argument(
        "--captions",
        choices=["own", "motion", "both"],
        default="own",
        help="the dataset's words, and measured ones where it has no sentence; measured ones alone; both (default own)",
    )
    imported.add_argument("--source-fps", type=float, help="of files that do not say")
    imported.add_argument("--max-frames", type=int, default=64, help="of one clip (default %(default)s)")
    imported.add_argument("--smoothing", type=float, default=0.0, help="Gaussian over time, seconds (default none)")
    imported.add_argument("--limit", type=int, help="at most so many files")
    imported.add_argument("--workers", type=int, default=2, help="processes that fit keypoints (default %(default)s)")
    imported.add_argument("--out", type=Path, required=True, help="the store")
    imported.add_argument("--fps", type=float, default=15.0, help="frames a second in the store (default %(default)s)")
    imported.add_argument("--seed", type=int, default=0, help="draws the splits (default %(default)s)")
    imported.add_argument("--overwrite", action="store_true", help="replace a store that is there")
    imported.set_defaults(run=import_dataset)


def import_dataset(arguments: argparse.Namespace) -> int:
    """`hiw import-dataset`: returns its exit status."""
    from hiw_data.pipeline import BuildConfig, build
    from hiw_data.sources.datasets import dataset_source

    source = dataset_source(
        arguments.dataset,
        arguments.folder,
        mano=arguments.mano,
        name=arguments.name,
        licence=arguments.licence,
        captions=arguments.captions,
        fps=arguments.source_fps,
        max_frames=arguments.max_frames,
        smoothing=arguments.smoothing,
        limit=arguments.limit,
        workers=arguments.workers,
    )
    config = BuildConfig(fps=arguments.fps, seed=arguments.seed)
    store = build([source], arguments.out, config, overwrite=arguments.overwrite)
    found = store.summary()
    print(f"Wrote {arguments.out}: {found['clips']} clips, {found['seconds']} s, {found['skipped']['count']} skipped.")
    print(f"Next: hiw inspect {arguments.out}")
    return 0


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
