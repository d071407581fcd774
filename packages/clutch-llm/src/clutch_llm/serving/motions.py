"""The motions that the service has made and still keeps, and what can be asked of them: joints, claims, files."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hand_geometry import features_to_joints
from hand_geometry.codes import evaluate, parse_claim

from clutch_llm.motion_files import write_motions
from clutch_llm.planning import codes_of

if TYPE_CHECKING:
    from clutch_llm.clutch import Motion

#: Formats of downloads with their media types.
MEDIA_TYPES = {
    "glb": "model/gltf-binary",
    "bvh": "text/plain; charset=utf-8",
    "npz": "application/octet-stream",
    "mp4": "video/mp4",
}


@dataclass
class Kept:
    """A motion with what it was made of.

    Attributes:
        text: what was asked for.
        seed: seed of its sampling.
        sample: its number among the samples.
        motion: as `Clutch.generate` gives it.
        id: by which it is asked for; it cannot be guessed.
    """

    text: str
    seed: int
    sample: int
    motion: Motion
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    @property
    def frames(self) -> int:
        """Frames."""
        return len(self.motion["features"])

    def facts(self) -> dict[str, Any]:
        """What the service says of it."""
        fps = float(self.motion["fps"])
        facts = {"id": self.id, "text": self.text, "seed": self.seed, "sample": self.sample, "fps": fps,
                 "frames": self.frames, "seconds": self.frames / fps}  # fmt: skip
        return facts | {name: self.motion[name] for name in ("plan", "score") if name in self.motion}


class Shelf:
    """The last motions, by id; safe to use from several threads."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._motions: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._motions)

    def put(self, kept: Kept) -> Kept:
        """Keep a motion; past the room the oldest is dropped."""
        with self._lock:
            self._motions[kept.id] = kept
            while len(self._motions) > self.room:
                self._motions.popitem(last=False)
        return kept

    def get(self, name: str) -> Kept | None:
        """The motion of an id, which counts as new again; None where there is none any more."""
        with self._lock:
            kept = self._motions.get(name)
            if kept is not None:
                self._motions.move_to_end(name)
            return kept


def joints_of(features: np.ndarray) -> list[Any]:
    """Joints (T, 2, 21, 3) in metres, as nested lists of numbers to a tenth of a millimetre."""
    with torch.inference_mode():
        joints = features_to_joints(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)))
    rounded: list[Any] = np.round(joints.numpy().astype(np.float64), 4).tolist()
    return rounded


def claims_of(motion: Motion) -> dict[str, list[dict[str, str]]]:
    """What a motion set out to do and whether it does, and all that is measured on it.

    Returns:
        ``asked``: each claim of its plan with the verdict "fulfilled", "contradicted" or "not measurable" (empty for
        a model without plans); ``measured``: the claims of its motion codes.
    """
    codes = codes_of([motion])[0]
    asked = [
        {"claim": claim, "verdict": evaluate(parse_claim(claim), codes).status} for claim in motion.get("plan") or ()
    ]
    return {"asked": asked, "measured": [{"claim": str(claim)} for claim in codes.claims()]}


def file_of(kept: Kept, suffix: str) -> bytes:
    """The motion as a file of one of `MEDIA_TYPES`."""
    with tempfile.TemporaryDirectory(prefix="clutch-") as folder:
        (path,) = write_motions(Path(folder) / f"motion.{suffix}", [kept.text], [[kept.motion]])
        return path.read_bytes()


def joined(motions: Sequence[Motion], transition: int) -> np.ndarray:
    """Motions one after the other, each moved to where the hands are, with frames in between that lead over.

    The frames in between are drawn straight between the two, which `features_to_params` makes proper rotations.

    Args:
        motions: at least one, of one rate.
        transition: frames between two.

    Returns:
        Features (T, 198).
    """
    made = np.array(motions[0]["features"], dtype=np.float32)
    wrists = np.r_[96:99, 195:198]
    for motion in motions[1:]:
        following = np.array(motion["features"], dtype=np.float32)
        shift = made[-1, wrists].reshape(2, 3).mean(0) - following[0, wrists].reshape(2, 3).mean(0)
        following[:, wrists] += np.tile(shift, 2)
        share = np.linspace(0, 1, transition + 2, dtype=np.float32)[1:-1, None]
        share = share * share * (3 - 2 * share)
        made = np.concatenate([made, (1 - share) * made[-1] + share * following[0], following])
    return made
