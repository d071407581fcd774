"""Recordings of a Leap Motion controller, as leapjs-playback saves them: JSON, or LZString of it in Base64 (.json.lz).

Millimetres, y up, z to the person; turned to y down, z forward. The wrist is not in these files, and stays hidden in
the fit. Frames are dictionaries, or arrays packed after a first row that names their entries. Dropped samples (gaps of
at most 0.05 s) are bridged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.errors import SourceError
from hiw_data.sources.hand_recording import Context, Dataset, KeypointRecording, Narration
from hiw_data.sources.mano_rules import SIDES
from hiw_data.sources.plain_files import parse_json
from hiw_data.sources.time_grid import bridge_dropped, time_grid

_TO_METRES = np.array([0.001, -0.001, -0.001])
"""Millimetres with y up and z to the person, to x right, y down, z forward."""

_JOINTS = ("mcpPosition", "pipPosition", "dipPosition", "tipPosition")


def read_leap(path: Path, context: Context) -> Iterator[KeypointRecording]:
    """The recording in one file."""
    stored = parse_json(_decompressed(path) if path.suffix == ".lz" else path.read_text(encoding="utf-8-sig"))
    metadata = stored.get("metadata") or {}
    frames = _unpacked(stored["frames"])
    rows, fps = time_grid([float(frame["timestamp"]) for frame in frames], 1e6)
    keypoints, seen = np.zeros((rows[-1] + 1, 2, 21, 3)), np.zeros((rows[-1] + 1, 2, 21), bool)
    presence = Counter((hand["type"], hand["id"]) for frame in frames for hand in frame["hands"])
    shown = {kind: number for (kind, number), _ in presence.most_common()[::-1]}  # of a side, the one seen most
    for row, frame in zip(rows, frames, strict=True):
        for side, kind in enumerate(SIDES):
            for finger in frame["pointables"]:
                if kind in shown and finger.get("handId") == shown[kind] and not finger.get("tool"):
                    first = 1 + 4 * int(finger["type"])
                    for k, joint in enumerate(_JOINTS):
                        keypoints[row, side, first + k] = np.asarray(finger[joint], float) * _TO_METRES
                        seen[row, side, first + k] = True
    seen &= np.isfinite(keypoints).all(-1)
    bridge_dropped(keypoints, seen, rows, fps)
    words = [(metadata.get("description"), "leap description", False), (metadata.get("title"), "leap title", True)]
    words.append((_stem(path), "leap file name", True))
    told = [Narration(str(text), maker, label=label) for text, maker, label in words if text]
    yield KeypointRecording(
        context.stem(path).removesuffix(".json"),
        fps,
        np.where(seen[..., None], keypoints, 0),
        seen,
        narrations=tuple(told[:1]),
        attributes={"device": "Leap Motion"},
    )


def _stem(path: Path) -> str:
    return path.name.split(".json")[0].replace("-", " ").replace("_", " ")


def _decompressed(path: Path) -> str:
    try:
        from lzstring import LZString
    except ImportError as error:
        raise SourceError(
            "Expected the package lzstring to read .json.lz files, got none. Do `pip install 'hiw-data[leap]'`."
        ) from error
    text = LZString().decompressFromBase64(path.read_text(encoding="ascii"))
    if not text:
        raise ValueError("no LZString in Base64")
    return str(text)


def _unpacked(frames: list[Any]) -> list[dict[str, Any]]:
    """Frames as dictionaries."""
    if frames and isinstance(frames[0], list):
        return [_unpack(frames[0], frame) for frame in frames[1:]]
    return frames


def _unpack(names: list[Any], values: list[Any]) -> Any:
    """Values by the structure that the first row tells: a name, {name: [names]}, or {name: [[names]]} of many."""
    if len(names) == 1 and isinstance(names[0], list):
        return [_unpack(names[0], value) for value in values]
    out: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        if isinstance(name, dict):
            ((key, inner),) = name.items()
            out[key] = _unpack(inner, value)
        else:
            out[name] = value
    return out


def _find(folder: Path) -> list[Path]:
    return sorted({*folder.rglob("*.json.lz"), *folder.rglob("*.json")})


LEAP = Dataset(
    name="leap",
    title="Leap Motion recordings",
    find=_find,
    read=read_leap,
    needs="*.json or *.json.lz of leapjs-playback",
    licence="yours, or of whom you have them from",
    hands="20 joints a hand without the wrist, fitted to the open hand; 37 to 115 fps",
    axes="camera",
    mano="not used",
    rules="fitted, wrist hidden",
    met="real files of leapjs-playback, one and two hands; packed frames from the public player's code alone",
    certainty="high",
    extra="leap",
    limits="The device guesses hidden fingers; the wrist is what the fit makes of the fingers.",
)
