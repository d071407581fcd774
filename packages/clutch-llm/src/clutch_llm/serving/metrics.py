"""Counters of the service in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """How many values were at most each bound, with their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> list[str]:
        """Its samples."""
        total, lines = 0, []
        for bound, count in zip([*(f"{b:g}" for b in self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self.sum:.6f}", f"{name}_count {total}"]


class Metrics:
    """What is counted; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._motions = 0
        self._frames = 0
        self._latency = Histogram(SECONDS)
        self._batches = Histogram(SIZES)
        self._batch_seconds = 0.0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; ``route`` is the route's template, so that no client decides how many lines there are."""
        with self._lock:
            self._requests[method, route, status] += 1
            self._latency.add(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """Count a batch of so many motions or captions."""
        with self._lock:
            self._batches.add(size)
            self._batch_seconds += seconds

    def motion(self, frames: int) -> None:
        """Count a motion."""
        with self._lock:
            self._motions += 1
            self._frames += frames

    def text(self) -> str:
        """All of it."""
        with self._lock:
            requests = sorted(self._requests.items())
            parts = [
                ("requests_total", "counter", "Answers by method, route and status.", [
                    f'clutch_requests_total{{method="{m}",route="{r}",status="{s}"}} {n}' for (m, r, s), n in requests
                ]),
                ("request_seconds", "histogram", "Seconds from a request to the end of its answer.",
                 self._latency.lines("clutch_request_seconds")),
                ("batch_size", "histogram", "Motions or captions done as one batch.",
                 self._batches.lines("clutch_batch_size")),
                ("model_seconds_total", "counter", "Seconds that the model worked on batches.",
                 [f"clutch_model_seconds_total {self._batch_seconds:.6f}"]),
                ("motions_total", "counter", "Motions made.", [f"clutch_motions_total {self._motions}"]),
                ("frames_total", "counter", "Frames made.", [f"clutch_frames_total {self._frames}"]),
            ]  # fmt: skip
        for name, (about, value) in self.gauges.items():
            parts.append((name, "gauge", about, [f"clutch_{name} {value():g}"]))
        lines = []
        for name, kind, about, samples in parts:
            lines += [f"# HELP clutch_{name} {about}", f"# TYPE clutch_{name} {kind}", *samples]
        return "\n".join(lines) + "\n"
