"""Writing pictures to .mp4, .gif, .webp, or a .png film strip; beside the target first, then renamed."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hand_geometry.atomic import write_beside
from hand_geometry.errors import InputError, MissingDependencyError, ShapeError

SUFFIXES = (".mp4", ".gif", ".webp", ".png")


def write_video(path: str | os.PathLike[str], frames: NDArray[np.uint8], fps: float = 15, *, strip: int = 8) -> Path:
    """Write a video; the suffix chooses the format. The bytes of an .mp4 differ from run to run: x264's choices do.

    Args:
        path: Ends in .mp4 (H.264), .gif, .webp (animated) or .png (a film strip). Missing folders are
            made.
        frames: Shape (T, H, W, 3) uint8, RGB.
        fps: Frames per second.
        strip: How many pictures a film strip shows, evenly spaced from first to last; fewer if there are fewer.

    Returns:
        The path.

    Raises:
        InputError: If the suffix is unknown, or ``fps`` or ``strip`` is not positive.
        ShapeError: If ``frames`` is no video.
        MissingDependencyError: If av (.mp4) or pillow (the others) is not installed.
    """
    target = Path(path)
    frames = np.asarray(frames)
    if target.suffix.lower() not in SUFFIXES:
        raise InputError(f"path: Expected a name that ends in {', '.join(SUFFIXES)}, got {target.name!r}.")
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        raise ShapeError("frames", "(T, H, W, 3) uint8 with T >= 1", f"{frames.shape} {frames.dtype}")
    if not fps > 0:
        raise InputError(f"fps: Expected a positive rate, got {fps}.")
    if target.suffix.lower() == ".mp4" and min(frames.shape[1:3]) < 2:
        raise InputError(f"frames: Expected at least 2 x 2 pixels for .mp4, got {frames.shape[2]} x {frames.shape[1]}.")
    if strip < 1:
        raise InputError(f"strip: Expected at least one picture, got {strip}.")
    with write_beside(target) as temporary:
        if target.suffix.lower() == ".mp4":
            _write_mp4(temporary, frames, fps)
        elif target.suffix.lower() == ".png":
            _write_strip(temporary, frames, strip)
        else:
            _write_animation(temporary, frames, fps)
    return target


def _write_mp4(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("av", "Writing .mp4") from error
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2  # 4:2:0 needs even sides
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "20", "preset": "medium", "movflags": "+faststart"}
        for frame in frames:
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())


def _write_animation(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("pillow", "Writing pictures") from error
    images = [Image.fromarray(frame) for frame in frames]
    options: dict[str, Any] = {"save_all": True, "duration": 1000 / fps, "loop": 0}
    if path.suffix.lower() == ".gif":
        palette = Image.fromarray(_palette_sample(frames)).quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
        options["duration"] = max(20, round(100 / fps) * 10)  # GIF counts in hundredths of a second
    else:
        options |= {"quality": 80, "method": 4, "duration": round(1000 / fps)}
    images[0].save(path, append_images=images[1:], **options)


def _palette_sample(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels for one palette of the whole clip, (1, N, 3): those that differ from the first, and a few of the rest.

    One palette keeps colours still; leaving the background out leaves all 256 colours to the hands.
    """
    pixels = frames[:: max(1, len(frames) // 8)].reshape(-1, 3)
    away = (np.abs(pixels.astype(np.int16) - pixels[0]) > 2).any(1)
    drawn = pixels[away]
    drawn = drawn[:: max(1, len(drawn) // 60_000)]
    return np.concatenate([drawn, pixels[:: max(1, len(pixels) // 500)]])[None]


def _write_strip(path: Path, frames: NDArray[np.uint8], count: int) -> None:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("pillow", "Writing pictures") from error
    index = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    Image.fromarray(np.concatenate(list(frames[index]), 1)).save(path)
