"""Commands of `hiw` about stores: stats, validate, repair, migrate, export."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds the commands' grammar; each sets `run`, a function of the arguments that returns the exit status."""
    stats = _command(commands, "stats", _stats, "counts, lengths, and the features' mean and deviation in train")
    stats.add_argument("--split", default="train", choices=["train", "val", "test", "all"], help="default %(default)s")
    stats.add_argument("--json", action="store_true", help="all figures as JSON, the features' 198 numbers too")

    _command(commands, "validate", _validate, "hold a store against its checksums; exit status 1 if it is damaged")

    repair = _command(commands, "repair", _repair, "drop what cannot be read, rewrite the index, keep the rest")
    repair.add_argument("--out", type=Path, help="write the repaired store here; default in its place")

    migrate = _command(commands, "migrate", _migrate, "write a store of schema 1 as one of schema 2")
    migrate.add_argument("--out", type=Path, help="the new store; default in its place")

    export = _command(commands, "export", _export, "write a store as Parquet for the hub, or as WebDataset shards")
    export.add_argument("out", type=Path, help="a new folder")
    export.add_argument("--to", choices=["parquet", "webdataset"], default="parquet", help="default %(default)s")
    export.add_argument("--shard-clips", type=int, default=4096, help="clips of a file (default %(default)s)")


def _command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int], told: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=told)
    command.add_argument("store", help="its folder" + (", or its URL" if name in ("stats", "export") else ""))
    command.set_defaults(run=run)
    return command


def _stats(arguments: argparse.Namespace) -> int:
    import numpy as np

    from hiw_data.store.reader import HiwStore
    from hiw_data.store.statistics import feature_statistics

    store = HiwStore.open(arguments.store)
    split = None if arguments.split == "all" else arguments.split
    own = store.lengths[store.select(split)]
    features = feature_statistics(store, split)
    figures: dict[str, Any] = {
        "clips": len(own),
        "frames": int(own.sum()),
        "seconds": round(float(own.sum()) / store.fps, 1),
        "shards": len(store.shards),
        "length": {name: int(np.percentile(own, q)) for name, q in (("min", 0), ("median", 50), ("max", 100))},
        "seen": {side: int(n) for side, n in zip(("left", "right"), features.frames, strict=True)},
    }
    if arguments.json:
        print(json.dumps({**figures, "mean": features.mean.tolist(), "std": features.std.tolist()}, indent=2))
        return 0
    length = figures["length"]
    print(f"{arguments.split}: {figures['clips']} clips, {figures['frames']} frames, {figures['seconds']} s")
    print(f"length of a clip in frames: {length['min']} to {length['max']}, median {length['median']}")
    print(f"frames seen: left {figures['seen']['left']}, right {figures['seen']['right']}")
    for hand, side in enumerate(("left", "right")):
        place = slice(hand * 99 + 96, hand * 99 + 99)
        mean, std = (", ".join(f"{x:.3f}" for x in values[place]) for values in (features.mean, features.std))
        print(f"{side} hand's place in metres: mean ({mean}), deviation ({std})")
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from hiw_data.store.reader import HiwStore
    from hiw_data.store.validation import validate

    found = validate(HiwStore.open(arguments.store))
    for problem in found.problems:
        print(problem)
    if found.problems:
        print(*(f"  {name}" for name in found.damaged), sep="\n")
        print(f"`hiw repair {arguments.store}` keeps what is whole.")
        return 1
    print(f"{found.clips} clips are what was written.")
    return 0


def _repair(arguments: argparse.Namespace) -> int:
    from hiw_data.store.repair import repair

    done = repair(arguments.store, arguments.out)
    for name in done.dropped:
        print(f"dropped: {name}")
    lost = f", {done.lost} lost with the index" if done.lost else ""
    print(f"{done.kept} clips kept, {len(done.dropped)} dropped{lost}. Content hash {done.data_hash}")
    return 0


def _migrate(arguments: argparse.Namespace) -> int:
    from hiw_data.store.migration import migrate

    store = migrate(arguments.store, arguments.out)
    print(f"Wrote {store.path}: {len(store)} clips. Content hash {store.data_hash}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from hiw_data.store.export import export
    from hiw_data.store.reader import HiwStore

    files = export(HiwStore.open(arguments.store), arguments.out, arguments.to, shard_clips=arguments.shard_clips)
    print(f"Wrote {len(files)} file(s) and a card to {arguments.out}.")
    return 0
