"""What a tracker is: anything that finds hands in a stream of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from hiw_data.frames import Frame
from hiw_data.tracking.detections import Detections


@runtime_checkable
class Tracker(Protocol):
    """Anything that finds hands; implement these members to use a tracker of your own.

    `name` and `version` go into every clip. `options` is what else its results depend on, as JSON scalars: results of
    equal name, version and options are taken from the work folder instead of being made again. A tracker that has to
    know which video it is has a method `for_video(path)` as well, which gives the tracker of that video.
    """

    name: str
    version: str

    @property
    def options(self) -> dict[str, object]:
        """What the results depend on besides the video."""
        ...

    def track(self, frames: Iterable[Frame]) -> Detections:
        """Hands of one video, or of a part of it. The frames have increasing times and one size.

        Raises:
            ClipError: there is no frame.
        """
        ...
