"""Keypoints of hands that somebody else has tracked: a folder of .npy, .npz or .json files, 21 points a hand.

In space (metres) or in an image (pixels, with depths if there are any; then a camera is needed or guessed). What a file
may hold stands in `read_keypoints`. A file that cannot be used is skipped with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import hand_geometry
import numpy as np
from hand_geometry import fit_keypoints
from hand_geometry.errors import HandGeometryError
from hand_geometry.plain_npz import read_npy, read_npz
from numpy.typing import NDArray

from hiw_data.annotation import AnnotationConfig, FittedPieces, cut_fitted, fit_detected
from hiw_data.cleaning.pictures import Cleaned
from hiw_data.clips import Clip, SkippedClip
from hiw_data.errors import ClipError, OptionError
from hiw_data.motion import FittedMotion
from hiw_data.sources.base import SourceInfo
from hiw_data.sources.cleaned import Stretch, cleaned_clips
from hiw_data.sources.plain_files import check_regular
from hiw_data.sources.recording import DEFAULT_FPS, FPS_RANGE, tidy
from hiw_data.sources.video import find_files
from hiw_data.tracking.camera import CameraModel
from hiw_data.tracking.gaps import even_hands
from hiw_data.tracking.identity import TwoHands

SUFFIXES = (".npy", ".npz", ".json")
_SIDES = ("left", "right")
_LARGEST = 1e5
"""A coordinate of more is damage, in metres, millimetres and pixels alike; its point counts as not seen."""
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Keypoints:
    """One file.

    Attributes:
        points: (T, 2, 21, 3), hands left then right; NaN where there is nothing.
        image: whether they are pixels (and depths in pixels) rather than metres.
        depths: of image points, whether there are depths.
        fps: None if the file does not say.
        size: (width, height) of the picture, or None.
        camera: (3, 3), or None.
        captions: may be none.
    """

    points: NDArray[np.float64]
    image: bool
    depths: bool
    fps: float | None
    size: tuple[int, int] | None
    camera: NDArray[np.float64] | None
    captions: list[str]


def read_keypoints(path: Path, *, side: str = "right") -> Keypoints:
    """Reads one file; nothing is unpickled.

    `.npy`: an array (T, 2, 21, 3) of both hands, left first, or (T, 21, 3) of one, in metres. `.npz` and `.json` (one
    object): the same as `keypoints`, or as `keypoints_2d` (..., 2 or 3) in pixels of the picture, 3 with the depth
    relative to the wrist in pixels, as MediaPipe's; besides, optional: `fps`, `valid` (T, 2) or (T,), `width` and
    `height`, `camera` (3, 3), `side` ("left" or "right", of one hand), `captions`. Points that were not seen are NaN
    (null in JSON). Frames whose 21 points are all one point hold no hand.

    Args:
        path: the file.
        side: of files with one hand that do not say.

    Raises:
        ClipError: damaged, or of another form.
    """
    try:
        values = _values(path)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ClipError(f"Expected keypoints of 21 points a hand in {path.name}, got: {error}.") from error
    image = "keypoints_2d" in values
    name = "keypoints_2d" if image else "keypoints"
    if name not in values:
        raise ClipError(f"Expected keypoints or keypoints_2d in {path.name}, got {sorted(values)}.")
    try:
        with np.errstate(all="ignore"):  # damaged numbers may be signalling ones
            points = np.array(values[name], np.float64)
            points[~(np.abs(points) < _LARGEST)] = np.nan
        side = str(np.asarray(values.get("side", side)))
        fps = None if "fps" not in values else float(np.asarray(values["fps"]))
        size = (int(values["width"]), int(values["height"])) if {"width", "height"} <= set(values) else None
        camera = None if "camera" not in values else np.array(values["camera"], np.float64)
    except (ValueError, TypeError) as error:
        raise ClipError(f"Expected {name} as numbers in {path.name}, got: {error}.") from error
    widths = (2, 3) if image else (3,)
    one = points.ndim == 3
    if one:
        points = points[:, None]
    shape = points.shape
    if points.ndim != 4 or shape[1] not in (1, 2) or shape[2] != 21 or shape[3] not in widths or not shape[0]:
        expected = f"(T, 2, 21, {widths[-1]}) or (T, 21, {widths[-1]})"
        raise ClipError(f"Expected {name} of shape {expected} in {path.name}, got {np.shape(values[name])}.")
    if side not in _SIDES or (fps is not None and not FPS_RANGE[0] <= fps <= FPS_RANGE[1]):
        raise ClipError(f"Expected side of {_SIDES} and fps of 1 to 1000 in {path.name}, got {side!r} and {fps}.")
    if camera is not None and camera.shape != (3, 3):
        raise ClipError(f"Expected camera of shape (3, 3) in {path.name}, got {camera.shape}.")
    both = np.full((shape[0], 2, 21, 3), np.nan)
    hands = slice(None) if shape[1] == 2 else slice(_SIDES.index(side), _SIDES.index(side) + 1)
    both[:, hands, :, : shape[3]] = points
    if image and shape[3] == 2:
        both[..., 2] = np.where(np.isfinite(both[..., 0]), 0.0, np.nan)
    both[~_valid(values, shape[0], hands, path)] = np.nan
    captions = values.get("captions", [])
    told = [captions] if isinstance(captions, str) else [str(text) for text in np.ravel(captions)]
    return Keypoints(both, image, shape[3] == 3, fps, size, camera, tidy(told))


def _values(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"a file of {path.stat().st_size >> 20} MiB; cut it")
    if path.suffix == ".npy":
        return {"keypoints": read_npy(path)}
    if path.suffix == ".npz":
        return dict(read_npz(path))
    values = json.loads(path.read_text(encoding="utf-8-sig"))
    return values if isinstance(values, dict) else {"keypoints": values}


def _valid(values: dict[str, Any], frames: int, hands: slice, path: Path) -> NDArray[np.bool_]:
    valid = np.ones((frames, 2), bool)
    if "valid" in values:
        given = np.asarray(values["valid"])
        if given.shape not in ((frames,), (frames, 2)) or not np.isin(given, (0, 1)).all():
            raise ClipError(f"Expected valid of shape ({frames}, 2), False or True, in {path.name}, got {given.shape}.")
        valid = given.astype(bool) if given.ndim == 2 else np.repeat(given.astype(bool)[:, None], 2, 1)
    return valid


class KeypointSource:
    """Clips from files of keypoints.

    Args:
        folder: files and folders; folders are searched, subfolders included.
        config: how keypoints become clips; its camera counts for files of image points that have none.
        fps: of files that do not say.
        side: of files with one hand that do not say.
        name: of this source in the store.
        licence: under which terms these clips may be used.

    Raises:
        OptionError: an option out of range.
        SourceError: no such file there.
    """

    def __init__(
        self,
        folder: str | Path | Sequence[str | Path],
        *,
        config: AnnotationConfig | None = None,
        fps: float = DEFAULT_FPS,
        side: str = "right",
        name: str = "keypoints",
        licence: str = "not stated",
    ) -> None:
        if side not in _SIDES or not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
            raise OptionError(f"Expected side of {_SIDES} and fps of 1 to 1000, got {side!r} and {fps}.")
        given = [folder] if isinstance(folder, str | Path) else list(folder)
        self.files = find_files([Path(path) for path in given], SUFFIXES, "keypoints")
        self.config, self.fps, self.side = config or AnnotationConfig(), fps, side
        self.name, self.licence = name, licence
        self.cleaned = Cleaned()
        self._without_fps = 0

    def __len__(self) -> int:
        return len(self.files)

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        notes = []
        if self._without_fps:
            notes.append(
                f"Source '{self.name}': {self._without_fps} file(s) do not say their frame rate; {self.fps:g} fps was "
                "assumed. Write `fps` into the files."
            )
        return SourceInfo(
            title="Imported keypoints",
            synthetic=False,
            description="Keypoints of 21 points a hand, fitted to MANO parameters; captions from the measured motion.",
            licence=self.licence,
            origin=f"{len(self.files)} files",
            notes=tuple(notes),
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """Clips in the order of the files."""
        self._without_fps = 0
        stretches = []
        for stem, path in self.files:
            try:
                check_regular(path)
                read = read_keypoints(path, side=self.side)
                fitted = fit_read(read, self.config, fps=fps, default_fps=self.fps)
                if not fitted.pieces:
                    raise ClipError(f"Expected a hand in at least one frame of {path.name}, got none.")
            except (ClipError, HandGeometryError) as error:
                yield SkippedClip(f"{self.name}/{stem}", self.name, str(error))
                continue
            self._without_fps += read.fps is None
            caption = read.captions[0] if read.captions else None
            attributes = {"file": path.name, "tracker": "given keypoints"}
            stretches.append(Stretch(stem, partial(_same, fitted), attributes, caption, stem))
        yield from cleaned_clips(stretches, self.config, source=self.name, fps=fps, cleaned=self.cleaned)


def _same(fitted: FittedPieces) -> FittedPieces:
    return fitted


def fit_read(read: Keypoints, config: AnnotationConfig, *, fps: float, default_fps: float) -> FittedPieces:
    """Fits what was read.

    Raises:
        ClipError: no hand, or too short.
        HandGeometryError: points that no hand can have, such as millimetres.
    """
    rate = read.fps or default_fps
    seen = np.isfinite(read.points).all(-1).sum(-1) >= 21
    times = np.arange(len(seen)) / rate
    hands = TwoHands(times, read.points, seen, *(read.size or _guessed_size(read)), {})
    if read.camera is not None:
        (fx, _, cx), (_, fy, cy) = read.camera[:2].tolist()
        config = replace(config, camera=CameraModel(matrix=(fx, fy, cx, cy, hands.width, hands.height)))
    if read.image and read.depths:
        return fit_detected(hands, config, fps=fps)
    even = even_hands(hands, fill_seconds=config.fill_seconds, most_fps=1000.0)
    motion = FittedMotion.empty(len(even.valid), even.fps)
    camera = config.camera.pinhole(hands.width, hands.height)
    for hand, side in enumerate(_SIDES):
        if not even.valid[:, hand].any():
            continue
        points = even.landmarks[:, hand]
        given: dict[str, Any] = {"keypoints": points}
        if read.image:
            given = {"keypoints_2d": points[..., :2], "camera": camera}
        fit = fit_keypoints(side=side, **given)
        motion.put(hand, fit.global_orient, fit.hand_pose, fit.transl, fit.valid, fit.residual)
    if not motion.valid.any():
        raise ClipError("Expected a hand in at least one frame, got none.")
    notes: dict[str, Any] = {"fit": f"hand-geometry {hand_geometry.__version__}"}
    if read.image:
        notes["camera_guessed"] = config.camera.guessed
    return cut_fitted(motion, config, fps=fps, even=even, notes=notes)


def _guessed_size(read: Keypoints) -> tuple[int, int]:
    if not read.image or not np.isfinite(read.points).any():
        return 640, 480
    width, height = np.nanmax(read.points[..., :2], axis=(0, 1, 2))
    return max(int(np.ceil(width)), 64), max(int(np.ceil(height)), 64)
