"""Motion files of the command line: what is read to be captioned, and every format that a generated motion goes to."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from shift_tokenizer import ShiftTokenizer
from shift_tokenizer.rates import same_rate

from clutch_llm.errors import ConfigError, DataError
from clutch_llm.windows import canonical_motion, check_motion

if TYPE_CHECKING:
    from clutch_llm.clutch import Motion

logger = logging.getLogger(__name__)

VIDEOS = (".mp4", ".gif", ".webp", ".png")
PAGE = ".html"


class MotionInput(NamedTuple):
    """A motion as `Clutch.caption` takes it: features (T, 198) and valid (T, 2) at the model's rate."""

    features: torch.Tensor
    valid: torch.Tensor


def check_target(path: Path) -> None:
    """Refuse a name of no known format, or a place that cannot be written to, before any work is done.

    Raises:
        ConfigError: naming the formats.
        OSError: naming the folder.
    """
    known = (*VIDEOS, PAGE, *_export_suffixes())
    if path.suffix.lower() not in known:
        raise ConfigError(f"Expected a name that ends in {', '.join(known)}, got {path.name!r}. The ending decides.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"Expected a folder that can be written to, got {path.parent}. Choose another.")


def _export_suffixes() -> tuple[str, ...]:
    from hand_geometry.exporting import EXPORT_SUFFIXES

    return EXPORT_SUFFIXES


def write_motions(out: Path, texts: Sequence[str], motions: Sequence[Sequence[Motion]]) -> list[Path]:
    """Write the samples of each text: one page for all, or one numbered file each where there are several.

    Args:
        out: the file; ``wave.mp4`` becomes ``wave-1.mp4``, ``wave-2.mp4`` for several samples or several texts, and
            ``wave-1-2.mp4`` is the second sample of the first of several texts.
        texts: what each was asked for.
        motions: for each text its samples, as `Clutch.generate` gives them.

    Returns:
        The files.
    """
    pairs = [(text, motion) for text, samples in zip(texts, motions, strict=True) for motion in samples]
    if out.suffix.lower() == PAGE:
        from hand_geometry.viewing import write_html

        shown = [_parameters(motion, text) for text, motion in pairs]
        return [Path(write_html(out, shown, [text for text, _ in pairs]))]
    many = (len(motions) > 1, any(len(samples) > 1 for samples in motions))
    paths = []
    for i, samples in enumerate(motions):
        for k, motion in enumerate(samples):
            numbers = [str(number + 1) for number, several in zip((i, k), many, strict=True) if several]
            path = out.with_stem("-".join([out.stem, *numbers]))
            _write(path, motion, texts[i])
            paths.append(path)
    return paths


def _write(path: Path, motion: Motion, text: str) -> None:
    if path.suffix.lower() in VIDEOS:
        from hand_geometry import render_motion, write_video

        write_video(path, render_motion(motion["features"], fps=motion["fps"]), motion["fps"])
        return
    from hand_geometry.exporting import export_motion

    export_motion(path, _parameters(motion, text))


def _parameters(motion: Motion, text: str) -> dict[str, Any]:
    """A motion as hand_geometry's writers take it."""
    from hand_geometry import features_to_params

    params = features_to_params(torch.from_numpy(motion["features"]))
    valid = np.ones((len(motion["features"]), 2), dtype=bool)
    return {**params, "fps": motion["fps"], "valid": valid, "captions": [text]}


def read_motion(path: Path, tokenizer: ShiftTokenizer) -> MotionInput:
    """Read a motion in any format that is written, make it canonical, resample it to the model's rate and say so.

    Args:
        path: the file.
        tokenizer: the model's; its rate is taken, and it fills what is not seen.

    Raises:
        HandGeometryError: when the file is missing, broken, or of no known format.
        DataError: when it has no frames, or no hand is seen in it.
    """
    motion = read_placed(path, tokenizer.config.fps)
    try:
        features, valid = check_motion(motion.features, motion.valid, tokenizer.mean.device)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return MotionInput(canonical_motion(features, valid, tokenizer), valid)


class PlacedMotion(NamedTuple):
    """Arrays as a file has them: features (T, 198) and valid (T, 2)."""

    features: np.ndarray
    valid: np.ndarray


def read_placed(path: Path, fps: float) -> PlacedMotion:
    """The same without what `Clutch.caption` asks for: what is not seen is not filled.

    Args:
        path: the file.
        fps: frames a second of the model, to which it is resampled where its own rate is another; that is said.

    Raises:
        HandGeometryError: when the file is missing, broken, or of no known format.
    """
    from hand_geometry.motion_io import read_features

    motion = read_features(path)
    if not same_rate(motion["fps"], fps):
        logger.warning("%s: resampled from %g frames a second to the model's %g", path, motion["fps"], fps)
        motion = read_features(path, fps)
    return PlacedMotion(motion["features"], motion["valid"])
