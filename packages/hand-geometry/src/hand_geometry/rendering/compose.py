"""Several motions in one picture, each under its title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.errors import InputError, MissingDependencyError, ShapeError

_GAP = 6
_PAPER = (246, 244, 241)
_INK = (58, 56, 54)


def side_by_side(
    motions: Sequence[NDArray[np.uint8]], titles: Sequence[str] | None = None, *, columns: int | None = None
) -> NDArray[np.uint8]:
    """Put videos beside each other.

    Args:
        motions: Videos, each (T_i, H, W, 3) uint8, of one size. Shorter ones hold their last frame.
        titles: A line above each; None for none.
        columns: Videos per row; None puts all in one row.

    Returns:
        One video, shape (T, H', W', 3) uint8, T of the longest.

    Raises:
        InputError: If there is nothing to show or the titles do not match.
        ShapeError: If sizes differ.
        MissingDependencyError: If Pillow is not installed and there are titles.
    """
    videos = [np.asarray(video) for video in motions]
    if not videos or any(len(video) == 0 for video in videos):
        raise InputError("motions: Expected at least one video of at least one frame.")
    if titles is not None and len(titles) != len(videos):
        raise InputError(f"titles: Expected {len(videos)}, got {len(titles)}. One for each video.")
    height, width = videos[0].shape[1:3]
    for video in videos:
        if video.ndim != 4 or video.shape[1:] != (height, width, 3) or video.dtype != np.uint8:
            raise ShapeError("motions", f"(T, {height}, {width}, 3) uint8", f"{video.shape} {video.dtype}")
    columns = len(videos) if columns is None else max(1, min(columns, len(videos)))
    rows = -(-len(videos) // columns)
    bars = (
        [_title_bar(title, width) for title in titles] if titles else [np.empty((0, width, 3), np.uint8)] * len(videos)
    )
    bar = max(len(b) for b in bars)
    cell = height + bar
    frames = max(len(video) for video in videos)
    out = np.empty((frames, rows * (cell + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), np.uint8)
    out[:] = _PAPER
    for k, video in enumerate(videos):
        y, x = k // columns * (cell + _GAP), k % columns * (width + _GAP)
        out[:, y + bar - len(bars[k]) : y + bar, x : x + width] = bars[k]
        index = np.minimum(np.arange(frames), len(video) - 1)
        out[:, y + bar : y + cell, x : x + width] = video[index]
    return out


def _title_bar(title: str, width: int) -> NDArray[np.uint8]:
    """A strip with the title, wrapped to the width, (h, width, 3)."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingDependencyError("pillow", "Writing titles") from error
    size = max(11, min(18, width // 22))
    font = ImageFont.load_default(size)
    lines = _wrapped(title, font, width - size)
    image = Image.new("RGB", (width, int(len(lines) * size * 1.3 + size * 0.9)), _PAPER)
    draw = ImageDraw.Draw(image)
    for k, line in enumerate(lines):
        draw.text((width / 2, size * 0.45 + k * size * 1.3), line, fill=_INK, font=font, anchor="ma")
    return np.asarray(image, np.uint8)


def _wrapped(text: str, font: Any, width: float) -> list[str]:
    lines = [""]
    for word in text.split() or [""]:
        candidate = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(candidate) > width:
            lines.append(word)
        else:
            lines[-1] = candidate
    return lines
