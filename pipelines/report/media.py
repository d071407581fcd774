"""Moving pictures inside the page: motions rendered small, one camera per sample, as video data URIs."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hand_geometry import features_to_joints, frame_camera, render_motion, write_video
from numpy.typing import NDArray
from tqdm.auto import tqdm

Motion = NDArray[np.float32]
_THREADS = 4


@dataclass(frozen=True)
class RenderOptions:
    """How the pictures are made.

    Attributes:
        size: width and height of one panel in pixels, both even.
        max_samples: motions shown in the gallery.
        max_captioned: motions shown with generated captions.
        max_generations: generations shown per sample.
        max_frames: longer motions are cut.
        max_codes: tokens shown per codebook.
    """

    size: tuple[int, int] = (256, 192)
    max_samples: int = 12
    max_captioned: int = 8
    max_generations: int = 2
    max_frames: int = 64
    max_codes: int = 8

    def __post_init__(self) -> None:
        if min(self.size) < 16 or any(side % 2 for side in self.size):
            raise ValueError(f"Expected an even size of at least 16 x 16 pixels, got {self.size}. Change it.")
        for name in ("max_samples", "max_captioned", "max_generations", "max_frames", "max_codes"):
            if getattr(self, name) < 0:
                raise ValueError(f"Expected {name} of at least 0, got {getattr(self, name)}.")


def video_uri(frames: NDArray[np.uint8], fps: float) -> str:
    """Frames (T, H, W, 3) as ``data:video/mp4;base64,…``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, fps)
        return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _checked(motion: Any, options: RenderOptions) -> Motion:
    """A motion (T, 198) cut to the options' length."""
    features = np.asarray(motion, dtype=np.float32)
    if features.ndim != 2 or features.shape[1] != 198:
        raise ValueError(f"Expected a motion of shape (T, 198), got {features.shape}. Pass features.")
    return features[: options.max_frames]


def motion_uris(
    motions: Sequence[Motion], seen: Sequence[NDArray[np.bool_] | None], *, fps: float, options: RenderOptions
) -> list[str]:
    """Motions of one sample, seen by one camera that has all of them in its picture, so that they compare.

    Args:
        motions: each (T_i, 198).
        seen: which hands to draw in each, (T_i, 2); None for both.
        fps: frames per second.
        options: size and longest motion.

    Returns:
        One data URI per motion.
    """
    cut = [_checked(m, options) for m in motions]
    flags = [
        np.ones((len(m), 2), bool) if s is None else np.asarray(s, dtype=bool)[: len(m)]
        for m, s in zip(cut, seen, strict=True)
    ]
    points = []
    for motion, flag in zip(cut, flags, strict=True):
        joints = np.asarray(features_to_joints(motion))
        points.append(joints[flag] if flag.any() else joints)
    camera = frame_camera(points, options.size)
    pairs = zip(cut, flags, strict=True)
    return [video_uri(render_motion(m, fps=fps, size=options.size, valid=f, camera=camera), fps) for m, f in pairs]


def _panels(sample: Mapping[str, Any], options: RenderOptions) -> list[dict[str, str]]:
    """Truth, reconstruction and generations; what was generated shows the hands that the truth shows at all."""
    valid = None if sample.get("valid") is None else np.asarray(sample["valid"], dtype=bool)
    generations = list(sample.get("generations", ()))[: options.max_generations]
    shown = [(name, sample[name], valid) for name in ("truth", "reconstruction") if sample.get(name) is not None]
    for i, motion in enumerate(generations):
        hands = None if valid is None or not valid.any() else np.repeat(valid.any(0, keepdims=True), len(motion), 0)
        shown.append((f"generated {i + 1}" if len(generations) > 1 else "generated", motion, hands))
    if not shown:
        return []
    uris = motion_uris([m for _, m, _ in shown], [s for _, _, s in shown], fps=_fps(sample), options=options)
    return [{"label": label, "uri": uri} for (label, _, _), uri in zip(shown, uris, strict=True)]


def _fps(sample: Mapping[str, Any]) -> float:
    return float(sample.get("fps", 15.0))


def _about(sample: Mapping[str, Any]) -> dict[str, Any]:
    return {key: sample.get(key) for key in ("source", "clip_id", "synthetic")}


def _shown(sample: Mapping[str, Any], options: RenderOptions) -> dict[str, Any]:
    return _about(sample) | {"caption": sample["caption"], "panels": _panels(sample, options)}


def _captioned(sample: Mapping[str, Any], options: RenderOptions) -> dict[str, Any]:
    (uri,) = motion_uris([sample["motion"]], [sample.get("valid")], fps=_fps(sample), options=options)
    return _about(sample) | {"uri": uri, "captions": list(sample["captions"]), "generated": sample["generated"]}


def render_samples(
    samples: Sequence[Mapping[str, Any]], captioned: Sequence[Mapping[str, Any]], options: RenderOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples and captioned motions with their pictures, in the given order, as many as the options say.

    Rendering and encoding leave the interpreter's lock, so threads share the work.
    """
    first, second = samples[: options.max_samples], captioned[: options.max_captioned]
    jobs = [partial(_shown, s, options) for s in first] + [partial(_captioned, s, options) for s in second]
    with ThreadPoolExecutor(max_workers=min(_THREADS, os.cpu_count() or 1)) as pool:
        done = list(tqdm(pool.map(lambda job: job(), jobs), desc="pictures", total=len(jobs), disable=None))
    return done[: len(first)], done[len(first) :]


def render_codes(codes: Sequence[Mapping[str, Any]], options: RenderOptions) -> list[dict[str, Any]]:
    """The motions of codes by codebook, each codebook seen by one camera, so that its codes compare.

    Args:
        codes: dicts with ``codebook`` (its name), ``code``, ``share`` (of the codebook's uses), ``features``
            (T, 198), and optionally ``hands`` (2,) bool and ``fps``; in the order to be shown.
        options: size of the pictures and how many codes per codebook.

    Returns:
        Dicts with ``codebook`` and ``codes`` (``code``, ``share``, ``uri``), in the order of their first code.
    """
    books: dict[str, list[Mapping[str, Any]]] = {}
    for code in codes:
        books.setdefault(str(code["codebook"]), []).append(code)
    shown = []
    for name, entries in books.items():
        kept = entries[: options.max_codes]
        if not kept:
            continue
        motions = [np.asarray(c["features"], dtype=np.float32) for c in kept]
        hands = [np.asarray(c.get("hands", (True, True)), dtype=bool) for c in kept]
        seen = [np.repeat(h[None], len(m), 0) for h, m in zip(hands, motions, strict=True)]
        uris = motion_uris(motions, seen, fps=_fps(kept[0]), options=options)
        items = [{"code": c["code"], "share": c["share"], "uri": u} for c, u in zip(kept, uris, strict=True)]
        shown.append({"codebook": name, "codes": items})
    return shown
