"""Trackers that read what HaWoR, HaMeR, WiLoR or WiLoR-mini found in a video, in place of looking at it themselves.

Their hands go the way of any tracker's: told apart over time, gaps filled and flagged, fitted, cut, cleaned, captioned.
What they are read from stands in a folder under the video's name (`kitchen` of kitchen.mp4):

    ============  ====================================================================================
    hawor         kitchen/cam_space/{0,1}/<first>_<last>.json, and kitchen/SLAM or kitchen/est_focal.txt
    hamer, wilor  kitchen.npz, one row a hand, see `hiw_data.sources.crops`
    wilor-mini    kitchen.pkl, the list of the pipeline's lists, see there
    ============  ====================================================================================

The joints of the MANO hand that they state, in the camera's axes, are what is fitted; MANO files are needed for them.
Of HaWoR the frames that it observed are used, not those that its infiller made up: gaps are treated as those of
any tracker. No real result file of any of them was met; the layouts are those of the public code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import HandModel
from hand_geometry.errors import AssetError
from hand_geometry.plain_npz import read_npz
from numpy.typing import NDArray

from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.frames import Frame
from hiw_data.sources.crops import CropHands, crop_hands, wilor_mini_hands
from hiw_data.sources.mano_rules import ManoHands, axis_angle_of_matrices
from hiw_data.sources.plain_files import DAMAGE, numbers, read_json
from hiw_data.sources.video_file import video_info
from hiw_data.tracking.detections import Detection, Detections

KINDS = ("hawor", "hamer", "wilor", "wilor-mini")

_HAWOR_FPS, _HAWOR_FOCAL = 30.0, 600.0
"""HaWoR resamples videos to this rate, and takes this focal length where none is given."""
_SCALED_FOCAL = 5000.0 / 256.0
"""Focal length of HaMeR's and WiLoR's pictures, in lengths of the longer side."""
_NEAREST = 0.02
"""Metres; nothing nearer to the camera is drawn on a picture."""


class ResultTracker:
    """Reads a tracker's results.

    Args:
        kind: of `KINDS`.
        folder: of the results, see above; subfolders are searched.
        mano: folder of the MANO files that the results were made with.
        fps: rate of the frames that the results count; None for HaWoR's 30, the file's own, or that of the pictures.

    Raises:
        OptionError: no such kind, or a rate out of range.
        SourceError: no such folder, or no MANO files.
    """

    version = "results"

    def __init__(self, kind: str, folder: str | Path, *, mano: str | Path, fps: float | None = None) -> None:
        if kind not in KINDS:
            raise OptionError(f"Expected results of {', '.join(KINDS)}, got {kind!r}.")
        if fps is not None and not 1 <= fps <= 1000:
            raise OptionError(f"Expected fps of 1 to 1000, got {fps}.")
        if not Path(folder).is_dir():
            raise SourceError(f"Expected a folder of {kind} results at {folder}, got none. Check the path.")
        self.name, self.folder, self.mano, self.fps = kind, Path(folder), str(mano), fps
        self._models: tuple[HandModel, HandModel] | None = None
        self._video: _Results | None = None
        self._joints(np.zeros((1, 16, 3)), np.zeros((1, 10)), np.zeros((1, 3)), 0)  # are the MANO files there?

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_models": None}  # workers read them themselves

    @property
    def options(self) -> dict[str, object]:
        """What the results depend on besides the video."""
        sha256 = None if self._video is None else self._video.sha256
        return {"fps": self.fps, "mano": Path(self.mano).name, "results": sha256}

    def for_video(self, path: Path) -> ResultTracker:
        """The tracker that knows this video's results.

        Raises:
            ClipError: there are none.
        """
        if self._video is not None and self._video.video == path:
            return self
        names = {
            "hawor": [p.parent for p in sorted(self.folder.rglob("cam_space")) if p.parent.name == path.stem],
            "wilor-mini": sorted(self.folder.rglob("*.pkl")),
        }.get(self.name, sorted(self.folder.rglob("*.npz")))
        found = [p for p in names if path.stem == (p.name if self.name == "hawor" else p.stem)]
        if len(found) != 1:
            raise ClipError(
                f"Expected one {self.name} result of {path.name} in {self.folder}, got {len(found)}. It carries the "
                "video's name."
            )
        files = [found[0]] if self.name != "hawor" else _hawor_files(found[0])
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.relative_to(self.folder).as_posix().encode() + b"\0" + file.read_bytes())
        bound = ResultTracker.__new__(ResultTracker)
        bound.__dict__.update(self.__dict__)
        bound._video = _Results(path, found[0], digest.hexdigest())
        return bound

    def track(self, frames: Iterable[Frame]) -> Detections:
        """Hands of one video, or of a part of it; see `Tracker`. The pictures tell times and size, no more.

        Raises:
            ClipError: no picture, no results of this video, or results that cannot be read.
        """
        if self._video is None:
            raise ClipError("Expected `for_video` to say whose results are wanted, got no video.")
        times, size = [], (0, 0)
        for frame in frames:
            times.append(frame.time)
            size = (frame.image.shape[1], frame.image.shape[0])
        if not times:
            raise ClipError("Expected a video with pictures in it, got none.")
        read: Callable[[Path], tuple[CropHands, float | None]] = _hawor if self.name == "hawor" else self._crops
        try:
            hands, focal = read(self._video.results)
            joints = self._all_joints(hands)
        except DAMAGE as error:
            name = self._video.results.name
            raise ClipError(f"Expected whole results of {self.name} at {name}, got: {error}.") from error
        info = video_info(self._video.video)
        scale = max(size) / max(info.width, info.height)
        pixels = (hands.focal if hands.focal is not None else _SCALED_FOCAL * max(info.width, info.height)) * scale
        numbered = frame_numbers(times, self.fps or hands.fps)
        rows = _detections(hands, joints, numbered, pixels, size)
        true = None if focal is None else focal * scale
        return Detections(np.array(times), rows, *size, true, along_ray=self.name != "hawor")

    def _crops(self, path: Path) -> tuple[CropHands, float | None]:
        return (wilor_mini_hands(path) if self.name == "wilor-mini" else crop_hands(path)), None

    def _all_joints(self, hands: CropHands) -> NDArray[np.float64]:
        joints = np.zeros((len(hands.frame), 21, 3))
        for side in range(2):
            at = hands.right == bool(side)
            if at.any():
                joints[at] = self._joints(hands.axis_angle[at], hands.betas[at], hands.transl[at], side)
        return joints

    def _joints(self, aa: NDArray, betas: NDArray, transl: NDArray, side: int) -> NDArray[np.float64]:
        if self._models is None:
            try:
                hands = ManoHands.load(self.mano, "mirrored")
            except AssetError as error:
                raise SourceError(f"Expected the MANO files of {self.name} in {self.mano}, got: {error}") from error
            self._models = HandModel(hands.left), HandModel(hands.right)
        model = self._models[side]
        arrays = [torch.as_tensor(np.asarray(a), dtype=torch.float32) for a in (aa[:, 0], aa[:, 1:], betas, transl)]
        with torch.no_grad():
            return model(*arrays, vertices=False).joints.double().numpy()


@dataclass(frozen=True)
class _Results:
    video: Path
    results: Path
    sha256: str


def frame_numbers(times: Sequence[float], fps: float | None) -> NDArray[np.int64]:
    """Which frame of the results each picture is.

    Args:
        times: of the pictures, seconds from the start of the file.
        fps: rate of the results; None where each picture of the file is one frame of them.
    """
    at = np.asarray(times)
    step = float(np.median(np.diff(at))) if len(at) > 1 else 1.0
    if fps is None and at[0] < step / 2:
        return np.arange(len(at))
    return np.round(at * (fps or 1 / step)).astype(np.int64)


def _detections(
    hands: CropHands, joints: NDArray[np.float64], numbered: NDArray[np.int64], focal: float, size: tuple[int, int]
) -> tuple[tuple[Detection, ...], ...]:
    """The hands of each picture, on it and in space."""
    by_frame: dict[int, list[Detection]] = {}
    sane = np.isfinite(joints).all((1, 2)) & (joints[..., 2] > _NEAREST).all(1)
    wanted = set(numbered.tolist())
    for k in np.flatnonzero(sane).tolist():
        number = int(hands.frame[k])
        if number not in wanted:
            continue
        points = joints[k]
        depth = focal / points[:, 2:]
        pixels = points[:, :2] * depth + np.array(size) / 2
        relative = (points[:, 2:] - points[:1, 2:]) * depth[:1]
        score = float(np.clip(hands.score[k], 0.5, 1.0)) if hands.scored else 0.9
        found = Detection(int(hands.right[k]), score, np.concatenate([pixels, relative], 1), points=points)
        by_frame.setdefault(number, []).append(found)
    return tuple(tuple(by_frame.get(int(number), ())) for number in numbered)


def _hawor_files(folder: Path) -> list[Path]:
    chunks = sorted((folder / "cam_space").glob("[01]/*_*.json"))
    return chunks + [p for p in (*sorted(folder.glob("SLAM/*.npz")), folder / "est_focal.txt") if p.is_file()]


def _hawor(folder: Path) -> tuple[CropHands, float]:
    """What HaWoR observed, in the camera's axes, and its focal length. Left hands are of the left model already."""
    parts = []
    for chunk in _hawor_files(folder):
        if chunk.suffix != ".json":
            continue
        stored = read_json(chunk)
        transl = numbers(stored["init_trans"], 1, None, 3)[0]
        count = len(transl)
        turns = [numbers(stored["init_root_orient"], 1, count, 3, 3)[0][:, None]]
        turns.append(numbers(stored["init_hand_pose"], 1, count, 15, 3, 3)[0])
        betas = numbers(stored["init_betas"], 1, count, 10)[0]
        first, side = int(chunk.stem.split("_")[0]), int(chunk.parent.name)
        part = CropHands(
            np.arange(first, first + count),
            np.full(count, bool(side)),
            axis_angle_of_matrices(np.concatenate(turns, 1)),
            betas,
            transl,
            np.ones(count),
        )
        parts.append(part)
    if not parts:
        raise ValueError("no chunk of cam_space")
    names = ("frame", "right", "axis_angle", "betas", "transl", "score")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    focal = _hawor_focal(folder)
    return CropHands(**columns, fps=_HAWOR_FPS, focal=focal), focal


def _hawor_focal(folder: Path) -> float:
    stated = folder / "est_focal.txt"
    if stated.is_file():
        return _focal(float(stated.read_text(encoding="utf-8")))
    for path in sorted(folder.glob("SLAM/*.npz")):
        stored = read_npz(path)
        if "img_focal" in stored:
            return _focal(float(numbers(stored["img_focal"])))
    return _HAWOR_FOCAL


def _focal(value: float) -> float:
    if not 10 <= value <= 1e5:
        raise ValueError(f"a focal length of {value} pixels")
    return value
