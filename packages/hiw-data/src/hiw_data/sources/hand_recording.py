"""What a reader of a dataset hands over: one recording of two hands, as parameters or as keypoints, and its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry.sides import LeftShapedirs
from numpy.typing import NDArray

from hiw_data.clips import printable
from hiw_data.errors import ClipError
from hiw_data.sources.mano_rules import ManoHands

Array = NDArray[np.float64]

_LARGEST = 1e5
"""No number of a hand is as large, in any unit."""

MOTION_MAKER = "motion codes"
"""Maker of captions that were measured here."""


@dataclass(frozen=True)
class Narration:
    """Words about a recording.

    Attributes:
        text: the words.
        maker: who or what said them, such as "gigahands rewritten_annotation".
        start, end: frames that they are about, half-open; None for all of them.
        label: True for a name of an action or a file, which is no sentence.
    """

    text: str
    maker: str
    start: int | None = None
    end: int | None = None
    label: bool = False

    def about(self, start: int, end: int) -> bool:
        """Whether they are about some frame of start <= frame < end."""
        first = 0 if self.start is None else self.start
        return first < end and (self.end is None or start < self.end)


@dataclass(frozen=True)
class HandRecording:
    """MANO parameters of both hands over T frames, as a dataset gives them once its rules are applied.

    Attributes:
        name: unique in the source, a path without suffix.
        fps: frames a second.
        global_orient: (T, 2, 3), axis-angle.
        hand_pose: (T, 2, 15, 3), axis-angle, absolute.
        wrist: (T, 2, 3), where the wrist joint is, metres.
        valid: (T, 2) bool.
        betas: (2, B), of the model that the dataset was made with; None where it has none.
        narrations: words that come with it.
        group: a subject or scene whose recordings share a split; None is the recording itself.
        split: that the dataset itself states, or "".
        residual: (T, 2) metres, NaN where unknown.
        attributes: more to keep, JSON scalars.
        notes: what the user should know of the whole source.
    """

    name: str
    fps: float
    global_orient: Array
    hand_pose: Array
    wrist: Array
    valid: NDArray[np.bool_]
    betas: Array | None = None
    narrations: tuple[Narration, ...] = ()
    group: str | None = None
    split: str = ""
    residual: Array | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def empty(cls, name: str, fps: float, frames: int, **changes: Any) -> HandRecording:
        """No hand seen; `put` adds one."""
        zeros = np.zeros((frames, 2, 17, 3))
        arrays = (zeros[:, :, 0].copy(), zeros[:, :, 2:].copy(), zeros[:, :, 1].copy())
        return cls(name, fps, *arrays, np.zeros((frames, 2), bool), betas=np.zeros((2, 10)), **changes)

    def put(self, side: int, orient: Any, pose: Any, wrist: Any, valid: Any, betas: Array | None = None) -> None:
        """Sets one hand: (T, 3), (T, 15, 3), (T, 3), (T,) bool and (B,).

        Rows in which something is not finite, or too large for a hand in any unit, count as not seen.
        """
        good = np.asarray(valid, bool)
        for array in (orient, pose, wrist):
            good = good & (np.abs(array) < _LARGEST).reshape(len(good), -1).all(1)
        self.global_orient[good, side], self.hand_pose[good, side] = orient[good], pose[good]
        self.wrist[good, side], self.valid[:, side] = wrist[good], good
        if betas is not None and self.betas is not None:
            if not (np.abs(betas) < _LARGEST).all():
                raise ValueError("betas that are not finite, or too large for a hand")
            self.betas[side, : len(betas)] = betas[: self.betas.shape[1]]

    def put_rows(
        self, side: int, at: Any, orient: Any, pose: Any, wrist: Any, *, valid: Any = True, betas: Array | None = None
    ) -> None:
        """Sets one hand in N of the frames; it was not seen in the others.

        Args:
            side: 0 left, 1 right.
            at: (N,) which frames.
            orient: (N, 3).
            pose: (N, 15, 3).
            wrist: (N, 3).
            valid: (N,) bool, or True.
            betas: (B,).
        """
        frames = len(self.valid)
        spread = [np.zeros((frames, *tail)) for tail in ((3,), (15, 3), (3,))]
        for target, array in zip(spread, (orient, pose, wrist), strict=True):
            target[at] = array
        seen = np.zeros(frames, bool)
        seen[at] = valid
        self.put(side, spread[0], spread[1], spread[2], seen, betas)

    def with_notes(self, notes: tuple[str, ...]) -> HandRecording:
        """A copy with these notes."""
        return replace(self, notes=notes)

    def cut(self, name: str, start: int, end: int, narrations: tuple[Narration, ...]) -> HandRecording:
        """Frames start <= frame < end as a recording of their own, with words of its own."""
        span = slice(max(start, 0), end)
        arrays = {key: getattr(self, key)[span] for key in ("global_orient", "hand_pose", "wrist", "valid")}
        residual = None if self.residual is None else self.residual[span]
        return replace(self, name=name, narrations=narrations, residual=residual, **arrays)


@dataclass(frozen=True)
class KeypointRecording:
    """Keypoints of both hands over T frames, of a source without hand parameters: they are to be fitted.

    Attributes:
        name, fps, narrations, group, split, attributes, notes: as of `HandRecording`.
        keypoints: (T, 2, 21, 3), metres, OpenPose order.
        seen: (T, 2, 21) bool.
    """

    name: str
    fps: float
    keypoints: Array
    seen: NDArray[np.bool_]
    narrations: tuple[Narration, ...] = ()
    group: str | None = None
    split: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a reader gets beside the path.

    Attributes:
        folder: the dataset's.
        mano: the hands that its parameters are for, or None.
        fps: that the user says, or None.
    """

    folder: Path
    mano: ManoHands | None = None
    fps: float | None = None

    def hands(self) -> ManoHands:
        """The hands.

        Raises:
            ClipError: there are none.
        """
        if self.mano is None:
            raise ClipError("Expected the MANO files that this dataset was made with, got none. Give `mano`.")
        return self.mano

    def stem(self, path: Path) -> str:
        """The path within the folder, without its last suffix."""
        inside = path.relative_to(self.folder)
        return printable(inside.with_name(inside.stem).as_posix())


Found = HandRecording | KeypointRecording


@dataclass(frozen=True)
class Dataset:
    """What is to be known of a dataset or device, and its reader.

    Attributes:
        name: the `type` in `data.sources`.
        title: for people.
        find: the files of a folder that are to be read, sorted.
        read: the recordings in one of them; a damaged file raises.
        needs: what has to lie in the folder.
        licence: of the data, as far as known.
        hands: what it holds of hands.
        mano: "needed", "optional" or "not used".
        left_shapedirs: which left shape components its betas were made with.
        rules: codes of `mano_rules`.
        met: what of it was seen here: real files, a sample, or the layout alone.
        certainty: "high", "medium" or "low": how sure layout and conventions are.
        axes: "camera" where they are x right, y down, z forward; "other" where they are not, or are not known, so that
            measured captions must not tell directions.
        synthetic: True if no human made the movements.
        limits: what the clips are not good for.
        extra: the extra of hiw-data that reading needs, or "".
    """

    name: str
    title: str
    find: Callable[[Path], list[Path]]
    read: Callable[[Path, Context], Iterator[Found]]
    needs: str
    licence: str
    hands: str
    mano: str
    rules: str
    met: str
    certainty: str
    left_shapedirs: LeftShapedirs = "as-shipped"
    axes: str = "other"
    synthetic: bool = False
    limits: str = ""
    extra: str = ""


LAYOUT_ONLY = "layout from the public loader, no real file met"
SAMPLE_LAYOUT = "layout decoded from a public sample file, no whole file read here"
