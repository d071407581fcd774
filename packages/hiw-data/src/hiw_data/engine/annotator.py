"""The work on one part of one video: read, track, fit; its result goes into the work folder, and a note comes back."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hand_geometry.errors import HandGeometryError

from hiw_data.annotation import AnnotationConfig, FittedPieces, fit_detected, pieces_from_arrays, pieces_to_arrays
from hiw_data.errors import ClipError
from hiw_data.frames import Frame
from hiw_data.sources.cuts import Cut
from hiw_data.sources.plain_files import check_regular
from hiw_data.sources.video_file import VideoReader, video_info
from hiw_data.tracking.base import Tracker
from hiw_data.tracking.detections import Detections
from hiw_data.tracking.identity import two_hands
from hiw_data.work import WorkFolder

DIED = "Expected the tracker to finish, but its process died on this video."


@dataclass(frozen=True)
class Job:
    """One part of one video.

    Attributes:
        path: the video.
        stem: names the part, unique among all.
        cut: which part it is.
    """

    path: Path
    stem: str
    cut: Cut

    def to_json(self) -> str:
        """As text; `from_json` gives the same back."""
        cut = asdict(self.cut)
        if math.isinf(self.cut.end):
            cut["end"] = None
        return json.dumps({"path": str(self.path), "stem": self.stem, "cut": cut}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """What `to_json` wrote."""
        value = json.loads(text)
        cut = value["cut"]
        return cls(
            Path(value["path"]), value["stem"], Cut(**{**cut, "end": math.inf if cut["end"] is None else cut["end"]})
        )


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        found: whether there is motion; it lies in the work folder.
        reason: why there is none.
        fault: what happened to the rest of the file; "" if it is whole.
        sha256: of the file, "" if it could not be read.
        cached: whether the motion was in the work folder already.
        spent: per stage ("read", "track", "fit") seconds of wall time and of processor time.
        seconds: of video that was looked at, where it was not cached.
        frames: the same as a count of pictures.
    """

    found: bool
    reason: str = ""
    fault: str = ""
    sha256: str = ""
    cached: bool = False
    spent: dict[str, tuple[float, float]] = field(default_factory=dict)
    seconds: float = 0.0
    frames: int = 0

    def to_json(self) -> str:
        """As text; `from_json` gives the same back."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Done:
        """What `to_json` wrote."""
        value = json.loads(text)
        return cls(**{**value, "spent": {name: tuple(pair) for name, pair in value["spent"].items()}})


@dataclass(frozen=True)
class Annotator:
    """Does jobs, one after the other; it may be sent to another process.

    Attributes:
        tracker: kept from job to job.
        config: how tracked hands become clips.
        fps: of the clips.
        longest_side: larger pictures are made smaller to this, pixels.
        work: the folder that keeps results.
    """

    tracker: Tracker
    config: AnnotationConfig
    fps: float
    longest_side: int
    work: Path

    def __call__(self, job: Job) -> Done:
        """Annotates; whatever is wrong with the video is said in what comes back."""
        try:
            check_regular(job.path)
            sha256 = video_info(job.path).sha256
            tracker = tracker_for(self.tracker, job.path)
        except (ClipError, OSError) as error:
            return Done(False, str(error))
        work, key = WorkFolder(self.work), self.fit_key(job, sha256)
        kept = work.load(key)
        if kept is not None:
            return Done(True, fault=str(kept[1].get("fault", "")), sha256=sha256, cached=True)
        clock = _Clock()
        try:
            detections, notes = self._detect(job, sha256, tracker, work, clock)
            started = clock.now()
            hands = two_hands(detections, self.config.identity)
            pieces = fit_detected(hands, self.config, fps=self.fps, scale=float(notes["scale"]))
            if not pieces.pieces:
                raise ClipError("Expected a hand in at least one frame, got none.")
        except (ClipError, HandGeometryError, OSError) as error:
            return Done(False, str(error), sha256=sha256)
        arrays, own = pieces_to_arrays(pieces)
        work.save(key, arrays, {**own, "fault": notes["fault"]})
        clock.add("fit", started)
        times = detections.times
        step = (times[-1] - times[0]) / max(len(times) - 1, 1)
        seconds = float(times[-1] - times[0] + step) if "track" in clock.spent else 0.0
        return Done(
            True,
            fault=str(notes["fault"]),
            sha256=sha256,
            spent=clock.spent,
            seconds=seconds,
            frames=len(times) if seconds else 0,
        )

    def fit_key(self, job: Job, sha256: str) -> dict[str, Any]:
        """What fitted motion is found by in the work folder."""
        own = {"what": "pieces with flags", "fps": self.fps, "fit": self.config.fit_options()}
        return {**self._track_key(job, sha256, tracker_for(self.tracker, job.path)), **own}

    def pieces(self, job: Job, sha256: str) -> FittedPieces:
        """The motion of a job that is done.

        Raises:
            ClipError: it is not in the work folder.
        """
        kept = WorkFolder(self.work).load(self.fit_key(job, sha256))
        if kept is None:
            raise ClipError(
                f"Expected the motion of {job.stem} in the work folder {self.work}, got nothing. Did somebody clear "
                "it? On a cluster it must be on storage that all machines share, under the same path."
            )
        return pieces_from_arrays(*kept)

    def _detect(
        self, job: Job, sha256: str, tracker: Tracker, work: WorkFolder, clock: _Clock
    ) -> tuple[Detections, dict[str, Any]]:
        key = self._track_key(job, sha256, tracker)
        kept = work.load(key)
        if kept is not None:
            return Detections.from_arrays(kept[0]), kept[1]
        reader = VideoReader(job.path, job.cut.start, job.cut.end, self.longest_side)
        started = clock.now()
        detections = tracker.track(clock.timed(reader))
        clock.add("track", started, less="read")
        notes = {"fault": reader.fault, "scale": reader.scale}
        work.save(key, detections.to_arrays(), notes)
        return detections, notes

    def _track_key(self, job: Job, sha256: str, tracker: Tracker) -> dict[str, Any]:
        return {
            "what": "detections with points",
            "sha256": sha256,
            "start": job.cut.start,
            "end": None if math.isinf(job.cut.end) else job.cut.end,
            "longest_side": self.longest_side,
            "tracker": [tracker.name, tracker.version, dict(tracker.options)],
        }


def tracker_for(tracker: Tracker, video: Path) -> Tracker:
    """The tracker of one video: its own answer, if it has a method `for_video(path)`, or itself.

    Raises:
        ClipError: it knows nothing of this video.
    """
    chosen: Tracker = tracker.for_video(video) if hasattr(tracker, "for_video") else tracker
    return chosen


class _Clock:
    """Wall and processor seconds (of all threads of this process) by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, tuple[float, float]] = {}

    def now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def add(self, stage: str, started: tuple[float, float], less: str = "") -> None:
        """Adds what passed since `started` to a stage, but for what another stage took of it."""
        other, had = self.spent.get(less, (0.0, 0.0)), self.spent.get(stage, (0.0, 0.0))
        passed = [now - then for now, then in zip(self.now(), started, strict=True)]
        wall, processor = (max(p - o, 0.0) + h for p, o, h in zip(passed, other, had, strict=True))
        self.spent[stage] = (wall, processor)

    def timed(self, frames: VideoReader) -> Iterator[Frame]:
        """The same frames; what they took is the stage "read"."""
        rest = iter(frames)
        while True:
            started = self.now()
            frame = next(rest, None)
            self.add("read", started)
            if frame is None:
                return
            yield frame
