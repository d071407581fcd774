"""TACO: tool, action and object triplets, two hands.

Rules: F+, C2 (the loader centres the wrist), a world of its own each recording date. Wrists are stored, so that no MANO
files are needed. `<side>_hand_shape.pkl` may be missing: the mean shape. Of the authors' split file, lines of
`<date_nnn>,train` and `test_1` to `test_4`, the four are test, and which one is an attribute.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, HandRecording, Narration
from hiw_data.sources.mano_rules import SIDES
from hiw_data.sources.plain_files import numbers, read_pickle

FPS = 30.0
SPLIT_FILES = "*train_test_split.txt"
PARTS = ("train", "test_1", "test_2", "test_3", "test_4")
"""Of the authors' split: test_1 to test_4 show more and more of what train lacks."""


def read_taco(path: Path, context: Context) -> Iterator[HandRecording]:
    """The sequence in one folder of hand poses."""
    stored = [_hand(path / f"{side}_hand.pkl") for side in SIDES]
    keys = sorted({key for hand in stored for key in hand}, key=lambda key: (len(str(key)), str(key)))
    row_of = {key: row for row, key in enumerate(keys)}
    triplet = [word.strip() for word in path.parent.name.strip("() ").split(",")]
    part = _parts(context.folder).get(path.name, "")
    recording = HandRecording.empty(
        f"{path.parent.name}/{path.name}",
        context.fps or FPS,
        len(keys),
        split=part.partition("_")[0],
        narrations=(Narration(_sentence(triplet), "taco folder name", label=True),),
        group=None if part else path.name.split("_")[0],
        attributes={"date": path.name.split("_")[0], "triplet": ", ".join(triplet)} | ({"part": part} if part else {}),
    )
    for side, hand in enumerate(stored):
        if not hand:
            continue
        shape = path / f"{SIDES[side]}_hand_shape.pkl"
        betas = numbers(read_pickle(shape)["hand_shape"]).reshape(-1)[:10] if shape.is_file() else np.zeros(10)
        pose = np.stack([numbers(value["hand_pose"]).reshape(48) for value in hand.values()])
        wrist = np.stack([numbers(value["hand_trans"]).reshape(3) for value in hand.values()])
        at = np.array([row_of[key] for key in hand])
        recording.put_rows(side, at, pose[:, :3], pose[:, 3:].reshape(-1, 15, 3), wrist, betas=betas)
    yield recording


def _parts(folder: Path) -> dict[str, str]:
    """What the authors' split file, in the dataset's folder or its `data_lists`, says of each sequence."""
    found = [path for place in (folder, folder / "data_lists") for path in sorted(place.glob(SPLIT_FILES))]
    if not found:
        return {}
    rows = [line.partition(",") for line in found[-1].read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    parts = {name.strip(): part.strip() for name, _, part in rows}
    if wrong := sorted(set(parts.values()) - set(PARTS)):
        raise ValueError(f"parts {', '.join(wrong)} in {found[-1].name} instead of {', '.join(PARTS)}")
    return parts


def _hand(path: Path) -> dict:
    stored = read_pickle(path) if path.is_file() else {}
    if not isinstance(stored, dict):
        raise TypeError(f"a {type(stored).__name__} instead of a dict in {path.name}")
    return stored


def _sentence(triplet: list[str]) -> str:
    """(stir, spoon, bowl): action, tool, object."""
    if len(triplet) != 3:
        return " ".join(triplet)
    action, tool, thing = triplet
    return f"{action} the {thing} with the {tool}"


TACO = Dataset(
    name="taco",
    title="TACO",
    find=lambda folder: sorted({path.parent for path in folder.rglob("*_hand.pkl")}),
    read=read_taco,
    needs="Hand_Poses/<triplet>/<date_nnn>/{left,right}_hand.pkl and _hand_shape.pkl; data_lists/*_split.txt if known",
    licence="CC BY 4.0",
    hands="MANO, wrist positions, a world of each date, 30 fps (not stated)",
    mano="optional",
    rules="F+ C2, left as shipped",
    met=LAYOUT_ONLY,
    certainty="medium",
    limits="The mean pose follows from the loader's default. Directions of the worlds' axes differ.",
)
