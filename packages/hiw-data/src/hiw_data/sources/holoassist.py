"""HoloAssist: joints of both hands from HoloLens 2, `Export_py/Hands/{Left,Right}_sync.txt`, and its annotation file.

Each line: leading columns (their number follows from its length), 26 joint poses as 4 x 4 matrices row by row, 26 flags
valid, 26 flags tracked. World frame of the HoloLens. A joint counts as seen where it is valid and finite.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, KeypointRecording, Narration
from hiw_data.sources.mano_rules import SIDES
from hiw_data.sources.plain_files import read_json

FPS = 30.0
JOINTS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25)
"""Of HoloLens' 26 (palm, wrist, thumb x 4, fingers x 5), in OpenPose order: fingers without their metacarpals."""

_TICKS = 1e7
_YEAR_ONE = 1e17
"""100 ns ticks since year 1 are larger."""


def read_holoassist(path: Path, context: Context) -> Iterator[KeypointRecording]:
    """The session whose folder Export_py/Hands holds the two files."""
    hands = [_hand(path.parent / f"{side.title()}_sync.txt") for side in SIDES]
    frames = min(len(points) for points, _, _ in hands)
    keypoints = np.stack([points[:frames] for points, _, _ in hands], 1)
    seen = np.stack([flags[:frames] for _, flags, _ in hands], 1)
    fps = context.fps or hands[0][2] or FPS
    session = path.parents[2].name
    yield KeypointRecording(
        path.parents[2].relative_to(context.folder).as_posix() if path.parents[2] != context.folder else session,
        fps,
        np.where(seen[..., None], keypoints, 0),
        seen,
        narrations=tuple(_narrations(context.folder, session, fps, frames)),
        group=session,
        attributes={"session": session},
    )


def _hand(path: Path) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Keypoints (T, 21, 3), seen (T, 21), and the rate if a leading column tells the time."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    table = np.array([[float(x) for x in line] for line in lines])
    if table.ndim != 2 or table.shape[1] < 468:
        raise ValueError(f"lines of {table.shape[1:]} numbers instead of at least 468")
    lead = table.shape[1] - 468
    poses = table[:, lead : lead + 416].reshape(-1, 26, 4, 4)
    flags = table[:, lead + 416 : lead + 442] > 0
    points = poses[..., :3, 3][:, list(JOINTS)]
    times = next(
        (c for c in table[:, :lead].T if len(c) > 1 and (c > _YEAR_ONE).all() and (np.diff(c) > 0).all()), None
    )
    rate = None if times is None else float(_TICKS / np.median(np.diff(times)))
    return points, flags[:, list(JOINTS)] & np.isfinite(points).all(-1), rate


def _narrations(folder: Path, session: str, fps: float, frames: int) -> Iterator[Narration]:
    for video in _annotations(folder):
        if video.get("video_name") != session:
            continue
        for event in video.get("events", ()):
            text, maker = _sentence(event)
            start, end = (round(float(event[key]) * fps) for key in ("start", "end"))
            if text and start < frames:
                yield Narration(text, maker, start, max(end, start + 1))


def _sentence(event: Any) -> tuple[str, str]:
    kind, told = str(event.get("label", "")), event.get("attributes") or {}
    for key in ("Action sentence", "Long form description"):
        if told.get(key):
            return str(told[key]), f"holoassist {kind}"
    verb, noun = (str(told.get(key, "")) for key in ("Verb", "Noun"))
    return (f"{verb} {noun}".replace("_", " ").strip(), f"holoassist {kind}") if verb and verb != "none" else ("", kind)


@lru_cache(maxsize=2)
def _annotations(folder: Path) -> tuple[Any, ...]:
    found = sorted(folder.glob("data-annotation*.json"))
    return tuple(video for path in found for video in read_json(path))


HOLOASSIST = Dataset(
    name="holoassist",
    title="HoloAssist",
    find=lambda folder: sorted(folder.rglob("Export_py/Hands/Left_sync.txt")),
    read=read_holoassist,
    needs="<session>/Export_py/Hands/{Left,Right}_sync.txt, and data-annotation*.json",
    licence="CDLA-Permissive-2.0",
    hands="21 of 26 joints a hand, fitted to the open hand; HoloLens world, as many a second as the video",
    mano="not used",
    rules="fitted",
    met=LAYOUT_ONLY,
    certainty="low",
    limits="The number of leading columns differs between releases and is taken from the lines' length.",
)
