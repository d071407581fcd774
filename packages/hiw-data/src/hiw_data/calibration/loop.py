"""The closed loop: known motions are drawn, tracked, told apart, fitted and smoothed, and compared with what was drawn.

Circular in part: the drawn hand is the hand that is fitted, and the tracker's landmark table was learned on such
drawings (of other motions). What it measures is the road and its conditions, not how well people's hands are tracked.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.annotation import AnnotationConfig
from hiw_data.calibration.conditions import CONDITIONS
from hiw_data.calibration.landmarks import expected_landmarks, perfect_table
from hiw_data.calibration.measures import HandErrors, hand_errors, joints_of, summary_of, turns_of
from hiw_data.calibration.scenes import FPS, Scene, draw, in_camera, known_motion
from hiw_data.cleaning import smooth_motion
from hiw_data.errors import ClipError, OptionError
from hiw_data.frames import Frame
from hiw_data.motion import FittedMotion
from hiw_data.tracking.base import Tracker
from hiw_data.tracking.detections import Detections
from hiw_data.tracking.fit import fit_hands
from hiw_data.tracking.gaps import even_hands
from hiw_data.tracking.identity import TwoHands, two_hands

logger = logging.getLogger(__name__)

CIRCULARITY = (
    "The drawn hand is the hand that is fitted, and the tracker's landmark table was learned on drawings of the same "
    "kind (of other seeds). These figures compare conditions and versions of the road; they are no error on people."
)


@dataclass(frozen=True)
class LoopConfig:
    """What is run.

    Attributes:
        scenes: the conditions.
        seeds: of the motions, each drawn under every condition; the table was learned on 201 to 224.
        frames: of each motion, at 30 a second.
        annotation: how tracked hands become motion: identity, gaps, smoothing. Its camera is not used: it is known.
    """

    scenes: tuple[Scene, ...] = CONDITIONS
    seeds: tuple[int, ...] = (101, 102)
    frames: int = 60
    annotation: AnnotationConfig = field(default_factory=AnnotationConfig)

    def __post_init__(self) -> None:
        if not self.scenes or not self.seeds or self.frames < 8:
            raise OptionError(
                f"Expected conditions, seeds and 8 frames or more, got {len(self.scenes)}, {len(self.seeds)} and "
                f"{self.frames}."
            )


@dataclass(frozen=True)
class Run:
    """One motion under one condition.

    Attributes:
        errors: against what was drawn.
        found: (T, 2) bool, hands that the pipeline has, short gaps filled.
        labels: of all detections, whether the tracker named the side rightly, (N,) bool.
        sides: (T, 2) float: 1 where the pipeline's hand lies on the true hand of its side, 0 where on the other, NaN
            where there is none.
        reprojection: (T, 2), pixels, NaN where there is no hand.
        length: (T, 2), longer side of the true hand's box in the picture, pixels.
        milliseconds: of processor time a frame, for tracking and fit.
        fitted: smoothed, in the camera's axes; None if no hand was found.
        example: the picture in the middle.
    """

    errors: HandErrors
    found: NDArray[np.bool_]
    labels: NDArray[np.bool_]
    sides: NDArray[np.float64]
    reprojection: NDArray[np.float64]
    length: NDArray[np.float64]
    milliseconds: float
    fitted: FittedMotion | None
    example: NDArray[np.uint8]


@dataclass(frozen=True)
class Condition:
    """All motions under one condition."""

    scene: Scene
    runs: tuple[Run, ...]

    def figures(self) -> dict[str, float]:
        """Pooled over hands, frames and motions; see `summary_of`, and in shares of 0 to 1 `found` (hands), `both`
        (frames with both), `labels` (sides named rightly by the tracker) and `sides` (after identity over time).
        """
        found = np.concatenate([run.found for run in self.runs])
        sides, labels = (np.concatenate([np.ravel(getattr(run, name)) for run in self.runs]) for name in _HANDEDNESS)
        return {
            **summary_of([run.errors for run in self.runs]),
            "frames": len(found),
            "found": float(found.mean()),
            "both": float(found.all(1).mean()),
            "labels": _mean(labels),
            "sides": _mean(sides),
            "hand_px": _mean(np.concatenate([run.length for run in self.runs])),
            "reprojection_px": _mean(np.concatenate([run.reprojection for run in self.runs])),
            "ms_a_frame": float(np.mean([run.milliseconds for run in self.runs])),
        }


_HANDEDNESS = ("sides", "labels")


def closed_loop(tracker: Tracker, config: LoopConfig | None = None) -> list[Condition]:
    """Runs every condition.

    Args:
        tracker: that is measured.
        config: what is run.

    Raises:
        MissingDependencyError: numba is not installed.
    """
    config = config or LoopConfig()
    out = []
    for scene in config.scenes:
        logger.info("Calibrating: %s", scene.name)
        runs = tuple(run_scene(tracker, scene, seed, config.frames, config.annotation) for seed in config.seeds)
        out.append(Condition(scene, runs))
    return out


def run_scene(
    tracker: Tracker, scene: Scene, seed: int, frames: int, annotation: AnnotationConfig | None = None
) -> Run:
    """Draws one motion, annotates it, and compares."""
    annotation = annotation or AnnotationConfig()
    motion = known_motion(frames, seed, scene.palms, scene.speed)
    truth = in_camera(motion, scene)
    points = expected_landmarks(truth, scene.matrix, perfect_table())[..., :2]  # (T, 2, 21, 2)
    pictures = draw(motion, scene, seed=seed)
    started = time.process_time()
    detections = tracker.track(Frame(k / FPS, picture) for k, picture in enumerate(pictures))
    hands = two_hands(detections, annotation.identity)
    fitted, reprojection, found = _fit(hands, scene, annotation, frames)
    spent = time.process_time() - started
    if fitted is None:
        empty = np.full((frames, 2, 21, 3), np.nan)
        errors = hand_errors(empty, empty, found, FPS)
    else:
        got = {name: getattr(fitted, name) for name in truth}
        turns = turns_of(got), turns_of(truth)
        errors = hand_errors(joints_of(got), joints_of(truth), found, FPS, turns=turns)
    sides = np.stack([_on_its_side(hands.landmarks[:, hand, :, :2], points, hand) for hand in range(2)], 1)
    return Run(
        errors=errors,
        found=found,
        labels=_labels(detections, points),
        sides=sides,
        reprojection=reprojection,
        length=(points.max(2) - points.min(2)).max(-1),
        milliseconds=1e3 * spent / frames,
        fitted=fitted,
        example=pictures[frames // 2],
    )


def _fit(
    hands: TwoHands, scene: Scene, annotation: AnnotationConfig, frames: int
) -> tuple[FittedMotion | None, NDArray[np.float64], NDArray[np.bool_]]:
    """Fitted and smoothed motion on the frames of the drawing, its image distance, and what is there of it."""
    nothing = None, np.full((frames, 2), np.nan), np.zeros((frames, 2), bool)
    if not hands.seen.any():
        return nothing
    even = even_hands(hands, fill_seconds=annotation.fill_seconds)
    if len(even.valid) != frames:
        raise ClipError(f"Expected a tracker to answer for each of {frames} pictures, got {len(even.valid)}.")
    fitted = fit_hands(even, scene.matrix)
    smoothed = smooth_motion(
        fitted.motion,
        savgol_seconds=annotation.savgol_seconds,
        order=annotation.savgol_order,
        gaussian_seconds=annotation.gaussian_seconds,
    )
    return smoothed, fitted.reprojection, np.asarray(smoothed.valid, bool)


def _labels(detections: Detections, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of each detection, whether it is named after the true hand that it lies on."""
    right = []
    for frame, hands in enumerate(detections.frames):
        for hand in hands:
            apart = np.linalg.norm(points[frame] - hand.landmarks[:, :2], axis=-1).mean(-1)
            right.append(int(apart.argmin()) == hand.side)
    return np.array(right, bool)


def _on_its_side(seen: NDArray[np.float64], points: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    apart = np.linalg.norm(seen[:, None] - points, axis=-1).mean(-1)  # (T, 2)
    known = np.isfinite(apart).all(1)
    return np.where(known, apart[:, side] < apart[:, 1 - side], np.nan)


def _mean(values: NDArray[Any]) -> float:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def settings_of(condition: Condition) -> dict[str, Any]:
    """The scene as JSON values."""
    return asdict(condition.scene)
