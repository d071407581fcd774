"""Results of HaMeR, WiLoR and WiLoR-mini, which look at every hand as a crop of its own.

HaMeR and WiLoR write no parameters, so what they hold in memory is read from an .npz of one row a found hand:
`frame (N,)`, `is_right (N,)`, `global_orient (N, 1, 3, 3)`, `hand_pose (N, 15, 3, 3)`, `betas (N, 10)`, `cam_t (N, 3)`
(`cam_crop_to_full`'s), and if known `score (N,)`, `fps ()`. Rules: F+, C1, M for the wrist and the fingers of left
hands, whose mesh is the right model's mirrored in x.

WiLoR-mini's list a frame of `{hand_bbox, is_right, wilor_preds}` is read from a pickle of a list of such lists; it has
turned left hands itself (rotation vectors). Of several hands of a side the one with the larger box, or score, is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording
from hiw_data.sources.mano_rules import axis_angle_of_matrices, mirror_axis_angle, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_npz_objects, read_pickle
from hiw_data.sources.recording import DEFAULT_FPS

_LONGEST = 10_000_000


def read_crops(path: Path, context: Context) -> Iterator[HandRecording]:
    """The hands of one video in one .npz."""
    stored = read_npz_objects(path)
    frame = numbers(stored["frame"], None).astype(int)
    count = len(frame)
    right = numbers(stored["is_right"], count) != 0
    turns = np.concatenate(
        [numbers(stored["global_orient"], count, 1, 3, 3), numbers(stored["hand_pose"], count, 15, 3, 3)], 1
    )
    aa = axis_angle_of_matrices(turns)
    aa[~right] = mirror_axis_angle(aa[~right])
    score = numbers(stored["score"], count) if "score" in stored else np.arange(count, 0, -1.0)
    rows = (numbers(stored["betas"], count, 10), numbers(stored["cam_t"], count, 3))
    fps = context.fps or (float(numbers(stored["fps"])) if "fps" in stored else None)
    yield _recording(path, context, frame, right, aa, *rows, score, fps)


def read_wilor_mini(path: Path, context: Context) -> Iterator[HandRecording]:
    """The hands of one video in one pickle."""
    found = [(t, hand) for t, hands in enumerate(read_pickle(path)) for hand in hands or ()]
    predictions = [hand["wilor_preds"] for _, hand in found]
    boxes = numbers([numbers(hand["hand_bbox"]).reshape(4) for _, hand in found], None, 4)
    aa = np.stack([_rotation_vectors(p) for p in predictions])
    yield _recording(
        path,
        context,
        np.array([t for t, _ in found]),
        np.array([float(np.asarray(hand["is_right"]).reshape(-1)[0]) > 0.5 for _, hand in found]),
        aa,
        np.stack([numbers(p["betas"]).reshape(-1)[:10] for p in predictions]),
        np.stack([numbers(p["pred_cam_t_full"]).reshape(3) for p in predictions]),
        (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        context.fps,
    )


def _rotation_vectors(predictions: Any) -> np.ndarray:
    parts = [numbers(predictions[key]).reshape(-1, 3) for key in ("global_orient", "hand_pose")]
    return np.concatenate(parts).reshape(16, 3)


def _recording(
    path: Path,
    context: Context,
    frame: np.ndarray,
    right: np.ndarray,
    aa: np.ndarray,
    betas: np.ndarray,
    transl: np.ndarray,
    score: np.ndarray,
    fps: float | None,
) -> HandRecording:
    if not len(frame) or frame.min() < 0 or frame.max() > _LONGEST:
        raise ValueError(f"{len(frame)} hands in frames {frame[:3]}...")
    unsaid = f"it holds no frame rate; {DEFAULT_FPS:g} fps was assumed, say `fps` if it is another"
    recording = HandRecording.empty(
        context.stem(path), fps or DEFAULT_FPS, int(frame.max()) + 1, notes=() if fps else (unsaid,)
    )
    for side in range(2):
        best: dict[int, int] = {}
        for k in np.flatnonzero(right == bool(side)).tolist():
            t = int(frame[k])
            if t not in best or score[k] > score[best[t]]:
                best[t] = k
        if best:
            at, rows = np.array(list(best)), np.array(list(best.values()))
            wrist = wrist_of_transl(transl[rows], context.hands().rest_wrist(side, betas[rows]))
            recording.put_rows(side, at, aa[rows, 0], aa[rows, 1:], wrist, betas=betas[rows].mean(0))
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
