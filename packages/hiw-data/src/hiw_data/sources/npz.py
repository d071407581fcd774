"""A user's own motion: a folder of .npz files, one recording each, and their captions.

What a file may hold is in `recording.read_recording`; `hand_geometry.save_motion` writes such files. A file that cannot
be used is skipped with its reason; it never ends an import.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hand_geometry.errors import HandGeometryError

from hiw_data.clips import Clip, SkippedClip, printable
from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.motion import MotionPiece, cut_motion, finish_motion
from hiw_data.sources.base import SourceInfo
from hiw_data.sources.plain_files import check_regular
from hiw_data.sources.recording import DEFAULT_FPS, FPS_RANGE, Recording, read_lines, read_recording, tidy

LONG = ("cut", "skip", "refuse")
PIECE_CAPTIONS = ("first", "all")


class NpzSource:
    """Clips from a folder of .npz files, subfolders included.

    Args:
        folder: where the files are.
        name: of this source in the store.
        licence: under which terms these clips may be used; it goes into the data card.
        description: for the data card.
        fps: of files that do not say; the report says how many did not.
        max_frames: the most frames of a clip, at the store's rate.
        long: what becomes of longer recordings: "cut" into pieces of nearly equal length, "skip" (and list), or
            "refuse" (the import ends).
        piece_captions: what the pieces of a cut recording get: "first", its high-level caption alone, since finer
            ones tell the whole recording; or "all". Lines in NAME#0.txt, NAME#1.txt, ... caption single pieces.
        groups: a CSV file with the columns `clip` (path within the folder, without .npz) and `group` (subject,
            session, take): all clips of a group share a split. It counts before a file's own `group`.
        smoothing: standard deviation of a Gaussian over time in seconds; 0 leaves motion as it is.

    Raises:
        OptionError: an option out of range.
        SourceError: no such folder, no .npz file in it, or a groups file that does not fit it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = "npz",
        licence: str = "not stated",
        description: str = "Motion imported from .npz files.",
        fps: float = DEFAULT_FPS,
        max_frames: int = 64,
        long: str = "cut",
        piece_captions: str = "first",
        groups: str | Path | None = None,
        smoothing: float = 0.0,
    ) -> None:
        if long not in LONG or piece_captions not in PIECE_CAPTIONS:
            raise OptionError(
                f"Expected long of {LONG} and piece_captions of {PIECE_CAPTIONS}, got {long!r} and {piece_captions!r}."
            )
        if not FPS_RANGE[0] <= fps <= FPS_RANGE[1] or max_frames < 8 or not 0 <= smoothing < np.inf:
            raise OptionError(
                f"Expected fps of {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, max_frames >= 8 and smoothing >= 0, got "
                f"{fps}, {max_frames} and {smoothing}."
            )
        self.folder, self.name, self.fps = Path(folder), name, fps
        self.licence, self.description = licence, description
        self.max_frames, self.smoothing = max_frames, smoothing
        self.long, self.piece_captions = long, piece_captions
        if not self.folder.is_dir():
            raise SourceError(f"Expected a folder of .npz files at {folder}, got none. Check the path.")
        self.files = sorted(self.folder.rglob("*.npz"))
        if not self.files:
            raise SourceError(f"Expected .npz files in {folder}, got none. See `hiw import --help` for the format.")
        stems = {self._stem(path) for path in self.files}
        self.groups = read_groups(Path(groups), stems) if groups is not None else {}
        self._without_fps = 0

    def __len__(self) -> int:
        return len(self.files)

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        notes = []
        if self._without_fps:
            notes.append(
                f"Source '{self.name}': {self._without_fps} file(s) do not say their frame rate; {self.fps:g} fps was "
                "assumed. Write `fps` into the files, or give the rate (--source-fps)."
            )
        return SourceInfo(
            title="Imported motion",
            synthetic=False,
            description=self.description,
            licence=self.licence,
            origin=f"{len(self.files)} .npz files",
            notes=tuple(notes),
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """All clips in the order of their paths.

        Raises:
            SourceError: a recording is too long and `long` is "refuse".
        """
        self._without_fps = 0
        for path in self.files:
            stem = self._stem(path)
            try:
                yield from self._clips(path, stem, fps)
            except ClipError as error:
                yield SkippedClip(f"{self.name}/{stem}", self.name, str(error))

    def _stem(self, path: Path) -> str:
        return printable(path.relative_to(self.folder).with_suffix("").as_posix())

    def _clips(self, path: Path, stem: str, fps: float) -> list[Clip]:
        check_regular(path)
        recording = read_recording(path, default_fps=self.fps)
        try:
            motion = finish_motion(recording.motion, fps=fps, smoothing=self.smoothing)
        except HandGeometryError as error:
            raise ClipError(f"Expected motion of two hands in {path.name}, got: {error}") from error
        if len(motion.features) > self.max_frames and self.long != "cut":
            reason = (
                f"Expected at most {self.max_frames} frames at {fps:g} fps in {path.name}, got {len(motion.features)}. "
                "Cut it yourself, or import with `--long cut` or more `--max-frames`."
            )
            raise (ClipError if self.long == "skip" else SourceError)(reason)
        group = self.groups.get(stem, recording.group)
        clips = []
        for piece in cut_motion(motion, self.max_frames):
            clip = Clip(
                clip_id=f"{self.name}/{stem}{piece.suffix()}",
                source=self.name,
                split="",
                fps=fps,
                features=piece.features,
                valid=piece.valid,
                captions=self._captions(path, recording, piece),
                attributes={"synthetic": False} | piece.attributes(fps),
                origin=stem,
            )
            if group is not None:
                clip["group"] = group
            clips.append(clip)
        self._without_fps += not recording.has_fps
        return clips

    def _captions(self, path: Path, recording: Recording, piece: MotionPiece) -> list[str]:
        if piece.of == 1:
            return recording.captions
        own = path.with_name(f"{path.stem}{piece.suffix()}.txt")
        if own.is_file():
            return tidy(read_lines(own)) or recording.captions[:1]
        return recording.captions if self.piece_captions == "all" else recording.captions[:1]


def read_groups(path: Path, clips: set[str]) -> dict[str, str]:
    """The group of each clip that a CSV file with the columns `clip` and `group` names.

    Args:
        path: the file, UTF-8.
        clips: the names that there are.

    Raises:
        SourceError: no such file, not UTF-8, no such columns, an empty group, or a clip that is not there.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeError, csv.Error) as error:
        raise SourceError(f"Expected a CSV file in UTF-8 at {path}, got {error}.") from error
    if not rows or not {"clip", "group"} <= set(rows[0]):
        got = sorted(str(column) for column in rows[0]) if rows else "no rows"
        raise SourceError(f"Expected rows with the columns clip and group in {path}, got {got}.")
    groups = {(row["clip"] or "").strip().removesuffix(".npz"): (row["group"] or "").strip() for row in rows}
    if unknown := sorted(set(groups) - clips):
        raise SourceError(
            f"Expected names of .npz files within the folder in {path}, got {len(unknown)} others: {unknown[:5]}."
        )
    if empty := sorted(clip for clip, group in groups.items() if not group):
        raise SourceError(f"Expected a group for every clip in {path}, got none for {empty[:5]}. Name it or drop it.")
    return groups
