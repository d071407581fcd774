"""Videos of hands: tracked, fitted, cleaned and told in words, one video or a folder of them.

Each video's result is kept in a work folder, so that an interrupted run goes on. A video that cannot be used is skipped
with its reason; of one that is damaged in the middle, what comes before the damage is used and the rest is listed.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hand_geometry.errors import HandGeometryError
from tqdm import tqdm

from hiw_data.annotation import AnnotationConfig, FittedPieces, fit_detected, pieces_from_arrays, pieces_to_arrays
from hiw_data.clips import Clip, SkippedClip
from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.sources.base import SourceInfo
from hiw_data.sources.cleaned import Stretch, cleaned_clips
from hiw_data.sources.cuts import Cut, read_cuts
from hiw_data.sources.video_file import SUFFIXES, VideoInfo, VideoReader, video_info
from hiw_data.tracking.base import Tracker
from hiw_data.tracking.detections import Detections
from hiw_data.tracking.identity import two_hands
from hiw_data.work import WorkFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One part of one video, and everything that is needed to annotate it."""

    path: Path
    stem: str
    cut: Cut
    tracker: Tracker
    config: AnnotationConfig
    fps: float
    longest_side: int
    work: Path


@dataclass(frozen=True)
class _Done:
    """What came of it: pieces, or why there are none; and what happened to the rest of the file."""

    pieces: FittedPieces | None
    reason: str = ""
    fault: str = ""
    sha256: str = ""
    cached: bool = False


class VideoSource:
    """Clips from videos.

    Args:
        videos: files and folders; folders are searched, subfolders included.
        tracker: None for MediaPipe.
        config: how tracked hands become clips.
        cuts: a CSV file (file, start, end, caption), see `read_cuts`: only these parts are used. `file` is the path
            within the folder, or the file's name.
        name: of this source in the store.
        licence: under which terms these clips may be used.
        longest_side: larger pictures are made smaller to this before they are tracked, pixels.
        work: the folder that keeps results; None for a temporary one.
        workers: processes that annotate, each one video at a time.

    Raises:
        OptionError: an option out of range.
        SourceError: no video there, or a CSV file that cannot be read.
    """

    def __init__(
        self,
        videos: str | Path | Sequence[str | Path],
        *,
        tracker: Tracker | None = None,
        config: AnnotationConfig | None = None,
        cuts: str | Path | None = None,
        name: str = "video",
        licence: str = "not stated",
        longest_side: int = 1280,
        work: str | Path | None = None,
        workers: int = 1,
    ) -> None:
        if workers < 1 or longest_side < 64:
            raise OptionError(f"Expected workers >= 1 and longest_side >= 64, got {workers} and {longest_side}.")
        given = [videos] if isinstance(videos, str | Path) else list(videos)
        self.files = find_files([Path(path) for path in given], SUFFIXES, "videos")
        self.cuts = None if cuts is None else read_cuts(cuts)
        self.name, self.licence, self.workers = name, licence, workers
        self.config = config or AnnotationConfig()
        self.longest_side, self.work = longest_side, None if work is None else Path(work)
        if tracker is None:
            from hiw_data.tracking.mediapipe_tracker import MediaPipeTracker

            tracker = MediaPipeTracker()
        self.tracker = tracker
        self.cleaning: list[str] = []

    def __len__(self) -> int:
        return len(self.files) if self.cuts is None else len(self.cuts)

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        camera = "guessed" if self.config.camera.guessed else "given"
        notes = ["Cleaning of '" + self.name + "': " + "; ".join(" ".join(row.split()) for row in self.cleaning)]
        if self.config.camera.guessed:
            notes.append(
                f"Source '{self.name}': nobody gave a camera, so the focal length was guessed as the longer side of "
                "the picture; depths and sizes of movements depend on it. Give --fov, --focal or --camera."
            )
        return SourceInfo(
            title="Annotated video",
            synthetic=False,
            description=f"Hands tracked in video by {self.tracker.name} {self.tracker.version} and fitted; camera "
            f"{camera}; captions from the measured motion.",
            licence=self.licence,
            origin=f"{len(self.files)} video files",
            limits="Depth and distance are estimates from one view; the hand has one fixed shape.",
            notes=tuple(notes) if self.cleaning else (),
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """Clips in the order of the files; all are annotated before the first comes, since cleaning compares them."""
        if self.work is not None:
            yield from self._stream(fps, self.work)
            return
        with tempfile.TemporaryDirectory(prefix="hiw-") as folder:
            yield from self._stream(fps, Path(folder))

    def _stream(self, fps: float, work: Path) -> Iterator[Clip | SkippedClip]:
        jobs, skipped = self._jobs(fps, work)
        yield from skipped
        stretches = []
        results = run_jobs(_annotate, jobs, self.workers)
        for job, done in tqdm(results, total=len(jobs), desc="annotating", unit="video", disable=None):
            if done.fault:
                yield SkippedClip(
                    f"{self.name}/{job.stem}@rest", self.name, f"Expected a whole file, but {done.fault}."
                )
            if done.pieces is None:
                yield SkippedClip(f"{self.name}/{job.stem}", self.name, done.reason)
                continue
            attributes = {
                "file": job.path.name,
                "file_sha256": done.sha256,
                "tracker": self.tracker.name,
                "tracker_version": self.tracker.version,
            }
            load = _Loader(work, _fit_key(job, done.sha256))
            group = job.stem.split("@")[0]
            stretches.append(Stretch(job.stem, load, attributes, job.cut.caption, group))
        yield from cleaned_clips(stretches, self.config, source=self.name, fps=fps, report=self.cleaning)

    def _jobs(self, fps: float, work: Path) -> tuple[list[_Job], list[SkippedClip]]:
        names = dict(self.files)
        whole = [(stem, Cut(stem)) for stem in names] if self.cuts is None else None
        jobs: list[_Job] = []
        skipped: list[SkippedClip] = []
        if whole is None:
            whole = []
            by_name = {path.name: stem for stem, path in reversed(self.files)}
            by_path = {f"{stem}{path.suffix}": stem for stem, path in self.files}
            for cut in self.cuts or []:
                stem = by_path.get(cut.file) or by_name.get(cut.file)
                if cut.fault or stem is None:
                    reason = cut.fault or f"Expected one of the videos in line {cut.line}, got {cut.file!r}."
                    skipped.append(SkippedClip(f"{self.name}/line {cut.line}", self.name, reason))
                else:
                    whole.append((f"{stem}@{cut.start:g}-{cut.end:g}", cut))
        taken: dict[str, int] = {}
        for stem, cut in whole:
            count = taken[stem] = taken.get(stem, 0) + 1
            unique = stem if count == 1 else f"{stem}~{count}"
            path = names[stem.split("@")[0]] if self.cuts is not None else names[stem]
            jobs.append(_Job(path, unique, cut, self.tracker, self.config, fps, self.longest_side, work))
        return jobs, skipped


def find_files(given: Sequence[Path], suffixes: tuple[str, ...], what: str) -> list[tuple[str, Path]]:
    """Files of some kinds under files and folders: a name that is unique, and the path, in the order of the names.

    Raises:
        SourceError: a path that is not there, or no such file in any.
    """
    found: dict[str, Path] = {}
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
            pairs = [(p.relative_to(path).with_suffix("").as_posix(), p) for p in inside]
        elif path.is_file():
            pairs = [(path.stem, path)]
        else:
            raise SourceError(f"Expected {what} at {path}, got nothing there. Check the path.")
        for stem, file in pairs:
            name, count = stem.replace("@", "_"), 1
            while name in found and found[name] != file:
                count += 1
                name = f"{stem.replace('@', '_')}~{count}"
            found[name] = file
    if not found:
        raise SourceError(f"Expected {what} ({', '.join(suffixes)}) in {', '.join(map(str, given))}, got none.")
    return list(found.items())


@dataclass(frozen=True)
class _Loader:
    """Reads the pieces of one stretch when they are wanted, so that not all are held in memory."""

    work: Path
    key: dict[str, Any]

    def __call__(self) -> FittedPieces:
        kept = WorkFolder(self.work).load(self.key)
        if kept is None:
            raise ClipError("Expected the fitted motion in the work folder, got nothing: did somebody clear it?")
        return pieces_from_arrays(*kept)


def run_jobs(function: Callable[[_Job], _Done], jobs: Sequence[_Job], workers: int) -> Iterator[tuple[_Job, _Done]]:
    """Runs jobs in order, in this process or in several. One that dies costs its job alone, after a second try."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, function(job)
        return
    done = 0
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for job, result in zip(jobs, pool.map(function, jobs), strict=True):
                yield job, result
                done += 1
    except BrokenProcessPool:
        logger.warning("A worker died; going on with one video at a time.")
        for job in jobs[done:]:
            try:
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    yield job, pool.submit(function, job).result()
            except BrokenProcessPool:
                yield job, _Done(None, "Expected the tracker to finish, but its process died on this video.")


def _annotate(job: _Job) -> _Done:
    try:
        info = video_info(job.path)
    except (ClipError, OSError) as error:
        return _Done(None, str(error))
    work = WorkFolder(job.work)
    key = _fit_key(job, info.sha256)
    kept = work.load(key)
    if kept is not None:
        return _Done(pieces_from_arrays(*kept), fault=str(kept[1].get("fault", "")), sha256=info.sha256, cached=True)
    try:
        detections, notes = _detect(job, info, work)
        hands = two_hands(detections, job.config.identity)
        pieces = fit_detected(hands, job.config, fps=job.fps, scale=float(notes["scale"]))
        if not pieces.pieces:
            raise ClipError("Expected a hand in at least one frame, got none.")
    except (ClipError, HandGeometryError, OSError) as error:
        return _Done(None, str(error), sha256=info.sha256)
    arrays, own = pieces_to_arrays(pieces)
    work.save(key, arrays, {**own, "fault": notes["fault"]})
    return _Done(pieces, fault=str(notes["fault"]), sha256=info.sha256)


def _detect(job: _Job, info: VideoInfo, work: WorkFolder) -> tuple[Detections, dict[str, Any]]:
    key = _track_key(job, info.sha256)
    kept = work.load(key)
    if kept is not None:
        return Detections.from_arrays(kept[0]), kept[1]
    reader = VideoReader(job.path, job.cut.start, job.cut.end, job.longest_side)
    detections = job.tracker.track(reader)
    notes = {"fault": reader.fault, "scale": reader.scale}
    work.save(key, detections.to_arrays(), notes)
    return detections, notes


def _track_key(job: _Job, sha256: str) -> dict[str, Any]:
    tracker = job.tracker
    return {
        "what": "detections",
        "sha256": sha256,
        "start": job.cut.start,
        "end": None if math.isinf(job.cut.end) else job.cut.end,
        "longest_side": job.longest_side,
        "tracker": [tracker.name, tracker.version, dict(tracker.options)],
    }


def _fit_key(job: _Job, sha256: str) -> dict[str, Any]:
    return {**_track_key(job, sha256), "what": "pieces", "fps": job.fps, "fit": job.config.fit_options()}
