"""A process that fits hands: `python -m hiw_data.sources.fit_worker IN.npz OUT.npz`.

Reads concatenated tracks of keypoints, writes MANO parameters, and prints one line per fitted track. It is
started by `fitting.fit_tracks` as a process of its own, with one thread for linear algebra.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiw_data.atomic import write_beside

SIDES = ("left", "right")


@dataclass(frozen=True)
class Track:
    """One hand of one recording.

    Attributes:
        keypoints: (T, 21, 3) in metres.
        seen: (T,) or (T, 21) bool.
        side: 0 left or 1 right.
        offsets: where the keypoints sit: "mediapipe" for that tracker's landmarks, "none" for the joints themselves.
    """

    keypoints: NDArray[np.float64]
    seen: NDArray[np.bool_]
    side: int
    offsets: str = "mediapipe"


@dataclass(frozen=True)
class FittedTrack:
    """MANO parameters of a track.

    Attributes:
        global_orient: (T, 3).
        hand_pose: (T, 15, 3).
        transl: (T, 3).
        residual: (T,) mean distance to the observed keypoints in metres, NaN where none were seen.
        error: why the fit failed, or "".
    """

    global_orient: NDArray[np.float32]
    hand_pose: NDArray[np.float32]
    transl: NDArray[np.float32]
    residual: NDArray[np.float32]
    error: str = ""


def fit_track(track: Track) -> FittedTrack:
    """Fits one hand of the open hand's own shape; a failure is returned, not raised."""
    from hand_geometry import fit_keypoints

    frames = len(track.keypoints)
    offsets = "mediapipe" if track.offsets == "mediapipe" else None
    try:
        fit = fit_keypoints(
            track.keypoints, side=SIDES[track.side], valid=track.seen, landmark_offsets=offsets, betas=None
        )
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        nothing = np.full(frames, np.nan, np.float32)
        zeros = np.zeros((frames, 17, 3), np.float32)
        return FittedTrack(zeros[:, 0], zeros[:, 2:], zeros[:, 1], nothing, f"{type(error).__name__}: {error}")
    residual = np.where(np.asarray(fit.valid), np.asarray(fit.residual), np.nan)
    return FittedTrack(fit.global_orient, fit.hand_pose, fit.transl, residual.astype(np.float32))


def save_tracks(path: str, tracks: list[Track]) -> None:
    """Writes tracks end to end."""
    np.savez(
        path,
        keypoints=np.concatenate([t.keypoints for t in tracks]),
        seen=np.concatenate([np.broadcast_to(t.seen.reshape(len(t.seen), -1), (len(t.seen), 21)) for t in tracks]),
        whole=np.array([t.seen.ndim == 1 for t in tracks]),
        lengths=np.array([len(t.keypoints) for t in tracks]),
        sides=np.array([t.side for t in tracks]),
        offsets=np.array([t.offsets for t in tracks]),
    )


def load_tracks(path: str) -> list[Track]:
    """Reads what `save_tracks` wrote."""
    with np.load(path, allow_pickle=False) as data:
        ends = np.cumsum(data["lengths"])[:-1]
        parts = zip(np.split(data["keypoints"], ends), np.split(data["seen"], ends), strict=True)
        more = zip(data["whole"], data["sides"], data["offsets"], strict=True)
        return [
            Track(keypoints, seen[:, 0] if whole else seen, int(side), str(offsets))
            for (keypoints, seen), (whole, side, offsets) in zip(parts, more, strict=True)
        ]


_FIELDS = ("global_orient", "hand_pose", "transl", "residual")


def save_fits(path: str, fits: list[FittedTrack]) -> None:
    """Writes fitted tracks end to end, beside first and then renamed."""
    arrays = {name: np.concatenate([getattr(f, name) for f in fits]) for name in _FIELDS}
    arrays["lengths"] = np.array([len(f.residual) for f in fits])
    arrays["errors"] = np.array([f.error for f in fits])
    with write_beside(Path(path)) as staged:
        np.savez(staged, allow_pickle=False, **arrays)


def load_fits(path: str) -> list[FittedTrack]:
    """Reads what `save_fits` wrote."""
    with np.load(path, allow_pickle=False) as data:
        ends = np.cumsum(data["lengths"])[:-1]
        columns = [np.split(data[name], ends) for name in _FIELDS]
        return [
            FittedTrack(orient, pose, transl, residual, str(error))
            for orient, pose, transl, residual, error in zip(*columns, data["errors"], strict=True)
        ]


def main(argv: list[str]) -> None:
    """Fits the tracks of one file into another."""
    source, target = argv
    fits = []
    for track in load_tracks(source):
        fits.append(fit_track(track))
        sys.stdout.write("fitted\n")
        sys.stdout.flush()
    save_fits(target, fits)


if __name__ == "__main__":
    main(sys.argv[1:])
