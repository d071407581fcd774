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
from shift_tokenizer.errors import ShiftTokenizerError
from shift_tokenizer.mixing import source_shares

from clutch_llm import prompts
from clutch_llm.clips import Example
from clutch_llm.completion_masks import draw_given
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.model import IGNORE, TokenBatch
from clutch_llm.planning import FIELDS, NONE
from clutch_llm.positions import motion_positions
from clutch_llm.prompts import PromptBuilder, Template
from clutch_llm.rows import first_ids, no_positions, step_positions, token_rows
from clutch_llm.spans import choose_spans, corrupt
from clutch_llm.stages import StageConfig
from clutch_llm.vocabulary import Vocabulary

T = TypeVar("T")

#: Batches whose sources are shared out together: a batch of 16 alone cannot give a source a share of 1/50.
MEGABATCH = 8

#: The fraction whose multiples spread over [0, 1) most evenly (a low-discrepancy sequence).
GOLDEN_RATIO = (5**0.5 - 1) / 2

#: What computing a part of a batch costs beside its tokens, in tokens. It decides when a second part pays. Measured at
#: the demo's sizes on one core: 15 ms a part, 0.09 ms a token.
PART_COST = 200

#: Bounds of the share of codes that masked prediction hides, drawn for each motion: from an easy riddle to a hard one.
MASKED_SHARE = (0.2, 0.8)

#: Share of a text's tokens that are corrupted and mean length of a span in tokens: twice T5's density (Raffel et al.
#: 2020, 15% and 3), since captions have ten words.
TEXT_DENSITY, TEXT_SPAN = 0.3, 2.0

#: The same of a motion, in latent steps: denser still, as neighbouring steps say much the same.
MOTION_DENSITY, MOTION_SPAN = 0.4, 3.0

#: Share of a clip's captions that are drawn from its paraphrases, where it has any.
PARAPHRASED_SHARE = 0.5

#: Share of instruction tuning's prompts that keep the first template, so that the front door's own stays practised.
FIRST_TEMPLATE_SHARE = 0.5


@dataclass
class Sample:
    """One prompt and target: ids and positions (see `positions`), each (S,) or (T,) int64; `rows` in the step form.

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
        config: batch size, seed, temperature and weights of the sources.

    Raises:
        DataError: when there are no examples, or a weight is given for a source that is not there.
    """

    def __init__(self, examples: Sequence[Example], config: StageConfig) -> None:
        if not examples:
            raise DataError("Expected examples to train on, got none. Build the corpus from a non-empty split.")
        self.batch_size = config.batch_size
        self.seed = config.seed
        sources = np.array([e["source"] for e in examples])
        counts = {str(s): int((sources == s).sum()) for s in sorted(set(sources))}
        try:
            self.shares = source_shares(counts, config.source_temperature, config.source_weights)
        except ShiftTokenizerError as error:
            raise DataError(f"{type(config).__name__}: {error}") from error
        self.members = [np.flatnonzero(sources == s) for s in self.shares]
        self._drawn = [np.zeros(len(self.shares), dtype=np.int64)]  # of each source, before each megabatch

    def batch(self, step: int) -> np.ndarray:
        """Indices of the examples of a step, shape (batch_size,)."""
        mega, within = divmod(step, MEGABATCH)
        rng = np.random.default_rng([self.seed, 1, mega])
        while len(self._drawn) <= mega + 1:
            self._drawn.append(self._drawn[-1] + self._counts(len(self._drawn) - 1))
        spans = zip(self._drawn[mega], self._drawn[mega + 1], strict=True)
        drawn = np.concatenate([self._walk(k, int(start), int(stop)) for k, (start, stop) in enumerate(spans)])
        drawn = rng.permutation(drawn)
        return drawn.reshape(MEGABATCH, self.batch_size)[rng.permutation(MEGABATCH)[within]]

    def _counts(self, mega: int) -> np.ndarray:
        """Examples of each source in a megabatch; over many of them, exactly the shares.

        What whole numbers leave over goes to the sources by systematic sampling, at an offset that moves on by the
        golden ratio, so that a source of any share is seen.
        """
        exact = np.array(list(self.shares.values())) * MEGABATCH * self.batch_size
        whole = np.floor(exact + 1e-9)
        edges = np.cumsum(np.concatenate([[0.0], np.maximum(exact - whole, 0.0)]))
        left = round(edges[-1])
        points = np.arange(left) + (0.5 + mega * GOLDEN_RATIO) % 1.0
        extra = np.histogram(np.minimum(points, edges[-1]), edges)[0] if left else 0
        return (whole + extra).astype(np.int64)

    def _walk(self, source: int, start: int, stop: int) -> np.ndarray:
        """Examples ``start`` to ``stop`` of a source, epoch after epoch."""
        members = self.members[source]
        epochs, within = np.divmod(np.arange(start, stop), len(members))
        chosen = np.empty(stop - start, dtype=np.int64)
        for epoch in np.unique(epochs):
            order = np.random.default_rng([self.seed, 2, source, int(epoch)]).permutation(len(members))
            chosen[epochs == epoch] = members[order[within[epochs == epoch]]]
        return chosen


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
        self.plan_id = {name: self.layout.first_plan + k for k, name in enumerate(vocabulary.plan_names)}
        self.plan_length = len(FIELDS) if self.plan_id else 0

    def make(self, task: str, example: Example, rng: np.random.Generator, *, steps: int | None = None) -> Sample:
        """Source and target of one example; the task is one of `config.TASKS`.

        With ``steps``, a longer motion in the target stops after so many latent steps, without its end mark.
        """
        sample: Sample = getattr(self, f"_{task}")(example, rng)
        if steps is not None and task == "t2m" and len(example["tokens"]) > steps:
            head, each = (1, self.layout.n_slots) if not self.layout.stepwise else (2 + self.plan_length, 1)
            stop = head + steps * each
            sample.target, sample.target_positions = sample.target[:stop], sample.target_positions[:stop]
        if rng.random() < self.decoder_input_dropout:
            hidden = rng.random(len(sample.target)) < rng.random()
            marks = (self.layout.som, self.layout.eom, self.layout.eos, *self.layout.sentinels)
            first = first_ids(sample.target)
            sample.target_hidden = hidden & ~np.isin(first, marks) & (first < self.layout.mask)
        return sample

    def _t2m(self, example: Example, rng: np.random.Generator) -> Sample:
        caption = self.caption(example, rng)
        template = self._template(prompts.T2M, rng)
        dropped = rng.random() < self.condition_dropout
        prompt = self.prompts.t2m(None if dropped else caption, template)
        plan = self._plan_ids(None if dropped else example)
        return Sample(*prompt, *self.motion_target(example["tokens"], plan))

    def _plan(self, example: Example, rng: np.random.Generator) -> Sample:
        """A caption to the length and the plan of its motion: what reading is trained on, without the motion."""
        if not self.plan_length:
            raise ConfigError('Expected ClutchConfig.plan for the task "plan", got a model without. Drop the task.')
        prompt = self.prompts.t2m(self.caption(example, rng), self._template(prompts.T2M, rng))
        head = [self.layout.length_id(len(example["tokens"])), *self._plan_ids(example)]
        return Sample(*prompt, token_rows(np.array(head), self.layout), no_positions(len(head), self.layout))

    def _plan_ids(self, example: Example | None) -> list[int]:
        """Ids of an example's plan; of one that says nothing, where there is none."""
        plan = (NONE,) * self.plan_length if example is None else example.get("plan", (NONE,) * self.plan_length)
        return [self.plan_id[name] for name in plan] if self.plan_length else []

    def caption(self, example: Example, rng: np.random.Generator) -> str:
        """One of the captions, or as often, one of the paraphrases where there are any."""
        paraphrases = example.get("paraphrases")
        if paraphrases and rng.random() < PARAPHRASED_SHARE:
            return _any(paraphrases, rng)
        return _any(example["captions"], rng)

    def _m2t(self, example: Example, rng: np.random.Generator) -> Sample:
        index = int(rng.integers(len(example["captions"])))
        detailed = index in finer_captions(example["captions"])
        template = self._template(prompts.M2T_DETAILED if detailed else prompts.M2T, rng)
        prompt = self.prompts.m2t(example["tokens"], template=template)
        return Sample(*prompt, *self._text_target(example["captions"][index]))

    def _masked(self, example: Example, rng: np.random.Generator) -> Sample:
        ids = self.vocabulary.motion_rows(example["tokens"])
        hidden = rng.random(ids.shape) < rng.uniform(*MASKED_SHARE)
        hidden[[0, -1]] = False
        caption = _any(example["captions"], rng)
        shown = np.where(hidden, self.layout.mask, ids)
        prompt = self.prompts.masked(caption, shown, self._template(prompts.MASKED, rng))
        return Sample(*prompt, *self.motion_target(example["tokens"]))

    def _complete(self, example: Example, rng: np.random.Generator) -> Sample:
        """A caption and a motion with gaps (`completion_masks`) to the plan and the motion; some without a caption."""
        given = draw_given(len(example["tokens"]), self.layout.slot_codebook, rng)
        dropped = rng.random() < self.condition_dropout
        caption = "" if dropped else self.caption(example, rng)
        prompt = self.prompts.masked(caption, self.vocabulary.shown_rows(example["tokens"], given))
        plan = self._plan_ids(None if dropped else example)
        return Sample(*prompt, *self.motion_target(example["tokens"], plan))

    def _text(self, example: Example, rng: np.random.Generator) -> Sample:
        ids = self.vocabulary.encode_text(_any(example["captions"], rng))
        most = len(self.layout.sentinels)
        spans = choose_spans(len(ids), rng, density=TEXT_DENSITY, mean_length=TEXT_SPAN, most=most)
        prompt, target = corrupt(ids, spans, self.layout.sentinels)
        return Sample(*self._tokens([*prompt, self.layout.eos]), *self._tokens([*target, self.layout.eos]))

    def _motion(self, example: Example, rng: np.random.Generator) -> Sample:
        if self.layout.stepwise:
            return self._motion_steps(example, rng)
        n = self.layout.n_slots
        ids = self.vocabulary.motion_to_ids(example["tokens"])
        most = len(self.layout.sentinels)
        steps = choose_spans(len(example["tokens"]), rng, density=MOTION_DENSITY, mean_length=MOTION_SPAN, most=most)
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

    def _motion_steps(self, example: Example, rng: np.random.Generator) -> Sample:
        """The same in the step form, where each step of a span is told how many of the span are left."""
        layout, sentinels = self.layout, self.layout.sentinels
        rows = self.vocabulary.motion_rows(example["tokens"])
        steps = choose_spans(len(rows) - 2, rng, density=MOTION_DENSITY, mean_length=MOTION_SPAN, most=len(sentinels))
        spans = [(1 + a, 1 + b) for a, b in steps]
        own = prompts.motion_prompt_positions(len(rows), layout)
        marks = token_rows(np.array([*sentinels, layout.eos]), layout)
        table, places = np.concatenate([rows, marks]), np.concatenate([own, no_positions(len(marks), layout)])
        at = len(rows) + np.arange(len(marks))  # where a sentinel and the end token stand in the table
        prompt, target = (np.array([*ids, at[-1]]) for ids in corrupt(range(len(rows)), spans, at.tolist()))
        target_positions = places[target]
        left = [0] * len(target)
        where = 0
        for start, stop in spans:
            left[where + 1 : where + 1 + stop - start] = range(stop - start, 0, -1)
            where += 1 + stop - start
        target_positions[:, 1] = left
        return Sample(table[prompt], places[prompt], table[target], target_positions)

    def _t2t(self, example: Example, rng: np.random.Generator) -> Sample:
        captions = example["captions"]
        options: list[tuple[Sequence[Template], str, str]] = [(prompts.T2T_BRIEF, _any(captions, rng), captions[0])]
        if len(captions) > 1:
            options.append((prompts.T2T_DETAILED, captions[0], captions[_any(finer_captions(captions), rng)]))
        caption = _any(captions, rng)
        if prompts.hands_of(caption):
            options.append((prompts.T2T_HANDS, caption, prompts.hands_of(caption)))
        templates, question, answer = options[int(rng.integers(len(options)))]
        prompt = self.prompts.t2t(question, self._template(templates, rng))
        return Sample(*prompt, *self._text_target(answer))

    def _template(self, templates: Sequence[Template], rng: np.random.Generator) -> Template:
        """The first template, or in instruction tuning any, by `FIRST_TEMPLATE_SHARE`."""
        if not self.varied or rng.random() < FIRST_TEMPLATE_SHARE:
            return templates[0]
        return _any(templates, rng)

    def motion_target(self, tokens: np.ndarray, plan: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Interleaved: ``<som>``, codes, ``<eom>``. In the step form: length, plan, ``<som>``, latent steps."""
        if not self.layout.stepwise:
            ids = self.vocabulary.motion_to_ids(tokens)
            return ids, motion_positions(len(ids))
        head, places = self._tokens([self.layout.length_id(len(tokens)), *plan, self.layout.som])
        body = self.vocabulary.motion_rows(tokens)[1:-1]
        return np.concatenate([head, body]), np.concatenate([places, step_positions(len(tokens))])

    def _text_target(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        return self._tokens([*self.vocabulary.encode_text(text), self.layout.eos])

    def _tokens(self, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        return token_rows(np.array(ids, dtype=np.int64), self.layout), no_positions(len(ids), self.layout)


def finer_captions(captions: Sequence[str]) -> list[int]:
    """Places of the captions that say more than the first one: the longer ones, and the last, which is the finest.

    >>> finer_captions(["the hand waves hello", "the hand moves", "the hand moves left and right", "waving twice"])
    [2, 3]
    """
    last = len(captions) - 1
    return [k for k in range(1, last + 1) if k == last or len(captions[k]) > len(captions[0])]


def _any(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def split_by_length(samples: Sequence[Sample], *, always: bool = False) -> list[np.ndarray]:
    """Indices of the samples in one part or two, the shorter and the longer ones, whichever pads least.

    Args:
        samples: of one batch.
        always: two parts wherever there are two samples: processes that share their weights (ZeRO-3) have to compute
            equally many.
    """
    sizes = np.array([[len(s.prompt), len(s.target)] for s in samples])
    order = np.argsort(sizes.sum(1), kind="stable")
    sizes = sizes[order]

    def cost(k: int) -> int:
        parts = [part for part in (sizes[:k], sizes[k:]) if len(part)]
        return sum(len(part) * int(part.max(0).sum()) + PART_COST for part in parts)

    best = min(range(int(always and len(samples) > 1), len(samples)), key=cost)
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
    out = np.full((len(rows), max(len(r) for r in rows), *rows[0].shape[1:]), value, dtype=np.int64)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return torch.from_numpy(out)
