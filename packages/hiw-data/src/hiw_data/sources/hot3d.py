"""HOT3D: hands and objects from Aria and Quest 3 headsets; sequences' `.jsonl` trajectories, and HOT3D-Clips' `.tar`.

Rules: PCA 15, F-, C1 (`wrist_xform` is smplx's orientation and translation, not where the wrist is), left shape
components mirrored. Aria files hold two lines 0.09 ms apart a frame, of which one is kept. Archives of clips are read
entry by entry and never unpacked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import Context, Dataset, HandRecording
from hiw_data.sources.mano_rules import SIDES, axis_angle_of_quaternions, from_pca, wrist_of_transl
from hiw_data.sources.plain_files import numbers, parse_json, read_json, read_json_lines

CLIP_FPS = 30.0
"""150 frames of a clip are 5 seconds."""

_SAME_FRAME_NS = 2_000_000
_SHAPES = "__hand_shapes.json__"
_MOST_BYTES = 1 << 24
_KNOWN = {"recording_name": "sequence_id", "headset": "device"}
_NO_DEFINITIONS = "clip_definitions.json was not there, so clips of one person are not kept in one split"


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


def read_hot3d_clip(path: Path, context: Context) -> Iterator[HandRecording]:
    """The clip in one `clip-<id>.tar`: `<frame>.hands.json` of every frame, `__hand_shapes.json__` for all."""
    frames, shapes = _clip_entries(path)
    if not any(frames.values()) or shapes is None:
        raise ValueError("no poses and shapes of hands (test clips come without)")
    hands, known = context.hands(), _definition(path)
    participant = str(known["sequence_id"]).split("_")[0] if "sequence_id" in known else None
    recording = HandRecording.empty(
        context.stem(path),
        context.fps or CLIP_FPS,
        max(frames) - min(frames) + 1,
        group=participant,
        attributes={name: str(known[key]) for name, key in _KNOWN.items() if key in known},
        notes=() if participant else (_NO_DEFINITIONS,),
    )
    betas = numbers(shapes["mano"], 10)
    for side, name in enumerate(SIDES):
        rows = [(frame - min(frames), hand[name]["mano_pose"]) for frame, hand in frames.items() if hand.get(name)]
        if not rows:
            continue
        xform = numbers([pose["wrist_xform"] for _, pose in rows], None, 6)
        thetas = numbers([pose["thetas"] for _, pose in rows], None, None)
        wrist = wrist_of_transl(xform[:, 3:], hands.rest_wrist(side, np.repeat(betas[None], len(rows), 0)))
        pose = from_pca(thetas, hands[side].hands_components, hands[side].hands_mean)
        recording.put_rows(side, np.array([frame for frame, _ in rows]), xform[:, :3], pose, wrist, betas=betas)
    yield recording


def _clip_entries(path: Path) -> tuple[dict[int, dict[str, Any]], Any]:
    """Hands by frame, in order, of every frame that has an entry; shapes, or None."""
    frames: dict[int, dict[str, Any]] = {}
    shapes = None
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                number, _, kind = entry.name.partition(".")
                if not entry.isreg() or not (kind in ("hands.json", "info.json") or entry.name == _SHAPES):
                    continue
                content = archive.extractfile(entry)
                if content is None or entry.size > _MOST_BYTES:
                    raise ValueError(f"{entry.name} of {entry.size} bytes")
                value = parse_json(content.read().decode("utf-8"))
                if entry.name == _SHAPES:
                    shapes = value
                else:
                    frames.setdefault(int(number), {}).update(value if kind == "hands.json" else {})
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"a broken .tar ({error})") from error
    return dict(sorted(frames.items())), shapes


def _definition(path: Path) -> dict[str, Any]:
    """What `clip_definitions.json`, beside the clips or above them, says of a clip."""
    for folder in (path.parent, path.parent.parent):
        if (folder / "clip_definitions.json").is_file():
            known = read_json(folder / "clip_definitions.json").get(str(int(path.stem.rpartition("-")[2])), {})
            return known if isinstance(known, dict) else {}
    return {}


def _read(path: Path, context: Context) -> Iterator[HandRecording]:
    return read_hot3d_clip(path, context) if path.suffix == ".tar" else read_hot3d(path, context)


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
    find=lambda folder: sorted([*folder.rglob("mano_hand_pose_trajectory.jsonl"), *folder.rglob("clip-*.tar")]),
    read=_read,
    needs="<P####_hash>/mano_hand_pose_trajectory.jsonl, or clip-<id>.tar with clip_definitions.json above",
    licence="HOT3D dataset licence (the tools are Apache-2.0)",
    hands="MANO, 15 PCA coefficients, world, 30 fps",
    mano="needed",
    rules="PCA F- C1, left mirrored",
    met="layout decoded from public sample files, no whole set met",
    certainty="high",
    left_shapedirs="mirrored",
    limits="Thumbs of the first release (v1) are wrong; the files do not say their version.",
)
