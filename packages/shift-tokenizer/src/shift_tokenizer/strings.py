"""Tokens as text, for people and for language models, and back.

Convention:
    A motion is `<som>`, then the slots of each step in order, then `<eom>`. Code k of codebook b is
    `<motion_id_{b * K + k}>`: with K = 512, tokens [[3, 7, 0, 1]] are
    `<som><motion_id_3><motion_id_519><motion_id_0><motion_id_513><eom>`.
"""

import re

import torch
from torch import Tensor

from .config import ShiftConfig
from .errors import ShapeError

SOM, EOM = "<som>", "<eom>"
_ID = re.compile(r"<motion_id_(\d{1,9})>")


def tokens_to_string(tokens: Tensor, config: ShiftConfig) -> str:
    """Tokens (L, n_slots) as one string.

    Raises:
        ShapeError: the shape does not fit, or an index is no code.
    """
    tokens = torch.as_tensor(tokens)
    if tokens.ndim != 2 or tokens.shape[1] != config.n_slots:
        raise ShapeError(f"Expected tokens (L, {config.n_slots}), got {tuple(tokens.shape)}. Give one motion.")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < config.codebook_size:
        raise ShapeError(
            f"Expected tokens from 0 to {config.codebook_size - 1}, got {int(tokens.min())} to {int(tokens.max())}. "
            "Take off the offset of the vocabulary first."
        )
    ids = tokens.cpu() + torch.tensor(config.slot_codebook) * config.codebook_size
    return SOM + "".join(f"<motion_id_{i}>" for i in ids.flatten().tolist()) + EOM


def string_to_tokens(text: str, config: ShiftConfig) -> Tensor:
    """The inverse of `tokens_to_string`; white space between tokens is passed over.

    Returns:
        tokens (L, n_slots) int64.

    Raises:
        ShapeError: the text is no motion, ends within a step, or has an id in a wrong slot.
    """
    body = "".join(text.split())
    if not body.startswith(SOM) or not body.endswith(EOM) or _ID.sub("", body) != SOM + EOM:
        shown = text if len(text) < 60 else f"{text[:40]}...{text[-16:]}"
        raise ShapeError(f"Expected {SOM}<motion_id_...>...{EOM}, got {shown!r}. Cut out one motion.")
    ids = torch.tensor([int(i) for i in _ID.findall(body)], dtype=torch.int64)
    if len(ids) % config.n_slots:
        raise ShapeError(f"Expected {config.n_slots} ids a step, got {len(ids)} in all. Cut at a whole step.")
    tokens = ids.unflatten(0, (-1, config.n_slots)) if len(ids) else ids.new_empty(0, config.n_slots)
    tokens = tokens - torch.tensor(config.slot_codebook) * config.codebook_size
    wrong = (tokens < 0) | (tokens >= config.codebook_size)
    if bool(wrong.any()):
        step, slot = wrong.nonzero()[0].tolist()
        book = config.slot_codebook[slot]
        low = book * config.codebook_size
        raise ShapeError(
            f"Expected an id from {low} to {low + config.codebook_size - 1} in slot {slot}, got "
            f"{int(ids[step * config.n_slots + slot])} in step {step}. Constrain the decoding, or drop the text."
        )
    return tokens
