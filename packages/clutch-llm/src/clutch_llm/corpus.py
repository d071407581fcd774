"""From clips to examples: each clip with the tokens of its motion; and the mirror images of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from hand_geometry import mirror_features, mirror_text
from shift_tokenizer import ShiftTokenizer

from clutch_llm.clips import Clip, Example, check_clip
from clutch_llm.stored import StoredMotion

#: Clips that are encoded together: only their motions are in memory at once, where motions are read when asked for.
BLOCK = 1024


def build_corpus(clips: Sequence[Mapping[str, Any]], tokenizer: ShiftTokenizer) -> list[Example]:
    """Give each clip its motion tokens: ``example["tokens"]``, shape (L, n_slots) int64.

    Where a hand is not seen, its nearest seen frame is encoded, or the mean of the tokenizer's training data where it
    is never seen (`ShiftTokenizer.fill_unseen`).

    Args:
        clips: clips as `clips.Clip` says, of the tokenizer's rate and of whole latent steps.
        tokenizer: a trained SHIFT tokenizer.

    Raises:
        DataError: when a clip is not what `clips.check_clip` expects.
    """
    checked = [check_clip(clip, tokenizer.config) for clip in clips]
    examples = []
    for start in range(0, len(checked), BLOCK):
        some = checked[start : start + BLOCK]
        with torch.no_grad():
            tokens = tokenizer.encode_list(
                [_tensor(clip["features"]) for clip in some], [torch.as_tensor(clip["valid"]) for clip in some]
            )
        examples += [cast(Example, {**clip, "tokens": t.cpu().numpy()}) for clip, t in zip(some, tokens, strict=True)]
    return examples


def mirrored(examples: Sequence[Example], tokenizer: ShiftTokenizer) -> list[Example]:
    """The mirror image of each example: hands swapped, left and right swapped in its captions.

    ``clip_id`` ends in ``#mirror``. A tokenizer that reads the left hand in a mirror has the same codes for it on the
    other side; with any other one the motions are encoded anew.
    """
    images = [mirror_clip(example) for example in examples]
    config = tokenizer.config
    if not (config.mirror_left and config.splits_parts):
        return build_corpus(images, tokenizer)
    half = config.n_slots // 2
    return [
        cast(Example, {**image, "tokens": np.roll(example["tokens"], half, axis=1)})
        for image, example in zip(images, examples, strict=True)
    ]


def mirror_clip(clip: Clip) -> Clip:
    """The clip as seen in a mirror; tokens, if it has any, are left as they are.

    Its captions are the clip's ``mirrored_captions``, where the data carries them (written by the clip's source from
    mirrored attributes), else its captions with the words changed by ``hand_geometry.mirror_text``.
    """
    captions = list(clip["captions"])
    image: dict[str, Any] = {
        **clip,
        "clip_id": f"{clip['clip_id']}#mirror",
        "features": _mirrored_features(clip["features"]),
        "valid": np.ascontiguousarray(np.asarray(clip["valid"])[:, ::-1]),
        "captions": list(clip.get("mirrored_captions") or [mirror_text(caption) for caption in captions]),
    }
    if clip.get("mirrored_captions"):
        image["mirrored_captions"] = captions
    if clip.get("paraphrases"):
        mirrored_paraphrases = clip.get("mirrored_paraphrases") or [mirror_text(t) for t in clip["paraphrases"]]
        image |= {"paraphrases": list(mirrored_paraphrases), "mirrored_paraphrases": list(clip["paraphrases"])}
    return cast(Clip, image)


def _mirrored_features(features: Any) -> Any:
    return features.mirror() if isinstance(features, StoredMotion) else mirror_features(_tensor(features)).numpy()


def _tensor(features: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
