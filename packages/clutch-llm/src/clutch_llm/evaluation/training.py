"""Training of the evaluator.

Symmetric InfoNCE over caption-motion pairs, with attributes classified on the side.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from hand_geometry import mirror_features
from torch import Tensor

from clutch_llm.errors import DataError
from clutch_llm.evaluation.batches import IGNORE, Batch, PairSampler, attribute_classes
from clutch_llm.evaluation.checkpoint import identify
from clutch_llm.evaluation.evaluator import N_FEATURES, Evaluator, EvaluatorConfig
from clutch_llm.evaluation.grouping import Clip
from clutch_llm.evaluation.loop import History, OnLog, Schedule, choose_device, optimize
from clutch_llm.evaluation.metrics import r_precision
from clutch_llm.evaluation.unseen import filled, seen_mean
from clutch_llm.evaluation.vocabulary import WordVocabulary, swap_sides

_MIN_STD = 0.05  # normalised features that hardly vary are not blown up


def _check(clips: Sequence[Clip]) -> None:
    if len(clips) < 2:
        raise DataError(f"Expected at least 2 clips to train the evaluator, got {len(clips)}. Build a larger store.")
    for clip in clips:
        shape = tuple(clip["features"].shape)
        if len(shape) != 2 or shape[1] != N_FEATURES or shape[0] < 4:
            raise DataError(
                f"Expected features of shape (T >= 4, {N_FEATURES}) in clip {clip['clip_id']!r}, got "
                f"{shape}. Rebuild the store."
            )
        if not clip["captions"]:
            raise DataError(
                f"Expected at least one caption in clip {clip['clip_id']!r}, got none. Caption it or leave it out."
            )


def _create(clips: Sequence[Clip], config: EvaluatorConfig, seed: int) -> Evaluator:
    captions = [text for clip in clips for text in clip["captions"]]
    vocabulary = WordVocabulary.build(captions + [swap_sides(t) for t in captions], min_count=config.min_count)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        evaluator = Evaluator(config, vocabulary.words, attribute_classes(clips))
    frames = torch.cat([torch.as_tensor(c["features"], dtype=torch.float32) for c in clips])
    evaluator.mean.copy_(frames.mean(0))
    evaluator.std.copy_(frames.std(0).clamp(min=_MIN_STD))
    return evaluator


def contrastive_loss(text: Tensor, motion: Tensor, log_scale: Tensor, false_negative: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit vectors (B, E), without the false negatives (B, B)."""
    logits = text @ motion.T * log_scale.exp().clamp(max=50.0)
    target = torch.arange(len(text), device=text.device)
    by_text = F.cross_entropy(logits.masked_fill(false_negative, -1e4), target)
    by_motion = F.cross_entropy(logits.T.masked_fill(false_negative.T, -1e4), target)
    return 0.5 * (by_text + by_motion)


def _loss(evaluator: Evaluator, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    device = evaluator.device
    motion = evaluator.motion(batch.features.to(device), batch.lengths.to(device))
    text = evaluator.text(batch.ids.to(device))
    contrast = contrastive_loss(
        F.normalize(text, dim=-1),
        F.normalize(motion, dim=-1),
        evaluator.log_scale,
        batch.false_negative.to(device),
    )
    side = motion.new_zeros(())
    labels = batch.labels.to(device)
    for a, head in enumerate(evaluator.heads.values()):
        if (labels[:, a] != IGNORE).any():
            side = side + F.cross_entropy(head(motion), labels[:, a], ignore_index=IGNORE)
    total = contrast + evaluator.config.attribute_weight * side + 1e-4 * motion.pow(2).mean()
    return total, {"contrastive_loss": float(contrast.detach()), "attribute_loss": float(side.detach())}


@torch.no_grad()
def retrieval(evaluator: Evaluator, clips: Sequence[Clip], *, caption: int = -1, **options: Any) -> dict[str, Any]:
    """R-precision of the clips' own captions (``caption`` picks which.

    0 high-level, -1 finest) per source.
    """
    result = {}
    for source in sorted({c["source"] for c in clips}):
        members = [c for c in clips if c["source"] == source]
        texts = evaluator.embed_texts([c["captions"][caption] for c in members])
        result[source] = r_precision(texts, evaluator.embed_clips(members), **options)
    return result


def train_evaluator(
    clips: Sequence[Clip],
    config: EvaluatorConfig | None = None,
    *,
    val_clips: Sequence[Clip] | None = None,
    seed: int = 0,
    data_hash: str | None = None,
    on_log: OnLog | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> tuple[Evaluator, History]:
    """Train one evaluator for all sources.

    Args:
        clips: the train split's clips, every source.
        config: sizes and training; default for None.
        val_clips: if given, the retrieval of their finest captions closes the history.
        seed: of weights, batches and augmentation; the same seed gives the same bytes on the same machine.
        data_hash: of the store, kept with the evaluator; None: a hash of the clips themselves.
        on_log: called with (step, figures) every 20 steps.
        checkpoint_dir: a training that was cut off goes on from here and ends bit-equal to an uninterrupted
            one. A state that is damaged, or of another configuration or other data, is told and not taken up; a
            finished training leaves none.
        device: "auto", "cpu" or "cuda".

    Returns:
        The evaluator in evaluation mode, and the history: one dict per log, with ``step``.

    Raises:
        DataError: for too few clips, a wrong shape or a clip without captions.
    """
    config = config or EvaluatorConfig()
    _check(clips)
    mean, _ = seen_mean(clips)
    clips = [dict(c) | {"features": f} for c, f in zip(clips, filled(clips, mean), strict=True)]
    evaluator = _create(clips, config, seed).to(choose_device(device)).train()
    sampler = PairSampler(clips, config, evaluator.vocabulary, evaluator.attributes, mirror_features)
    mark, known_by = identify({}, clips, checkpoint_dir=checkpoint_dir, data_hash=data_hash, seed=seed, config=config)
    evaluator.seed, evaluator.data_hash = seed, known_by
    shift, scale = evaluator.mean.cpu(), evaluator.std.cpu()

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return _loss(evaluator, sampler.draw(generator, lambda x: (x - shift) / scale))

    history = optimize(
        "evaluator",
        evaluator,
        loss,
        Schedule.of(config),
        seed=seed,
        mark=mark,
        checkpoint_dir=checkpoint_dir,
        on_log=on_log,
    )
    evaluator.eval()
    if val_clips:
        for source, scores in retrieval(evaluator, val_clips).items():
            found = {f"val_{source}_{k}": v for k, v in scores.items() if k in ("top1", "top3") and v is not None}
            history[-1] |= found
        if on_log:
            on_log(config.steps, history[-1])
    return evaluator, history
