"""A cluster, by Ray Data: each worker is an actor that keeps its tracker and does one part of a video at a time.

Needs the extra `ray`. Videos and the work folder have to be on storage that all machines see under the same path; what
crosses the wire is names and notes. A worker that is lost is started again by Ray, and its job is tried again; a job
whose worker was lost `tries` times is given up, and listed.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hiw_data.engine.annotator import DIED, Annotator, Done, Job
from hiw_data.errors import OptionError, SourceError

logger = logging.getLogger(__name__)

_LOCAL_STORE = 128 * 2**20
"""Bytes of shared memory that Ray is given on this machine: only names and notes go through it."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class RayEngine:
    """Does jobs on a Ray cluster.

    A program that has started Ray itself is not started again, and goes on with it.

    Args:
        address: of a cluster that is there ("auto", "host:6379"); None starts Ray on this machine alone.
        workers: actors; 0 takes as many as the cluster has room for.
        cpus: processors that each takes.
        gpus: GPUs that each takes, for a tracker that needs one; a share will do.
        tries: how often a job may lose its worker.

    Raises:
        OptionError: an option out of range.
        SourceError: ray is not installed.
    """

    name = "ray"

    def __init__(
        self, address: str | None = None, *, workers: int = 0, cpus: float = 1.0, gpus: float = 0.0, tries: int = 2
    ) -> None:
        if workers < 0 or not cpus > 0 or not gpus >= 0 or tries < 1:
            raise OptionError(
                f"Expected workers >= 0, cpus > 0, gpus >= 0 and tries >= 1, got {workers}, {cpus}, {gpus}, {tries}."
            )
        self.address, self.workers, self.cpus, self.gpus, self.tries = address, workers, cpus, gpus, tries
        _ray()

    def run(self, annotator: Annotator, jobs: Sequence[Job]) -> Iterator[tuple[int, Done]]:
        """See `Engine`; in the order in which they are done."""
        if not jobs:
            return
        work = annotator.work.resolve()
        marks = work / "in-hand" / uuid.uuid4().hex
        marks.mkdir(parents=True)
        try:
            with self._session() as ray:
                rows = self._rows(ray, annotator, jobs, marks)
                while True:
                    with _without_warnings():
                        row = next(rows, None)
                    if row is None:
                        return
                    yield int(row["number"]), Done.from_json(row["done"])
        finally:
            shutil.rmtree(marks, ignore_errors=True)
            with suppress(OSError):  # another run may be using it
                marks.parent.rmdir()

    def _rows(self, ray: Any, annotator: Annotator, jobs: Sequence[Job], marks: Path) -> Iterator[dict[str, Any]]:
        items = [
            {"number": number, "job": Job(job.path.resolve(), job.stem, job.cut).to_json()}
            for number, job in enumerate(jobs)
        ]
        workers = self.workers or self._room(ray.cluster_resources())
        with _without_warnings():
            from ray.data import ActorPoolStrategy, DataContext

            context = DataContext.get_current()
            context.enable_progress_bars = False
            for name in ("ray.data", "ray.data._internal"):
                logging.getLogger(name).setLevel(logging.ERROR)
            dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
                _Worker,
                fn_constructor_args=(annotator, str(annotator.work.resolve()), str(marks), self.tries),
                compute=ActorPoolStrategy(size=min(workers, len(items)), max_tasks_in_flight_per_actor=1),
                num_cpus=self.cpus,
                num_gpus=self.gpus or None,
            )
            return iter(dataset.iter_rows())

    def _room(self, resources: dict[str, float]) -> int:
        room = resources.get("CPU", 1.0) // self.cpus
        if self.gpus:
            room = min(room, resources.get("GPU", 0.0) // self.gpus)
        return max(int(room), 1)

    @contextmanager
    def _session(self) -> Iterator[Any]:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        ray = _ray()
        if ray.is_initialized():
            yield ray
            return
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            own = {"num_cpus": max(round((self.workers or os.cpu_count() or 1) * self.cpus), 1)}
            quiet |= {**own, "include_dashboard": False, "object_store_memory": _LOCAL_STORE}
        try:
            _reach(self.address)
            with _without_warnings():
                ray.init(address=self.address or "local", **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = "on this machine" if self.address is None else f"at {self.address}"
            said = " ".join(str(error).split())[:300]
            raise SourceError(
                f"Expected Ray {where}, got: {said}. Is it running, of version {ray.__version__}, and is "
                "RAY_AUTH_MODE the same there and here?"
            ) from error
        try:
            yield ray
        finally:
            with _without_warnings():
                ray.shutdown()


class _Worker:
    """The actor: keeps the annotator, and does one job a call."""

    def __init__(self, annotator: Annotator, work: str, marks: str, tries: int) -> None:
        fields = {name: getattr(annotator, name) for name in ("tracker", "config", "fps", "longest_side")}
        self._annotator = Annotator(**fields, work=Path(work))
        self._marks, self._tries = Path(marks), tries

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["number"])
        mark = self._marks / str(number)
        with open(mark, "ab") as file:  # one byte a try: it outlives this process
            file.write(b".")
        lost = mark.stat().st_size > self._tries
        done = Done(False, DIED) if lost else self._annotator(Job.from_json(row["job"]))
        return {"number": number, "done": done.to_json()}


def _reach(address: str | None) -> None:
    """Ray itself asks an address where nobody is for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ray's own deprecations are no affair of who annotates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _ray() -> Any:
    try:
        with _without_warnings():
            import ray
            import ray.data
    except ImportError as error:
        raise SourceError(
            "Expected the package ray for the engine ray, got none. Run pip install 'hiw-data[ray]'."
        ) from error
    return ray
