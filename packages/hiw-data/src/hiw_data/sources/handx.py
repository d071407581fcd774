"""HandX: windows of joints of two hands with captions of each hand and of their relation, `*_can_pos_*.npz`.

Every entry of the archive is a pickled dict: `motion (T, 2, 21, 3)` in metres and lists of `left_annotation`,
`right_annotation` and `interaction_annotation`. Joints are in MANO's order with the tips of thumb, index, middle, ring
and pinky at the end, as the authors' table of joints has it; an archive in which bones are far better ones in
OpenPose's order is read in that. `*_mano.npz` is a fit to these joints and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry.assets import KEYPOINT_SOURCE

from hiw_data.sources.hand_recording import Context, Dataset, KeypointRecording, Narration
from hiw_data.sources.landmarks import bone_vectors
from hiw_data.sources.plain_files import npz_objects, numbers

FPS = 30.0
_FAR_BETTER = 0.7
_ORDERS = {"openpose": tuple(range(21)), "mano": KEYPOINT_SOURCE}


def read_handx(path: Path, context: Context) -> Iterator[KeypointRecording]:
    """The windows in one archive, one by one."""
    split = path.name.split("_")[0]
    for key, entry in npz_objects(path):
        motion = numbers(entry["motion"]).reshape(-1, 2, 21, 3)
        points = motion[:, :, list(_ORDERS[joint_order(motion)])]
        seen = np.isfinite(points).all(-1) & (np.ptp(points, axis=2) > 0).any(-1)[..., None]
        yield KeypointRecording(
            f"{split}/{key}",
            context.fps or FPS,
            np.where(seen[..., None], points, 0),
            seen,
            narrations=tuple(_narrations(entry)),
            split=split if split in ("train", "val", "test") else "",
        )


def joint_order(motion: np.ndarray) -> str:
    """ "mano", or "openpose" where bones keep their lengths far better in that order, and are far shorter.

    Args:
        motion: (T, 2, 21, 3).
    """
    worst = {}
    for name, order in _ORDERS.items():
        lengths = np.linalg.norm(bone_vectors(motion[:, :, list(order)]), axis=-1)
        worst[name] = float(np.nanstd(lengths, axis=0).sum() + np.nanmean(lengths))
    return "openpose" if worst["openpose"] < _FAR_BETTER * worst["mano"] else "mano"


def _narrations(entry: Any) -> Iterator[Narration]:
    """The relation first, which is about both hands; then each hand's."""
    for key in ("interaction_annotation", "left_annotation", "right_annotation"):
        value = entry.get(key, ())
        for text in [value] if isinstance(value, str) else list(value):
            yield Narration(str(text), f"handx {key}")


HANDX = Dataset(
    name="handx",
    title="HandX",
    find=lambda folder: sorted(folder.rglob("*_can_pos_*.npz")),
    read=read_handx,
    needs="{train,test}_can_pos_all_wotextfeat.npz",
    licence="not stated; bound to the terms of the sets it was made of",
    hands="21 joints a hand, fitted to the open hand; windows of 60 frames, canonical frame, 30 fps",
    mano="not used",
    rules="fitted; joints in MANO's order, tips last",
    met="layout from the public repository, no real file met",
    certainty="medium",
    limits="Windows of one recording may be in train and test; the archive does not tell which recording.",
)
