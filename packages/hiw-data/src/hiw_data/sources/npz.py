"""A user's own motion: a folder of .npz files, one recording each, and their captions.

What a file may hold is in `read_recording`; `hand_geometry.save_motion` writes such files. A file that cannot be used
is skipped with its reason; it never ends an import.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hand_geometry.errors import HandGeometryError
from hand_geometry.plain_npz import read_npz

from hiw_data.clips import Clip, SkippedClip
from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.motion import FittedMotion, MotionPiece, cut_motion, finish_motion
from hiw_data.sources.base import SourceInfo

DEFAULT_FPS = 15.0
"""Frames a second of files that do not say; the same everywhere in the project."""

LONG = ("cut", "skip", "refuse")
PIECE_CAPTIONS = ("first", "all")

_NEEDED = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "transl": (2, 3)}
_FPS_RANGE = (1.0, 1000.0)
_MOST_APART, _FASTEST, _FARTHEST = 5.0, 30.0, 1000.0
"""Median distance of the two hands (m), median speed of a hand (m/s), distance from the origin (m): what is more is no
human motion in metres. In millimetres two hands are hundreds apart."""
_MOST_TURNED = 4 * np.pi
"""Radians in one axis-angle vector; more is degrees, or no rotation."""


@dataclass(frozen=True)
class Recording:
    """One file: motion, captions from general to fine-grained, group or None, and whether the file gave its rate."""

    motion: FittedMotion
    captions: list[str]
    group: str | None
    has_fps: bool


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
        if not _FPS_RANGE[0] <= fps <= _FPS_RANGE[1] or max_frames < 8 or not 0 <= smoothing < np.inf:
            raise OptionError(
                f"Expected fps of {_FPS_RANGE[0]:g} to {_FPS_RANGE[1]:g}, max_frames >= 8 and smoothing >= 0, got "
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
        return path.relative_to(self.folder).with_suffix("").as_posix()

    def _clips(self, path: Path, stem: str, fps: float) -> list[Clip]:
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
            return _tidy(_read_lines(own)) or recording.captions[:1]
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


def read_recording(path: Path, *, default_fps: float = DEFAULT_FPS) -> Recording:
    """Reads one file and its captions. No more is allocated than the file holds, and nothing is unpickled.

    Arrays: `global_orient (T, 2, 3)`, `hand_pose (T, 2, 15, 3)` (axis-angle, radians), `transl (T, 2, 3)` (metres);
    hand 0 left, 1 right. Optional: `valid (T, 2)` bool or 0 and 1, `fps ()`, `group ()` text, `captions` texts. Where
    captions are missing or empty, NAME.txt beside NAME.npz (UTF-8) gives them, one a line, the high-level one first.
    Frames of a hand that are not finite are taken as not seen.

    Raises:
        ClipError: damaged, a missing array, a wrong shape or unit, no finite frame, or no caption.
    """
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise ClipError(f"Expected a readable .npz of plain arrays at {path.name}, got {error}.") from error
    for key, shape in _NEEDED.items():
        got = f"{arrays[key].dtype} {arrays[key].shape}" if key in arrays else f"only {sorted(arrays)}"
        if key not in arrays or arrays[key].shape[1:] != shape or arrays[key].dtype.kind not in "fiu":
            raise ClipError(
                f"Expected {key} as numbers of shape (T, {', '.join(map(str, shape))}) in {path.name}, got {got}."
            )
    frames = len(arrays["transl"])
    if lengths := {key: len(arrays[key]) for key in _NEEDED if len(arrays[key]) != frames}:
        raise ClipError(f"Expected arrays of one length in {path.name}, got {frames} frames of transl and {lengths}.")
    valid, fps = _valid(arrays, frames, path), _fps(arrays, default_fps, path)
    motion = FittedMotion.empty(frames, fps)
    for side in range(2):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and so unseen
            hand = [arrays[key][:, side].astype(np.float32) for key in _NEEDED]
        finite = np.all([np.isfinite(a).all(tuple(range(1, a.ndim))) for a in hand], axis=0)
        orient, pose, transl = (np.where(np.isfinite(a), a, np.float32(0)) for a in hand)
        motion.put(side, orient, pose, transl, valid[:, side] & finite)
    if valid.any() and not motion.valid.any():
        raise ClipError(f"Expected finite numbers in {path.name}, got NaN or infinity in every frame that is seen.")
    _check_units(motion, path)
    return Recording(motion, _captions(path, arrays), _group(arrays, path), "fps" in arrays)


def _valid(arrays: Mapping[str, np.ndarray], frames: int, path: Path) -> np.ndarray:
    valid = arrays.get("valid", np.ones((frames, 2), bool))
    if valid.shape != (frames, 2) or valid.dtype.kind not in "bfiu" or not np.isin(valid, (0, 1)).all():
        raise ClipError(
            f"Expected valid of shape ({frames}, 2), False or True, in {path.name}, got {valid.dtype} {valid.shape}."
        )
    return valid.astype(bool)


def _fps(arrays: Mapping[str, np.ndarray], default: float, path: Path) -> float:
    fps = arrays.get("fps", np.array(default))
    low, high = _FPS_RANGE
    if fps.shape != () or fps.dtype.kind not in "fiu" or not low <= float(fps) <= high:
        raise ClipError(f"Expected fps as one number of {low:g} to {high:g} in {path.name}, got {fps.tolist()!r:.80}.")
    return float(fps)


def _group(arrays: Mapping[str, np.ndarray], path: Path) -> str | None:
    if "group" not in arrays:
        return None
    group = arrays["group"]
    if group.shape != () or group.dtype.kind not in "Uiu" or not str(group).strip():
        raise ClipError(f"Expected group as one text in {path.name}, got {group.tolist()!r:.80}.")
    return str(group).strip()


def _check_units(motion: FittedMotion, path: Path) -> None:
    if not motion.valid.any():
        return
    transl, both = motion.transl.astype(np.float64), motion.valid.all(1)
    step = np.linalg.norm(np.diff(transl, axis=0), axis=-1)[motion.valid[1:] & motion.valid[:-1]]
    found = {
        "hands {:.3g} apart": (_median(np.linalg.norm(transl[both, 0] - transl[both, 1], axis=-1)), _MOST_APART),
        "a hand that moves {:.3g} a second": (_median(step) * motion.fps, _FASTEST),
        "a hand {:.3g} from the origin": (float(np.abs(transl[motion.valid]).max()), _FARTHEST),
    }
    if absurd := [words.format(value) for words, (value, limit) in found.items() if value > limit]:
        raise ClipError(
            f"Expected transl in metres in {path.name}, got {' and '.join(absurd)}. If it is in millimetres, divide it "
            "by 1000."
        )
    turned = max(
        float(np.linalg.norm(rotations[motion.valid].astype(np.float64), axis=-1).max())
        for rotations in (motion.global_orient, motion.hand_pose)
    )
    if turned > _MOST_TURNED:
        raise ClipError(
            f"Expected rotations as axis-angle in radians in {path.name}, got a vector of length {turned:.3g}. If they "
            "are in degrees, convert them."
        )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _captions(path: Path, arrays: Mapping[str, np.ndarray]) -> list[str]:
    beside = path.with_suffix(".txt")
    inside = arrays.get("captions", np.array([], np.str_))
    if inside.size and inside.dtype.kind != "U":
        raise ClipError(
            f"Expected captions as texts in {path.name}, got {inside.dtype}. Write np.array(captions, dtype=str)."
        )
    captions = _tidy([str(caption) for caption in inside.ravel()])
    if not captions and beside.is_file():
        captions = _tidy(_read_lines(beside))
    if not captions:
        raise ClipError(f"Expected captions in {path.name} or in {beside.name} beside it, got none.")
    return captions


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise ClipError(f"Expected captions in UTF-8 in {path.name}, got {error}. Save it as UTF-8.") from error


def _tidy(lines: list[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines if line.strip()]
