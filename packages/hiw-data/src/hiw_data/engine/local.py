"""This machine: one process, or several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from hiw_data.engine.annotator import DIED, Annotator, Done, Job
from hiw_data.errors import OptionError

logger = logging.getLogger(__name__)

_Job = TypeVar("_Job")


class LocalEngine:
    """Does jobs in this process, or in several of this machine.

    Args:
        workers: processes; 1 is this one.

    Raises:
        OptionError: fewer than one.
    """

    name = "local"

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise OptionError(f"Expected workers >= 1, got {workers}.")
        self.workers = workers

    def run(self, annotator: Annotator, jobs: Sequence[Job]) -> Iterator[tuple[int, Done]]:
        """See `Engine`; in the order of the jobs."""
        yield from enumerate(run_jobs(annotator, jobs, self.workers))


def run_jobs(function: Callable[[_Job], Done], jobs: Sequence[_Job], workers: int) -> Iterator[Done]:
    """Runs jobs in order, in this process or in several. One that dies costs its job alone, after a second try."""
    if workers == 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    done = 0
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for result in pool.map(function, jobs):
                yield result
                done += 1
    except BrokenProcessPool:
        logger.warning("A worker died; going on with one video at a time.")
        for job in jobs[done:]:
            try:
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    yield pool.submit(function, job).result()
            except BrokenProcessPool:
                yield Done(False, DIED)
