"""How well clips come back from tokens: features, joints, use of the codes."""

import torch

from .losses import JointsFn, joint_error_mm, reconstruction_losses
from .tokenizer import ShiftTokenizer
from .usage import codebook_usage
from .windows import Clips, check_clips, clip_source, clip_valid


def evaluate_reconstruction(
    tokenizer: ShiftTokenizer, clips: Clips, joints_fn: JointsFn | None = None, *, prefix: str = ""
) -> dict[str, float]:
    """Encodes and decodes clips and measures what comes back of hands that are seen, for all and by source.

    Args:
        tokenizer: in eval mode or not; it is not changed.
        clips: as for `train_tokenizer`; all of them are in memory meanwhile.
        joints_fn: as for `train_tokenizer`.
        prefix: of the names in the result.

    Returns:
        reconstruction (smooth-L1 of normalized features), mpjpe_mm and root_mpjpe_mm if there is a joints_fn;
        by source with `/name` behind; codes_in_use and perplexity, the mean over the codebooks.

    Raises:
        DataError: the clips do not fit; RateError where their rate is another than the tokenizer's.
    """
    device = tokenizer.mean.device
    clips = [clips[number] for number in range(len(clips))]
    check_clips(clips, tokenizer.config.frames_per_latent, tokenizer.config.fps)
    valid = [torch.as_tensor(clip_valid(clip), device=device) for clip in clips]
    features = [tokenizer.fill_unseen(clip["features"], seen) for clip, seen in zip(clips, valid, strict=True)]
    tokens = tokenizer.encode_list(features)
    decoded = tokenizer.decode_list(tokens)
    usage = codebook_usage(tokens, tokenizer.config, valid=[v.cpu() for v in valid])
    result = {
        f"{prefix}codes_in_use": sum(u.in_use for u in usage) / len(usage),
        f"{prefix}perplexity": sum(u.perplexity for u in usage) / len(usage),
    }
    sources = [clip_source(clip) for clip in clips]
    for name in (None, *sorted(set(sources))):
        chosen = [i for i, source in enumerate(sources) if name in (None, source)]
        truth, made, seen = (torch.cat([x[i] for i in chosen])[None] for x in (features, decoded, valid))
        if not bool(seen.any()):
            continue
        ending = f"/{name}" if name else ""
        groups = reconstruction_losses(tokenizer.normalize(made), tokenizer.normalize(truth), seen.float())
        result[f"{prefix}reconstruction{ending}"] = float(groups.rotation + groups.translation + groups.pose) / 3
        if joints_fn is not None:
            errors = joint_error_mm(made, truth, seen, joints_fn)
            result[f"{prefix}mpjpe_mm{ending}"], result[f"{prefix}root_mpjpe_mm{ending}"] = errors
    return result
