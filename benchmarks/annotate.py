"""How well and how fast videos of hands become motion: detection, reprojection, speed, views, closed loop.

    python benchmarks/annotate.py --data DATA                   everything that is there
    python benchmarks/annotate.py --data DATA --only stereo     or store, signs, loop

DATA holds human_hand_video.mp4 (one right hand), real/signs/*.mp4 (one person, both hands in every frame) and
real/stereo (one right hand from two calibrated cameras); what is missing is left out. Needs hiw-data[tracking] and
MediaPipe's model (HIW_HAND_MODEL, or the cached one). Times are given as processor time and as wall time: on a machine
that others use, the latter says little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from hiw_data import annotate
from hiw_data.calibration import LoopConfig
from hiw_data.calibration import closed_loop as loop
from hiw_data.calibration.conditions import chosen
from hiw_data.calibration.stereo import stereo as compare
from hiw_data.sources.video_file import VideoReader
from hiw_data.tracking import MediaPipeTracker, two_hands


def file_to_store(path: Path) -> None:
    """Speed and reprojection of the whole way."""
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        store = annotate(path, Path(folder) / "out.zarr")
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        seen = sum(clip["valid"].sum(0) for clip in store.clips())
        pixels = [row["attributes"]["reprojection_px"] for row in store.metadata]
        lengths = [len(clip["features"]) for clip in store.clips()]
    frames = sum(1 for _ in VideoReader(path))
    print(f"{path.name}: {frames} frames, {len(pixels)} clips; seen at 15 fps: left {seen[0]}, right {seen[1]}")
    print(f"  reprojection {np.average(pixels, weights=lengths):.2f} px in the mean over clips")
    print(f"  file to store: {frames / processor:.0f} frames/s of processor time, {frames / wall:.0f} of wall time")


def both_hands(path: Path) -> None:
    """In how many frames both hands are found, with and without the second look."""
    for name, look in (("one look", False), ("second look", True)):
        started = time.process_time()
        hands = two_hands(MediaPipeTracker(second_look=look).track(VideoReader(path)))
        ms = 1e3 * (time.process_time() - started) / len(hands.seen)
        share = hands.seen.all(1).mean()
        print(f"{path.name}, {name}: both in {share:.0%} of {len(hands.seen)} frames; {ms:.0f} ms; {hands.counts}")


def stereo(folder: Path) -> None:
    """Each view's fit against the triangulation of both; `hiw calibrate stereo` prints the same."""
    for view in compare(folder, MediaPipeTracker()):
        print("stereo: " + ", ".join(f"{name} {_short(value)}" for name, value in view.figures().items()))


def closed_loop(seeds: list[int], frames: int) -> None:
    """Drawn motions through tracker, identity, fit and smoothing; drawing and landmark table share the open hand."""
    scenes = chosen(["plain", "far away"])
    for condition in loop(MediaPipeTracker(), LoopConfig(scenes=scenes, seeds=tuple(seeds), frames=frames)):
        figures = condition.figures()
        print(f"closed loop, {condition.scene.name}: " + ", ".join(f"{k} {_short(v)}" for k, v in figures.items()))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=["store", "signs", "stereo", "loop"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104], help="of the drawn motions")
    arguments = parser.parse_args()
    video, signs, pair = (arguments.data / n for n in ("human_hand_video.mp4", "real/signs", "real/stereo"))
    if video.is_file() and arguments.only in (None, "store"):
        file_to_store(video)
    if signs.is_dir() and arguments.only in (None, "signs"):
        for path in sorted(signs.glob("*.mp4")):
            both_hands(path)
    if pair.is_dir() and arguments.only in (None, "stereo"):
        stereo(pair)
    if arguments.only in (None, "loop"):
        closed_loop(arguments.seeds, 90)


if __name__ == "__main__":
    main()
