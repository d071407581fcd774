"""OakInk2: long tasks of two hands, motion capture at 120 Hz, segments described one by one.

Rules: F+, C2 (`tsl` is the wrist), rotations as quaternions w, x, y, z, wrist first. Wrists are stored, so that no MANO
files are needed. Intervals of `desc_info` are half-open over the mocap frames, one for each hand; None is a hand that
does not take part.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import axis_angle_of_quaternions
from hiw_data.sources.plain_files import numbers, read_json, read_pickle

FPS = 120.0


def read_oakink2(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence of one annotation: one recording a described segment, or the whole."""
    stored = read_pickle(path)
    ids = [int(frame) for frame in stored["mocap_frame_id_list"]]
    hands, name = stored["raw_mano"], path.stem
    whole = HandRecording.empty(
        name, context.fps or FPS, len(ids), group=name.split("++")[0], attributes={"scene": name.split("++")[0]}
    )
    for side, key in enumerate(("lh", "rh")):
        rows = [
            (row, hands[frame]) for row, frame in enumerate(ids) if hands.get(frame, {}).get(f"{key}__tsl") is not None
        ]
        if not rows:
            continue
        quaternions = np.stack([numbers(hand[f"{key}__pose_coeffs"]).reshape(16, 4) for _, hand in rows])
        wrist = np.stack([numbers(hand[f"{key}__tsl"]).reshape(3) for _, hand in rows])
        betas = np.stack([numbers(hand[f"{key}__betas"]).reshape(-1)[:10] for _, hand in rows])
        turns = axis_angle_of_quaternions(quaternions)
        whole.put_rows(side, [row for row, _ in rows], turns[:, 0], turns[:, 1:], wrist, betas=betas.mean(0))
    segments = list(_segments(context.folder, name))
    if not segments:
        yield whole
    for number, (start, end, text) in enumerate(segments):
        if whole.valid[start:end].any():
            yield whole.cut(f"{name}/{number:02d}", start, end, (Narration(text, "oakink2 desc_info"),))


def _segments(folder: Path, name: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and description of each segment."""
    for root in (folder, folder.parent):
        path = root / "program/desc_info" / f"{name}.json"
        if path.is_file():
            for key, value in read_json(path).items():
                spans = [span for span in _interval(key) if span is not None]
                text = str(value.get("seg_desc") or "") if isinstance(value, dict) else str(value)
                if spans and text.strip():
                    yield min(span[0] for span in spans), max(span[1] for span in spans), text
            return


def _interval(key: str) -> list[Any]:
    """The intervals of the left and the right hand in a key such as "((0, 120), None)"."""
    spans = ast.literal_eval(key)
    return [None if span is None else (int(span[0]), int(span[1])) for span in spans]


OAKINK2 = Dataset(
    name="oakink2",
    title="OakInk2",
    find=lambda folder: sorted(path for path in folder.rglob("*.pkl") if "++" in path.name),
    read=read_oakink2,
    needs="anno_preview/<scene>++<seq>.pkl, program/desc_info/<scene>++<seq>.json",
    licence="CC BY-NC-SA 3.0",
    hands="MANO, wrist positions, mocap world, 120 fps",
    mano="optional",
    rules="F+ C2 by quaternions, left as shipped (not verified)",
    met=LAYOUT_ONLY,
    certainty="high",
    limits="Which left shape components its betas were made with is not stated.",
)
