"""Where a video changes from one scene to the next by a hard cut: from the colours of following pictures.

A picture is told by how much of it has which hue, saturation and brightness, wherever that is: a hand that moves,
however fast, moves colours about and hardly changes how much of each there is; a cut does. Slow changes (dissolves, a
camera that turns) are no cuts. In seven real videos of hands without a cut at most 0.083 of the colours differ from
picture to picture; between pictures of two of them at least 0.18 do, but for two cameras in one room (0.07).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiw_data.errors import ClipError, OptionError
from hiw_data.frames import Frame
from hiw_data.sources.cuts import Cut
from hiw_data.sources.plain_files import check_regular
from hiw_data.sources.video_file import VideoReader, video_info
from hiw_data.work import WorkFolder

_SIDE = 64
"""Pictures are made as small as this, pixels."""
_HUES, _SHADES = 24, 16

Histogram = NDArray[np.float64]


@dataclass(frozen=True)
class SceneConfig:
    """What counts as a cut.

    Attributes:
        threshold: share of the colours that differ, 0 to 1, from which following pictures are of two scenes.
        settle: a change goes on until less than this share of the threshold differs from picture to picture; what comes
            after it is compared with what was before it.
        shortest: scenes shorter than this (seconds) are joined to the one before; a flash is none.

    Raises:
        OptionError: a value out of range.
    """

    threshold: float = 0.15
    settle: float = 0.5
    shortest: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.threshold <= 1 and 0 < self.settle <= 1 and self.shortest >= 0):
            raise OptionError(
                "Expected threshold and settle above 0 and up to 1, and shortest >= 0, got "
                f"{self.threshold}, {self.settle} and {self.shortest}."
            )


def video_scenes(path: Path, config: SceneConfig | None = None) -> list[Cut]:
    """The scenes of a video, one after the other: the whole video if it has no cut.

    Args:
        path: the video.
        config: what counts as a cut.

    Raises:
        ClipError: it is no video.
    """
    frames = VideoReader(path, longest_side=_SIDE)
    return _between(path, [0.0, *find_cuts(frames, config or SceneConfig())])


def kept_scenes(path: Path, config: SceneConfig, work: WorkFolder) -> list[Cut]:
    """The same, kept in a work folder; a file that cannot be read is one scene, and whoever reads it says why."""
    try:
        check_regular(path)
        key = {"what": "scenes", "sha256": video_info(path).sha256, "config": asdict(config)}
        kept = work.load(key)
        starts = [cut.start for cut in video_scenes(path, config)] if kept is None else kept[0]["starts"].tolist()
    except (ClipError, OSError):
        return [Cut(path.name)]
    if kept is None:
        work.save(key, {"starts": np.array(starts)}, {})
    return _between(path, starts)


def _between(path: Path, starts: list[float]) -> list[Cut]:
    return [Cut(path.name, start, end) for start, end in pairwise([*starts, float("inf")])]


def find_cuts(frames: Iterable[Frame], config: SceneConfig) -> list[float]:
    """Seconds of the first picture of every scene but the first.

    Args:
        frames: all pictures, in order.
        config: what counts as a cut.
    """
    found: list[tuple[float, Histogram]] = []  # when, and what was before
    start = end = 0.0
    for number, (time, before, after) in enumerate(_changes(frames, config)):
        if number == 0:
            start = time
        end = max(end, time)
        if before is None or after is None:
            continue
        if found and time - found[-1][0] < config.shortest:
            if difference(found[-1][1], after) < config.threshold:  # a flash: what is after it was before it
                found.pop()
        else:
            found.append((time, before))
    return [time for time, _ in found if time - start >= config.shortest and end - time >= config.shortest]


def _changes(
    frames: Iterable[Frame], config: SceneConfig
) -> Iterator[tuple[float, Histogram | None, Histogram | None]]:
    """Every picture's time; after a change also when it was largest, what was before it, and what is after it."""
    last: Histogram | None = None
    before: Histogram | None = None
    largest, at = 0.0, 0.0
    for frame in frames:
        now = histogram(frame.image)
        step = 0.0 if last is None else difference(last, now)
        if before is None and step >= config.threshold:
            before, largest, at = last, step, frame.time
        elif before is not None and step > largest:
            largest, at = step, frame.time
        last = now
        yield frame.time, None, None
        if before is not None and step < config.threshold * config.settle:
            if difference(before, now) >= config.threshold:
                yield at, before, now
            before = None


def histogram(image: NDArray[np.uint8]) -> Histogram:
    """How much of a picture has which hue (as far as it has colour), saturation and brightness: 56 shares, sum 3.

    Args:
        image: (height, width, 3) uint8, RGB.
    """
    colour = image.reshape(-1, 3).astype(np.float32) / 255
    value, low = colour.max(1), colour.min(1)
    spread = value - low
    safe = np.maximum(spread, 1e-6)
    red, green, blue = colour.T
    hue = np.where(
        value == red,
        (green - blue) / safe % 6,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    saturation = spread / np.maximum(value, 1e-6)
    hues = _shares(hue / 6 * _HUES - 0.5, _HUES, spread, around=True)
    grey = 1 - spread.mean()  # what has no colour has no hue
    parts = (hues * (1 - grey), [grey], _shares(saturation * (_SHADES - 1), _SHADES, value))
    return np.concatenate([*parts, _shares(value * (_SHADES - 1), _SHADES, np.ones_like(value))])


def _shares(place: NDArray[np.float32], bins: int, weight: NDArray[np.float32], around: bool = False) -> Histogram:
    """A histogram of sum 1 in which every number is shared out to the two bins beside it, then smoothed over three."""
    low = np.floor(place).astype(int)
    part = place - low
    both = [
        np.bincount((low + k) % bins if around else np.clip(low + k, 0, bins - 1), w * weight, bins)
        for k, w in ((0, 1 - part), (1, part))
    ]
    counts = np.asarray(both[0] + both[1], np.float64)
    counts /= max(counts.sum(), 1e-9)
    edges = np.pad(counts, 1, mode="wrap" if around else "edge")
    return np.convolve(edges, [0.25, 0.5, 0.25], "valid")


def difference(one: Histogram, other: Histogram) -> float:
    """What share of the colours differs, 0 to 1: the mean over hue, saturation and brightness."""
    return float(np.abs(one - other).sum() / 6)
