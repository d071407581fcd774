"""The slots of a latent step: codes of the streams side by side, ordered by part, then modality, then level."""

import torch
from torch import Tensor

from .config import ShiftConfig
from .errors import ShapeError
from .layout import FEATURES


def join_slots(per_stream: list[Tensor], config: ShiftConfig) -> Tensor:
    """Per stream (B * parts, L, R) -> (B, L, n_slots)."""
    slots = torch.stack(per_stream, 2).unflatten(0, (-1, config.n_parts))  # (B, P, L, M, R)
    return slots.permute(0, 2, 1, 3, 4).flatten(2)


def split_slots(slots: Tensor, config: ShiftConfig) -> list[Tensor]:
    """(B, L, n_slots, ...) -> per stream (B, parts, L, R, ...)."""
    split = slots.unflatten(2, (config.n_parts, config.n_modalities, config.residual_depth))
    return list(split.transpose(1, 2).unbind(3))


def check_features(features: Tensor, config: ShiftConfig) -> None:
    """Raises ShapeError unless features are (B, T, 198) of whole latent steps."""
    step = config.frames_per_latent
    if features.ndim != 3 or features.shape[-1] != FEATURES or features.shape[1] % step or not features.shape[1]:
        raise ShapeError(
            f"Expected features (B, T, {FEATURES}) with T a multiple of {step} and above 0, got "
            f"{tuple(features.shape)}. Repeat the last frame until T fits."
        )


def check_finite(features: Tensor) -> None:
    """Raises ShapeError unless all features are finite."""
    if not bool(features.isfinite().all()):
        raise ShapeError("Expected finite features, got NaN or infinity. Mark such frames as not valid, or drop them.")


def check_tokens(tokens: Tensor, config: ShiftConfig) -> None:
    """Raises ShapeError unless tokens are (B, L, n_slots) and codes."""
    slots, size = config.n_slots, config.codebook_size
    if tokens.ndim != 3 or tokens.shape[2] != slots or not tokens.shape[1]:
        raise ShapeError(f"Expected tokens (B, L, {slots}), got {tuple(tokens.shape)}. Give {slots} tokens a step.")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < size:
        raise ShapeError(
            f"Expected tokens from 0 to {size - 1}, got {int(tokens.min())} to {int(tokens.max())}. "
            "Take off the offset of the vocabulary first."
        )


def check_probabilities(probabilities: Tensor, config: ShiftConfig) -> None:
    """Raises ShapeError unless probabilities are (B, L, n_slots, K)."""
    expected = (config.n_slots, config.codebook_size)
    if probabilities.ndim != 4 or tuple(probabilities.shape[2:]) != expected or not probabilities.shape[1]:
        raise ShapeError(
            f"Expected probabilities (B, L, {expected[0]}, {expected[1]}), got {tuple(probabilities.shape)}. "
            "Give one distribution per slot."
        )


def check_mask(mask: Tensor, batch: int, steps: int) -> None:
    """Raises ShapeError unless the mask is (B, L) bool with each clip's steps at the start and padding behind them."""
    if mask.dtype != torch.bool or tuple(mask.shape) != (batch, steps) or bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ShapeError(
            f"Expected mask {(batch, steps)} of bool, true on each clip's steps and then false, got "
            f"{tuple(mask.shape)} of {mask.dtype}. Pad clips at their end."
        )
