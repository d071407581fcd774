"""Clips of any length as training windows: packed once, drawn by index, each source with its share of a batch."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import DataError
from .layout import FEATURES, HANDS

logger = logging.getLogger(__name__)

Clip = Mapping[str, Any]


class WindowSampler:
    """Draws batches of windows from clips.

    A clip shorter than the window is padded by its last frame; the mask says which frames are the clip's own.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        window: int,
        batch_size: int,
        source_weights: Mapping[str, float],
        step: int,
    ) -> None:
        """Packs the clips.

        Args:
            clips: dicts with "features" (T, 198), and optionally "valid" (T, 2), "source", "clip_id".
            window: frames of a window.
            batch_size: windows of a batch.
            source_weights: share of the batch by source; a source that is not named gets the mean of those
                that are.
            step: frames per latent, which every clip's length must be a multiple of.
        """
        check_clips(clips, step)
        self.window = window
        self.features = torch.cat([torch.as_tensor(np.asarray(c["features"], np.float32)) for c in clips])
        self.valid = torch.cat([torch.as_tensor(clip_valid(c)) for c in clips])
        self.lengths = torch.tensor([len(c["features"]) for c in clips])
        self.starts = self.lengths.cumsum(0) - self.lengths
        sources = [str(c.get("source", "")) for c in clips]
        self.groups = [
            (torch.tensor([i for i, s in enumerate(sources) if s == name]), count)
            for name, count in allot(sorted(set(sources)), source_weights, batch_size).items()
            if count
        ]

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draws a batch: features (B, W, 198), valid (B, W, 2) bool, mask (B, W) bool of the clips' own frames."""
        chosen = torch.cat([self._draw_clips(members, count, generator) for members, count in self.groups])
        length = self.lengths[chosen]
        room = (length - self.window).clamp(min=0)
        offset = (torch.rand(len(chosen), generator=generator) * (room + 1)).long().clamp(max=room)
        position = offset[:, None] + torch.arange(self.window)  # (B, W)
        mask = position < length[:, None]
        rows = self.starts[chosen, None] + torch.minimum(position, length[:, None] - 1)
        return self.features[rows], self.valid[rows] & mask[..., None], mask

    def _draw_clips(self, members: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draws clips, a long one as often as it has windows."""
        windows = (self.lengths[members] / self.window).ceil()
        return members[torch.multinomial(windows, count, replacement=True, generator=generator)]


def allot(sources: Sequence[str], weights: Mapping[str, float], batch_size: int) -> dict[str, int]:
    """Splits a batch among the sources that are present, by weight, at least one each if the batch allows."""
    named = [float(w) for w in weights.values()]
    missing = [s for s in sources if s not in weights]
    default = sum(named) / len(named) if named else 1.0
    if missing and weights:
        logger.warning("no weight for the sources %s: each gets %.2f", ", ".join(map(repr, missing)), default)
    shares = {s: float(weights.get(s, default)) for s in sources}
    total = sum(shares.values())
    if total <= 0:
        raise DataError(f"Expected a positive weight for one of the sources {', '.join(sources)}, got {dict(weights)}.")
    exact = {s: batch_size * share / total for s, share in shares.items()}
    counts = {s: int(value) for s, value in exact.items()}
    for s in sorted(sources, key=lambda s: counts[s] - exact[s])[: batch_size - sum(counts.values())]:
        counts[s] += 1
    for s in sources:
        largest = max(counts, key=lambda name: counts[name])
        if counts[s] == 0 and shares[s] > 0 and counts[largest] > 1:
            counts[s], counts[largest] = 1, counts[largest] - 1
    return counts


def check_clips(clips: Sequence[Clip], step: int) -> None:
    """Raises DataError unless there are clips, each well formed."""
    if not clips:
        raise DataError("Expected at least one clip, got none. Check the split and the sources of the store.")
    for number, clip in enumerate(clips):
        name = clip.get("clip_id", f"number {number}")
        shape = np.shape(clip.get("features", ()))
        if len(shape) != 2 or shape[1] != FEATURES or shape[0] < step or shape[0] % step:
            raise DataError(
                f"Clip {name}: expected features (T, {FEATURES}) with T a multiple of {step}, got {shape}. Cut it."
            )
        if clip_valid(clip).shape != (shape[0], HANDS):
            raise DataError(
                f"Clip {name}: expected valid {(shape[0], HANDS)}, got {clip_valid(clip).shape}. One flag per hand."
            )
        if not np.isfinite(np.asarray(clip["features"], np.float32)).all():
            raise DataError(f"Clip {name}: expected finite features, got NaN or infinity. Repair or drop the clip.")


def clip_valid(clip: Clip) -> np.ndarray:
    """The clip's validity (T, 2) bool; all true if it has none."""
    valid = clip.get("valid")
    return np.ones((len(clip["features"]), HANDS), bool) if valid is None else np.asarray(valid, bool)


def hash_clips(clips: Sequence[Clip]) -> str:
    """SHA-256 over the content that training reads: features, validity, source, in order."""
    digest = hashlib.sha256()
    for clip in clips:
        features = np.ascontiguousarray(clip["features"], np.float32)
        digest.update(f"{clip.get('source', '')}|{features.shape}|".encode())
        digest.update(features.tobytes())
        digest.update(np.packbits(clip_valid(clip)).tobytes())
    return digest.hexdigest()
