"""From tracked hands to clips: even rate, fit, smoothing, pieces, captions; for videos and keypoints alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import hand_geometry
import numpy as np
from hand_geometry import MotionCodes, features_to_joints, motion_codes
from numpy.typing import NDArray

from hiw_data.captioning.measured import measured_captions, measured_maker
from hiw_data.cleaning import CleaningConfig, smooth_motion
from hiw_data.clips import Clip
from hiw_data.errors import OptionError
from hiw_data.motion import FittedMotion, MotionPiece, cut_motion, finish_motion
from hiw_data.tracking.camera import CameraModel, doubt_of_guess
from hiw_data.tracking.fit import VIEWS, fit_hands
from hiw_data.tracking.gaps import EvenHands, even_hands
from hiw_data.tracking.identity import IdentityConfig, TwoHands


@dataclass(frozen=True)
class AnnotationConfig:
    """How tracked hands become clips.

    Attributes:
        camera: what is known of it.
        view: "egocentric" or "facing", see `fit_hands`.
        fill_seconds: gaps of a hand up to this are filled and counted.
        max_frames: of a clip, at the store's rate.
        savgol_seconds, savgol_order, gaussian_seconds: see `smooth_motion`.
        variants: captions of each of three lengths, 1 to 5.
        seed: draws their wording.
        identity: how detections become two hands.
        cleaning: what is kept.

    Raises:
        OptionError: an option out of range.
    """

    camera: CameraModel = field(default_factory=CameraModel)
    view: str = "egocentric"
    fill_seconds: float = 0.2
    max_frames: int = 64
    savgol_seconds: float = 0.23
    savgol_order: int = 2
    gaussian_seconds: float = 0.033
    variants: int = 3
    seed: int = 0
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)

    def __post_init__(self) -> None:
        if self.view not in VIEWS or self.max_frames < 8 or not 1 <= self.variants <= 5:
            raise OptionError(
                f"Expected view of {VIEWS}, max_frames >= 8 and variants of 1 to 5, got {self.view!r}, "
                f"{self.max_frames} and {self.variants}."
            )

    def fit_options(self) -> dict[str, Any]:
        """What fitted pieces depend on, as JSON values."""
        options = asdict(self)
        return {k: v for k, v in options.items() if k not in ("cleaning", "variants", "seed")}


@dataclass(frozen=True)
class FittedPieces:
    """The motion of one stretch of video or keypoints, in pieces.

    Attributes:
        pieces: finished.
        start: seconds of the first frame of the first piece, in the file.
        notes: JSON scalars for the attributes of every piece.
        filled: for each piece, how many of its hand-frames were filled (counted at the source's rate).
        flags: for each piece (T, 2) bool, the same frame by frame at its own rate.
        reprojection: for each piece, the mean image distance, pixels of the tracked picture; NaN if unknown.
        pinhole: fx, fy, cx, cy, width, height of the camera for the whole picture, pixels; None without one.
    """

    pieces: tuple[MotionPiece, ...]
    start: float
    notes: dict[str, Any]
    filled: tuple[int, ...]
    reprojection: tuple[float, ...]
    flags: tuple[NDArray[np.bool_], ...]
    pinhole: tuple[float, ...] | None = None


def fit_detected(hands: TwoHands, config: AnnotationConfig, *, fps: float, scale: float = 1.0) -> FittedPieces:
    """Fits tracked image landmarks.

    Args:
        hands: the two hands.
        config: how.
        fps: of the clips.
        scale: size of the tracked picture as a share of the video's.

    Raises:
        ClipError: no hand, or too short.
    """
    even = even_hands(hands, fill_seconds=config.fill_seconds)
    known = config.camera
    if known.guessed and hands.focal is not None:
        known = CameraModel(focal=hands.focal / scale)
    camera = known.pinhole(hands.width, hands.height, scale)
    fitted = fit_hands(even, camera, view=config.view)
    notes = {
        "camera_guessed": known.guessed,
        "focal_px": round(float(camera[0, 0]) / scale, 1),
        "view": config.view,
        "fit": f"hand-geometry {hand_geometry.__version__}",
        **hands.counts,
    }
    if config.camera.guessed:
        notes["camera_doubt_deg"] = round(doubt_of_guess(even.landmarks, hands.width, hands.height), 1)
    cut = cut_fitted(fitted.motion, config, fps=fps, even=even, reprojection=fitted.reprojection, notes=notes)
    (fx, _, cx), (_, fy, cy), _ = camera.tolist()
    sizes = (fx, fy, cx, cy, hands.width, hands.height)
    return replace(cut, pinhole=tuple(round(float(size) / scale, 2) for size in sizes))


def cut_fitted(
    motion: FittedMotion,
    config: AnnotationConfig,
    *,
    fps: float,
    even: EvenHands | None = None,
    reprojection: NDArray[np.float64] | None = None,
    notes: Mapping[str, Any],
) -> FittedPieces:
    """Smooths, resamples and cuts a fitted motion.

    Raises:
        ClipError: no hand, or too short.
    """
    smoothed = smooth_motion(
        motion,
        savgol_seconds=config.savgol_seconds,
        order=config.savgol_order,
        gaussian_seconds=config.gaussian_seconds,
    )
    whole = finish_motion(smoothed, fps=fps, smoothing=0.0)
    pieces = cut_motion(whole, config.max_frames)
    first = int(np.flatnonzero(motion.valid.any(1))[0])
    filled, distance, flags = [], [], []
    for piece in pieces:
        end = piece.end or len(piece.features)
        at = slice(*(first + round(edge * motion.fps / fps) for edge in (piece.start, end)))
        filled.append(0 if even is None else int(even.filled[at].sum()))
        nearest = first + np.round(np.arange(piece.start, end) * motion.fps / fps).astype(int)
        flag = np.zeros_like(piece.valid) if even is None else even.filled[np.minimum(nearest, len(even.filled) - 1)]
        flags.append(flag & piece.valid)
        seen = np.array([]) if reprojection is None else reprojection[at][np.isfinite(reprojection[at])]
        distance.append(float(seen.mean()) if len(seen) else float("nan"))
    start = (0.0 if even is None else even.start) + first / motion.fps
    return FittedPieces(tuple(pieces), start, dict(notes), tuple(filled), tuple(distance), tuple(flags))


def pieces_to_arrays(fitted: FittedPieces) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and notes for a work folder; `pieces_from_arrays` gives the same back."""
    edges = [(p.number, p.of, p.start, p.end, len(p.features)) for p in fitted.pieces]
    arrays = {
        "features": np.concatenate([p.features for p in fitted.pieces]),
        "valid": np.concatenate([p.valid for p in fitted.pieces]),
        "residual": np.concatenate([p.residual for p in fitted.pieces]),
        "edges": np.array(edges, np.int64),
        "filled": np.array(fitted.filled, np.int64),
        "flags": np.concatenate(fitted.flags),
        "reprojection": np.array(fitted.reprojection, np.float64),
        "places": np.array([p.place for p in fitted.pieces], np.float64),
        "pinhole": np.array(fitted.pinhole or (), np.float64),
    }
    return arrays, {"start": fitted.start, "notes": fitted.notes}


def pieces_from_arrays(arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> FittedPieces:
    """What `pieces_to_arrays` gave."""
    pieces, flags, at = [], [], 0
    rows = zip(arrays["edges"].tolist(), arrays["places"].tolist(), strict=True)
    for (number, of, start, end, length), place in rows:
        features, valid, residual = (arrays[n][at : at + length] for n in ("features", "valid", "residual"))
        pieces.append(MotionPiece(features, valid, residual, number, of, start, end, tuple(place)))
        flags.append(arrays["flags"][at : at + length])
        at += length
    filled, distance = arrays["filled"].tolist(), arrays["reprojection"].tolist()
    start, pinhole = float(notes["start"]), tuple(arrays["pinhole"].tolist()) or None
    return FittedPieces(
        tuple(pieces), start, dict(notes["notes"]), tuple(filled), tuple(distance), tuple(flags), pinhole
    )


def make_clip(
    fitted: FittedPieces,
    index: int,
    config: AnnotationConfig,
    *,
    source: str,
    stem: str,
    fps: float,
    caption: str | None,
    attributes: Mapping[str, Any],
    group: str,
) -> Clip:
    """The clip of one piece, with its captions: the given one first, then what the motion itself tells.

    Args:
        fitted: of one stretch.
        index: of the piece.
        config: of the captions.
        source: of the clip.
        stem: the clip is named source/stem, and #0, #1, ... if there are several.
        fps: of the clip.
        caption: from elsewhere, of the whole stretch, or None.
        attributes: of every clip of the stretch.
        group: see `Clip`.
    """
    piece = fitted.pieces[index]
    clip_id = f"{source}/{stem}{piece.suffix()}"
    codes = motion_codes(np.asarray(features_to_joints(piece.features)), piece.valid, fps)
    assert isinstance(codes, MotionCodes)
    measured = measured_captions(codes, clip_id, seed=config.seed, variants=config.variants)
    end = piece.end or len(piece.features)
    first = fitted.start + piece.start / fps
    distance = fitted.reprojection[index]
    seen = [side for side, share in zip(("left", "right"), piece.valid.mean(0), strict=True) if share > 0]
    own: dict[str, Any] = {
        "synthetic": False,
        **attributes,
        **fitted.notes,
        **piece.attributes(fps),
        "start_seconds": round(first, 3),
        "end_seconds": round(fitted.start + end / fps, 3),
        "hands": " and ".join(seen),
        "filled_hand_frames": fitted.filled[index],
        "frame_origin": [round(x, 5) for x in piece.place],
    }
    if np.isfinite(distance):
        own["reprojection_px"] = round(distance, 2)
    by_them = {"maker": "given", "version": "1"}
    clip = Clip(
        clip_id=clip_id,
        source=source,
        split="",
        fps=fps,
        features=piece.features,
        valid=piece.valid,
        captions=[*([caption] if caption else []), *measured],
        caption_provenance=[*([by_them] if caption else []), *(measured_maker() for _ in measured)],
        motion_codes=json.loads(codes.to_json()),
        attributes=own,
        origin=stem,
        group=group,
        timestamps=first + np.arange(len(piece.features)) / fps,
        residual=piece.residual,
        filled=fitted.flags[index],
    )
    if "focal_px" in fitted.notes:
        clip["camera"] = {name: fitted.notes[name] for name in ("focal_px", "camera_guessed", "view")}
    if fitted.pinhole is not None:
        names = ("fx", "fy", "cx", "cy", "width", "height")
        clip["camera"]["pinhole"] = dict(zip(names, fitted.pinhole, strict=True))
    return clip
