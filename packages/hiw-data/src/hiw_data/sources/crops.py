"""Results of HaMeR, WiLoR and WiLoR-mini, which look at every hand as a crop of its own.

HaMeR and WiLoR write no parameters, so what they hold in memory is read from an .npz of one row a found hand:
`frame (N,)`, `is_right (N,)`, `global_orient (N, 1, 3, 3)`, `hand_pose (N, 15, 3, 3)`, `betas (N, 10)`, `cam_t (N, 3)`
(`cam_crop_to_full`'s), and if known `score (N,)`, `fps ()`, `focal ()` (pixels of the picture that `cam_t` is
for). Rules: F+, C1, M for the wrist and the fingers of left hands, whose mesh is the right model's mirrored in x.

WiLoR-mini's list a frame of `{hand_bbox, is_right, wilor_preds}` is read from a pickle of a list of such lists; it has
turned left hands itself (rotation vectors). Of several hands of a side the one with the larger box, or score, is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording
from hiw_data.sources.mano_rules import axis_angle_of_matrices, mirror_axis_angle, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_npz_objects, read_pickle
from hiw_data.sources.recording import DEFAULT_FPS

_LONGEST = 10_000_000


@dataclass(frozen=True)
class CropHands:
    """N hands that were found in one video, in its camera's axes.

    Attributes:
        frame: (N,) int, which frame each is in.
        right: (N,) bool.
        axis_angle: (N, 16, 3), wrist and fingers, absolute, of the model of the hand's own side.
        betas: (N, 10), left ones with mirrored components.
        transl: (N, 3), smplx's, metres.
        score: (N,), the higher the surer.
        scored: whether the file states `score`.
        fps: rate of the frames, None if the file does not say.
        focal: length in pixels of the picture that `transl` is for, None for the networks' own.
    """

    frame: NDArray[np.int64]
    right: NDArray[np.bool_]
    axis_angle: NDArray[np.float64]
    betas: NDArray[np.float64]
    transl: NDArray[np.float64]
    score: NDArray[np.float64]
    scored: bool = False
    fps: float | None = None
    focal: float | None = None

    def __post_init__(self) -> None:
        frame = self.frame
        if not len(frame) or frame.min() < 0 or frame.max() > _LONGEST:
            raise ValueError(f"{len(frame)} hands in frames {frame[:3]}...")


def crop_hands(path: Path) -> CropHands:
    """The hands in an .npz of HaMeR's or WiLoR's."""
    stored = read_npz_objects(path)
    frame = numbers(stored["frame"], None).astype(int)
    count = len(frame)
    right = numbers(stored["is_right"], count) != 0
    turns = np.concatenate(
        [numbers(stored["global_orient"], count, 1, 3, 3), numbers(stored["hand_pose"], count, 15, 3, 3)], 1
    )
    aa = axis_angle_of_matrices(turns)
    aa[~right] = mirror_axis_angle(aa[~right])
    scored = "score" in stored
    score = numbers(stored["score"], count) if scored else np.arange(count, 0, -1.0)
    rows = (numbers(stored["betas"], count, 10), numbers(stored["cam_t"], count, 3))
    fps, focal = (float(numbers(stored[key])) if key in stored else None for key in ("fps", "focal"))
    return CropHands(frame, right, aa, *rows, score, scored, fps, focal)


def wilor_mini_hands(path: Path) -> CropHands:
    """The hands in a pickle of WiLoR-mini's lists."""
    found = [(t, hand) for t, hands in enumerate(read_pickle(path)) for hand in hands or ()]
    predictions = [hand["wilor_preds"] for _, hand in found]
    boxes = numbers([numbers(hand["hand_bbox"]).reshape(4) for _, hand in found], None, 4)
    focals = [float(numbers(p["scaled_focal_length"])) for p in predictions if "scaled_focal_length" in p]
    return CropHands(
        np.array([t for t, _ in found]),
        np.array([float(np.asarray(hand["is_right"]).reshape(-1)[0]) > 0.5 for _, hand in found]),
        np.stack([_rotation_vectors(p) for p in predictions]),
        np.stack([numbers(p["betas"]).reshape(-1)[:10] for p in predictions]),
        np.stack([numbers(p["pred_cam_t_full"]).reshape(3) for p in predictions]),
        (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        focal=focals[0] if focals else None,
    )


def read_crops(path: Path, context: Context) -> Iterator[HandRecording]:
    """The hands of one video in one .npz."""
    yield _recording(path, context, crop_hands(path))


def read_wilor_mini(path: Path, context: Context) -> Iterator[HandRecording]:
    """The hands of one video in one pickle."""
    yield _recording(path, context, wilor_mini_hands(path))


def _rotation_vectors(predictions: Any) -> np.ndarray:
    parts = [numbers(predictions[key]).reshape(-1, 3) for key in ("global_orient", "hand_pose")]
    return np.concatenate(parts).reshape(16, 3)


def _recording(path: Path, context: Context, hands: CropHands) -> HandRecording:
    fps = context.fps or hands.fps
    unsaid = f"it holds no frame rate; {DEFAULT_FPS:g} fps was assumed, say `fps` if it is another"
    recording = HandRecording.empty(
        context.stem(path), fps or DEFAULT_FPS, int(hands.frame.max()) + 1, notes=() if fps else (unsaid,)
    )
    for side in range(2):
        best: dict[int, int] = {}
        for k in np.flatnonzero(hands.right == bool(side)).tolist():
            t = int(hands.frame[k])
            if t not in best or hands.score[k] > hands.score[best[t]]:
                best[t] = k
        if best:
            at, rows = np.array(list(best)), np.array(list(best.values()))
            betas, aa = hands.betas[rows], hands.axis_angle[rows]
            wrist = wrist_of_transl(hands.transl[rows], context.hands().rest_wrist(side, betas))
            recording.put_rows(side, at, aa[:, 0], aa[:, 1:], wrist, betas=betas.mean(0))
    return recording


_LIMITS = "A guess from single images: depth is metric only if the camera's true focal length was given."

HAMER = Dataset(
    name="hamer",
    title="HaMeR and WiLoR results",
    find=lambda folder: sorted(folder.rglob("*.npz")),
    read=read_crops,
    needs="one .npz a video of what the models hold in memory (docs/sources.md), since they write no parameters",
    licence="yours; HaMeR's code is MIT, WiLoR's CC BY-NC-ND 4.0",
    hands="MANO, the camera's frame (OpenCV), the video's rate",
    axes="camera",
    mano="needed",
    rules="F+ C1 M (wrist and fingers), left mirrored",
    met="a layout of this project's, since there is no public one",
    certainty="medium",
    left_shapedirs="mirrored",
    limits=_LIMITS,
)

WILOR_MINI = Dataset(
    name="wilor-mini",
    title="WiLoR-mini results",
    find=lambda folder: sorted(folder.rglob("*.pkl")),
    read=read_wilor_mini,
    needs="one pickle a video: the list of the pipeline's lists, frame by frame",
    licence="yours; WiLoR's code is CC BY-NC-ND 4.0",
    hands="MANO, the camera's frame (OpenCV), the video's rate",
    axes="camera",
    mano="needed",
    rules="F+ C1, left mirrored and already turned",
    met=LAYOUT_ONLY,
    certainty="medium",
    left_shapedirs="mirrored",
    limits=_LIMITS,
)
