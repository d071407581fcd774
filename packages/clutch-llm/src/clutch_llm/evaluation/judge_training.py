"""Training of the judge on true joints of the train split, and what it reaches on the val split."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clutch_llm.errors import DataError
from clutch_llm.evaluation.batches import IGNORE, attribute_classes
from clutch_llm.evaluation.checkpoint import identify
from clutch_llm.evaluation.grouping import Clip, by_source
from clutch_llm.evaluation.judge import Judge, JudgeConfig, coordinates, joints_of, with_changes
from clutch_llm.evaluation.judgement import right_answers
from clutch_llm.evaluation.loop import History, OnLog, Schedule, choose_device, optimize
from clutch_llm.evaluation.unseen import filled, seen_mean

logger = logging.getLogger(__name__)

POOL = 4  # batches that are drawn at once, and put in the order of their clips' lengths
MIN_STD = 0.001  # metres: coordinates that hardly move are not blown up


class _Sampler:
    """Batches of coordinates and labels, all clips padded to the longest."""

    def __init__(self, judge: Judge, clips: Sequence[Clip], coords: Sequence[np.ndarray]) -> None:
        self.judge = judge
        self.lengths = torch.tensor([len(x) for x in coords])
        self.x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(x) for x in coords], batch_first=True)
        self.labels = torch.full((len(judge.answers), len(clips)), IGNORE)
        for k, (source, attribute) in enumerate(judge.answers):
            where = {value: i for i, value in enumerate(judge.classes[source][attribute])}
            for i, clip in enumerate(clips):
                if clip["source"] == source:
                    self.labels[k, i] = where.get(str(clip.get("attributes", {}).get(attribute)), IGNORE)

    def _alike(self, generator: torch.Generator) -> Tensor:
        """A batch of clips of like lengths: a part of `POOL` batches in their order. So little of it is padding."""
        size = self.judge.config.batch_size
        pool = torch.randperm(len(self.lengths), generator=generator)[: POOL * size]
        part = int(torch.randint(max(1, len(pool) // size), (), generator=generator))
        return pool[self.lengths[pool].argsort(stable=True)][part * size : (part + 1) * size]

    def loss(self, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean cross-entropy over the answers that the drawn clips have."""
        c = self.judge.config
        picks = self._alike(generator)
        lengths = self.lengths[picks]
        x = self.x[picks, : int(lengths.max())]
        x = x + c.noise * torch.randn(x.shape, generator=generator)
        shift = c.offset * torch.randn((len(picks), 1, 1, 1, 3), generator=generator)
        hands = x.reshape(*x.shape[:2], 2, 21, 3)
        x = torch.cat([hands[:, :, :, :1] + shift, hands[:, :, :, 1:]], 3).flatten(2)
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))  # of dropout: resumed with the generator
        logits = self.judge(x.to(self.judge.device), lengths.to(self.judge.device))
        losses = [
            F.cross_entropy(z, labels, ignore_index=IGNORE)
            for z, labels in zip(logits, self.labels[:, picks].to(self.judge.device), strict=True)
            if (labels != IGNORE).any()
        ]
        return torch.stack(losses).mean() if losses else 0.0 * sum(z.sum() for z in logits), {}


def train_judge(
    clips: Sequence[Clip],
    config: JudgeConfig | None = None,
    *,
    val_clips: Sequence[Clip] | None = None,
    seed: int = 0,
    data_hash: str | None = None,
    on_log: OnLog | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> tuple[Judge, History]:
    """Train one judge for all sources; a source whose clips carry no categorical attribute has no answers.

    Args:
        clips: the train split's clips, every source.
        config: sizes and training; default for None.
        val_clips: say which attributes were learnt: those whose accuracy is above the most frequent value's share by
            twice its standard error. Their accuracies close the history.
        seed: of weights and batches; the same seed gives the same bytes on the same machine.
        data_hash: of the store, kept with the judge; None: a hash of the clips themselves.
        on_log: called with (step, figures) every 20 steps.
        checkpoint_dir: a training that was cut off goes on from here.
        device: "auto", "cpu" or "cuda".

    Returns:
        The judge in evaluation mode, and the history.

    Raises:
        DataError: for too few clips or a motion of another shape.
    """
    config = config or JudgeConfig()
    if len(clips) < 2:
        raise DataError(f"Expected at least 2 clips to train the judge, got {len(clips)}. Build a larger store.")
    classes = {s: attribute_classes([clips[i] for i in own]) for s, own in by_source(clips).items()}
    mean, _ = seen_mean(clips)
    coords = [coordinates(j)[: config.max_frames] for j in joints_of(filled(clips, mean))]
    mark, known_by = identify(
        {"judge": 1}, clips, checkpoint_dir=checkpoint_dir, data_hash=data_hash, seed=seed, config=config
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(config, classes, seed=seed, data_hash=known_by)
        frames = torch.cat([with_changes(torch.from_numpy(x)) for x in coords])
        judge.mean.copy_(frames.mean(0))
        judge.std.copy_(frames.std(0).clamp(min=MIN_STD))
        judge.filler.copy_(torch.from_numpy(mean))
        judge = judge.to(choose_device(device)).train()
        history: History = []
        if judge.answers:
            history = optimize(
                "judge",
                judge,
                _Sampler(judge, clips, coords).loss,
                Schedule.of(config),
                seed=seed,
                mark=mark,
                checkpoint_dir=checkpoint_dir,
                on_log=on_log,
            )
    judge.eval()
    if val_clips and history:
        _note_reliability(judge, val_clips)
        for source, own in judge.reliability.items():
            history[-1] |= {f"val_{source}_{a}": found["accuracy"] for a, found in own.items()}
        if on_log:
            on_log(config.steps, history[-1])
    return judge, history


def _note_reliability(judge: Judge, clips: Sequence[Clip]) -> None:
    for source, members in by_source(clips).items():
        own = [clips[i] for i in members]
        motions = filled(own, judge.filler.cpu().numpy())
        for attribute, right in right_answers(judge, own, [[m] for m in motions]).items():
            known = right[~np.isnan(right)]
            if not len(known):
                continue
            values = Counter(str(own[i]["attributes"][attribute]) for i in np.flatnonzero(~np.isnan(right)))
            majority = max(values.values()) / len(known)
            accuracy = float(known.mean())
            error = float(np.sqrt(max(accuracy * (1 - accuracy), 1.0 / len(known)) / len(known)))
            judge.reliability.setdefault(source, {})[attribute] = {
                "accuracy": accuracy,
                "majority": majority,
                "clips": len(known),
                "learnt": bool(accuracy - 2 * error > majority),
            }
