"""One source over any dataset's reader: recordings -> checked, fitted where need be, finished, cut, captioned clips.

Convention:
    Features are read through the open hand everywhere else, so a clip's `transl` puts the open hand's *wrists* where
    the dataset's are (the rule of `hand_geometry.retarget_motion`). What is needed to get the dataset's own joints back
    is in the clip: `hand_model`, `betas` (left, right), and among the attributes `left_shapedirs` and `frame_origin`,
    which canonical features are relative to. `clip_joints` does it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hand_geometry import HandModel, HandPair, features_to_joints, features_to_params
from hand_geometry.errors import AssetError, HandGeometryError
from hand_geometry.units import refuse_other_units

from hiw_data.clips import Clip, SkippedClip
from hiw_data.errors import ClipError, OptionError, SourceError
from hiw_data.motion import FittedMotion, MotionPiece, cut_motion, finish_motion
from hiw_data.sources.base import SourceInfo
from hiw_data.sources.fit_worker import Track
from hiw_data.sources.fitting import fit_tracks
from hiw_data.sources.hand_recording import MOTION_MAKER, Context, Dataset, Found, HandRecording, KeypointRecording
from hiw_data.sources.mano_rules import SIDES, ManoHands, open_rest_wrists
from hiw_data.sources.measured import measured_words
from hiw_data.sources.plain_files import DAMAGE, check_regular
from hiw_data.sources.ply import read_vertices
from hiw_data.sources.recording import FPS_RANGE

logger = logging.getLogger(__name__)

CAPTIONS = ("own", "motion", "both")
OPEN_HAND = "open hand"
WORST_FIT = 0.03
"""Metres between fitted and given keypoints, on average over a hand; a frame that is worse counts as not seen."""
_FARTHEST = 1000.0
"""Metres from the origin: what is farther is in another unit."""
_LONGEST = 300
"""Letters of a reason."""
_BATCH = 16
"""Recordings whose keypoints are fitted together."""
_MIN_POINTS = 6


class RecordingSource:
    """Clips of a dataset in its own layout.

    Args:
        dataset: which, with its reader; see `hiw_data.sources.datasets`.
        folder: where its files lie.
        mano: the folder of the MANO files that it was made with, MANO_LEFT and MANO_RIGHT, .pkl or .npz; they are
            yours to get and are not part of this project.
        name: of this source in the store.
        licence: under which terms these clips may be used; None takes what is known of the dataset's.
        captions: "own" takes the dataset's words, and measured ones where it has no sentence; "motion" measured ones
            alone; "both" its own and then measured ones.
        fps: frames a second of files that do not say, in place of the dataset's usual rate.
        max_frames: the most frames of a clip, at the store's rate; longer recordings are cut.
        smoothing: standard deviation of a Gaussian over time in seconds; 0 leaves motion as it is.
        limit: at most so many files.
        workers: processes that fit keypoints.

    Raises:
        OptionError: an option out of range.
        SourceError: no such folder, none of the dataset's files in it, or MANO files that are needed and not given.
    """

    def __init__(
        self,
        dataset: Dataset,
        folder: str | Path,
        *,
        mano: str | Path | None = None,
        name: str | None = None,
        licence: str | None = None,
        captions: str = "own",
        fps: float | None = None,
        max_frames: int = 64,
        smoothing: float = 0.0,
        limit: int | None = None,
        workers: int = 2,
    ) -> None:
        if captions not in CAPTIONS or max_frames < 8 or not 0 <= smoothing < np.inf or workers < 0:
            raise OptionError(
                f"Expected captions of {CAPTIONS}, max_frames >= 8, smoothing >= 0 and workers >= 0, got {captions!r}, "
                f"{max_frames}, {smoothing} and {workers}."
            )
        if (limit is not None and limit < 1) or (fps is not None and not FPS_RANGE[0] <= fps <= FPS_RANGE[1]):
            raise OptionError(
                f"Expected limit >= 1 and fps of {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}, got {limit}, {fps}."
            )
        self.dataset, self.folder, self.name = dataset, Path(folder), name or dataset.name
        self.licence = licence or dataset.licence
        self.captions, self.max_frames, self.smoothing, self.workers = captions, max_frames, smoothing, workers
        if not self.folder.is_dir():
            raise SourceError(f"Expected a folder of {dataset.title} at {folder}, got none. Check the path.")
        self.files = dataset.find(self.folder)[:limit]
        if not self.files:
            raise SourceError(f"Expected {dataset.needs} in {folder}, got none. See `hiw sources`.")
        self.context = Context(self.folder, _mano(dataset, mano), fps)
        self._notes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.files)

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        counted = self._notes.items()
        return SourceInfo(
            title=self.dataset.title,
            synthetic=self.dataset.synthetic,
            description=f"{self.dataset.title}: {self.dataset.hands}; rules {self.dataset.rules}.",
            licence=self.licence,
            origin=f"{len(self.files)} files in the dataset's own layout ({self.dataset.met})",
            limits=self.dataset.limits,
            notes=tuple(f"Source '{self.name}': {note} ({count} recordings)." for note, count in counted),
        )

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """All clips in the order of the files; a file or recording that cannot be used is a SkippedClip."""
        self._notes.clear()
        waiting: list[KeypointRecording] = []
        for path in self.files:
            for found in self._read(path):
                if isinstance(found, KeypointRecording):
                    waiting.append(found)
                    if len(waiting) >= _BATCH:
                        yield from self._fitted(waiting, fps)
                        waiting = []
                else:
                    yield from self._clips(found, fps)
        yield from self._fitted(waiting, fps)

    def _read(self, path: Path) -> Iterator[Found | SkippedClip]:
        try:
            if not path.is_dir():  # some datasets keep a recording in a folder
                check_regular(path)
            yield from self.dataset.read(path, self.context)
        except (ClipError, HandGeometryError, *DAMAGE) as error:
            clip_id = f"{self.name}/{self.context.stem(path)}"
            yield SkippedClip(clip_id, self.name, _reason(error, f"a whole file of {self.dataset.title}", path.name))

    def _fitted(self, recordings: list[KeypointRecording], fps: float) -> Iterator[Clip | SkippedClip]:
        tracks = [(number, side) for number, r in enumerate(recordings) for side in range(2) if _seen(r, side).any()]
        points = [
            Track(recordings[k].keypoints[:, side], _points(recordings[k], side), side, "none") for k, side in tracks
        ]
        fits = dict(zip(tracks, fit_tracks(points, self.workers) if points else [], strict=True))
        for number, recording in enumerate(recordings):
            same = {key: getattr(recording, key) for key in ("narrations", "group", "split", "attributes", "notes")}
            residual = np.full((len(recording.seen), 2), np.nan)
            motion = HandRecording.empty(recording.name, recording.fps, len(recording.seen), residual=residual, **same)
            errors = []
            for side in range(2):
                if (number, side) in fits:
                    fit = fits[number, side]
                    good = (fit.residual <= WORST_FIT) & _seen(recording, side)
                    wrist = fit.transl + open_rest_wrists()[side]
                    motion.put(side, fit.global_orient, fit.hand_pose, wrist, good)
                    residual[:, side] = fit.residual
                    errors += [fit.error] if fit.error else []
            if errors and not motion.valid.any():
                yield SkippedClip(
                    f"{self.name}/{recording.name}", self.name, f"Expected hands to fit, got {errors[0]}."
                )
                continue
            yield from self._clips(motion, fps, OPEN_HAND)

    def _clips(
        self, recording: HandRecording | SkippedClip, fps: float, model: str = "mano"
    ) -> Iterator[Clip | SkippedClip]:
        if isinstance(recording, SkippedClip):
            yield recording
            return
        clip_id = f"{self.name}/{recording.name}"
        try:
            clips = self._finish(recording, fps, model)
        except (ClipError, HandGeometryError, ValueError) as error:
            yield SkippedClip(clip_id, self.name, _reason(error, "motion of hands", recording.name))
            return
        self._notes.update(recording.notes)
        yield from clips

    def _finish(self, recording: HandRecording, fps: float, model: str) -> list[Clip]:
        motion = open_hand_motion(recording)
        finished = finish_motion(motion, fps=fps, smoothing=self.smoothing)
        first = int(np.flatnonzero(motion.valid.any(1))[0])
        clips = []
        for piece in cut_motion(finished, self.max_frames):
            start = first + round(piece.start / fps * recording.fps)
            end = first + round((piece.end or len(piece.features)) / fps * recording.fps)
            texts, makers = self._words(recording, piece, start, end, fps)
            attributes: dict[str, Any] = {"synthetic": self.dataset.synthetic, **recording.attributes}
            attributes |= piece.attributes(fps) | {"frame_origin": _origin(motion, first, finished, piece)}
            if model != OPEN_HAND:
                attributes["left_shapedirs"] = self.dataset.left_shapedirs
            clip = Clip(
                clip_id=f"{self.name}/{recording.name}{piece.suffix()}",
                source=self.name,
                split=recording.split,
                fps=fps,
                features=piece.features,
                valid=piece.valid,
                captions=texts,
                attributes=attributes,
                origin=recording.name,
                caption_provenance=[{"maker": maker} for maker in makers],
                hand_model=model,
                timestamps=first / recording.fps + (piece.start + np.arange(len(piece.features))) / fps,
            )
            if recording.betas is not None and model != OPEN_HAND:
                clip["betas"] = recording.betas.astype(np.float32)
            if recording.group is not None:
                clip["group"] = recording.group
            if np.isfinite(piece.residual).any():
                clip["residual"] = piece.residual
            clips.append(clip)
        return clips

    def _words(
        self, recording: HandRecording, piece: MotionPiece, start: int, end: int, fps: float
    ) -> tuple[list[str], list[str]]:
        own = [n for n in recording.narrations if n.text.strip() and n.about(start, end)] * (self.captions != "motion")
        words = [(" ".join(n.text.split()), n.maker) for n in own]
        if self.captions != "own" or all(n.label for n in own):
            words += [(text, MOTION_MAKER) for text in measured_words(piece, fps, self.dataset.axes == "camera")]
        if not words:
            raise ClipError(f"Expected words of {recording.name}, got none, and nothing could be measured.")
        unique: dict[str, str] = {}
        for text, maker in words:  # the same words twice are one caption
            unique.setdefault(text, maker)
        return list(unique), list(unique.values())


def open_hand_motion(recording: HandRecording) -> FittedMotion:
    """The motion of open hands whose wrists lie where the recording's do.

    Raises:
        ClipError: no hand is ever seen, arrays do not fit, or numbers are no hands' in metres and radians.
    """
    frames = len(recording.valid)
    low, high = FPS_RANGE
    if not frames or not low <= recording.fps <= high:
        raise ClipError(
            f"Expected frames, at {low:g} to {high:g} a second, in {recording.name}, got {frames} at {recording.fps}."
        )
    if not recording.valid.any():
        raise ClipError(f"Expected a hand in at least one frame of {recording.name}, got none.")
    transl = np.where(recording.valid[..., None], recording.wrist - open_rest_wrists(), 0)
    if (farthest := float(np.abs(transl).max())) > _FARTHEST:
        raise ClipError(
            f"Expected wrists in metres in {recording.name}, got one {farthest:.3g} from the origin. Correct the unit."
        )
    residual = np.full(recording.valid.shape, np.nan) if recording.residual is None else recording.residual
    motion = FittedMotion(
        recording.global_orient.astype(np.float32),
        recording.hand_pose.astype(np.float32),
        transl.astype(np.float32),
        recording.valid.copy(),
        residual.astype(np.float32),
        recording.fps,
    )
    refuse_other_units(motion.global_orient, motion.hand_pose, motion.transl, motion.valid)
    return motion


def clip_joints(
    clip: Mapping[str, Any], model: HandPair | str | Path | None = None, *, folder: str | Path | None = None
) -> np.ndarray:
    """The joints of a clip in its dataset's own frame and shape.

    Args:
        clip: of a `RecordingSource`, with its `betas`, `hand_model`, and its attributes `left_shapedirs` and
            `frame_origin`.
        model: the hands that the dataset was made with: a `HandPair`, or the folder of the MANO files; None for clips
            whose `hand_model` is the open hand.
        folder: the dataset's, for clips whose hands are template meshes in it (GRAB): `template_left`,
            `template_right`. None takes the mean shape's.

    Returns:
        (T, 2, 21, 3) float32, metres, OpenPose order; hands that were not seen are the clip's stand-ins.

    Raises:
        OptionError: the clip is of MANO hands and none were given.
    """
    attributes = clip["attributes"]
    of_open_hand = clip.get("hand_model", OPEN_HAND) == OPEN_HAND
    origin = np.asarray(attributes.get("frame_origin", (0.0, 0.0, 0.0)), np.float32)
    if of_open_hand:
        return np.asarray(features_to_joints(clip["features"])) + origin
    if model is None:
        raise OptionError(f"Expected the hands that clip {clip['clip_id']} was made with, got none. Give their folder.")
    pair = model
    if not isinstance(pair, HandPair):
        pair = HandPair.load(str(model), left_shapedirs=attributes.get("left_shapedirs", "as-shipped"))
    if folder is not None:
        pair = HandPair(*(_templated(getattr(pair, side), clip, Path(folder)) for side in SIDES))
    params = {key: torch.as_tensor(np.asarray(v)) for key, v in features_to_params(clip["features"]).items()}
    betas = torch.as_tensor(np.asarray(clip["betas"], np.float32))
    zero = torch.zeros(1, 2, 3)
    rest = pair(zero, torch.zeros(1, 2, 15, 3), betas, zero, vertices=False).joints[0, :, 0]
    transl = params["transl"] + torch.as_tensor(open_rest_wrists() + origin, dtype=torch.float32) - rest
    joints = pair(params["global_orient"], params["hand_pose"], betas, transl, vertices=False).joints
    return joints.numpy()


def _templated(hand: HandModel, clip: Mapping[str, Any], folder: Path) -> HandModel:
    name = clip["attributes"].get(f"template_{hand.side}")
    path = folder / str(name)
    if name is None or not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise OptionError(
            f"Expected the mesh {name} of clip {clip['clip_id']} in {folder}, got none. Check the folder."
        )
    return HandModel(replace(hand.asset, v_template=read_vertices(path)))


def _mano(dataset: Dataset, mano: str | Path | None) -> ManoHands | None:
    if mano is None:
        if dataset.mano == "needed":
            raise SourceError(
                f"Expected `mano`, the folder of MANO_LEFT and MANO_RIGHT that {dataset.title} was made with, "
                "got none. Get the files from https://mano.is.tue.mpg.de and name their folder."
            )
        return None
    try:
        return ManoHands.load(mano, dataset.left_shapedirs)
    except AssetError as error:
        raise SourceError(f"Expected MANO files in {mano}, got: {error}") from error


def _short(said: str) -> str:
    """One line, without torch's advice to load the file with less care."""
    line = " ".join(said.split())
    head, asked, _ = line.partition("Weights only load failed")
    line = f"{head}it asks for more than plain tensors, or is damaged)" if asked else line
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."


def _reason(error: BaseException, what: str, name: str) -> str:
    if isinstance(error, ClipError):
        return str(error)
    said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
    return f"Expected {what} at {name}, got: {_short(said)}"


def _seen(recording: KeypointRecording, side: int) -> np.ndarray:
    """Frames in which enough keypoints of a hand are seen to fit it, (T,)."""
    return np.asarray(_points(recording, side).sum(1) >= _MIN_POINTS)


def _points(recording: KeypointRecording, side: int) -> np.ndarray:
    """Keypoints of a hand that are seen and can be in metres, (T, 21)."""
    near = (np.abs(recording.keypoints[:, side]) <= _FARTHEST).all(-1)
    return np.asarray(recording.seen[:, side] & near)


def _origin(motion: FittedMotion, first: int, finished: MotionPiece, piece: MotionPiece) -> list[float]:
    """What canonical features lack to the recording's own frame, metres."""
    side = int(np.flatnonzero(motion.valid[first])[0])
    start = 99 * side + 96
    at = slice(start, start + 3)
    whole = motion.transl[first, side].astype(np.float64) - finished.features[0, at]
    origin = whole + finished.features[piece.start, at] - piece.features[0, at]
    return [float(x) for x in origin]


__all__ = ["CAPTIONS", "MOTION_MAKER", "OPEN_HAND", "SIDES", "RecordingSource", "clip_joints", "open_hand_motion"]
