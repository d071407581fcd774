"""The frames of a clip that a model is shown: evenly sampled, as JPEG or PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hiw_data.captioning.problems import require
from hiw_data.errors import ClipError

Frames = Callable[[str], Iterable[Any]]
"""Clip id -> its frames in order of time: JPEG or PNG bytes, or (H, W, 3) uint8 RGB arrays."""

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_QUALITY = 85


def sample_frames(frames: Iterable[Any], number: int) -> tuple[bytes, ...]:
    """At most ``number`` frames, the middles of equal stretches of time, as image files.

    Raises:
        ClipError: There is no frame, or one is no image.
    """
    whole = list(frames)
    if not whole:
        raise ClipError("Expected at least one frame, got none.")
    count = min(number, len(whole))
    return tuple(image_bytes(whole[(2 * i + 1) * len(whole) // (2 * count)]) for i in range(count))


def image_bytes(frame: Any) -> bytes:
    """A frame as an image file; bytes of JPEG and PNG stay as they are.

    Raises:
        ClipError: It is neither such bytes nor a (H, W, 3) uint8 array.
    """
    if isinstance(frame, bytes | bytearray | memoryview):
        data = bytes(frame)
        if not data.startswith(_STARTS):
            raise ClipError(f"Expected a frame as the bytes of a JPEG or PNG file, got {data[:8]!r}.")
        return data
    array = np.asarray(frame)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ClipError(f"Expected a frame as uint8 (H, W, 3), got {array.dtype} {array.shape}.")
    out = io.BytesIO()
    require("PIL.Image", "vlm").fromarray(array).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def folder_frames(folder: Path) -> Frames:
    """Frames of ``folder/CLIP_ID/*.jpg`` (or .jpeg, .png), by name.

    A clip's name cannot lead out of the folder: what lies elsewhere is nobody's to send.
    """
    root = folder.resolve()

    def frames(clip_id: str) -> Iterable[bytes]:
        place = (root / clip_id).resolve()
        if not place.is_relative_to(root) or place == root:
            raise ClipError(f"Expected a folder of frames inside {folder}, got the name {clip_id!r}.")
        paths = sorted(p for p in place.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not paths:
            raise ClipError(f"Expected .jpg or .png files in {place}, got none.")
        if outside := [p for p in paths if not p.resolve().is_relative_to(root)]:
            raise ClipError(f"Expected frames inside {folder}, got a link out of it: {outside[0].name}.")
        return [path.read_bytes() for path in paths]

    return frames
