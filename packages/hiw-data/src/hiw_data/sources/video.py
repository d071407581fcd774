"""Videos of hands: tracked, fitted, cleaned and told in words, one video or a folder of them.

Each video's result is kept in a work folder, so that an interrupted run goes on. A video that cannot be used is skipped
with its reason; of one that is damaged in the middle, what comes before the damage is used and the rest is listed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from hiw_data.annotation import AnnotationConfig
from hiw_data.cleaning.pictures import Cleaned
from hiw_data.clips import Clip, SkippedClip, printable
from hiw_data.engine.annotator import Annotator, Done, Job
from hiw_data.engine.base import Engine, engine_of
from hiw_data.engine.timings import STAGES, Timings
from hiw_data.errors import OptionError, SourceError
from hiw_data.sources.base import SourceInfo
from hiw_data.sources.cleaned import Stretch, cleaned_clips
from hiw_data.sources.cuts import Cut, read_cuts
from hiw_data.sources.scenes import SceneConfig, kept_scenes
from hiw_data.sources.video_file import SUFFIXES
from hiw_data.tracking.base import Tracker
from hiw_data.work import WorkFolder


class VideoSource:
    """Clips from videos.

    Args:
        videos: files and folders; folders are searched, subfolders included.
        tracker: None for MediaPipe.
        config: how tracked hands become clips.
        cuts: a CSV file (file, start, end, caption), see `read_cuts`: only these parts are used. `file` is the path
            within the folder, or the file's name.
        scenes: cut every video by scene, see `SceneConfig`: no clip has a hard cut in it. None cuts by length alone.
            Not together with `cuts`.
        name: of this source in the store.
        licence: under which terms these clips may be used.
        longest_side: larger pictures are made smaller to this before they are tracked, pixels.
        work: the folder that keeps results; None for a temporary one.
        workers: processes that annotate, each one video at a time.
        engine: "local", "ray", or an `Engine` of your own; see `engine_of`.
        ray_address: of a Ray cluster that is there.
        timings: gets the seconds that each stage took.

    Raises:
        OptionError: an option out of range.
        SourceError: no engine, no video there, or a CSV file that cannot be read.
    """

    def __init__(
        self,
        videos: str | Path | Sequence[str | Path],
        *,
        tracker: Tracker | None = None,
        config: AnnotationConfig | None = None,
        cuts: str | Path | None = None,
        scenes: SceneConfig | None = None,
        name: str = "video",
        licence: str = "not stated",
        longest_side: int = 1280,
        work: str | Path | None = None,
        workers: int = 1,
        engine: str | Engine = "local",
        ray_address: str | None = None,
        timings: Timings | None = None,
    ) -> None:
        if longest_side < 64:
            raise OptionError(f"Expected longest_side >= 64, got {longest_side}.")
        if cuts is not None and scenes is not None:
            raise OptionError("Expected cuts of a CSV file or cuts by scene, got both.")
        self.engine = engine_of(engine, workers, ray_address)
        given = [videos] if isinstance(videos, str | Path) else list(videos)
        self.files = find_files([Path(path) for path in given], SUFFIXES, "videos")
        self.cuts = None if cuts is None else read_cuts(cuts)
        self.scenes = scenes
        self.name, self.licence = name, licence
        self.config = config or AnnotationConfig()
        self.longest_side, self.work = longest_side, None if work is None else Path(work)
        if tracker is None:
            from hiw_data.tracking.mediapipe_tracker import MediaPipeTracker

            tracker = MediaPipeTracker()
        self.tracker = tracker
        self.cleaned = Cleaned()
        self.timings = timings or Timings()

    def __len__(self) -> int:
        return len(self.files) if self.cuts is None else len(self.cuts)

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        camera = "guessed" if self.config.camera.guessed else "given"
        notes = ["Cleaning of '" + self.name + "': " + "; ".join(" ".join(row.split()) for row in self.cleaned.lines())]
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
            notes=tuple(notes) if self.cleaned.report else (),
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """Clips in the order of the files; all are annotated before the first comes, since cleaning compares them."""
        if self.work is not None:
            yield from self._stream(fps, self.work)
            return
        with tempfile.TemporaryDirectory(prefix="hiw-") as folder:
            yield from self._stream(fps, Path(folder))

    def _stream(self, fps: float, work: Path) -> Iterator[Clip | SkippedClip]:
        jobs, skipped = self._jobs() if self.scenes is None else (self._scene_jobs(self.scenes, WorkFolder(work)), [])
        yield from skipped
        annotator = Annotator(self.tracker, self.config, fps, self.longest_side, work)
        results: dict[int, Done] = {}
        running = self.engine.run(annotator, jobs)
        for number, done in tqdm(running, total=len(jobs), desc="annotating", unit="video", disable=None):
            results[number] = done
            self.timings.add(done)
        self.timings.start(STAGES[-1])
        stretches = []
        for number, job in enumerate(jobs):
            done = results[number]
            if done.fault:
                yield SkippedClip(
                    f"{self.name}/{job.stem}@rest", self.name, f"Expected a whole file, but {done.fault}."
                )
            if not done.found:
                yield SkippedClip(f"{self.name}/{job.stem}", self.name, done.reason)
                continue
            attributes = {
                "file": job.path.name,
                "file_sha256": done.sha256,
                "tracker": self.tracker.name,
                "tracker_version": self.tracker.version,
            }
            load = partial(annotator.pieces, job, done.sha256)
            group = job.stem.split("@")[0]
            stretches.append(Stretch(job.stem, load, attributes, job.cut.caption, group))
        yield from cleaned_clips(stretches, self.config, source=self.name, fps=fps, cleaned=self.cleaned)

    def _jobs(self) -> tuple[list[Job], list[SkippedClip]]:
        names = dict(self.files)
        whole = [(stem, Cut(stem)) for stem in names] if self.cuts is None else None
        jobs: list[Job] = []
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
            jobs.append(Job(path, unique, cut))
        return jobs, skipped

    def _scene_jobs(self, config: SceneConfig, work: WorkFolder) -> list[Job]:
        jobs = []
        for stem, path in tqdm(self.files, desc="scenes", unit="video", disable=None):
            scenes = kept_scenes(path, config, work)
            names = [f"{stem}@{scene.start:.3f}-{scene.end:.3f}" for scene in scenes] if len(scenes) > 1 else [stem]
            jobs += [Job(path, name, scene) for name, scene in zip(names, scenes, strict=True)]
        return jobs


def find_files(given: Sequence[Path], suffixes: tuple[str, ...], what: str) -> list[tuple[str, Path]]:
    """Files of some kinds under files and folders: a name that is unique, and the path, in the order of the names.

    Raises:
        SourceError: a path that is not there, or no such file in any.
    """
    found: dict[str, Path] = {}
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
            pairs = [(p.relative_to(path).with_suffix("").as_posix(), p) for p in inside]
        elif path.is_file():
            pairs = [(path.stem, path)]
        else:
            raise SourceError(f"Expected {what} at {path}, got nothing there. Check the path.")
        for stem, file in ((printable(stem), file) for stem, file in pairs):
            name, count = stem.replace("@", "_"), 1
            while name in found and found[name] != file:
                count += 1
                name = f"{stem.replace('@', '_')}~{count}"
            found[name] = file
    if not found:
        raise SourceError(f"Expected {what} ({', '.join(suffixes)}) in {', '.join(map(str, given))}, got none.")
    return list(found.items())
