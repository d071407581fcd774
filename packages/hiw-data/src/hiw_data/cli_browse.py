"""The command `hiw browse`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = """A page to look through a store in a browser: clips by word, source, split and how much of the hands was seen;
the chosen clip with moving hands, each claim of its captions held against the motion, its motion codes on a timeline,
and its video with the fitted hands over it.

  hiw browse data/hiw.zarr
  hiw browse my.zarr --videos videos/          the folder that `hiw annotate` was given
  hiw browse s3://bucket/hiw.zarr --no-browser --port 8001

Only this machine can reach the page, and nothing is written. Ctrl-C ends it."""


def add_browse(commands: Any) -> None:
    """Adds the command to `hiw`; it sets ``run``, a function of the parsed arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(
        "browse", help="look through a store in a browser", description=HELP, formatter_class=raw
    )
    command.add_argument("store", help="its folder, or its URL")
    command.add_argument("--videos", type=Path, metavar="FOLDER", help="where the videos of the clips are")
    command.add_argument("--port", type=int, default=0, help="default a free one")
    command.add_argument("--no-browser", action="store_true", help="do not open a browser, just say the address")
    command.set_defaults(run=run_browse)


def run_browse(arguments: argparse.Namespace) -> int:
    """`hiw browse`: serves until interrupted; returns its exit status."""
    import webbrowser

    from hiw_data.browsing.server import BrowseServer
    from hiw_data.store.reader import HiwStore

    with BrowseServer(HiwStore.open(arguments.store), arguments.videos, arguments.port) as server:
        print(server.url, flush=True)
        if not arguments.no_browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
