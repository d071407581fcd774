"""What annotation costs: seconds by stage, for each minute of video; and what that makes of a larger amount."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hiw_data.engine.annotator import Done

STAGES = ("read", "track", "fit", "words and store")
"""In order; all but the last are done by the workers, the last by the one process that builds the store."""


@dataclass
class Timings:
    """Seconds by stage, of the videos that were not in the work folder already.

    Attributes:
        minutes: of video.
        frames: of video.
        spent: per stage of `STAGES` seconds of wall time and of processor time.
    """

    minutes: float = 0.0
    frames: int = 0
    spent: dict[str, tuple[float, float]] = field(default_factory=dict)
    _running: tuple[str, float, float] | None = field(default=None, init=False, repr=False)

    def start(self, stage: str) -> None:
        """Starts a stage of this process; the next `stop` ends it."""
        self._running = stage, time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Ends the stage that was started, if there is one."""
        if self._running is not None:
            stage, wall, processor = self._running
            self.add_stage(stage, time.perf_counter() - wall, time.process_time() - processor)
            self._running = None

    def add(self, done: Done) -> None:
        """Counts one part of a video."""
        if not done.seconds:
            return
        self.minutes += done.seconds / 60
        self.frames += done.frames
        for stage, (wall, processor) in done.spent.items():
            self.add_stage(stage, wall, processor)

    def add_stage(self, stage: str, wall: float, processor: float) -> None:
        """Adds seconds to a stage."""
        had = self.spent.get(stage, (0.0, 0.0))
        self.spent[stage] = (had[0] + wall, had[1] + processor)

    def per_minute(self, stage: str) -> tuple[float, float]:
        """Seconds of wall time and of processor time for a minute of video; zeros if nothing was measured."""
        if not self.minutes:
            return 0.0, 0.0
        wall, processor = self.spent.get(stage, (0.0, 0.0))
        return wall / self.minutes, processor / self.minutes

    def lines(self) -> list[str]:
        """The table as text."""
        if not self.minutes:
            return ["timings: nothing was measured, for all of it was in the work folder already"]
        rows = [f"seconds for a minute of video ({self.minutes:.2f} minutes, {self.frames} frames were measured):"]
        rows.append(f"  {'stage':<16}{'processor':>10}{'wall':>8}")
        for stage in STAGES:
            wall, processor = self.per_minute(stage)
            rows.append(f"  {stage:<16}{processor:>10.2f}{wall:>8.2f}")
        walls, processors = zip(*(self.per_minute(stage) for stage in STAGES), strict=True)
        rows.append(f"  {'all':<16}{sum(processors):>10.2f}{sum(walls):>8.2f}")
        return rows

    def hours(self, minutes: float, cores: int, *, longest: float = 0.0) -> float:
        """Hours for an amount of video on a number of cores, by processor time.

        The workers' stages are shared out over the cores, the last is one core's; workers are done no sooner than with
        the longest video, which one of them does alone.

        Args:
            minutes: of video.
            cores: that annotate.
            longest: minutes of the longest part of a video.
        """
        shared = sum(self.per_minute(stage)[1] for stage in STAGES[:-1])
        alone = self.per_minute(STAGES[-1])[1]
        return (shared * max(minutes / cores, longest) + alone * minutes) / 3600

    def projection(self, minutes: float, cores: Sequence[int], *, longest: float = 0.0) -> Iterable[str]:
        """One line a number of cores."""
        for count in cores:
            hours = self.hours(minutes, count, longest=longest)
            yield f"{minutes:g} minutes of video on {count} cores: {hours:.2f} hours"
