"""HOT3D: hands and objects from Aria and Quest 3 headsets; sequences' `.jsonl` trajectories.

Rules: PCA 15, F-, C1 (`wrist_xform` is smplx's orientation and translation, not where the wrist is), left shape
components mirrored. Aria files hold two lines 0.09 ms apart a frame, of which one is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import Context, Dataset, HandRecording
from hiw_data.sources.mano_rules import axis_angle_of_quaternions, from_pca, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_json, read_json_lines

_SAME_FRAME_NS = 2_000_000


def read_hot3d(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence in one `mano_hand_pose_trajectory.jsonl`."""
    lines = _one_stream(read_json_lines(path))
    times = np.array([int(line["timestamp_ns"]) for line in lines], np.int64)
    if len(times) < 2:
        raise ValueError(f"{len(times)} frames")
    step = float(np.median(np.diff(times)))
    frames = np.round((times - times[0]) / step).astype(int)
    hands, name = context.hands(), path.parent.name
    recording = HandRecording.empty(
        path.parent.relative_to(context.folder).as_posix() if path.parent != context.folder else name,
        1e9 / step,
        int(frames[-1]) + 1,
        group=name.split("_")[0],
        attributes={"participant": name.split("_")[0], **_metadata(path.parent)},
    )
    for side in range(2):
        rows = [(f, line["hand_poses"][str(side)]) for f, line in zip(frames, lines, strict=True)
                if str(side) in (line.get("hand_poses") or {})]  # fmt: skip
        if not rows:
            continue
        at = np.array([frame for frame, _ in rows])
        poses = numbers([hand["pose"] for _, hand in rows], None, None)
        betas = numbers([hand["betas"] for _, hand in rows], None, 10)
        place = [_place(hand["wrist_xform"]) for _, hand in rows]
        orient = axis_angle_of_quaternions(numbers([q for q, _ in place], None, 4))
        wrist = wrist_of_transl(numbers([t for _, t in place], None, 3), hands.rest_wrist(side, betas))
        pose = from_pca(poses, hands[side].hands_components, hands[side].hands_mean)
        recording.put_rows(side, at, orient, pose, wrist, betas=betas.mean(0))
    yield recording


def _one_stream(lines: list[Any]) -> list[Any]:
    """Lines by time, of those within 2 ms of each other the first."""
    kept: list[Any] = []
    for line in sorted(lines, key=lambda line: int(line["timestamp_ns"])):
        if not kept or int(line["timestamp_ns"]) - int(kept[-1]["timestamp_ns"]) > _SAME_FRAME_NS:
            kept.append(line)
    return kept


def _place(xform: Any) -> tuple[Any, Any]:
    """Quaternion w, x, y, z and translation."""
    return xform["q_wxyz"], xform["t_xyz"]


def _metadata(folder: Path) -> dict[str, Any]:
    if not (folder / "metadata.json").is_file():
        return {}
    stored = read_json(folder / "metadata.json")
    return {key: str(stored[key]) for key in ("headset", "recording_name", "gt_available_status") if key in stored}


HOT3D = Dataset(
    name="hot3d",
    title="HOT3D",
    find=lambda folder: sorted(folder.rglob("mano_hand_pose_trajectory.jsonl")),
    read=read_hot3d,
    needs="<P####_hash>/mano_hand_pose_trajectory.jsonl",
    licence="HOT3D dataset licence (the tools are Apache-2.0)",
    hands="MANO, 15 PCA coefficients, world, 30 fps",
    mano="needed",
    rules="PCA F- C1, left mirrored",
    met="layout decoded from public sample files, no whole set met",
    certainty="high",
    left_shapedirs="mirrored",
    limits="Thumbs of the first release (v1) are wrong; the files do not say their version.",
)
