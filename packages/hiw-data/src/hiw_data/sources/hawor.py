"""HaWoR's output folders and the released CLUTCH code's motion dicts.

Rules: F+, C1, left shape components mirrored. HaWoR sets its `valid` to 1 where its infiller closed a gap; which frames
were observed stands in `cam_space/{0,1}/<first>_<last>.json` beside the file, and is used where those are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from hand_geometry.exporting.released import HAWOR_FPS, load_released

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import rows, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_json, read_pickle


def read_hawor(path: Path, context: Context) -> Iterator[HandRecording]:
    """The recording in one `world_space_res.pth`."""
    recording = _read(path, context, _betas_by_frame(path))
    seen = observed_frames(path.parent / "cam_space", len(recording.valid))
    notes = () if seen is not None else ("no cam_space beside it, so frames that HaWoR filled in count as seen",)
    valid = recording.valid if seen is None else recording.valid & seen
    name = path.parent.relative_to(context.folder).as_posix()
    yield replace(recording, name=name if name != "." else path.parent.name, valid=valid, notes=notes)


def read_clutch(path: Path, context: Context) -> Iterator[HandRecording]:
    """The recording in one `mano_smoothened*.npy` of the released code; its betas are zero."""
    recording = _read(path, context, None)
    stored = [read_json(beside) for beside in sorted(path.parent.glob("*.json"))]
    summaries = [str(value["summary"]) for value in stored if isinstance(value, dict) and "summary" in value]
    words = tuple(Narration(text, "clutch summary") for text in summaries)
    yield replace(recording, name=context.stem(path), narrations=words)


def observed_frames(folder: Path, frames: int) -> np.ndarray | None:
    """Frames that HaWoR observed, from its chunks in the camera's frame.

    Args:
        folder: `cam_space`, with the folders 0 (left) and 1 (right).
        frames: how many there are.

    Returns:
        (frames, 2) bool, or None if there is no such folder.
    """
    if not folder.is_dir():
        return None
    seen = np.zeros((frames, 2), bool)
    for side in range(2):
        for chunk in sorted((folder / str(side)).glob("*_*.json")):
            first = int(chunk.stem.split("_")[0])
            count = numbers(read_json(chunk)["init_trans"], 1, None, 3).shape[1]
            seen[first : first + count, side] = True
    return seen


def _betas_by_frame(path: Path) -> np.ndarray:
    return numbers(read_pickle(path)[3], 2, None, None)


def _read(path: Path, context: Context, betas: np.ndarray | None) -> HandRecording:
    motion = load_released(path, fps=context.fps or HAWOR_FPS)
    hands, frames = context.hands(), len(motion["valid"])
    recording = HandRecording.empty("", motion["fps"], frames)
    for side in range(2):
        shape = np.zeros((frames, 10)) if betas is None else rows(betas[side], frames, betas.shape[-1])
        wrist = wrist_of_transl(motion["transl"][:, side], hands.rest_wrist(side, np.nan_to_num(shape)))
        orient, pose = motion["global_orient"][:, side], motion["hand_pose"][:, side]
        mean = None if betas is None else motion["betas"][side]
        recording.put(side, orient, pose, wrist, motion["valid"][:, side], mean)
    return recording


HAWOR = Dataset(
    name="hawor",
    title="HaWoR results",
    find=lambda folder: sorted(folder.rglob("world_space_res.pt[h]")),  # as a pattern it finds broken links, too
    read=read_hawor,
    needs="<video>/world_space_res.pth, and cam_space/ beside it",
    licence="not stated; HaWoR's code is CC BY-NC-ND 4.0",
    hands="MANO in the world of the first camera (OpenCV axes, not turned upright), 30 fps",
    axes="camera",
    mano="needed",
    rules="F+ C1, left mirrored",
    met=LAYOUT_ONLY,
    certainty="high",
    left_shapedirs="mirrored",
    limits="Tracked from video by a model; scale and gravity are estimates.",
)

CLUTCH = Dataset(
    name="clutch",
    title="Motion of the released CLUTCH code",
    find=lambda folder: sorted(folder.rglob("mano_smoothened*.npy")),
    read=read_clutch,
    needs="<sequence>/mano_smoothened*.npy, and a .json with `summary` beside it",
    licence="not stated",
    hands="MANO, no betas and no validity, 30 fps",
    axes="camera",
    mano="needed",
    rules="F+ C1, betas zero",
    met="layout from the released loader, which published no data",
    certainty="medium",
    left_shapedirs="mirrored",
)
