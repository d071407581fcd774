"""Builds one store from corrupted inputs, and says what became of each: no crash, nothing run, nothing written outside.

    python benchmarks/corrupted.py                          1,000 of them, seed 0
    python benchmarks/corrupted.py --count 5000 --seed 3 --reasons

The inputs are drawn by `packages/hiw-data/tests/corrupted_inputs.py`: videos, motion files, keypoints, and the pickles
of HaWoR, WiLoR-mini and ARCTIC; cut, flipped, hostile, huge, misnamed. An audit hook watches for processes that are
started, connections, and files that are opened for writing. The exit status is 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "packages" / "hiw-data" / "tests"


def inputs() -> Any:
    spec = importlib.util.spec_from_file_location("corrupted_inputs", TESTS / "corrupted_inputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["corrupted_inputs"] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reasons", action="store_true", help="print the reason of each")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    corrupted = inputs()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        drawn = corrupted.draw(root / "in" / "inputs", arguments.count, arguments.seed)
        (root / "out").mkdir()
        started = time.perf_counter()
        outcome = corrupted.build_watched(drawn, root / "out" / "store.zarr")
        seconds = time.perf_counter() - started
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{arguments.count} corrupted inputs, seed {arguments.seed}: built in {seconds:.0f} s, {gigabytes:.1f} GiB")
    print(f"  listed with a reason       {len(outcome.listed)}")
    print(f"  used, unhurt where it counts {len(outcome.used - set(outcome.listed))}")
    print(f"  neither                    {len(outcome.lost)} {sorted(outcome.lost)[:5]}")
    print(f"  things run                 {len(outcome.run)} {outcome.run[:5]}")
    print(f"  written outside            {len(outcome.outside)} {outcome.outside[:5]}")
    print(f"  inputs changed             {len(outcome.changed)} {outcome.changed[:5]}")
    for what, total in Counter(what for _, what in drawn.cases.values()).items():
        used = sum(drawn.cases[name][1] == what for name in outcome.used)
        print(f"    {what:<26} {total:>4}, used {used}")
    if arguments.reasons:
        for name, reason in sorted(outcome.listed.items()):
            print(f"  {name} {drawn.cases[name]}: {reason}")
    return int(bool(outcome.lost or outcome.run or outcome.outside or outcome.changed))


if __name__ == "__main__":
    sys.exit(main())
