"""How well clips come back from tokens: features, joints, use of the codes."""

import torch
from torch import Tensor

from .losses import JointsFn, joint_error_mm, reconstruction_losses
from .tokenizer import ShiftTokenizer
from .usage import codebook_usage
from .windows import Clip, Clips, check_clips, clip_source, clip_valid

BLOCK = 1024
"""Clips that are measured at once."""


def evaluate_reconstruction(
    tokenizer: ShiftTokenizer, clips: Clips, joints_fn: JointsFn | None = None, *, prefix: str = ""
) -> dict[str, float]:
    """Encodes and decodes clips and measures what comes back of hands that are seen, for all and by source.

    Args:
        tokenizer: in eval mode or not; it is not changed.
        clips: as for `train_tokenizer`; at most BLOCK of them are in memory at once.
        joints_fn: as for `train_tokenizer`.
        prefix: of the names in the result.

    Returns:
        reconstruction (smooth-L1 of normalized features), mpjpe_mm and root_mpjpe_mm if there is a joints_fn;
        by source with `/name` behind; codes_in_use and perplexity, the mean over the codebooks.

    Raises:
        DataError: the clips do not fit; RateError where their rate is another than the tokenizer's.
    """
    if not len(clips):
        check_clips(clips, tokenizer.config.frames_per_latent, tokenizer.config.fps)
    tokens: list[Tensor] = []
    valid: list[Tensor] = []
    sums: dict[str, tuple[float, int]] = {}
    for first in range(0, len(clips), BLOCK):
        numbers = range(first, min(first + BLOCK, len(clips)))
        measures = _measure(tokenizer, [clips[number] for number in numbers], joints_fn, tokens, valid)
        for name, (value, weight) in measures.items():
            before = sums.get(name, (0.0, 0))
            sums[name] = before[0] + value * weight, before[1] + weight
    usage = codebook_usage(tokens, tokenizer.config, valid=valid)
    result = {
        f"{prefix}codes_in_use": sum(u.in_use for u in usage) / len(usage),
        f"{prefix}perplexity": sum(u.perplexity for u in usage) / len(usage),
    }
    return result | {f"{prefix}{name}": value / weight for name, (value, weight) in sums.items()}


def _measure(
    tokenizer: ShiftTokenizer,
    clips: list[Clip],
    joints_fn: JointsFn | None,
    all_tokens: list[Tensor],
    all_valid: list[Tensor],
) -> dict[str, tuple[float, int]]:
    """Means over some clips, each with the number of hands seen that it is over; adds to the tokens and validity."""
    device = tokenizer.mean.device
    check_clips(clips, tokenizer.config.frames_per_latent, tokenizer.config.fps)
    valid = [torch.as_tensor(clip_valid(clip), device=device) for clip in clips]
    features = [tokenizer.fill_unseen(clip["features"], seen) for clip, seen in zip(clips, valid, strict=True)]
    tokens = tokenizer.encode_list(features)
    decoded = tokenizer.decode_list(tokens)
    all_tokens += tokens
    all_valid += [v.cpu() for v in valid]
    sources = [clip_source(clip) for clip in clips]
    result: dict[str, tuple[float, int]] = {}
    for name in (None, *sorted(set(sources))):
        chosen = [i for i, source in enumerate(sources) if name in (None, source)]
        truth, made, seen = (torch.cat([x[i] for i in chosen])[None] for x in (features, decoded, valid))
        if not bool(seen.any()):
            continue
        ending, weight = f"/{name}" if name else "", int(seen.sum())
        groups = reconstruction_losses(tokenizer.normalize(made), tokenizer.normalize(truth), seen.float())
        result[f"reconstruction{ending}"] = float(groups.rotation + groups.translation + groups.pose) / 3, weight
        if joints_fn is not None:
            errors = joint_error_mm(made, truth, seen, joints_fn)
            result[f"mpjpe_mm{ending}"], result[f"root_mpjpe_mm{ending}"] = ((error, weight) for error in errors)
    return result
