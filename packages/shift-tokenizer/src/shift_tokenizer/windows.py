"""Clips of any length as training windows: packed once, drawn by index, each source with its share of a batch."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import DataError
from .layout import FEATURES, HAND_FEATURES, HANDS
from .rates import check_rate

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
        shares: Mapping[str, float],
        frames_per_latent: int,
        fps: float,
    ) -> None:
        """Packs the clips.

        Args:
            clips: dicts with "features" (T, 198), and optionally "valid" (T, 2), "fps", "source", "clip_id".
            window: frames of a window.
            batch_size: windows of a batch.
            shares: of the batch by source, every source of the clips.
            frames_per_latent: of the tokenizer, which every clip's length must be a multiple of.
            fps: frames a second that every clip must have.
        """
        check_clips(clips, frames_per_latent, fps)
        self.window = window
        self.features = torch.cat([torch.as_tensor(np.asarray(c["features"], np.float32)) for c in clips])
        self.valid = torch.cat([torch.as_tensor(clip_valid(c)) for c in clips])
        self.lengths = torch.tensor([len(c["features"]) for c in clips])
        self.starts = self.lengths.cumsum(0) - self.lengths
        sources = [clip_source(c) for c in clips]
        self.groups = [
            (torch.tensor([i for i, s in enumerate(sources) if s == name]), count)
            for name, count in allot(shares, batch_size).items()
            if count
        ]

    def fill_unseen(self, fill: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Replaces what stands where a hand is not seen: `fill` takes features (T, 198) and valid (T, 2) of a clip."""
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            rows = slice(start, start + length)
            if not bool(self.valid[rows].all()):
                self.features[rows] = fill(self.features[rows], self.valid[rows])

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


def allot(shares: Mapping[str, float], batch_size: int) -> dict[str, int]:
    """Splits a batch among sources by their shares (sum 1), at least one each if the batch allows."""
    exact = {s: batch_size * share for s, share in shares.items()}
    counts = {s: int(value) for s, value in exact.items()}
    for s in sorted(shares, key=lambda s: counts[s] - exact[s])[: batch_size - sum(counts.values())]:
        counts[s] += 1
    for s in shares:
        largest = max(counts, key=lambda name: counts[name])
        if counts[s] == 0 and shares[s] > 0 and counts[largest] > 1:
            counts[s], counts[largest] = 1, counts[largest] - 1
    return counts


def check_clips(clips: Sequence[Clip], frames_per_latent: int, fps: float) -> None:
    """Raises DataError unless there are clips, each well formed and of `fps` frames a second, where it tells a rate."""
    if not clips:
        raise DataError("Expected at least one clip, got none. Check the split and the sources of the store.")
    for number, clip in enumerate(clips):
        name = clip.get("clip_id", f"number {number}")
        shape = np.shape(clip.get("features", ()))
        if len(shape) != 2 or shape[1] != FEATURES or shape[0] < frames_per_latent or shape[0] % frames_per_latent:
            raise DataError(
                f"Clip {name}: expected features (T, {FEATURES}) with T a multiple of "
                f"{frames_per_latent}, got {shape}. Cut it."
            )
        if clip_valid(clip).shape != (shape[0], HANDS):
            raise DataError(
                f"Clip {name}: expected valid {(shape[0], HANDS)}, got {clip_valid(clip).shape}. One flag per hand."
            )
        hands = np.asarray(clip["features"], np.float32).reshape(-1, HANDS, HAND_FEATURES)
        if not np.isfinite(hands[clip_valid(clip)]).all():
            raise DataError(
                f"Clip {name}: expected finite features of hands that are seen, got NaN or infinity. Mark such frames "
                "as not valid, or drop the clip."
            )
        if clip.get("fps") is not None:
            check_rate(clip["fps"], fps, f"clip {name}")


def clip_valid(clip: Clip) -> np.ndarray:
    """The clip's validity (T, 2) bool; all true if it has none."""
    valid = clip.get("valid")
    return np.ones((len(clip["features"]), HANDS), bool) if valid is None else np.asarray(valid, bool)


def clip_source(clip: Clip) -> str:
    """The name of the source that a clip comes from; empty if it tells none."""
    return str(clip.get("source", ""))


def hash_clips(clips: Sequence[Clip]) -> str:
    """SHA-256 over the content that training reads, in order: source, validity, features of hands that are seen."""
    digest = hashlib.sha256()
    for clip in clips:
        valid = clip_valid(clip)
        hands = np.asarray(clip["features"], np.float32).reshape(-1, HANDS, HAND_FEATURES)
        digest.update(f"{clip_source(clip)}|{hands.shape}|".encode())
        digest.update(np.where(valid[..., None], hands, np.float32(0)).tobytes())
        digest.update(np.packbits(valid).tobytes())
    return digest.hexdigest()
