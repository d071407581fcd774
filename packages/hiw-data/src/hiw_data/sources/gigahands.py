"""GigaHands: two-handed activities in a cube of cameras, with five sentences a segment.

Rules: F-, C3 (EasyMocap turns a hand about its template's origin), left shape components as shipped. The rows of
`params` are the sorted union of `chosen_frames_left.json` and `chosen_frames_right.json`; a hand whose list lacks a
frame was not seen in it. Frames that neither has are not seen either.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import SIDES, add_mean, rows, wrist_of_origin_transl
from hiw_data.sources.plain_files import numbers, read_json, read_json_lines

FPS = 30.0


def read_gigahands(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence in one params/<seq>.json: one recording an annotated segment, or the whole."""
    scene, sequence = path.parents[1].name, path.stem
    whole = _whole(path, scene, sequence, context)
    segments = _annotations(context.folder).get((scene, sequence), ())
    if not segments:
        yield whole
    frames = len(whole.valid)
    for number, row in enumerate(segments):
        if str(row.get("clarify_annotation", "")).strip().lower() in ("none", "buggy"):
            continue
        start, last = int(row["start_frame_id"]), int(row["end_frame_id"])
        end = frames if last < 0 else min(last + 1, frames)
        words = tuple(
            Narration(str(text), f"gigahands {key}")
            for key in ("clarify_annotation", "rewritten_annotation")
            for text in ([row[key]] if isinstance(row.get(key), str) else row.get(key) or ())
        )
        if whole.valid[max(start, 0) : end].any():
            yield whole.cut(f"{whole.name}/{number:03d}", start, end, words)


def _whole(path: Path, scene: str, sequence: str, context: Context) -> HandRecording:
    stored, hands = read_json(path), context.hands()
    folder = path.parents[1] / "keypoints_3d" / sequence
    chosen = [_frames(folder / f"chosen_frames_{side}.json") for side in SIDES]
    union = sorted(set(chosen[0]) | set(chosen[1]))
    if not union:
        raise ValueError("no chosen frames of either hand")
    recording = HandRecording.empty(
        f"{scene}/{sequence}",
        context.fps or FPS,
        union[-1] + 1,
        group=scene,
        attributes={"scene": scene, "sequence": sequence},
    )
    for side, name in enumerate(SIDES):
        if not chosen[side]:
            continue
        hand = stored[name]
        orient = numbers(hand["Rh"], len(union), 3)
        betas = rows(hand["shapes"], len(union), 10)
        pose = add_mean(numbers(hand["poses"], len(union), 48)[:, 3:], hands[side].hands_mean)
        rest = hands.rest_wrist(side, betas)
        wrist = wrist_of_origin_transl(orient, numbers(hand["Th"], len(union), 3), rest)
        seen = np.isin(union, chosen[side])
        recording.put_rows(side, union, orient, pose, wrist, valid=seen, betas=betas[seen].mean(0))
    return recording


def _frames(path: Path) -> list[int]:
    frames = [int(frame) for frame in read_json(path)]
    if frames and not 0 <= min(frames) <= max(frames) < 10_000_000:
        raise ValueError(f"frames {min(frames)} to {max(frames)} in {path.name}")
    return frames


@lru_cache(maxsize=2)
def _annotations(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The rows of annotations_v2.jsonl by scene and sequence."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    path = next((p for p in (folder, folder.parent) if (p / "annotations_v2.jsonl").is_file()), None)
    for row in read_json_lines(path / "annotations_v2.jsonl") if path is not None else ():
        named = row["sequence"]
        for sequence in named if isinstance(named, list) else [named]:
            rows.setdefault((str(row["scene"]), str(sequence)), []).append(row)
    return rows


GIGAHANDS = Dataset(
    name="gigahands",
    title="GigaHands",
    find=lambda folder: sorted(folder.rglob("params/*.json")),
    read=read_gigahands,
    needs="hand_poses/p<id>-<scene>/{params,keypoints_3d}/<seq>..., annotations_v2.jsonl",
    licence="CC BY-NC 4.0",
    hands="MANO by EasyMocap, a cube of 1 m, 30 fps (not stated)",
    mano="needed",
    rules="F- C3, left as shipped",
    met=LAYOUT_ONLY,
    certainty="medium",
    limits="C3 follows from EasyMocap's code. Segments are taken to count video frames, which is not certain.",
)
