"""What a token means: for each of the most used codes, the little motion that it stands for.

A code alone is no motion: the decoder looks at its neighbours in time, and the other slots make the rest of the
frame. What is not asked about takes its mean: the expectation of the code over how it was used, which
`ShiftTokenizer.decode_probabilities` decodes like any other. In time, the code is either the middle step between
mean ones, or repeated throughout. Where steps are predicted from the step before (`ShiftConfig.prediction`), a code is
a change: steps of mean codes come first, until the mean pose stands, and are not shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import ConfigError
from .layout import HANDS
from .tokenizer import ShiftTokenizer
from .usage import codebook_usage

_LEAD = 24  # steps; what a prediction of 0.8 has not yet settled by then is half a percent


@dataclass(frozen=True)
class GalleryEntry:
    """One code and its motion.

    Attributes:
        codebook: its number; `config.codebook_names` says what it carries.
        code: the code's index.
        slot: where it was put: the last slot of its codebook, which is the right hand's where hands are coded
            apart.
        count: how often it was used in the tokens given.
        share: of the uses of its codebook, 0 to 1.
        features: (T, 198), the decoded motion.
        hands: (2,) bool, the hands that the slot speaks of, left and right.
        span: first frame that the code stands for, and the one behind the last.
    """

    codebook: int
    code: int
    slot: int
    count: int
    share: float
    features: Tensor
    hands: Tensor
    span: tuple[int, int]


@torch.no_grad()
def codebook_gallery(
    tokenizer: ShiftTokenizer,
    tokens: Iterable[Tensor],
    *,
    valid: Sequence[Tensor] | None = None,
    top: int = 8,
    latent_steps: int = 5,
    context: str = "mean",
) -> list[GalleryEntry]:
    """Decodes the most used codes of every codebook.

    Args:
        tokenizer: in eval mode.
        tokens: of each clip (L_i, n_slots), from which use is counted.
        valid: as for `codebook_usage`.
        top: codes per codebook, at most; codes that were never used are left out.
        latent_steps: of each motion, odd.
        context: "mean": the code in the middle step, mean codes before and after; "repeat": the code in
            every step.

    Returns:
        entries by codebook, the most used first.

    Raises:
        ConfigError: `latent_steps`, `top` or `context` is out of range.
    """
    if context not in ("mean", "repeat") or top < 1 or latent_steps < 1 or latent_steps % 2 == 0:
        raise ConfigError(
            f"Expected context 'mean' or 'repeat', top of at least 1 and odd latent_steps, got {context!r}, {top} "
            f"and {latent_steps}."
        )
    config = tokenizer.config
    usages = codebook_usage(tokens, config, valid=valid)
    most_used = [
        (book, code, int(usage.counts[code]))
        for book, usage in enumerate(usages)
        for code in usage.counts.sort(descending=True, stable=True).indices[:top].tolist()
        if usage.counts[code] > 0
    ]
    if not most_used:
        return []
    totals = [int(usage.counts.sum()) for usage in usages]
    shares = torch.stack([usage.counts / max(1, total) for usage, total in zip(usages, totals, strict=True)])
    mean = shares[list(config.slot_codebook)].to(tokenizer.mean)  # (n_slots, K)
    lead = _LEAD if any(config.stream_predictions) else 0
    probabilities = mean.repeat(len(most_used), lead + latent_steps, 1, 1)  # (E, L, n_slots, K)
    slots = [config.n_slots - config.n_codebooks + book for book, _, _ in most_used]
    shown = slice(None) if context == "repeat" else slice(latent_steps // 2, latent_steps // 2 + 1)
    for row, (slot, (_, code, _)) in enumerate(zip(slots, most_used, strict=True)):
        probabilities[row, lead:][shown, slot] = F.one_hot(torch.tensor(code), config.codebook_size).to(mean)
    frames = range(latent_steps * config.frames_per_latent)[:: config.frames_per_latent]
    first, last = (frames[shown][0], frames[shown][-1] + config.frames_per_latent)
    hands = torch.arange(HANDS) == HANDS - 1 if config.splits_parts else torch.ones(HANDS, dtype=torch.bool)
    motions = tokenizer.decode_probabilities(probabilities)[:, lead * config.frames_per_latent :].cpu()
    return [
        GalleryEntry(book, code, slot, count, count / totals[book], motion, hands, (first, last))
        for (book, code, count), slot, motion in zip(most_used, slots, motions, strict=True)
    ]
