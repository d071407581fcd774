"""One thread owns the model: it gathers requests for a few milliseconds and does those that are alike as one batch.

What a request gives does not depend on the requests beside it: a motion is drawn from its text, seed and number among
the samples alone (`sampling`). Streams take turns with batches, a piece each, so neither waits for the end of another.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds that a motion is taken to last before one was measured.
_FIRST_GUESS = 0.1


class QueueFullError(Exception):
    """There is no room for another job; ``retry_after`` is in how many seconds there will be."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoppedError(Exception):
    """The service is shutting down."""


@dataclass
class _Job:
    key: Hashable
    run: Callable[[list[Any]], Sequence[Any]]
    item: Any
    size: int
    future: Future[Any] = field(default_factory=Future)


@dataclass
class Stream:
    """A running stream.

    Attributes:
        give: called in the worker thread with each piece, at last with None, or with the error that ended it.
        cancelled: set it, and the stream ends before its next piece.
    """

    start: Callable[[], Iterator[Any]]
    give: Callable[[Any], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    pieces: Iterator[Any] | None = None


class Batcher:
    """A queue of jobs and the one thread that does them.

    Args:
        batch_size: most motions of one batch; a job of more is done alone.
        gather_ms: milliseconds for which the first job of a batch waits for others.
        max_queue: jobs that may wait.
        max_streams: streams that may run at once.
        on_batch: told of each batch: how many motions, and the seconds that it took.
    """

    def __init__(
        self,
        *,
        batch_size: int = 32,
        gather_ms: float = 5.0,
        max_queue: int = 64,
        max_streams: int = 8,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self.batch_size, self.gather = batch_size, gather_ms / 1000
        self.max_queue, self.max_streams = max_queue, max_streams
        self.on_batch = on_batch
        self._jobs: deque[_Job] = deque()
        self._streams: deque[Stream] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._each = _FIRST_GUESS
        self._thread = threading.Thread(target=self._work, name="clutch-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._jobs)

    @property
    def streaming(self) -> int:
        """Streams that run."""
        return len(self._streams)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def submit(
        self, key: Hashable, run: Callable[[list[Any]], Sequence[Any]], item: Any, *, size: int = 1
    ) -> Future[Any]:
        """Queue a job.

        Args:
            key: jobs of equal keys may be done together.
            run: takes the items of such jobs and gives a result for each, in their order.
            item: what this job asks for.
            size: motions that it makes.

        Raises:
            QueueFullError: when too many wait.
            StoppedError: after `stop`.
        """
        job = _Job(key, run, item, size)
        with self._changed:
            self._check(len(self._jobs) >= self.max_queue, f"{len(self._jobs)} requests wait already")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def stream(self, start: Callable[[], Iterator[Any]], give: Callable[[Any], None]) -> Stream:
        """Run a generator in turns with the batches, see `Stream`; errors are those of `submit`."""
        stream = Stream(start, give)
        with self._changed:
            self._check(len(self._streams) >= self.max_streams, f"{len(self._streams)} motions are streamed already")
            self._streams.append(stream)
            self._changed.notify()
        return stream

    def stop(self, grace: float = 10.0) -> None:
        """Take no more jobs, do those that wait for at most ``grace`` seconds, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(grace)
        with self._changed:
            left = list(self._jobs)
            self._jobs.clear()
            for stream in self._streams:
                stream.cancelled.set()
        for job in left:
            _settle(job, error=StoppedError("The service is shutting down."))
        self._thread.join(grace)

    def _check(self, full: bool, why: str) -> None:
        if self._stopping:
            raise StoppedError("The service is shutting down.")
        if full:
            seconds = self._each * (sum(job.size for job in self._jobs) + len(self._streams))
            raise QueueFullError(f"{why}. Ask again later.", min(60, max(1, math.ceil(seconds))))

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._jobs or self._streams or self._stopping):
                    self._changed.wait()
                if not self._jobs and not self._streams:
                    return
            for batch in self._gathered():
                self._do(batch)
            for stream in list(self._streams):
                if not _advance(stream):
                    with self._changed:
                        self._streams.remove(stream)

    def _gathered(self) -> Iterator[list[_Job]]:
        """The jobs that are there or come in the time of gathering, those of a key together."""
        if not self._jobs:
            return
        until = time.monotonic() + self.gather
        with self._changed:
            while sum(job.size for job in self._jobs) < self.batch_size and not self._stopping:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            taken: list[_Job] = []
            while self._jobs and (not taken or sum(job.size for job in taken) + self._jobs[0].size <= self.batch_size):
                taken.append(self._jobs.popleft())
        alike: dict[Hashable, list[_Job]] = {}
        for job in taken:
            if job.future.set_running_or_notify_cancel():
                alike.setdefault(job.key, []).append(job)
        yield from alike.values()

    def _do(self, batch: list[_Job]) -> None:
        began = time.monotonic()
        try:
            results = list(batch[0].run([job.item for job in batch]))
            if len(results) != len(batch):
                raise RuntimeError(f"Expected {len(batch)} results of a batch, got {len(results)}.")
        except Exception as error:
            if len(batch) > 1:  # one of them is at fault: the others are not to suffer
                for job in batch:
                    self._do([job])
                return
            _settle(batch[0], error=error)
            return
        size, seconds = sum(job.size for job in batch), time.monotonic() - began
        self._each += 0.2 * (seconds / size - self._each)
        self.on_batch(size, seconds)
        for job, result in zip(batch, results, strict=True):
            _settle(job, result)


def _settle(job: _Job, result: Any = None, error: Exception | None = None) -> None:
    try:
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
    except InvalidStateError:
        logger.debug("nobody waits for this job any more")


def _advance(stream: Stream) -> bool:
    """Give the stream's next piece; False when it is over."""
    if stream.cancelled.is_set():
        return False
    try:
        if stream.pieces is None:
            stream.pieces = stream.start()
        piece = next(stream.pieces, None)
    except Exception as error:  # it is the client's to know
        stream.give(error)
        return False
    stream.give(piece)
    return piece is not None
