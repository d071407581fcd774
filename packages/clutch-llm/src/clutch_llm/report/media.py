"""Moving pictures inside the page: motions rendered small, one camera per sample, as video data URIs."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry import render_motion, write_video
from numpy.typing import NDArray
from tqdm.auto import tqdm

Motion = NDArray[np.float32]


@dataclass(frozen=True)
class RenderOptions:
    """How the pictures are made.

    Attributes:
        size: width and height of one panel in pixels, both even.
        max_samples: motions shown in the gallery.
        max_captioned: motions shown with generated captions.
        max_generations: generations shown per sample.
        max_frames: longer motions are cut.
    """

    size: tuple[int, int] = (256, 192)
    max_samples: int = 12
    max_captioned: int = 8
    max_generations: int = 2
    max_frames: int = 64

    def __post_init__(self) -> None:
        if min(self.size) < 16 or any(side % 2 for side in self.size):
            raise ValueError(f"Expected an even size of at least 16 x 16 pixels, got {self.size}. Change it.")
        for name in ("max_samples", "max_captioned", "max_generations", "max_frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"Expected {name} of at least 0, got {getattr(self, name)}.")


def video_uri(frames: NDArray[np.uint8], fps: float) -> str:
    """Frames (T, H, W, 3) as ``data:video/mp4;base64,…``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, fps)
        return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def motion_uri(motion: Motion, *, fps: float, options: RenderOptions, valid: Any = None, camera: Any = None) -> str:
    """A motion (T, 198) rendered and encoded."""
    motion = np.asarray(motion, dtype=np.float32)
    if motion.ndim != 2 or motion.shape[1] != 198:
        raise ValueError(f"Expected a motion of shape (T, 198), got {motion.shape}. Pass features.")
    cut = motion[: options.max_frames]
    seen = None if valid is None else np.asarray(valid, dtype=bool)[: len(cut)]
    return video_uri(render_motion(cut, fps=fps, size=options.size, valid=seen, camera=camera), fps)


def _panels(sample: Mapping[str, Any], options: RenderOptions) -> list[dict[str, str]]:
    fps, valid = float(sample.get("fps", 15.0)), sample.get("valid")
    motions = [("truth", sample.get("truth"), valid), ("reconstruction", sample.get("reconstruction"), valid)]
    generations = list(sample.get("generations", ()))[: options.max_generations]
    many = len(generations) > 1
    motions += [(f"generated {i + 1}" if many else "generated", g, None) for i, g in enumerate(generations)]
    return [
        {"label": label, "uri": motion_uri(m, fps=fps, options=options, valid=seen)}
        for label, m, seen in motions
        if m is not None
    ]


def _about(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {key: sample.get(key) for key in ("source", "clip_id", "synthetic")}


def render_samples(
    samples: Sequence[Mapping[str, Any]], captioned: Sequence[Mapping[str, Any]], options: RenderOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples and captioned motions with their pictures, in the given order, as many as the options say."""
    gallery = [
        _about(s) | {"caption": s["caption"], "panels": _panels(s, options)}
        for s in tqdm(samples[: options.max_samples], desc="pictures", disable=None)
    ]
    texts = []
    for s in captioned[: options.max_captioned]:
        uri = motion_uri(s["motion"], fps=float(s.get("fps", 15.0)), options=options, valid=s.get("valid"))
        texts.append(_about(s) | {"uri": uri, "captions": list(s["captions"]), "generated": s["generated"]})
    return gallery, texts
