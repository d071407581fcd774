"""What is given of a motion with gaps: its frames, which slots of its latent steps they decide, and those slots' codes.

A number is given unless it is NaN or its hand is not valid in its frame. What a stream of the motion tokenizer carries
of a hand, the wrist's path or the pose, is given in a frame as a whole or not at all.

A run of given frames decides the latent steps that lie within it as a whole. A run that holds no whole step, as a
keyframe, decides the step in which its middle lies.

Where the tokenizer predicts a step from the one before (`ShiftConfig.prediction`), a code means nothing without what
came before it. So codes that are given are chosen as the motion is written (`Forcing`): those that bring what was
written before nearest to what is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from shift_tokenizer import ShiftTokenizer

from clutch_llm.errors import ConfigError, DataError
from clutch_llm.windows import FEATURES, SIDES, TRANSLATION, canonical_origin_of, with_resting_hands

HAND_FEATURES = FEATURES // 2


@dataclass(frozen=True)
class Given:
    """A motion with gaps, ready to be completed.

    Attributes:
        features: (T, 198) float32 as the user gave them, T = L * frames_per_latent; anything finite in the gaps.
        known: (T, 198) bool, which of them are given.
        frames: of the motion that is asked for, at most T; those behind it pad its last latent step.
        origin: (3,) what is taken off both wrists to make the motion canonical.
        latents: of each stream (1, parts, L, D), of the canonical motion with its gaps bridged.
        slots: (L, n_slots) bool, the slots that are decided.
    """

    features: np.ndarray
    known: np.ndarray
    frames: int
    origin: np.ndarray
    latents: list[torch.Tensor]
    slots: np.ndarray

    @property
    def steps(self) -> int:
        """Latent steps of the motion."""
        return len(self.slots)

    @property
    def is_beginning(self) -> bool:
        """Whether what is given is the beginning of the motion: all slots of its first steps, and no other."""
        count = int(self.slots[:, 0].argmin()) if not self.slots[:, 0].all() else len(self.slots)
        return bool(self.slots[:count].all() and not self.slots[count:].any())

    def tokens(self, tokenizer: ShiftTokenizer) -> np.ndarray:
        """The motion's codes (L, n_slots), to be shown where ``slots`` says so."""
        return np.asarray(tokenizer.quantize(self.latents)[0][0].cpu())


class Forcing:
    """Writes what is given into motions that are drawn side by side.

    Args:
        given: what all of them have in common.
        tokenizer: the motion tokenizer.
        count: motions.
    """

    def __init__(self, given: Given, tokenizer: ShiftTokenizer, count: int) -> None:
        self.tokenizer = tokenizer
        self._latents = [z.expand(count, -1, -1, -1) for z in given.latents]
        self._slots = torch.from_numpy(given.slots).to(tokenizer.mean.device)
        self._values: list[torch.Tensor] | None = None

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The codes of a step (N, n_slots) after what was followed so far, and which of them are given (n_slots,)."""
        latents = [z[:, :, step : step + 1] for z in self._latents]
        return self.tokenizer.quantize(latents, self._values)[0][:, 0], self._slots[step]

    def follow(self, codes: torch.Tensor) -> None:
        """Take the codes (N, n_slots) that a step became."""
        self._values = [value[:, :, -1] for value in self.tokenizer.embed(codes[:, None], self._values)]


def read_given(
    features: object, valid: object, tokenizer: ShiftTokenizer, *, frames: int | None, max_steps: int
) -> Given:
    """Read a motion with gaps.

    Args:
        features: (T, 198), array or tensor; NaN where nothing is given.
        valid: (T, 2) whether a hand is given in a frame; None takes all that is not NaN.
        tokenizer: the motion tokenizer.
        frames: of the whole motion, at least T; what comes behind is a gap. None for T.
        max_steps: longest motion in latent steps.

    Raises:
        DataError: when a shape does not fit, nothing is given, a number is infinite, or a stream's numbers are given in
            part.
        ConfigError: when the motion is to be shorter than what there is, or longer than ``max_steps``.
    """
    rows, known = _check(features, valid)
    wanted = len(rows) if frames is None else frames
    step = tokenizer.config.frames_per_latent
    if wanted < len(rows):
        raise ConfigError(f"Expected at least the {len(rows)} frames of the motion, got {wanted}. Cut it, or ask more.")
    if wanted > max_steps * step:
        raise ConfigError(
            f"Expected a motion of at most {max_steps * step} frames, got {wanted}. Cut it, or chain several."
        )
    steps = -(-wanted // step)
    missing = steps * step - len(rows)
    rows = np.concatenate([rows, np.full((missing, FEATURES), np.nan, dtype=np.float32)])
    known = np.concatenate([known, np.zeros((missing, FEATURES), dtype=bool)])
    if wanted < len(rows):  # the last step is padded with its last frame, as clips of training are
        rows[wanted:], known[wanted:] = rows[wanted - 1], known[wanted - 1]
    streams = _stream_flags(known, tokenizer)
    bridged = _bridged(rows, known, tokenizer)
    origin = _origin(bridged, known)
    hands = bridged.reshape(-1, 2, HAND_FEATURES).copy()
    hands[..., TRANSLATION] -= origin
    canonical = torch.from_numpy(hands.reshape(1, -1, FEATURES)).to(tokenizer.mean)
    slots = _decided(streams, tokenizer)
    return Given(np.where(known, rows, bridged), known, wanted, origin, tokenizer.latents(canonical), slots)


def moved(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Features (T, 198) with both wrists moved by (3,) metres."""
    hands = features.reshape(-1, 2, HAND_FEATURES).copy()
    hands[..., TRANSLATION] += by.astype(features.dtype)
    return hands.reshape(features.shape)


def runs_of(flags: np.ndarray) -> Iterator[tuple[int, int]]:
    """First index and one past the last of each run of true flags (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    yield from ((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))


def parts_of(tokenizer: ShiftTokenizer) -> list[list[int]]:
    """Columns of the 198 features that are given together: of each hand, what each modality's stream carries."""
    streams = tokenizer.config.stream_features
    return [[hand * HAND_FEATURES + k for k in own] for hand in range(2) for own in streams]


def _check(features: object, valid: object) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array(_array(features), dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != FEATURES or len(rows) == 0:
        raise DataError(
            f"Expected motion features of shape (T, {FEATURES}) with T >= 1, got {rows.shape}. "
            "Make them with hand_geometry.params_to_features."
        )
    known = ~np.isnan(rows)
    if valid is not None:
        seen = np.asarray(_array(valid))
        if seen.shape != (len(rows), 2):
            raise DataError(
                f"Expected valid of shape ({len(rows)}, 2), one flag for each hand and frame, got {seen.shape}."
            )
        known &= np.repeat(seen.astype(bool), HAND_FEATURES, axis=1)
    if not known.any():
        raise DataError("Expected a motion of which something is given, got gaps alone. Use generate instead.")
    if np.isinf(rows[known]).any():
        raise DataError("Expected finite features, got infinity. Mark what is not given with NaN or as not valid.")
    return np.where(known, rows, np.nan), known


def _array(value: object) -> object:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _stream_flags(known: np.ndarray, tokenizer: ShiftTokenizer) -> np.ndarray:
    """Whether each hand's part is given in each frame: (T, 2, modalities)."""
    flags = np.stack([known[:, columns].all(1) for columns in parts_of(tokenizer)], 1)
    for k, columns in enumerate(parts_of(tokenizer)):
        broken = np.flatnonzero(known[:, columns].any(1) & ~flags[:, k])
        if len(broken):
            hand, modality = divmod(k, tokenizer.config.n_modalities)
            what = ("wrist's rotation and translation", "pose") if tokenizer.config.n_modalities == 2 else ("hand",)
            raise DataError(
                f"Expected the {what[modality]} of the {SIDES[hand]} hand given as a whole or not at all, got a part "
                f"of it in frame {broken[0]}. A stream of the motion tokenizer carries it as one; give all its numbers."
            )
    return flags.reshape(len(known), 2, -1)


def _bridged(rows: np.ndarray, known: np.ndarray, tokenizer: ShiftTokenizer) -> np.ndarray:
    """The motion with straight lines over its gaps, held at its ends; the data's mean where nothing is given."""
    out = np.repeat(tokenizer.denormalize(tokenizer.mean.new_zeros(1, 1, FEATURES))[0].cpu().numpy(), len(rows), 0)
    at = np.arange(len(rows))
    for column in np.flatnonzero(known.any(0)):
        there = known[:, column]
        out[:, column] = np.interp(at, at[there], rows[there, column])
    return out.astype(np.float32)


def _origin(bridged: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The mean of the wrists in the first frame in which a wrist is given, a hand without one beside the other."""
    wrists = np.asarray(known.reshape(-1, 2, HAND_FEATURES)[..., TRANSLATION].all(-1))  # (T, 2)
    if not wrists.any():
        return np.zeros(3, dtype=np.float32)
    first = int(np.flatnonzero(wrists.any(axis=1))[0])
    placed = with_resting_hands(torch.from_numpy(bridged), torch.from_numpy(wrists), first)
    return canonical_origin_of(placed[first]).numpy()


def _decided(flags: np.ndarray, tokenizer: ShiftTokenizer) -> np.ndarray:
    """Slots (L, n_slots) that the given parts (T, 2, modalities) decide."""
    config = tokenizer.config
    if config.n_parts == 1:
        flags = np.asarray(flags.all(1, keepdims=True))
    streams = flags.reshape(len(flags), -1)
    steps = np.stack([_steps(column, config.frames_per_latent) for column in streams.T], 1)
    if not steps.any():
        raise DataError(
            f"Expected a part given that has a stream of its own in the motion tokenizer ({config.decomposition}), "
            "got none. Give both hands, or use a tokenizer that codes them apart."
        )
    return np.repeat(steps, config.residual_depth, axis=1)


def _steps(flags: np.ndarray, step: int) -> np.ndarray:
    """Latent steps (L,) that runs of given frames (T,) decide."""
    out = np.zeros(len(flags) // step, dtype=bool)
    for start, stop in runs_of(flags):
        first, last = -(-start // step), stop // step
        if first < last:
            out[first:last] = True
        else:
            out[(start + stop - 1) // 2 // step] = True
    return out
