"""Reads a video file picture by picture with PyAV: any codec, upright, with the times that the file gives.

Needs the extra `tracking`. A file that ends in a fault gives its pictures up to there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import ClipError, SourceError
from hiw_data.frames import Frame

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".gif")

_MOST_PIXELS = 1 << 26
"""A picture of more is refused: 8192 x 8192."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        width, height: of the upright picture, pixels.
        seconds: length as the file states it, NaN if it does not.
        sha256: of the file.
    """

    width: int
    height: int
    seconds: float
    sha256: str


@dataclass
class VideoReader:
    """The pictures of a video, or of a part of it, in order.

    Attributes:
        path: the file.
        start, end: seconds; only pictures with start <= time < end are given.
        longest_side: larger pictures are made smaller to this, pixels.
        fault: after reading, why the file ended early; "" if it did not.
        scale: after the first picture, its size as a share of the original.
    """

    path: Path
    start: float = 0.0
    end: float = float("inf")
    longest_side: int = 1280
    fault: str = field(default="", init=False)
    scale: float = field(default=1.0, init=False)

    def __iter__(self) -> Iterator[Frame]:
        """The pictures.

        Raises:
            ClipError: it is no video at all.
        """
        av = _av()
        with _opened(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            self._seek(container, stream)
            last, origin, stated = -1.0, _origin(stream), _seconds(container, stream)
            try:
                for picture in container.decode(stream):
                    time = None if picture.time is None else float(picture.time) - origin
                    if time is None or time <= last:  # without times, or out of order: nobody knows when it was
                        continue
                    last = time
                    if time >= self.end - 1e-6:
                        return
                    if time >= self.start - 1e-6:
                        yield Frame(time, self._upright(picture))
            except (av.error.FFmpegError, ValueError, MemoryError) as error:
                self.fault = f"decoding ended with: {_message(error)}"
        if not self.fault and self.end == float("inf") and last >= 0 and last < 0.95 * stated - 0.5:
            self.fault = f"the file states {stated:.1f} s"

    def _seek(self, container: Any, stream: Any) -> None:
        if self.start > 2.0 and stream.time_base:
            offset = int((self.start + _origin(stream)) / stream.time_base)
            container.seek(offset, stream=stream, backward=True)

    def _upright(self, picture: Any) -> NDArray[np.uint8]:
        side = max(picture.width, picture.height)
        if side > self.longest_side:
            share = self.longest_side / side
            picture = picture.reformat(width=round(picture.width * share), height=round(picture.height * share))
            self.scale = share
        image: NDArray[np.uint8] = picture.to_ndarray(format="rgb24")
        turns = round(picture.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def video_info(path: Path) -> VideoInfo:
    """What a file says of itself.

    Raises:
        ClipError: it is no video, or has no picture that can be decoded.
    """
    av = _av()
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with _opened(path) as container:
        stream = container.streams.video[0]
        try:
            picture = next(container.decode(stream))
        except (StopIteration, av.error.FFmpegError, ValueError) as error:
            raise ClipError(f"Expected pictures in {path.name}, got: {_message(error)}.") from error
        width, height = picture.width, picture.height
        if round(picture.rotation / 90) % 2:
            width, height = height, width
        return VideoInfo(width, height, _seconds(container, stream), digest)


def _opened(path: Path) -> Any:
    av = _av()
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise ClipError(f"Expected a video at {path.name}, got: {_message(error)}. Is it damaged?") from error
    if not container.streams.video:
        container.close()
        raise ClipError(f"Expected a video at {path.name}, got a file without pictures.")
    context = container.streams.video[0].codec_context
    if context is None or context.width * context.height > _MOST_PIXELS:
        container.close()
        got = "an unknown codec" if context is None else f"{context.width} x {context.height}"
        raise ClipError(f"Expected pictures of at most 8192 x 8192 in {path.name}, got {got}.")
    return container


def _origin(stream: Any) -> float:
    return float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration) / 1e6 if container.duration else float("nan")


def _message(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise SourceError("Expected the package av to read videos. Run pip install 'hiw-data[tracking]'.") from error
    return av
