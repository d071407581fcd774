"""The one transformer of all baselines that train one: a caption is read, a sequence is worked out beside it.

The words stand before the sequence, and every layer attends to both. The words see each other; a position of the
sequence sees the words and the whole sequence, or where it is causal, what came before. Each position is told how far
it is from the beginning and how much is left: the length of a motion is given, as it is to our own model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from clutch_llm.evaluation.loop import Schedule, optimize
from shift_tokenizer import find_device
from torch import Tensor, nn

from pipelines.baselines.base import Budget
from pipelines.baselines.corpus import numpy_generator

MAX_WORDS = 64
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes and rates: `width` of the states, `layers`, attention `heads`, clips a step, peak of the learning rate."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    batch_size: int = 32
    learning_rate: float = 1e-3


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))
        return x + self.feed(self.between(x))


class Network(nn.Module):
    """A transformer over a caption and a sequence.

    Args:
        settings: sizes.
        words: in the vocabulary, padding and the unknown word included.
        longest: steps of the longest sequence; positions past it are like the last.
        slots: neighbouring positions that make one step.
    """

    def __init__(self, settings: NetworkSettings, words: int, longest: int, slots: int = 1) -> None:
        super().__init__()
        width = settings.width
        self.longest, self.slots = longest, slots
        self.words, self.order = nn.Embedding(words, width), nn.Embedding(MAX_WORDS, width)
        self.step, self.left = nn.Embedding(longest + 1, width), nn.Embedding(longest + 1, width)
        self.slot = nn.Embedding(slots, width)
        self.blocks = nn.ModuleList(_Block(width, settings.heads) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width)
        for table in (self.words, self.order, self.step, self.left, self.slot):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, x: Tensor, lengths: Tensor, ids: Tensor, *, causal: bool = False) -> Tensor:
        """States of a sequence.

        Args:
            x: (B, L, width); past a sequence's end anything may stand.
            lengths: (B,) in steps; a sequence has lengths * slots positions.
            ids: (B, W) word ids, 0 where padded; a row of zeros is no caption.
            causal: whether a position sees only what came before.

        Returns:
            (B, L, width).
        """
        ids = ids[:, :MAX_WORDS]
        read = self.words(ids) + self.order.weight[: ids.shape[1]]
        places = torch.arange(x.shape[1], device=x.device)
        steps = places // self.slots
        left = (lengths[:, None] - steps).clamp(0, self.longest)
        x = x + self.step(steps.clamp(max=self.longest)) + self.left(left) + self.slot(places % self.slots)
        states = torch.cat([read, x], 1)
        allowed = self._allowed(ids, lengths, x.shape[1], causal)
        for block in self.blocks:
            states = block(states, allowed)
        return self.norm(states[:, ids.shape[1] :])

    def _allowed(self, ids: Tensor, lengths: Tensor, positions: int, causal: bool) -> Tensor:
        """(B, 1, W + L, W + L): which position may look at which."""
        said = ids != 0
        said[:, 0] = True  # no caption is one position of padding
        there = torch.arange(positions, device=ids.device) < lengths[:, None] * self.slots
        there[:, 0] = True
        seen = torch.cat([said, there], 1)[:, None, None]
        words, size = ids.shape[1], ids.shape[1] + positions
        rule = torch.ones(size, size, dtype=torch.bool, device=ids.device)
        rule[:words, words:] = False
        if causal:
            rule[words:, words:] = rule[words:, words:].tril()
        return seen & rule


def train_network(
    name: str, make: Any, loss: Any, settings: NetworkSettings, budget: Budget, share: float, seed: int
) -> tuple[nn.Module, int]:
    """Train a network for a share of the budget.

    Args:
        name: of the progress bar.
        make: makes the untrained module; its weights follow the global seed.
        loss: of the module and a NumPy generator, the loss of a batch that is drawn with it.
        settings: learning rate.
        budget: processor time.
        share: of it.
        seed: of weights, batches and noise.

    Returns:
        the module in evaluation mode, and its steps.
    """

    def train(steps: int, on_step: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module: nn.Module = make().to(find_device())

            def step(generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
                on_step()
                rng = numpy_generator(generator)
                torch.manual_seed(int(rng.integers(2**62)))  # the noise in the loss
                return loss(module, rng), {}

            schedule = Schedule(steps, settings.learning_rate, WEIGHT_DECAY, steps)
            optimize(name, module, step, schedule, seed=seed, mark="")
        return module.eval()

    steps = budget.steps(share, train)
    return train(steps, lambda: None), steps


def sample(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw from distributions (..., K): indices (...)."""
    chances = (logits / temperature).softmax(-1)
    return torch.multinomial(chances.flatten(0, -2), 1, generator=generator).view(logits.shape[:-1])


def guided(network: Any, ids: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance: what a network makes of word ids, led away from what it makes of no words.

    Args:
        network: a function of word ids (B, W).
        ids: the caption's.
        guidance: 1 for none.
    """
    found: Tensor = network(ids)
    if guidance == 1:
        return found
    without: Tensor = network(torch.zeros_like(ids))
    return without + guidance * (found - without)


def batches(frames: list[int], size: int) -> list[list[int]]:
    """Indices of motions to be made together, like lengths side by side."""
    order = sorted(range(len(frames)), key=lambda i: frames[i])
    return [order[k : k + size] for k in range(0, len(order), size)]
