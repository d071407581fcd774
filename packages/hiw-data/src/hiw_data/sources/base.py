"""What a source is: anything that streams clips, and says where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hiw_data.clips import Clip, SkippedClip


@dataclass(frozen=True)
class SourceInfo:
    """What the data card says about a source.

    Attributes:
        title: a short name for people.
        synthetic: True if no human made the movements.
        description: what it holds and how it came about.
        licence: under which terms the clips may be used.
        origin: where it comes from (package and version, folder, script).
        told: names of the attributes that captions tell; the report says which of their values val and test share
            with train.
        limits: what the clips are not good for.
        notes: what the last `stream` should let the user know, such as a frame rate that had to be assumed.
    """

    title: str
    synthetic: bool
    description: str
    licence: str
    origin: str
    told: tuple[str, ...] = ()
    limits: str = ""
    notes: tuple[str, ...] = ()


@runtime_checkable
class Source(Protocol):
    """Anything that streams clips: implement these three members to add a dataset of your own."""

    name: str

    def info(self) -> SourceInfo:
        """What the data card says about this source."""
        ...

    def __len__(self) -> int:
        """How many recordings are to come (a progress bar's total; an estimate will do)."""
        ...

    def stream(self, fps: float) -> Iterator[Clip | SkippedClip]:
        """The clips, in a fixed order, at `fps` frames a second, with `origin` set.

        `split` is empty, and the build assigns it; a source that has splits of its own sets it.

        Raises:
            SourceError: nothing can be read at all. One unusable clip is a SkippedClip instead.
        """
        ...
