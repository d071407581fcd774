"""A user's own motion: a folder of .npz files, one clip each.

Each file holds `global_orient (T, 2, 3)`, `hand_pose (T, 2, 15, 3)`, `transl (T, 2, 3)` (axis-angle and metres;
hand 0 left, 1 right) and optionally `valid (T, 2)`, `fps` and `captions` (a string array). Without captions
inside, NAME.txt beside NAME.npz gives them, one a line, the high-level one first. This is what
`hand_geometry.save_motion` writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from hiw_data.clips import Clip, SkippedClip
from hiw_data.errors import ClipError, SourceError
from hiw_data.motion import FittedMotion, cut_motion, finish_motion
from hiw_data.sources.base import SourceInfo

_NEEDED = {"global_orient": (2, 3), "hand_pose": (2, 15, 3), "transl": (2, 3)}


class NpzSource:
    """Clips from a folder of .npz files, subfolders included.

    Args:
        folder: where the files are.
        name: of this source in the store.
        licence: under which terms these clips may be used; it goes into the data card.
        description: for the data card.
        fps: of files that do not say.
        max_frames: longer clips are cut.
        smoothing: standard deviation of a Gaussian over time in seconds; 0 leaves motion as it is.

    Raises:
        SourceError: no such folder, or no .npz file in it.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str = "npz",
        licence: str = "not stated",
        description: str = "Motion imported from .npz files.",
        fps: float = 30.0,
        max_frames: int = 64,
        smoothing: float = 0.0,
    ) -> None:
        self.folder, self.name, self.fps = Path(folder), name, fps
        self.licence, self.description = licence, description
        self.max_frames, self.smoothing = max_frames, smoothing
        if not self.folder.is_dir():
            raise SourceError(f"Expected a folder of .npz files at {folder}, got none. Check the path.")
        self.files = sorted(self.folder.rglob("*.npz"))
        if not self.files:
            raise SourceError(f"Expected .npz files in {folder}, got none. See `hiw import --help` for the format.")

    def __len__(self) -> int:
        return len(self.files)

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        return SourceInfo(
            title="Imported motion",
            synthetic=False,
            description=self.description,
            licence=self.licence,
            origin=f"{len(self.files)} .npz files",
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """All clips in the order of their paths."""
        for path in self.files:
            stem = path.relative_to(self.folder).with_suffix("").as_posix()
            try:
                yield from self._clips(path, stem, fps)
            except ClipError as error:
                yield SkippedClip(f"{self.name}/{stem}", self.name, str(error))

    def _clips(self, path: Path, stem: str, fps: float) -> list[Clip]:
        motion, captions = read_motion(path, default_fps=self.fps)
        pieces = cut_motion(finish_motion(motion, fps=fps, smoothing=self.smoothing), self.max_frames)
        return [
            Clip(
                clip_id=f"{self.name}/{stem}" + (f"#{k}" if len(pieces) > 1 else ""),
                source=self.name,
                split="",
                fps=fps,
                features=piece.features,
                valid=piece.valid,
                captions=captions,
                attributes={"synthetic": False},
                origin=stem,
            )
            for k, piece in enumerate(pieces)
        ]


def read_motion(path: Path, *, default_fps: float = 30.0) -> tuple[FittedMotion, list[str]]:
    """Reads one file: parameters and captions.

    Raises:
        ClipError: damaged, a missing array, a wrong shape, numbers that are not finite, or no caption.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ClipError(f"Expected a readable .npz of plain arrays at {path.name}, got {error}") from error
    for key, shape in _NEEDED.items():
        if key not in arrays or arrays[key].shape[1:] != shape:
            got = arrays[key].shape if key in arrays else f"only {sorted(arrays)}"
            raise ClipError(f"Expected {key} of shape (T, {', '.join(map(str, shape))}) in {path.name}, got {got}.")
    frames = len(arrays["transl"])
    valid = arrays.get("valid", np.ones((frames, 2), bool)).astype(bool)
    fps = float(arrays.get("fps", default_fps))
    if valid.shape != (frames, 2) or any(len(arrays[key]) != frames for key in _NEEDED) or not fps > 0:
        raise ClipError(f"Expected arrays of one length and fps > 0 in {path.name}, got {frames} frames, fps {fps}.")
    motion = FittedMotion.empty(frames, fps)
    for side in range(2):
        hand = [np.asarray(arrays[key][:, side], np.float32) for key in _NEEDED]
        finite = np.all([np.isfinite(a).reshape(frames, -1).all(1) for a in hand], axis=0)
        orient, pose, transl = (np.nan_to_num(a) for a in hand)
        motion.put(side, orient, pose, transl, valid[:, side] & finite)
    return motion, _captions(path, arrays)


def _captions(path: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    beside = path.with_suffix(".txt")
    if "captions" in arrays:
        lines = [str(c) for c in np.atleast_1d(arrays["captions"])]
    elif beside.is_file():
        lines = beside.read_text(encoding="utf-8").splitlines()
    else:
        lines = []
    captions = [" ".join(line.split()) for line in lines if line.strip()]
    if not captions:
        raise ClipError(f"Expected captions in {path.name} or in {beside.name} beside it, got none.")
    return captions
