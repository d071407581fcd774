"""Two calibrated views of hands: triangulated, and each view's fit compared with that.

The triangulated landmarks owe nothing to any guess of depth, but they are the tracker's: where it errs alike in both
views, they err too. The unit of a calibration is often not the metre; the hand's size then gives the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry import fit_keypoints
from numpy.typing import NDArray

from hiw_data.calibration.measures import HandErrors, hand_errors, palms_of, summary_of
from hiw_data.errors import ClipError, SourceError
from hiw_data.sources.video_file import SUFFIXES, VideoReader
from hiw_data.tracking.base import Tracker
from hiw_data.tracking.identity import two_hands

Array = NDArray[np.float64]

SIDES = ("left", "right")
_FEWEST = 10
"""Frames of a hand in both views, below which nothing is said of it."""


@dataclass(frozen=True)
class StereoRig:
    """Two pinhole cameras, without distortion.

    Attributes:
        matrices: (2, 3, 3), pixels.
        rotations: world to camera, (2, 3, 3).
        translations: (2, 3), in the calibration's unit.
    """

    matrices: Array
    rotations: Array
    translations: Array

    @classmethod
    def load(cls, folder: str | Path) -> StereoRig:
        """Reads c0.dat, c1.dat (after "intrinsic:" three rows) and rot_trans_c0.dat, rot_trans_c1.dat ("R:", three
        rows, "T:", three numbers: from the world to the camera). Distortion is not used.

        Raises:
            SourceError: a file is missing, or of another form.
        """
        base = Path(folder)
        matrices = [_block(base / f"c{k}.dat", "intrinsic:", (3, 3)) for k in range(2)]
        rotations = [_block(base / f"rot_trans_c{k}.dat", "R:", (3, 3)) for k in range(2)]
        translations = [_block(base / f"rot_trans_c{k}.dat", "T:", (3,)) for k in range(2)]
        for k, turn in enumerate(rotations):
            if np.abs(turn @ turn.T - np.eye(3)).max() > 0.01 or np.linalg.det(turn) < 0:
                raise SourceError(
                    f"Expected a rotation after 'R:' in {base / f'rot_trans_c{k}.dat'}, got another matrix."
                )
        return cls(np.stack(matrices), np.stack(rotations), np.stack(translations))

    @property
    def projections(self) -> Array:
        """(2, 3, 4): world to pixels."""
        return np.asarray(self.matrices @ np.concatenate([self.rotations, self.translations[..., None]], -1))

    def seen(self, world: Array, view: int) -> Array:
        """Pixels (..., 2) of points (..., 3)."""
        matrix = self.projections[view]
        flat = world @ matrix[:, :3].T + matrix[:, 3]
        return np.asarray(flat[..., :2] / flat[..., 2:])


def _block(path: Path, heading: str, shape: tuple[int, ...]) -> Array:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        first = lines.index(heading) + 1
        values = np.array([[float(word) for word in line.split()] for line in lines[first : first + 3]])
        block = values.reshape(shape)
    except (OSError, ValueError) as error:
        raise SourceError(f"Expected '{heading}' and numbers of shape {shape} in {path}, got: {error}.") from error
    if not np.isfinite(block).all():
        raise SourceError(f"Expected finite numbers after '{heading}' in {path}, got others.")
    return np.asarray(block, np.float64)


def view_files(folder: str | Path) -> list[Path]:
    """The videos cam0.* and cam1.* of a folder.

    Raises:
        SourceError: one is missing.
    """
    out = []
    for k in range(2):
        found = sorted(path for path in Path(folder).glob(f"cam{k}.*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise SourceError(f"Expected a video cam{k}.mp4 (or another suffix) in {folder}, got none.")
        out.append(found[0])
    return out


@dataclass(frozen=True)
class ViewErrors:
    """One hand in one view.

    Attributes:
        side: "left" or "right".
        view: 0 or 1.
        errors: of one hand, arrays (T, 1), against the triangulation.
        residual: (T, 21), of the triangulation in this view, pixels.
        floor: what the hand model itself misses the triangulated landmarks by, metres.
        unit: metres a unit of the calibration, by the size of this view's hand.
    """

    side: str
    view: int
    errors: HandErrors
    residual: Array
    floor: float
    unit: float

    def figures(self) -> dict[str, float | str | int]:
        """For a table: see `summary_of`; distances after scaling by `unit`."""
        summary = summary_of([self.errors])
        del summary["absolute_mm"]
        return {
            "hand": self.side,
            "view": self.view,
            **summary,
            "triangulation_px": float(np.nanmedian(self.residual)),
            "model_floor_mm": 1e3 * self.floor,
            "unit_mm": 1e3 * self.unit,
        }


def stereo(folder: str | Path, tracker: Tracker) -> list[ViewErrors]:
    """Tracks both videos of a folder and compares; see `compare_views`.

    Raises:
        SourceError: a file is missing.
        ClipError: no hand is seen in both views.
    """
    rig = StereoRig.load(folder)
    seen = []
    for path in view_files(folder):
        reader = VideoReader(path, longest_side=1 << 20)  # the calibration is of the full picture
        hands = two_hands(tracker.track(reader))
        seen.append(hands.landmarks)
        fps = 1 / float(np.median(np.diff(hands.times))) if len(hands.times) > 1 else 30.0
    return compare_views(seen, rig, fps=fps)


def compare_views(seen: Sequence[Array], rig: StereoRig, *, fps: float) -> list[ViewErrors]:
    """Each view's fit against the triangulation of both, hand by hand.

    Args:
        seen: of both views in step, (T, 2, 21, 3), pixels and depths, hand 0 left, 1 right; NaN where unseen. The
            longer one is cut.
        rig: the cameras.
        fps: of the videos.

    Raises:
        ClipError: no hand is in both views in 10 frames.
    """
    frames = min(len(view) for view in seen)
    out = []
    for hand, side in enumerate(SIDES):
        views = [view[:frames, hand] for view in seen]
        world = triangulated(views, rig.projections)
        known = np.asarray(np.isfinite(world).all((1, 2)), np.bool_)
        if known.sum() >= _FEWEST:
            out += _both_views(views, world, known, rig, side, fps)
    if not out:
        raise ClipError(f"Expected a hand that both views show in {_FEWEST} frames, got none. Are the videos in step?")
    return out


def _both_views(
    views: Sequence[Array], world: Array, known: NDArray[np.bool_], rig: StereoRig, side: str, fps: float
) -> list[ViewErrors]:
    per_frame = 30.0 / fps
    fits = [
        fit_keypoints(
            side=side,
            keypoints_2d=seen,
            camera=matrix,
            landmark_offsets="mediapipe",
            smoothness=(0.05 * per_frame, 0.10 * per_frame, 0.01 * per_frame),
        )
        for seen, matrix in zip(views, rig.matrices, strict=True)
    ]
    scales = []
    for view, fit in enumerate(fits):
        use = known & fit.valid
        truth = world @ rig.rotations[view].T + rig.translations[view]
        scales.append(float(np.median(hand_span(fit.keypoints[use].astype(float)) / hand_span(truth[use]))))
    options: dict[str, Any] = {"landmark_offsets": "mediapipe", "along_ray": False, "smoothness": None}
    floor = fit_keypoints(world[known] * float(np.mean(scales)), side=side, **options).residual.mean()
    out = []
    for view, (fit, unit) in enumerate(zip(fits, scales, strict=True)):
        truth = unit * (world @ rig.rotations[view].T + rig.translations[view])
        got = fit.keypoints.astype(float)
        use = known & fit.valid
        turns = palms_of(got)[:, None], palms_of(np.where(use[:, None, None], truth, 0.0))[:, None]
        errors = hand_errors(got[:, None], truth[:, None], use[:, None], fps, turns=turns)
        residual = np.linalg.norm(rig.seen(world, view) - views[view][..., :2], axis=-1)
        out.append(ViewErrors(side, view, errors, residual, float(floor), unit))
    return out


def triangulated(views: Sequence[Array], projections: Array) -> Array:
    """Linear triangulation of landmarks seen in several views.

    Args:
        views: each (T, 21, 2 or more), pixels, NaN where unseen.
        projections: (V, 3, 4).

    Returns:
        (T, 21, 3), in the calibration's unit; NaN where a view has nothing.
    """
    rows = []
    for seen, matrix in zip(views, projections, strict=True):
        rows += [seen[..., k, None] * matrix[2] - matrix[k] for k in range(2)]
    equations = np.stack(rows, -2)
    known = np.isfinite(equations).all((-1, -2))
    points = np.full((*known.shape, 3), np.nan)
    last = np.linalg.svd(equations[known])[2][:, -1]
    points[known] = last[:, :3] / last[:, 3:]
    return points


def hand_span(points: Array) -> Array:
    """A hand's size, (T,): along the middle finger, and across the palm, of points (T, 21, 3)."""
    along = np.linalg.norm(np.diff(points[:, [0, 9, 10, 11, 12]], axis=1), axis=-1).sum(-1)
    return np.asarray(along + np.linalg.norm(points[:, 5] - points[:, 17], axis=-1))
