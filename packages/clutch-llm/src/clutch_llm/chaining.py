"""Endless motion: sentence after sentence, each going on from where the one before left the hands.

Every piece is a completion whose beginning is the end of what there is, so nothing has to be patched at a seam but the
motion tokenizer's error, which is faded out over the first frames that follow. Only that end is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from clutch_llm.blending import BLEND_FRAMES, keep_given
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.windows import FEATURES

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch, Motion

#: Latent steps of what there is that the next piece reads, where the model's longest motion has room for them.
OVERLAP = 4


def chain(self: Clutch, script: Iterable[tuple[str, float]], **how: Any) -> Motion:
    """One motion of several sentences, without a seam.

    Args:
        self: the model.
        script: sentences, each with its seconds, of any length; the motion is as long as their sum, to the frame.
        how: overlap, seed, blend, and the settings of sampling, as of `chain_stream`.

    Returns:
        The motion. Its tokens are what the motion tokenizer reads in it, its last step filled up with the last frame.

    Raises:
        ConfigError, DataError: as `chain_stream`, and where the script has no lines.
    """
    pieces = list(self.chain_stream(list(script), **how))
    if not pieces:
        raise DataError("Expected a script of at least one sentence with its seconds, got none.")
    features = np.concatenate(pieces)
    missing = -len(features) % self.tokenizer.config.frames_per_latent
    padded = np.concatenate([features, np.repeat(features[-1:], missing, 0)])
    with torch.inference_mode():
        tokens = self.tokenizer.encode(torch.from_numpy(padded).to(self.model.device))
    return {"features": features, "tokens": np.asarray(tokens.cpu()), "fps": self.fps}


def chain_stream(
    self: Clutch,
    script: Iterable[tuple[str, float]],
    *,
    overlap: int | None = None,
    seed: int = 0,
    blend: int = BLEND_FRAMES,
    temperature: float | None = None,
    top_k: int | None = None,
    greedy: bool | None = None,
    guidance: float | None = None,
) -> Iterator[np.ndarray]:
    """The same piece by piece, for a script that may never end, in memory that does not grow.

    A sentence that is longer than the model's motions is written in several pieces.

    Args:
        self: the model.
        script: sentences, each with its seconds; a line is read when its turn comes.
        overlap: latent steps of what there is that each piece goes on from; None for `OVERLAP`, or half of the model's
            longest motion where that is less.
        seed: seed of the sampling.
        blend: frames over which a piece departs from what there is.
        temperature: see `Clutch.generate`, as the next three.
        top_k: see there.
        greedy: see there.
        guidance: see there.

    Returns:
        Pieces of the features (t, 198) float32, of the motion's own place from its first frame on.

    Raises:
        ConfigError: when the overlap leaves no room, or a setting is out of its range.
        DataError: when a line, as its turn comes, has no text, or no seconds above 0.
    """
    longest = self.config.max_steps
    shared = min(OVERLAP, longest // 2) if overlap is None else overlap
    if not 1 <= shared < longest:
        raise ConfigError(
            f"Expected an overlap of 1 to {longest - 1} latent steps, got {shared}. The model's motions have {longest}."
        )
    if blend < 1:
        raise ConfigError(f"Expected blend of at least 1, got {blend}.")
    how = {"temperature": temperature, "top_k": top_k, "greedy": greedy, "guidance": guidance}
    self._sampling(**how)
    return _pieces(self, script, shared, seed, blend, how)


def _pieces(
    clutch: Clutch, script: Iterable[tuple[str, float]], overlap: int, seed: int, blend: int, how: dict[str, Any]
) -> Iterator[np.ndarray]:
    step = clutch.tokenizer.config.frames_per_latent
    room = (clutch.config.max_steps - overlap) * step
    before = np.empty((0, FEATURES), dtype=np.float32)
    seeds = count(seed)
    asked = 0.0
    given_out = 0
    for number, line in enumerate(script, 1):
        text, seconds = _line(line, number)
        asked += seconds
        frames = round(asked * clutch.fps) - given_out
        if frames < 1:
            raise DataError(
                f"Expected line {number} of the script to last a frame or more, got {seconds:g} s ({text})."
            )
        pieces = -(-frames // room)
        for k in range(pieces):
            new = frames * (k + 1) // pieces - frames * k // pieces
            made = _piece(clutch, before, text, new, seed=next(seeds), blend=blend, how=how)
            before = np.concatenate([before, made])[-overlap * step :]
            given_out += new
            yield made


def _piece(
    clutch: Clutch, before: np.ndarray, text: str, new: int, *, seed: int, blend: int, how: dict[str, Any]
) -> np.ndarray:
    """So many new frames (new, 198) after those that there are."""
    step = clutch.tokenizer.config.frames_per_latent
    if len(before) < step:  # too little to go on from: told anew, and moved to where the hands are
        seconds = -(-new // step) * clutch.seconds_per_step
        made = clutch.generate(text, seconds, seed=seed, **how)[0][0]["features"][:new]
        return made if not len(before) else _led(clutch, before, made, blend)
    before = before[len(before) % step :]
    gap = np.full((new, FEATURES), np.nan, dtype=np.float32)
    whole = clutch.complete(np.concatenate([before, gap]), text, keep=True, blend=blend, seed=seed, **how)
    return whole[0]["features"][len(before) :]


def _led(clutch: Clutch, before: np.ndarray, made: np.ndarray, blend: int) -> np.ndarray:
    known = np.zeros((1 + len(made), FEATURES), dtype=bool)
    known[0] = True
    start = np.concatenate([before[-1:], made])
    shown = np.concatenate([made[:1], made])
    return keep_given(shown, start, known, clutch.tokenizer, blend=blend)[1:]


def _line(line: tuple[str, float], number: int) -> tuple[str, float]:
    try:
        text, seconds = line
        seconds = float(seconds)
    except (TypeError, ValueError):
        raise DataError(f"Expected line {number} of the script as (text, seconds), got {line!r}.") from None
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"Expected a text in line {number} of the script, got {text!r}.")
    if not 0 < seconds < float("inf"):
        raise DataError(f"Expected seconds above 0 in line {number} of the script, got {seconds}.")
    return text, seconds
