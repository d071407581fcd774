"""How fast a store is built, opened and read at random, beside other ways to keep the same frames.

    python benchmarks/store.py                    a tenth of 3D-HIW's size: 1.2 million frames, every reader (2 GB)
    python benchmarks/store.py --frames 12000000 --readers hiw hiw-memmap hiw-dataset hiw-stream     its size (10 GB)
    python benchmarks/store.py --million          the index of a million clips alone, opened

Clips have the scripted source's captions and attributes and random features. Each figure is from a process of its own,
with the files in the system's page cache as far as they fit; wall time and processor time are both told, since a loaded
machine changes the first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WINDOW = 64
MEAN_FRAMES = 12_000_000 / 170_000
READERS = {
    "hiw": "HiwStore.read_frames",
    "hiw-dataset": "HiwDataset[i], tensors and captions",
    "hiw-stream": "HiwStream, tensors and captions",
    "memmap": "one array, np.memmap",
    "npy": ".npy per clip (the released code's way)",
    "hdf5": "HDF5 (h5py), chunks of 256 frames",
    "zarr": "Zarr, chunks of 256 frames",
    "hiw-memmap": "this store's shards, np.memmap",
    "hiw-by-zarr": "this store, read by zarr-python",
}


class RandomSource:
    """Clips of random frames with the scripted source's words: its store has the shape of a large data set."""

    name = "random"

    def __init__(self, frames: int) -> None:
        rng = np.random.default_rng(0)
        lengths = rng.integers(8, 28, size=2 * int(frames / MEAN_FRAMES)) * 4  # 32 to 108 frames, 70 in the mean
        self.lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), frames)) + 1]

    def __len__(self) -> int:
        return len(self.lengths)

    def info(self) -> Any:
        from hiw_data import SourceInfo

        return SourceInfo("Random frames", True, "Noise with words.", "CC0", "benchmarks/store.py")

    def stream(self, fps: float) -> Iterator[dict[str, Any]]:
        from hiw_data import ProceduralSource

        words: list[Any] = list(ProceduralSource(200).stream(fps))
        rng = np.random.default_rng(1)
        noise = rng.normal(size=(100_000, 198)).astype(np.float32)
        for number, length in enumerate(self.lengths):
            like, at = words[number % len(words)], int(rng.integers(0, len(noise) - length))
            kept = {key: like[key] for key in ("captions", "mirrored_captions", "attributes") if key in like}
            yield {
                "clip_id": f"random/{number:07d}",
                "source": self.name,
                "split": "",
                "fps": fps,
                "features": noise[at : at + length],
                "valid": rng.random((length, 2)) < 0.95,
                **kept,
            }


def build_hiw(folder: Path, frames: int) -> None:
    """The store, by `hiw_data.build`."""
    from hiw_data import build

    build([RandomSource(frames)], folder / "hiw.zarr")  # type: ignore[list-item]


def build_index(folder: Path, clips: int) -> None:
    """A store of so many clips of 64 frames, without the frames: what opening it reads."""
    import pyarrow as pa
    from hiw_data import ProceduralSource
    from hiw_data.store import schema
    from hiw_data.store.shards import WIDTHS, array_metadata

    per_shard = schema.SHARD_FRAMES // 64
    shards = -(-clips // per_shard)
    clips_with_words: list[Any] = list(ProceduralSource(200).stream(15.0))
    words = [schema.clip_row(clip) for clip in clips_with_words]
    path = folder / "hiw.zarr"
    path.mkdir()
    with pa.ipc.new_file(str(path / schema.INDEX_FILE), schema.ROW_SCHEMA) as index:
        for first in range(0, clips, per_shard):
            some = range(first, min(first + per_shard, clips))
            own = [{"clip_id": f"clip/{k:07d}", "split": ("train", "val")[k % 10 == 0], "length": 64} for k in some]
            rows = [words[k % len(words)] | row for k, row in zip(some, own, strict=True)]
            starts = [first // per_shard * schema.SHARD_FRAMES + 64 * k for k in range(len(some))]
            index.write_batch(schema.to_batch(rows, starts, [bytes(32)] * len(some)))
    attributes = {
        "format": schema.FORMAT,
        "schema_version": schema.SCHEMA_VERSION,
        "fps": 15.0,
        "clips": clips,
        "frames": clips * 64,
        "shard_frames": schema.SHARD_FRAMES,
        "data_hash": "0" * 64,
        "index_sha256": "0" * 64,
        "shards": [{"features": "0" * 64, "valid": "0" * 64, "clips": per_shard}] * shards,
        "report": {},
        "complete": True,
    }
    for array in WIDTHS:
        (path / array).mkdir()
        (path / array / "zarr.json").write_text(json.dumps(array_metadata(array, shards, schema.SHARD_FRAMES)))
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(document))


def copy_frames(folder: Path, kind: str) -> None:
    """The store's clips, kept in another way."""
    from hiw_data import HiwStore

    store = HiwStore.open(folder / "hiw.zarr")
    starts = np.cumsum([0, *store.lengths])
    np.save(folder / "starts.npy", starts)
    shape = (int(starts[-1]), 198)
    if kind == "npy":
        (folder / "npy").mkdir()
        for index in range(len(store)):
            np.save(folder / "npy" / f"{index}.npy", store.read_frames(index)[0])
        return
    if kind == "memmap":
        array: Any = np.lib.format.open_memmap(folder / "all.npy", "w+", np.float32, shape)
    elif kind == "hdf5":
        import h5py

        array = h5py.File(folder / "all.h5", "w").create_dataset("features", shape, "f4", chunks=(256, 198))
    else:
        import zarr

        array = zarr.create_array(folder / "all.zarr", shape=shape, chunks=(256, 198), dtype="f4", compressors=None)
    step = 4096  # clips at once
    for first in range(0, len(store), step):
        some = range(first, min(first + step, len(store)))
        block = np.concatenate([store.read_frames(index)[0] for index in some])
        array[starts[some[0]] : starts[some[-1] + 1]] = block
    if kind == "hdf5":
        array.file.close()


def reader(folder: Path, kind: str) -> tuple[Callable[[int, int, int], Any], Any]:
    """A function of (clip, first frame, one past the last) that reads a window, and the lengths of clips."""
    from hiw_data import HiwStore

    if kind == "hiw":
        store = HiwStore.open(folder / "hiw.zarr")
        return store.read_frames, store.lengths
    if kind == "hiw-by-zarr":
        import zarr

        store, group = HiwStore.open(folder / "hiw.zarr"), zarr.open_group(folder / "hiw.zarr", mode="r")
        array, begin = group["features"], store.starts
        return lambda clip, a, b: array[begin[clip] + a : begin[clip] + b], store.lengths
    if kind == "hiw-memmap":
        store = HiwStore.open(folder / "hiw.zarr")
        room, begin = store.shard_frames, store.starts
        maps = [np.memmap(folder / f"hiw.zarr/features/c/{n}/0", np.uint8, "r") for n in range(len(store.shards))]
        rows = [one[: (len(one) // 792) * 792].view(np.float32).reshape(-1, 198) for one in maps]

        def window(clip: int, a: int, b: int) -> Any:
            shard, row = divmod(int(begin[clip]), room)
            return np.array(rows[shard][row + a : row + b])

        return window, store.lengths
    starts = np.load(folder / "starts.npy")
    if kind == "npy":
        return lambda clip, a, b: np.load(folder / "npy" / f"{clip}.npy")[a:b], np.diff(starts)
    if kind == "memmap":
        array = np.load(folder / "all.npy", mmap_mode="r")
    elif kind == "hdf5":
        import h5py

        array = h5py.File(folder / "all.h5", "r")["features"]
    else:
        import zarr

        array = zarr.open_array(folder / "all.zarr", mode="r")
    return lambda clip, a, b: np.array(array[starts[clip] + a : starts[clip] + b]), np.diff(starts)


def measure_reading(folder: Path, kind: str, windows: int) -> dict[str, float]:
    """Opens and reads windows at random; a first round fills the caches."""
    began = time.perf_counter()
    if kind == "hiw-dataset":
        from hiw_data import HiwDataset

        dataset = HiwDataset(folder / "hiw.zarr", None, WINDOW)
        order = np.random.default_rng(0).integers(0, len(dataset), size=windows).tolist()
        steps: Iterator[Any] = (dataset[index] for index in order)
        dataset[0]
    elif kind == "hiw-stream":
        from hiw_data import HiwStream

        steps = iter(HiwStream(folder / "hiw.zarr", None, WINDOW))
        next(steps)
    else:
        read, lengths = reader(folder, kind)
        rng = np.random.default_rng(0)
        clips = rng.choice(np.flatnonzero(lengths >= WINDOW), windows)
        firsts = rng.integers(0, lengths[clips] - WINDOW + 1)
        steps = (read(c, a, a + WINDOW) for c, a in zip(clips.tolist(), firsts.tolist(), strict=True))
        read(int(clips[0]), 0, WINDOW)
    opened = time.perf_counter() - began
    wall, cpu = time.perf_counter(), time.process_time()
    for _, _ in zip(range(windows), steps, strict=False):
        pass
    return {
        "open_s": opened,
        "wall_per_s": windows / (time.perf_counter() - wall),
        "cpu_per_s": windows / (time.process_time() - cpu),
    }


def measure_opening(folder: Path) -> dict[str, float]:
    """`HiwStore.open`, its imports done before."""
    from hiw_data import HiwStore

    wall, cpu = time.perf_counter(), time.process_time()
    store = HiwStore.open(folder / "hiw.zarr")
    store.select("train")
    return {"open_s": time.perf_counter() - wall, "open_cpu_s": time.process_time() - cpu}


def step(folder: Path, *arguments: object) -> dict[str, float]:
    """Runs one step in a process of its own; its figures, with seconds and the most memory that it held."""
    command = [sys.executable, __file__, "--folder", str(folder), "--step", *map(str, arguments)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def run_step(folder: Path, arguments: list[str]) -> dict[str, float]:
    """What a process of its own does."""
    wall, (what, *rest) = time.perf_counter(), arguments
    figures: dict[str, float] = {}
    if what == "build":
        build_hiw(folder, int(rest[0]))
    elif what == "index":
        build_index(folder, int(rest[0]))
    elif what == "copy":
        copy_frames(folder, rest[0])
    elif what == "open":
        figures = measure_opening(folder)
    else:
        figures = measure_reading(folder, rest[0], int(rest[1]))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return figures | {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "gib": used.ru_maxrss / (1 << 20),
    }


def main() -> None:
    """Prints the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--frames", type=int, default=1_200_000)
    options.add_argument("--windows", type=int, default=20_000)
    options.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    options.add_argument("--million", action="store_true", help="open the index of a million clips instead")
    options.add_argument("--folder", type=Path, help="where to write; default a temporary folder")
    options.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.step:
        print(json.dumps(run_step(chosen.folder, chosen.step)))
        return
    folder = Path(tempfile.mkdtemp(prefix="hiw-benchmark-", dir=chosen.folder))
    try:
        if chosen.million:
            made, opened = step(folder, "index", 1_000_000), step(folder, "open")
            size = (folder / "hiw.zarr" / "clips.arrow").stat().st_size
            print(f"index of 1,000,000 clips, {size / 1e9:.2f} GB, made in {made['seconds']:.0f} s")
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            print(f"open: {opened['open_s']:.3f} s, {opened['open_cpu_s']:.3f} s of processor, {opened['gib']:.2f} GiB")
            return
        built = step(folder, "build", chosen.frames)
        opened = step(folder, "open")
        size = sum(path.stat().st_size for path in (folder / "hiw.zarr").rglob("*") if path.is_file())
        clips = len(RandomSource(chosen.frames))
        print(f"{chosen.frames} frames in {clips} clips, {size / 1e9:.2f} GB")
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        seconds = f"{built['seconds']:.0f} s, {built['cpu_seconds']:.0f} s of processor"
        print(f"build: {seconds}, at most {built['gib']:.2f} GiB resident")
        print(f"open: {opened['open_s']:.3f} s, {opened['open_cpu_s']:.3f} s of processor\n")
        print(f"Windows of {WINDOW} frames at random, {chosen.windows} of them, one process:\n")
        print("| reader | a second, wall | a second of processor | GiB resident at most |\n|---|---|---|---|")
        for kind in chosen.readers:
            if not kind.startswith("hiw"):
                step(folder, "copy", kind)
            few = kind in ("zarr", "hiw-by-zarr")
            got = step(folder, "read", kind, chosen.windows // 10 if few else chosen.windows)
            rates = f"{got['wall_per_s']:,.0f} | {got['cpu_per_s']:,.0f}"
            print(f"| {READERS[kind]} | {rates} | {got['gib']:.2f} |", flush=True)
            for left in ("npy", "all.npy", "all.h5", "all.zarr"):
                path = folder / left
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        print(f"\nload at the end {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
