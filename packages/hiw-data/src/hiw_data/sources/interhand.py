"""InterHand2.6M with NeuralAnnot's MANO parameters, one JSON a split.

Rules: F-, C1, left shape components mirrored. Capture ids begin anew in every split. The MANO file does not tell which
sequence a frame is of; `..._data.json` beside it does, where it is there. Without it a capture is cut where frame
numbers jump.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import SIDES, add_mean, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_json

FPS = 5.0
_JUMP = 5
"""Strides that are a new sequence."""


def read_interhand(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequences of one split."""
    split = path.name.removeprefix("InterHand2.6M_").split("_")[0]
    sequences = _sequence_names(path.with_name(f"InterHand2.6M_{split}_data.json"))
    note = f"it holds no frame rate; {FPS:g} fps was assumed, say `fps` if it is of the release of 30"
    for capture, frames in read_json(path).items():
        for name, ids in _runs(capture, sorted(int(frame) for frame in frames), sequences):
            stride = int(np.median(np.diff(ids))) if len(ids) > 1 else 1
            rows = np.round((np.array(ids) - ids[0]) / stride).astype(int)
            recording = HandRecording.empty(
                f"{split}/Capture{capture}/{name or f'frame{ids[0]}'}",
                context.fps or FPS,
                int(rows[-1]) + 1,
                group=f"{split}/Capture{capture}",
                split=split if split in ("train", "val", "test") else "",
                narrations=(Narration(_words(name), "interhand sequence name", label=True),) if name else (),
                attributes={"capture": str(capture), "first_frame": ids[0]},
                notes=() if context.fps else (note,),
            )
            _put(recording, rows, [frames[str(frame)] or {} for frame in ids], context)
            yield recording


def _put(recording: HandRecording, rows: np.ndarray, found: list[Any], context: Context) -> None:
    hands = context.hands()
    for side, name in enumerate(SIDES):
        here = [k for k, both in enumerate(found) if both.get(name)]
        if not here:
            continue
        pose = numbers([found[k][name]["pose"] for k in here], None, 48)
        betas = numbers([found[k][name]["shape"] for k in here], None, 10)
        transl = numbers([found[k][name]["trans"] for k in here], None, 3)
        recording.put_rows(
            side,
            rows[here],
            pose[:, :3],
            add_mean(pose[:, 3:], hands[side].hands_mean),
            wrist_of_transl(transl, hands.rest_wrist(side, betas)),
            betas=betas.mean(0),
        )


def _runs(
    capture: str, ids: list[int], sequences: dict[tuple[str, int], str] | None
) -> Iterator[tuple[str, list[int]]]:
    """Sequences of frames, with their names if they are known."""
    if sequences is not None:
        by_name: dict[str, list[int]] = {}
        for frame in ids:
            by_name.setdefault(sequences.get((str(capture), frame), ""), []).append(frame)
        yield from by_name.items()
        return
    stride = float(np.median(np.diff(ids))) if len(ids) > 1 else 1.0
    cuts = np.flatnonzero(np.diff(ids) > _JUMP * stride) + 1
    for run in np.split(np.array(ids), cuts):
        yield "", run.tolist()


def _sequence_names(path: Path) -> dict[tuple[str, int], str] | None:
    """The sequence's name of each capture's frame."""
    if not path.is_file():
        return None
    return {(str(i["capture"]), int(i["frame_idx"])): str(i["seq_name"]) for i in read_json(path)["images"]}


def _words(name: str) -> str:
    """`0266_dh_pray` -> "pray, both hands"."""
    parts = name.split("_")
    rest = " ".join(part for part in parts if not part.isdigit() and part not in ("dh", "lh", "rh", "ROM", "RT", "LT"))
    who = {"dh": "both hands", "lh": "left hand", "rh": "right hand"}
    return ", ".join([rest or name, *(who[part] for part in parts if part in who)])


INTERHAND = Dataset(
    name="interhand",
    title="InterHand2.6M (NeuralAnnot)",
    find=lambda folder: sorted(folder.rglob("InterHand2.6M_*_MANO_NeuralAnnot.json")),
    read=read_interhand,
    needs="annotations/<split>/InterHand2.6M_<split>_MANO_NeuralAnnot.json, and _data.json beside it",
    licence="CC BY-NC 4.0",
    hands="MANO, capture world, 5 or 30 fps",
    mano="needed",
    rules="F- C1, left mirrored",
    met=LAYOUT_ONLY,
    certainty="high",
    left_shapedirs="mirrored",
    limits="Fitted with an error of about 5 mm. Which stride the keys of a release have is not stated. "
    "A split's JSON is held in memory.",
)
