"""HO3D: a right hand with an object, one pickle a frame.

Rules: F+, C1, C4 (OpenGL camera, where the hand is at negative z, to OpenCV: diag(1, -1, -1)). Evaluation files hold no
pose and count as not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording
from hiw_data.sources.mano_rules import change_frame, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_pickle

FPS = 30.0
_OPENCV = np.diag([1.0, -1.0, -1.0])


def read_ho3d(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence whose folder `meta` is given."""
    files = sorted(path.glob("*.pkl"), key=lambda file: int(file.stem))
    ids = np.array([int(file.stem) for file in files])
    if ids[-1] - ids[0] > 100 * len(ids):
        raise ValueError(f"{len(files)} files over {ids[-1] - ids[0]} frames")
    stored = [read_pickle(file) for file in files]
    here = [k for k, frame in enumerate(stored) if _has_pose(frame)]
    name = path.parent.relative_to(context.folder).as_posix()
    recording = HandRecording.empty(
        name,
        context.fps or FPS,
        int(ids[-1] - ids[0]) + 1,
        group=path.parent.name.rstrip("0123456789"),
        attributes={"sequence": path.parent.name},
    )
    if here:
        pose = np.stack([numbers(stored[k]["handPose"]).reshape(48) for k in here])
        betas = np.stack([numbers(stored[k]["handBeta"]).reshape(-1)[:10] for k in here])
        transl = np.stack([numbers(stored[k]["handTrans"]).reshape(3) for k in here])
        wrist = wrist_of_transl(transl, context.hands().rest_wrist(1, betas))
        orient, wrist = change_frame(pose[:, :3], wrist, _OPENCV, np.zeros(3))
        rows = ids[here] - ids[0]
        recording.put_rows(1, rows, orient, pose[:, 3:].reshape(-1, 15, 3), wrist, betas=betas.mean(0))
    yield recording


def _has_pose(frame: Any) -> bool:
    return all(frame.get(key) is not None for key in ("handPose", "handTrans", "handBeta"))


HO3D = Dataset(
    name="ho3d",
    title="HO3D",
    find=lambda folder: sorted({path.parent for path in folder.rglob("meta/*.pkl")}),
    read=read_ho3d,
    needs="{train,evaluation}/<seq>/meta/<id>.pkl",
    licence="research only, no redistribution",
    hands="MANO, right hand, OpenCV camera, 30 fps (not stated)",
    axes="camera",
    mano="needed",
    rules="F+ C1 C4",
    met=LAYOUT_ONLY,
    certainty="high",
    limits="No words come with it; one hand alone.",
)
