"""ARCTIC: two hands that use articulated objects.

Rules: F-, C1, left shape components as the official file ships them. Hands are in metres (object translations are not,
and are not read).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import SIDES, add_mean, rows, wrist_of_transl
from hiw_data.sources.plain_files import numbers, read_json, read_npy_object

FPS = 30.0


def read_arctic(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence in one `*.mano.npy`."""
    stored, hands = read_npy_object(path), context.hands()
    frames = len(numbers(stored["right"]["rot"], None, 3))
    subject, sequence = path.parent.name, path.name.removesuffix(".mano.npy")
    split = _splits(context.folder).get(f"{subject}/{sequence}", "")
    thing, action = [*sequence.split("_"), ""][:2]
    recording = HandRecording.empty(
        f"{subject}/{sequence}",
        context.fps or FPS,
        frames,
        group=None if split else subject,
        split=split,
        narrations=(Narration(f"{action} {thing}".strip(), "arctic file name", label=True),),
        attributes={"subject": subject, "object": thing, "action": action},
    )
    for side, name in enumerate(SIDES):
        hand = stored[name]
        betas = rows(hand["shape"], frames, 10)
        recording.put(
            side,
            numbers(hand["rot"], frames, 3),
            add_mean(numbers(hand["pose"], frames, 45), hands[side].hands_mean),
            wrist_of_transl(numbers(hand["trans"], frames, 3), hands.rest_wrist(side, betas)),
            np.ones(frames, bool),
            betas.mean(0),
        )
    yield recording


def _splits(folder: Path) -> dict[str, str]:
    """The split of each sequence by protocol 1, where its file is there."""
    for root in (folder, *folder.parents[:3]):
        path = root / "splits_json/protocol_p1.json"
        if path.is_file():
            stored = read_json(path)
            return {str(name): split for split in ("train", "val", "test") for name in stored.get(split, ())}
    return {}


ARCTIC = Dataset(
    name="arctic",
    title="ARCTIC",
    find=lambda folder: sorted(folder.rglob("*.mano.npy")),
    read=read_arctic,
    needs="raw_seqs/s01...s10/<object>_{grab,use}_<nn>.mano.npy",
    licence="MPI non-commercial licence",
    hands="MANO, Vicon world, 30 fps",
    mano="needed",
    rules="F- C1, left as shipped",
    met=LAYOUT_ONLY,
    certainty="high",
    limits="Which frames a hand was seen in is not stated; all count as seen.",
)
