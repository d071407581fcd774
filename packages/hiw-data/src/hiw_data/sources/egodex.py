"""EgoDex: joints of both hands from Apple Vision Pro in HDF5, with a description an episode.

World frame of the session; the thumb has no metacarpal joint. A joint counts as seen where its confidence, if there is
one, is above zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import ClipError, SourceError
from hiw_data.sources.hand_recording import LAYOUT_ONLY, Context, Dataset, KeypointRecording, Narration
from hiw_data.sources.mano_rules import SIDES

FPS = 30.0
_THUMB = ("ThumbKnuckle", "ThumbIntermediateBase", "ThumbIntermediateTip", "ThumbTip")
_PARTS = ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")
_FINGERS = ("IndexFinger", "MiddleFinger", "RingFinger", "LittleFinger")
JOINTS = ("Hand", *_THUMB, *(finger + part for finger in _FINGERS for part in _PARTS))
"""In OpenPose order, each after `left` or `right`."""


def read_egodex(path: Path, context: Context) -> Iterator[KeypointRecording]:
    """The episode in one .hdf5."""
    try:
        import h5py
    except ImportError as error:
        raise SourceError(
            "Expected the package h5py to read .hdf5 files, got none. Do `pip install 'hiw-data[hdf5]'`."
        ) from error
    try:
        keypoints, seen, words = _read(h5py, path)
    except RuntimeError as error:  # what h5py says of a damaged file, beside OSError and KeyError
        raise ClipError(f"Expected a whole HDF5 file, got damage: {error}. Copy it again.") from error
    task = path.parent.name
    yield KeypointRecording(
        context.stem(path),
        context.fps or FPS,
        np.where(seen[..., None], keypoints, 0),
        seen,
        narrations=words or (Narration(task.replace("_", " "), "egodex task", label=True),),
        attributes={"task": task},
    )


def _read(h5py: Any, path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_], tuple[Narration, ...]]:
    """Keypoints (T, 2, 21, 3) in metres, where they are seen (T, 2, 21), and what is told."""
    with h5py.File(path, "r") as file:
        transforms, confidences = file["transforms"], file.get("confidences")
        places = [[np.asarray(transforms[side + joint][:, :3, 3], float) for joint in JOINTS] for side in SIDES]
        keypoints = np.stack([np.stack(hand, 1) for hand in places], 1)
        seen = np.isfinite(keypoints).all(-1)
        if confidences is not None:
            for s, side in enumerate(SIDES):
                for k, joint in enumerate(JOINTS):
                    if side + joint in confidences:
                        seen[:, s, k] &= np.asarray(confidences[side + joint][:], float) > 0
        return keypoints, seen, tuple(_words({key: file.attrs[key] for key in file.attrs}))


def _words(attributes: dict[str, Any]) -> Iterator[Narration]:
    """The description that holds: of reversible tasks there are two, and which is told."""
    texts = {key: _text(value) for key, value in attributes.items()}
    key = "llm_description2" if texts.get("which_llm_description") == "2" else "llm_description"
    for name in (key, "description"):
        if texts.get(name, "").strip():
            yield Narration(texts[name], f"egodex {name}")
            return


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


EGODEX = Dataset(
    name="egodex",
    title="EgoDex",
    find=lambda folder: sorted(folder.rglob("*.hdf5")),
    read=read_egodex,
    needs="<part>/<task>/<n>.hdf5",
    licence="CC BY-NC-ND 4.0",
    hands="21 of 25 joints a hand, fitted to the open hand; session world, 30 fps",
    mano="not used",
    rules="fitted",
    met=LAYOUT_ONLY,
    certainty="medium",
    extra="hdf5",
    limits="Directions of the world's axes are not stated; joints are a headset's, hidden ones guessed.",
)
