"""Real hands: the fingerspelling lexicon of the package spoken-to-signed, fitted to the open hand.

600 recordings of letters in 19 sign languages, as landmarks that a tracker took from video. Here they become
clips of MANO motion: depth scale per language, a fit of each hand, frames that fit badly marked invalid, gaps
closed, smoothing, 15 frames a second, captions from gloss, language and measured hand shape.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry import features_to_joints, motion_codes
from numpy.typing import NDArray

from hiw_data.captions import describe_hands
from hiw_data.clips import Clip, SkippedClip
from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.motion import FittedMotion, cut_motion, finish_motion
from hiw_data.sources.base import SourceInfo
from hiw_data.sources.fit_worker import FittedTrack, Track
from hiw_data.sources.fitting import fit_tracks
from hiw_data.sources.held_out import HELD_OUT_LANGUAGES
from hiw_data.sources.landmarks import (
    Landmarks,
    depth_scale,
    import_pose_format,
    in_metres,
    open_hand_bones,
    read_landmarks,
)
from hiw_data.sources.measured import add_measured

LANGUAGES = {
    "ase": "American",
    "asq": "Austrian",
    "bzs": "Brazilian",
    "cse": "Czech",
    "csq": "Croatian",
    "eso": "Estonian",
    "fsl": "French",
    "gsg": "German",
    "gss": "Greek",
    "ise": "Italian",
    "jos": "Jordanian",
    "lls": "Lithuanian",
    "mfs": "Mexican",
    "psr": "Portuguese",
    "sgg": "Swiss German",
    "ssp": "Spanish",
    "svk": "Slovak",
    "swl": "Swedish",
    "tsm": "Turkish",
    "ukl": "Ukrainian",
}
"""ISO 639-3 codes of the lexicon's sign languages."""

MAX_RESIDUAL = 0.025
"""Metres; frames that fit worse are marked invalid."""

_MIN_FRAMES, _MIN_SHARE = 6, 0.2
"""A hand that was seen in fewer frames, or in a smaller share of them, is taken as not seen."""


@dataclass(frozen=True)
class Entry:
    """A row of the lexicon: path within it, language code, letter."""

    path: str
    language: str
    letter: str


class FingerspellingSource:
    """The fingerspelling lexicon.

    Args:
        languages: ISO 639-3 codes of sign languages, see LANGUAGES; None takes all.
        limit: at most so many recordings, spread over the languages.
        workers: processes that fit; 0 fits in this one.
        max_frames: longer clips are cut.
        folder: another folder with an index.csv and .pose files of this form.
        name: of this source in the store.
        held_out: language -> "val" or "test": all of its clips are in that split. None takes HELD_OUT_LANGUAGES for the
            whole lexicon, and holds out nothing where `languages` or `folder` is given.
        measured_captions: between each clip's two captions also three that say, after the letter, what its motion codes
            tell, and who made each. No direction is told: the axes are the camera's.

    Attributes of a clip: `letter`, `language`, `language_code`, `hand`, `synthetic`, `unseen_language`.

    Raises:
        OptionError: an unknown language, or a number out of range.
        SourceError: the package spoken-to-signed is not installed, or the folder has no index.csv.
    """

    def __init__(
        self,
        languages: Sequence[str] | None = None,
        limit: int | None = None,
        workers: int = 2,
        *,
        max_frames: int = 64,
        folder: str | Path | None = None,
        name: str = "fingerspelling",
        held_out: Mapping[str, str] | None = None,
        measured_captions: bool = False,
    ) -> None:
        if held_out is None:
            held_out = HELD_OUT_LANGUAGES if languages is None and folder is None else {}
        if unknown := sorted((set(languages or ()) | set(held_out)) - set(LANGUAGES)):
            raise OptionError(f"Expected languages of {sorted(LANGUAGES)}, got {unknown}.")
        if wrong := sorted(set(held_out.values()) - {"val", "test"}):
            raise OptionError(f"Expected held_out languages in 'val' or 'test', got {wrong}.")
        if (limit is not None and limit < 1) or workers < 0 or max_frames < 8:
            raise OptionError(
                f"Expected limit >= 1, workers >= 0 and max_frames >= 8, got {limit}, {workers} and {max_frames}."
            )
        self.name, self.held_out = name, dict(held_out)
        self.folder = Path(folder) if folder is not None else lexicon_folder()
        self.workers, self.max_frames, self.measured_captions = workers, max_frames, measured_captions
        self.entries = _spread_limit(read_index(self.folder, languages), limit)

    def __len__(self) -> int:
        return len(self.entries)

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        return SourceInfo(
            title="Fingerspelling lexicon (real hands)",
            synthetic=False,
            description=(
                f"Letters in {len({e.language for e in self.entries})} sign languages, from real video by a "
                "landmark tracker, fitted to the open hand. Depth scale fitted per language. A hand that was not "
                "seen is a relaxed one, marked invalid."
            ),
            licence="MIT, as the package that ships the landmarks; the videos behind them are not part of it",
            origin=f"spoken-to-signed {_version('spoken-to-signed')}, read with pose-format {_version('pose-format')}",
            told=("letter", "language", "hand"),
            limits=(
                "Depth and the distance to the camera are guesses of a tracker, and most of the jitter is its own: do "
                "not read accelerations as those of a hand. Captions are composed from the lexicon's gloss and the "
                "measured shape; no signer of these languages has checked them."
            ),
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """All clips in the lexicon's order.

        Raises:
            SourceError: pose-format is missing, or a fitting process died.
        """
        import_pose_format()
        read: list[tuple[Entry, Landmarks]] = []
        for entry in self.entries:
            try:
                read.append((entry, read_landmarks(self.folder / entry.path)))
            except ClipError as error:
                yield self._skip(entry, str(error))
        scales = {
            language: depth_scale([marks for e, marks in read if e.language == language])
            for language in sorted({e.language for e, _ in read})
        }
        tracks = [_tracks(marks, scales[entry.language]) for entry, marks in read]
        fits = iter(fit_tracks([t for pair in tracks for t in pair.values()], self.workers))
        for (entry, marks), pair in zip(read, tracks, strict=True):
            fitted = {side: next(fits) for side in pair}
            try:
                yield from self._clips(entry, marks, fitted, fps)
            except ClipError as error:
                yield self._skip(entry, str(error))

    def _skip(self, entry: Entry, reason: str) -> SkippedClip:
        return SkippedClip(f"{self.name}/{entry.path}", self.name, reason)

    def _clips(self, entry: Entry, marks: Landmarks, fits: dict[int, FittedTrack], fps: float) -> list[Clip]:
        motion = finish_motion(_assemble(fits, marks.fps, len(marks.seen)), fps=fps)
        pieces = cut_motion(motion, self.max_frames)
        clips = []
        split = self.held_out.get(entry.language, "")
        for piece in pieces:
            joints = np.asarray(features_to_joints(piece.features))
            hand = _hand(piece.valid)
            image, image_valid = _mirror_joints(joints), piece.valid[:, ::-1]
            clip = Clip(
                clip_id=f"{self.name}/{entry.path.removesuffix('.pose')}{piece.suffix()}",
                source=self.name,
                split=split,
                fps=fps,
                features=piece.features,
                valid=piece.valid,
                captions=write_captions(entry, hand, describe_hands(joints, piece.valid)),
                mirrored_captions=write_captions(entry, _hand(image_valid), describe_hands(image, image_valid)),
                attributes=_attributes(entry, hand) | {"unseen_language": bool(split)} | piece.attributes(fps),
                origin=entry.path,
                held_out=bool(split),
                residual=piece.residual,
            )
            if self.measured_captions:
                codes: Any = motion_codes(joints, piece.valid, fps)
                version = f"spoken-to-signed {_version('spoken-to-signed')}"
                add_measured(clip, codes, maker="lexicon", version=version, wearers_axes=False, after_words=True)
            clips.append(clip)
        return clips


def write_captions(entry: Entry, hand: str, shape: str) -> list[str]:
    """[0] who spells which letter in which language, [1] the same with the measured hand shape."""
    subject, verb = ("both hands", "spell") if hand == "both" else (f"the {hand} hand", "spells")
    what = f"the letter {entry.letter} in {LANGUAGES.get(entry.language, entry.language)} Sign Language"
    return [f"{subject} {verb} {what}", f"{subject} {verb} {what}: {shape}"]


def _mirror_joints(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Joints (T, 2, 21, 3) reflected in the plane x = 0: hands change places."""
    return joints[:, ::-1] * np.array([-1, 1, 1], joints.dtype)


def _attributes(entry: Entry, hand: str) -> dict[str, Any]:
    return {
        "letter": entry.letter,
        "language": LANGUAGES.get(entry.language, entry.language),
        "language_code": entry.language,
        "hand": hand,
        "synthetic": False,
    }


def _hand(valid: NDArray[np.bool_]) -> str:
    left, right = bool(valid[:, 0].any()), bool(valid[:, 1].any())
    return "both" if left and right else ("left" if left else "right")


def _tracks(marks: Landmarks, scale: float) -> dict[int, Track]:
    """The hands that were seen long enough, in metres."""
    counts = marks.seen.sum(0)
    sides = [s for s in (0, 1) if counts[s] >= _MIN_FRAMES and counts[s] >= _MIN_SHARE * len(marks.seen)]
    if not sides:
        return {}
    keypoints = in_metres(marks, scale, open_hand_bones())
    return {side: Track(keypoints[:, side], marks.seen[:, side], side) for side in sides}


def _assemble(fits: dict[int, FittedTrack], fps: float, frames: int) -> FittedMotion:
    """Both hands on common axes; what was not seen or fits badly is invalid."""
    if failed := [fit.error for fit in fits.values() if fit.error]:
        raise ClipError(f"Expected a fit, got {failed[0]}")
    motion = FittedMotion.empty(frames, fps)
    for side, fit in fits.items():
        with np.errstate(invalid="ignore"):
            good = fit.residual <= MAX_RESIDUAL
        if good.sum() >= _MIN_FRAMES:
            motion.put(side, fit.global_orient, fit.hand_pose, fit.transl, good, fit.residual)
    if not motion.valid.any():
        raise ClipError(f"Expected a hand in at least {_MIN_FRAMES} frames, none was seen and fitted so long.")
    return motion


def lexicon_folder() -> Path:
    """The lexicon inside the installed package; the package itself is not imported.

    Raises:
        SourceError: the package is not installed.
    """
    spec = importlib.util.find_spec("spoken_to_signed")
    if spec is None or spec.origin is None:
        raise SourceError(
            "Expected the package spoken-to-signed, which ships the fingerspelling lexicon, got none. "
            "Do `pip install 'hiw-data[fingerspelling]'`, or leave this source out."
        )
    return Path(spec.origin).parent / "assets" / "fingerspelling_lexicon"


def read_index(folder: Path, languages: Sequence[str] | None = None) -> list[Entry]:
    """The rows of a lexicon's index.csv in some languages, each path once.

    Rows of several languages may share a recording (the lexicon spells French with the American clips):
    the first of them counts.

    Raises:
        SourceError: no index.csv, or one without the columns path, signed_language and words.
    """
    index = folder / "index.csv"
    if not index.is_file():
        raise SourceError(f"Expected a lexicon with index.csv in {folder}, got none. Check the folder.")
    with open(index, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {"path", "signed_language", "words"}
    if not rows or not wanted <= set(rows[0]):
        raise SourceError(
            f"Expected rows with the columns {sorted(wanted)} in {index}, got {sorted(rows[0]) if rows else 'none'}."
        )
    entries: dict[str, Entry] = {}
    for row in rows:
        if languages is None or row["signed_language"] in languages:
            entries.setdefault(row["path"], Entry(row["path"], row["signed_language"], row["words"]))
    return list(entries.values())


def _spread_limit(entries: list[Entry], limit: int | None) -> list[Entry]:
    """At most `limit` entries, evenly spaced over the index."""
    if limit is None or limit >= len(entries):
        return entries
    return [entries[i] for i in np.linspace(0, len(entries) - 1, limit).round().astype(int)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
