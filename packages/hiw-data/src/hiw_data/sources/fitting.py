"""Fits many hands with several processes.

Workers are plain processes of the same Python, not forks (torch has threads) and not `multiprocessing` spawns
(which run the caller's script again). Each has one thread, so that two workers use two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from tqdm import tqdm

from hiw_data.errors import SourceError
from hiw_data.sources.fit_worker import FittedTrack, Track, fit_track, load_fits, save_tracks

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def fit_tracks(tracks: list[Track], workers: int = 2) -> list[FittedTrack]:
    """Fits each track on its own; the result does not depend on the number of workers.

    Args:
        tracks: hands to fit.
        workers: processes; 0 fits in this one, which is slower if its linear algebra has several threads.

    Returns:
        As many fitted tracks, in the same order.

    Raises:
        SourceError: a worker died.
    """
    with tqdm(total=len(tracks), desc="fitting hands", unit="hand", disable=None) as bar:
        if workers < 1:
            return [_step(bar, fit_track(track)) for track in tracks]
        workers = min(workers, len(tracks))
        order = sorted(range(len(tracks)), key=lambda i: -len(tracks[i].keypoints))
        shares = [order[k::workers] for k in range(workers)]
        with tempfile.TemporaryDirectory(prefix="hiw-fit-") as folder:
            fits = _run_workers(Path(folder), [[tracks[i] for i in share] for share in shares], bar.update)
    result = {i: fit for share, part in zip(shares, fits, strict=True) for i, fit in zip(share, part, strict=True)}
    return [result[i] for i in range(len(tracks))]


def _step(bar: tqdm, fit: FittedTrack) -> FittedTrack:
    bar.update()
    return fit


def _run_workers(folder: Path, shares: list[list[Track]], update: Callable[[], object]) -> list[list[FittedTrack]]:
    environment = os.environ | dict.fromkeys(_THREADS, "1") | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes, readers = [], []
    try:
        for k, share in enumerate(shares):
            save_tracks(str(folder / f"in{k}.npz"), share)
            command = [sys.executable, "-m", "hiw_data.sources.fit_worker", f"in{k}.npz", f"out{k}.npz"]
            with open(folder / f"errors{k}.txt", "wb") as errors:
                process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors)
            processes.append(process)
            readers.append(Thread(target=_count_lines, args=(process, update), daemon=True))
            readers[-1].start()
        for k, (process, reader) in enumerate(zip(processes, readers, strict=True)):
            reader.join()
            if process.wait() != 0:
                said = (folder / f"errors{k}.txt").read_text(errors="replace").strip()[-2000:]
                raise SourceError(
                    f"Expected worker {k} to fit its hands, got exit code {process.returncode}. "
                    f"Try workers=0 to see the error in place. It said:\n{said}"
                )
        return [load_fits(str(folder / f"out{k}.npz")) for k in range(len(shares))]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _count_lines(process: subprocess.Popen[bytes], update: Callable[[], object]) -> None:
    if process.stdout is not None:
        for _ in process.stdout:
            update()
