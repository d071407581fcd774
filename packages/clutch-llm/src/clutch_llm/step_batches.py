"""What one optimizer step computes: the same batch however many processes and micro-batches share it.

Every choice for an example is a function of (seed, step, its row in the batch), and none of the process that computes
it. Only dropout differs between ways to share the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from shift_tokenizer import ShiftTokenizer

from clutch_llm.batching import BatchPlan, Sample, SampleMaker, collate, draw_task, split_by_length
from clutch_llm.clips import Example
from clutch_llm.corpus import mirrored
from clutch_llm.engine import micro_batch_size
from clutch_llm.model import IGNORE, TokenBatch
from clutch_llm.planning import NONE, plans_of
from clutch_llm.stages import StageConfig
from clutch_llm.vocabulary import Vocabulary


@dataclass
class MicroBatch:
    """Examples that are computed at once.

    Attributes:
        parts: their samples, padded; one part or two.
        examples: the examples, in the order of the parts' rows.
        noise_seeds: of each example's Gumbel noise.
    """

    parts: list[TokenBatch]
    examples: list[Example]
    noise_seeds: list[int]

    @property
    def labels(self) -> int:
        """Tokens that are trained on."""
        return sum(int((part.target != IGNORE).sum()) for part in self.parts)

    @property
    def motions(self) -> int:
        """Examples in which a hand is seen, which are those that count in motion space."""
        return sum(bool(np.any(example["valid"])) for example in self.examples)

    def to(self, device: torch.device) -> MicroBatch:
        """The same with its tokens on a device."""
        return MicroBatch([part.to(device) for part in self.parts], self.examples, self.noise_seeds)


@dataclass
class StepBatch:
    """One step of one process: its task, its micro-batches, and the seed of its dropout."""

    task: str
    micro_batches: list[MicroBatch]
    dropout_seed: int


def planned(examples: Sequence[Example], vocabulary: Vocabulary) -> Sequence[Example]:
    """The examples with the plans that their motions follow, if the vocabulary has plans."""
    if not vocabulary.layout.plan_size:
        return examples
    known = set(vocabulary.plan_names)
    plans = [[name if name in known else NONE for name in plan] for plan in plans_of(examples)]
    return [cast(Example, {**example, "plan": plan}) for example, plan in zip(examples, plans, strict=True)]


class StepBatches:
    """Draws the batches of a stage.

    Args:
        examples: what is trained on.
        config: the stage.
        tokenizer: the motion tokenizer, for the examples' mirror images.
        vocabulary: text and motion tokens.
        rank: this process among ``world``.
        world: processes that share each batch.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        config: StageConfig,
        tokenizer: ShiftTokenizer,
        vocabulary: Vocabulary,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.config, self.rank, self.world = config, rank, world
        self.examples = planned(examples, vocabulary)
        self.images = planned(mirrored(examples, tokenizer), vocabulary) if config.mirror > 0 else self.examples
        self.micro = micro_batch_size(config, world)
        self.plan = BatchPlan(examples, config)
        self.pad = vocabulary.layout.pad
        self.maker = SampleMaker(
            vocabulary,
            templates=config.templates,
            condition_dropout=config.condition_dropout,
            decoder_input_dropout=config.decoder_input_dropout,
        )

    def draw(self, step: int) -> StepBatch:
        """This process's share of a step."""
        config = self.config
        shared = np.random.default_rng([config.seed, 3, step])
        task = draw_task(config.tasks, shared)
        stop = config.truncated_steps if shared.random() < config.target_truncation else None
        chosen = self.plan.batch(step)
        rows = []
        for row in range(self.rank, config.batch_size, self.world):
            rng = np.random.default_rng([config.seed, 4, step, row])
            image = rng.random() < config.mirror
            example = (self.images if image else self.examples)[chosen[row]]
            rows.append((self.maker.make(task, example, rng, steps=stop), example, int(rng.integers(2**62))))
        rows.sort(key=lambda made: len(made[0].prompt) + len(made[0].target))
        micro = [self._micro_batch(rows[k : k + self.micro]) for k in range(0, len(rows), self.micro)]
        dropout = np.random.default_rng([config.seed, 5, step, self.rank])
        return StepBatch(task, micro, int(dropout.integers(2**62)))

    def _micro_batch(self, rows: Sequence[tuple[Sample, Example, int]]) -> MicroBatch:
        samples, examples, seeds = zip(*rows, strict=True)
        parts = split_by_length(samples, always=self.world > 1)
        order = [int(i) for part in parts for i in part]
        return MicroBatch(
            [collate([samples[i] for i in part], self.pad) for part in parts],
            [examples[i] for i in order],
            [seeds[i] for i in order],
        )
