"""From examples to padded batches: one task a batch, the sources mixed in each.

Batches of one source, or of like lengths, pad less, but their gradients differ in kind and size from step to step, and
the encoder was seen to collapse onto the source. So the sources are mixed, and a batch is computed in two parts.

Every draw is a function of (seed, step) alone, so a run that resumes at a step sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from clutch_llm import prompts
from clutch_llm.config import StageConfig
from clutch_llm.corpus import Clip
from clutch_llm.errors import DataError
from clutch_llm.model import IGNORE, TokenBatch
from clutch_llm.positions import motion_positions
from clutch_llm.prompts import PromptBuilder, Template
from clutch_llm.spans import choose_spans, corrupt
from clutch_llm.vocabulary import Vocabulary

T = TypeVar("T")

#: Batches drawn at once, so that small batches keep the shares of the sources.
MEGABATCH = 8

#: What a part of a batch costs beside its tokens, in tokens.
PART_COST = 200


@dataclass
class Sample:
    """One prompt and target: ids and positions (see `positions`), each (S,) or (T,) int64.

    ``target_hidden``, (T,) bool or None for none, marks labels that the decoder is not shown when it goes on.
    """

    prompt: np.ndarray
    prompt_positions: np.ndarray
    target: np.ndarray
    target_positions: np.ndarray
    target_hidden: np.ndarray | None = None


def draw_task(tasks: Mapping[str, float], rng: np.random.Generator) -> str:
    """Draw a task by its weight."""
    names = sorted(tasks)
    weights = np.array([tasks[name] for name in names], dtype=float)
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


class BatchPlan:
    """Which examples each step sees.

    Each source is walked in shuffled epochs, so that no clip is seen twice before all were seen once.

    Args:
        examples: the examples, with ``source`` and ``tokens``.
        config: batch size, seed and source weights.

    Raises:
        DataError: when there are no examples, or the weights name a source that is not there or leave one out.
    """

    def __init__(self, examples: Sequence[Clip], config: StageConfig) -> None:
        if not examples:
            raise DataError("Expected examples to train on, got none. Build the corpus from a non-empty split.")
        self.batch_size = config.batch_size
        self.seed = config.seed
        sources = np.array([e["source"] for e in examples])
        present = sorted(set(sources))
        weights = dict(config.source_weights) or {s: float((sources == s).mean()) for s in present}
        if sorted(weights) != present:
            raise DataError(
                f"Expected source_weights for the sources of the data ({', '.join(present)}), "
                f"got {sorted(weights)}. Name each source once."
            )
        self.members = [np.flatnonzero(sources == s) for s in present]
        self.counts = _share_out(MEGABATCH * self.batch_size, [weights[s] for s in present])

    def batch(self, step: int) -> np.ndarray:
        """Indices of the examples of a step, shape (batch_size,)."""
        mega, within = divmod(step, MEGABATCH)
        rng = np.random.default_rng([self.seed, 1, mega])
        drawn = np.concatenate([self._walk(s, mega) for s in range(len(self.members))])
        drawn = rng.permutation(drawn)
        return drawn.reshape(MEGABATCH, self.batch_size)[rng.permutation(MEGABATCH)[within]]

    def _walk(self, source: int, mega: int) -> np.ndarray:
        """The next ``counts[source]`` examples of a source, epoch after epoch."""
        members, count = self.members[source], self.counts[source]
        at = mega * count + np.arange(count)
        epochs, within = np.divmod(at, len(members))
        chosen = np.empty(count, dtype=np.int64)
        for epoch in np.unique(epochs):
            order = np.random.default_rng([self.seed, 2, source, int(epoch)]).permutation(len(members))
            chosen[epochs == epoch] = members[order[within[epochs == epoch]]]
        return chosen


def _share_out(total: int, weights: Sequence[float]) -> list[int]:
    """Split a total by weights, exactly."""
    edges = np.round(np.cumsum([0.0, *weights]) / sum(weights) * total).astype(int)
    return [int(v) for v in np.diff(edges)]


class SampleMaker:
    """Turns an example into the prompt and target of a task.

    Args:
        vocabulary: text and motion tokens.
        templates: "first" for the fixed prompts of pretraining, "all" for instruction tuning.
        condition_dropout: share of text-to-motion samples without their caption.
        decoder_input_dropout: share of samples whose targets are partly hidden from the decoder, see `StageConfig`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        templates: str = "first",
        condition_dropout: float = 0.0,
        decoder_input_dropout: float = 0.0,
    ) -> None:
        self.vocabulary = vocabulary
        self.prompts = PromptBuilder(vocabulary)
        self.layout = vocabulary.layout
        self.varied = templates == "all"
        self.condition_dropout = condition_dropout
        self.decoder_input_dropout = decoder_input_dropout

    def make(self, task: str, example: Clip, rng: np.random.Generator, *, steps: int | None = None) -> Sample:
        """Source and target of one example; the task is one of `config.TASKS`.

        With ``steps``, a longer motion in the target stops after so many latent steps, without its end mark.
        """
        sample: Sample = getattr(self, f"_{task}")(example, rng)
        if steps is not None and task == "t2m" and len(example["tokens"]) > steps:
            stop = 1 + steps * self.layout.n_slots
            sample.target, sample.target_positions = sample.target[:stop], sample.target_positions[:stop]
        if rng.random() < self.decoder_input_dropout:
            hidden = rng.random(len(sample.target)) < rng.random()
            marks = (self.layout.som, self.layout.eom, self.layout.eos, *self.layout.sentinels)
            sample.target_hidden = hidden & ~np.isin(sample.target, marks)
        return sample

    def _t2m(self, example: Clip, rng: np.random.Generator) -> Sample:
        caption = _any(example["captions"], rng)
        template = self._template(prompts.T2M, rng)
        prompt = self.prompts.t2m(None if rng.random() < self.condition_dropout else caption, template)
        return Sample(*prompt, *self._motion_target(example["tokens"]))

    def _m2t(self, example: Clip, rng: np.random.Generator) -> Sample:
        index = int(rng.integers(len(example["captions"])))
        template = self._template(prompts.M2T if index == 0 else prompts.M2T_DETAILED, rng)
        prompt = self.prompts.m2t(example["tokens"], template=template)
        return Sample(*prompt, *self._text_target(example["captions"][index]))

    def _masked(self, example: Clip, rng: np.random.Generator) -> Sample:
        ids = self.vocabulary.motion_to_ids(example["tokens"])
        hidden = rng.random(len(ids)) < rng.uniform(0.2, 0.8)
        hidden[[0, -1]] = False
        caption = _any(example["captions"], rng)
        shown = np.where(hidden, self.layout.mask, ids)
        prompt = self.prompts.masked(caption, shown, self._template(prompts.MASKED, rng))
        return Sample(*prompt, *self._motion_target(example["tokens"]))

    def _text(self, example: Clip, rng: np.random.Generator) -> Sample:
        ids = self.vocabulary.encode_text(_any(example["captions"], rng))
        spans = choose_spans(len(ids), rng, density=0.3, mean_length=2.0, most=len(self.layout.sentinels))
        prompt, target = corrupt(ids, spans, self.layout.sentinels)
        prompt_ids, target_ids = np.array([*prompt, self.layout.eos]), np.array([*target, self.layout.eos])
        return Sample(prompt_ids, np.zeros_like(prompt_ids), target_ids, np.zeros_like(target_ids))

    def _motion(self, example: Clip, rng: np.random.Generator) -> Sample:
        n = self.layout.n_slots
        ids = self.vocabulary.motion_to_ids(example["tokens"])
        most = len(self.layout.sentinels)
        steps = choose_spans(len(example["tokens"]), rng, density=0.4, mean_length=3.0, most=most)
        spans = [(1 + a * n, 1 + b * n) for a, b in steps]
        positions = motion_positions(len(ids))
        prompt, target = corrupt(ids.tolist(), spans, self.layout.sentinels)
        zeros = [0] * most
        prompt_positions, target_positions = corrupt(positions.tolist(), spans, zeros)
        at = 0
        for k, (start, stop) in enumerate(spans):  # a span may go on where the next sentinel stands
            target_positions[at] = 0 if k == 0 else spans[k - 1][1]
            at += 1 + stop - start
        end = self.layout.eos
        return Sample(
            np.array([*prompt, end]),
            np.array([*prompt_positions[:-1], 0, 0]),
            np.array([*target, end]),
            np.array([*target_positions, spans[-1][1]]),
        )

    def _t2t(self, example: Clip, rng: np.random.Generator) -> Sample:
        captions = example["captions"]
        options: list[tuple[Sequence[Template], str, str]] = [(prompts.T2T_BRIEF, _any(captions, rng), captions[0])]
        if len(captions) > 1:
            options.append((prompts.T2T_DETAILED, captions[0], _any(captions[1:], rng)))
        caption = _any(captions, rng)
        if prompts.hands_of(caption):
            options.append((prompts.T2T_HANDS, caption, prompts.hands_of(caption)))
        templates, question, answer = options[int(rng.integers(len(options)))]
        prompt = self.prompts.t2t(question, self._template(templates, rng))
        return Sample(*prompt, *self._text_target(answer))

    def _template(self, templates: Sequence[Template], rng: np.random.Generator) -> Template:
        """The first template half of the time, so that the front door's own prompt stays practised."""
        if not self.varied or rng.random() < 0.5:
            return templates[0]
        return _any(templates, rng)

    def _motion_target(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ids = self.vocabulary.motion_to_ids(tokens)
        return ids, motion_positions(len(ids))

    def _text_target(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        ids = np.array([*self.vocabulary.encode_text(text), self.layout.eos], dtype=np.int64)
        return ids, np.zeros_like(ids)


def _any(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def split_by_length(samples: Sequence[Sample]) -> list[np.ndarray]:
    """Indices of the samples in one part or two, the shorter and the longer ones, whichever pads least."""
    sizes = np.array([[len(s.prompt), len(s.target)] for s in samples])
    order = np.argsort(sizes.sum(1), kind="stable")
    sizes = sizes[order]

    def cost(k: int) -> int:
        parts = [part for part in (sizes[:k], sizes[k:]) if len(part)]
        return sum(len(part) * int(part.max(0).sum()) + PART_COST for part in parts)

    best = min(range(len(samples)), key=cost)
    return [part for part in (order[:best], order[best:]) if len(part)]


def collate(samples: Sequence[Sample], pad: int) -> TokenBatch:
    """Pad samples to their longest; labels are padded with `IGNORE`."""
    prompt = _pad([s.prompt for s in samples], pad)
    lengths = torch.tensor([len(s.prompt) for s in samples])
    return TokenBatch(
        prompt=prompt,
        prompt_mask=torch.arange(prompt.shape[1]) < lengths[:, None],
        prompt_positions=_pad([s.prompt_positions for s in samples], 0),
        target=_pad([s.target for s in samples], IGNORE),
        target_positions=_pad([s.target_positions for s in samples], 0),
        target_hidden=_pad([_hidden(s) for s in samples], 0).bool(),
    )


def _hidden(sample: Sample) -> np.ndarray:
    return np.zeros(len(sample.target), dtype=bool) if sample.target_hidden is None else sample.target_hidden


def _pad(rows: Sequence[np.ndarray], value: int) -> torch.Tensor:
    out = np.full((len(rows), max(len(r) for r in rows)), value, dtype=np.int64)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return torch.from_numpy(out)
