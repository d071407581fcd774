"""Clips of any length as training windows: packed once, or read when drawn; each source with its share of a batch."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .errors import DataError
from .layout import FEATURES, HAND_FEATURES, HANDS
from .rates import check_rate

Clip = Mapping[str, Any]
_FRAME_BYTES = 4 * FEATURES + HANDS


class Clips(Protocol):
    """Clips by their number: a list of them, or a map-style dataset that reads each when it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Clip: ...


@dataclass(frozen=True)
class Survey:
    """What one look at all clips tells: length and source of each, and the hash of their content (`hash_clips`)."""

    lengths: list[int]
    sources: list[str]
    sha256: str


class WindowSampler:
    """Draws batches of windows from clips.

    A clip shorter than the window is padded by its last frame; the mask says which frames are the clip's own. Clips
    that fit into `memory` are kept there, packed; of others each drawn one is read anew. The same windows are drawn.
    """

    def __init__(
        self,
        clips: Clips,
        *,
        window: int,
        batch_size: int,
        shares: Mapping[str, float],
        frames_per_latent: int,
        fps: float,
        survey: Survey | None = None,
        memory: int | None = None,
    ) -> None:
        """Looks at all clips.

        Args:
            clips: dicts with "features" (T, 198), and optionally "valid" (T, 2), "fps", "source", "clip_id".
            window: frames of a window.
            batch_size: windows of a batch.
            shares: of the batch by source, every source of the clips.
            frames_per_latent: of the tokenizer, which every clip's length must be a multiple of.
            fps: frames a second that every clip must have.
            survey: of these clips, where it was made before.
            memory: bytes that packed clips may take; None for any number.
        """
        survey = survey or survey_clips(clips, frames_per_latent, fps)
        self.window = window
        self.lengths = torch.tensor(survey.lengths)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self._clips: Clips | None = clips
        self._fill: Callable[[Tensor, Tensor], Tensor] | None = None
        if memory is None or int(self.lengths.sum()) * _FRAME_BYTES <= memory:
            self.features = torch.empty(int(self.lengths.sum()), FEATURES)
            self.valid = torch.empty(len(self.features), HANDS, dtype=torch.bool)
            for start, (features, valid) in zip(self.starts.tolist(), self.each(), strict=True):
                rows = slice(start, start + len(features))
                self.features[rows], self.valid[rows] = features, valid
            self._clips = None
        self.groups = [
            (torch.tensor([i for i, s in enumerate(survey.sources) if s == name]), count)
            for name, count in allot(shares, batch_size).items()
            if count
        ]

    @property
    def packed(self) -> bool:
        """Whether all clips are in memory, as `features` and `valid` end to end."""
        return self._clips is None

    def each(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (T, 198) and valid (T, 2) of one clip after the other."""
        return (self._read(index) for index in range(len(self.lengths)))

    def fill_unseen(self, fill: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Replaces what stands where a hand is not seen: `fill` takes features (T, 198) and valid (T, 2) of a clip."""
        if not self.packed:
            self._fill = fill
            return
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
        position = torch.minimum(position, length[:, None] - 1)
        if self.packed:
            rows = self.starts[chosen, None] + position
            return self.features[rows], self.valid[rows] & mask[..., None], mask
        read = [self._read(index) for index in chosen.tolist()]
        features, valid = (
            torch.stack([x[rows] for x, rows in zip(many, position, strict=True)]) for many in zip(*read, strict=True)
        )
        return features, valid & mask[..., None], mask

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        if self._clips is None:
            rows = slice(int(self.starts[index]), int(self.starts[index] + self.lengths[index]))
            return self.features[rows], self.valid[rows]
        clip = self._clips[index]
        features = torch.as_tensor(np.asarray(clip["features"], np.float32))
        valid = torch.as_tensor(clip_valid(clip))
        if self._fill is not None and not bool(valid.all()):
            features = self._fill(features, valid)
        return features, valid

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


def check_clips(clips: Clips, frames_per_latent: int, fps: float) -> None:
    """Raises DataError unless there are clips, each well formed and of `fps` frames a second, where it tells a rate."""
    if not len(clips):
        raise DataError("Expected at least one clip, got none. Check the split and the sources of the store.")
    for number in range(len(clips)):
        _check_clip(clips[number], number, frames_per_latent, fps)


def survey_clips(clips: Clips, frames_per_latent: int, fps: float) -> Survey:
    """Looks at every clip once.

    Raises:
        DataError: as `check_clips`.
    """
    if not len(clips):
        check_clips(clips, frames_per_latent, fps)
    digest, lengths, sources = hashlib.sha256(), [], []
    for number in range(len(clips)):
        clip = clips[number]
        _check_clip(clip, number, frames_per_latent, fps)
        _hash_clip(digest, clip)
        lengths.append(len(clip["features"]))
        sources.append(clip_source(clip))
    return Survey(lengths, sources, digest.hexdigest())


def _check_clip(clip: Clip, number: int, frames_per_latent: int, fps: float) -> None:
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


def hash_clips(clips: Clips) -> str:
    """SHA-256 over the content that training reads, in order: source, validity, features of hands that are seen."""
    digest = hashlib.sha256()
    for number in range(len(clips)):
        _hash_clip(digest, clips[number])
    return digest.hexdigest()


def _hash_clip(digest: "hashlib._Hash", clip: Clip) -> None:
    valid = clip_valid(clip)
    hands = np.asarray(clip["features"], np.float32).reshape(-1, HANDS, HAND_FEATURES)
    digest.update(f"{clip_source(clip)}|{hands.shape}|".encode())
    digest.update(np.where(valid[..., None], hands, np.float32(0)).tobytes())
    digest.update(np.packbits(valid).tobytes())
