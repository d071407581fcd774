"""Training of the evaluator.

Symmetric InfoNCE over caption-motion pairs, with attributes classified on the side.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from hand_geometry import mirror_features
from torch import Tensor
from tqdm.auto import tqdm

from clutch_llm.evaluation.batches import IGNORE, Batch, Clip, PairSampler, attribute_classes
from clutch_llm.evaluation.checkpoint import clear_state, fingerprint, load_state, save_state
from clutch_llm.evaluation.evaluator import N_FEATURES, Evaluator, EvaluatorConfig
from clutch_llm.evaluation.metrics import r_precision
from clutch_llm.evaluation.vocabulary import WordVocabulary, swap_sides

logger = logging.getLogger(__name__)

OnLog = Callable[[int, dict[str, float]], None]
_MIN_STD = 0.05
_LOG_EVERY = 20


def _check(clips: Sequence[Clip]) -> None:
    if len(clips) < 2:
        raise ValueError(f"Expected at least 2 clips to train the evaluator, got {len(clips)}. Build a larger store.")
    for clip in clips:
        shape = tuple(clip["features"].shape)
        if len(shape) != 2 or shape[1] != N_FEATURES or shape[0] < 4:
            raise ValueError(
                f"Expected features of shape (T >= 4, {N_FEATURES}) in clip {clip['clip_id']!r}, got "
                f"{shape}. Rebuild the store."
            )
        if not clip["captions"]:
            raise ValueError(
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
        result[source] = r_precision(texts, evaluator.embed_motions([c["features"] for c in members]), **options)
    return result


def train_evaluator(
    clips: Sequence[Clip],
    config: EvaluatorConfig | None = None,
    *,
    val_clips: Sequence[Clip] | None = None,
    seed: int = 0,
    on_log: OnLog | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> tuple[Evaluator, list[dict[str, float]]]:
    """Train one evaluator for all sources.

    Args:
        clips: the train split's clips, every source.
        config: sizes and training; default for None.
        val_clips: if given, the retrieval of their finest captions closes the history.
        seed: of weights, batches and augmentation; the same seed gives the same bytes on the same machine.
        on_log: called with (step, figures) every 20 steps.
        checkpoint_dir: a training that was cut off goes on from here and ends bit-equal to an uninterrupted
            one. A state of another configuration or other data is ignored; a finished training leaves none.
        device: "auto", "cpu" or "cuda".

    Returns:
        The evaluator in evaluation mode, and the history: one dict per log, with ``step``.

    Raises:
        ValueError: for too few clips, a wrong shape or a clip without captions.
    """
    config = config or EvaluatorConfig()
    _check(clips)
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    evaluator = _create(clips, config, seed).to(where).train()
    sampler = PairSampler(clips, config, evaluator.vocabulary, evaluator.attributes, mirror_features)
    optimizer = torch.optim.AdamW(evaluator.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    folder = Path(checkpoint_dir) if checkpoint_dir is not None else None
    mark = fingerprint({"config": dataclasses.asdict(config), "seed": seed}, clips) if folder else ""
    first, history = load_state(folder, mark, evaluator, optimizer, generator) if folder else (0, [])
    if first:
        logger.info("The evaluator goes on from step %d of %d.", first, config.steps)

    mean, std = evaluator.mean.cpu(), evaluator.std.cpu()
    for step in tqdm(range(first, config.steps), desc="evaluator", initial=first, total=config.steps, disable=None):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 20)
            group["lr"] = config.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / config.steps))
        loss, figures = _loss(evaluator, sampler.draw(generator, lambda x: (x - mean) / std))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(evaluator.parameters(), 1.0)
        optimizer.step()
        done = step + 1
        if done % _LOG_EVERY == 0 or done == config.steps:
            history.append({"step": done, "loss": float(loss.detach()), **figures})
            if on_log:
                on_log(done, history[-1])
        if folder and done % config.checkpoint_every == 0 and done < config.steps:
            save_state(folder, mark, done, evaluator, optimizer, generator, history)

    evaluator.eval()
    if val_clips:
        for source, scores in retrieval(evaluator, val_clips).items():
            found = {f"val_{source}_{k}": v for k, v in scores.items() if k in ("top1", "top3") and v is not None}
            history[-1] |= found
        if on_log:
            on_log(config.steps, history[-1])
    if folder:
        clear_state(folder)
    return evaluator, history
