"""Decoding in the step form: the length, the plan, then so many latent steps, slot by slot.

Lengths are drawn among lengths, each of the plan's questions among its answers and codes among those of their slot, so
that every motion is well-formed whatever the weights are, and exactly as long as was told. Guidance, which compares
with what the model does without a text, counts for the codes alone: there the plan says nothing.

The rows of a batch have plans of one length and are drawn with random numbers of their own, so what a prompt becomes
does not depend on the rows beside it; see `generation` on rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from clutch_llm.errors import ConfigError
from clutch_llm.generation import Stepper, on_device
from clutch_llm.given import Forcing
from clutch_llm.models.step import StepModel
from clutch_llm.prompts import Prompt
from clutch_llm.rows import rows_of_tokens
from clutch_llm.sampling import Sampling
from clutch_llm.vocabulary import TokenLayout

#: Highest temperature at which length and plan are drawn: reading is to be right, variety is the motion's.
READING_TEMPERATURE = 0.5

#: Share of the probability that a length needs to be told as it was asked for. A model whose clips were all of 16 steps
#: reads nothing in a text after a length of 15, which it has never seen. As many steps as asked for are written anyway.
LIKELY_LENGTH = 0.01


class DrawnMotion(NamedTuple):
    """A motion's codes (L, n_slots) int64, and its plan: ids (P,) int64 of `TokenLayout`'s plan tokens."""

    tokens: np.ndarray
    plan: np.ndarray


class _Read(NamedTuple):
    """What is told before a motion.

    Attributes:
        lengths: latent steps (N,).
        plan: ids (N, P).
        last: the last token told, which is still to be fed, with a text and without: (N, 1) each.
    """

    lengths: torch.Tensor
    plan: torch.Tensor
    last: tuple[torch.Tensor, torch.Tensor]


def chances_needed(layout: TokenLayout, questions: int) -> int:
    """Random numbers of one motion: for its codes, then its length, then its plan."""
    return layout.lengths * layout.n_slots + 1 + questions


@torch.inference_mode()
def generate_steps(model: StepModel, prompts: Sequence[Prompt], **how: Any) -> list[DrawnMotion]:
    """Draw one motion for each prompt, by constrained decoding; arguments as of `start_steps`."""
    started = start_steps(model, prompts, **how)
    codes = torch.stack(list(started.write()), 1).cpu().numpy()
    plan, lengths = started.read.plan.cpu().numpy(), started.read.lengths.tolist()
    return [DrawnMotion(codes[k, :length], plan[k]) for k, length in enumerate(lengths)]


@torch.inference_mode()
def start_steps(
    model: StepModel,
    prompts: Sequence[Prompt],
    *,
    answers: Sequence[Sequence[int]],
    chance: np.ndarray,
    sampling: Sampling,
    steps: int | Sequence[int] | None = None,
    unconditional: Prompt | None = None,
    surest_plan: bool = False,
    use_cache: bool = True,
    forcing: Forcing | None = None,
) -> StartedMotions:
    """Read the prompts, and draw the lengths and the plans of their motions.

    Args:
        model: the language model.
        prompts: text-to-motion prompts, or those of motions that are to be completed.
        answers: for each question of a plan the ids that may answer it; empty for a model without plans.
        chance: the only source of randomness: uniform in [0, 1), shape (N, `chances_needed`).
        sampling: how codes are drawn; length and plan at `READING_TEMPERATURE` at most.
        steps: exact number of latent steps, one for all or one for each; None lets the model tell. The model is told
            the nearest length that it finds likely for the text, see `LIKELY_LENGTH`.
        unconditional: prompt without caption, needed for guidance.
        surest_plan: the likeliest plan rather than a drawn one.
        use_cache: False recomputes everything at each step (the reference that tests compare with).
        forcing: codes that are given, whatever the model would write.
    """
    model.eval()
    layout = model.layout
    if steps is not None and not 1 <= np.min(steps) <= np.max(steps) <= layout.lengths:
        raise ConfigError(f"Expected 1 to {layout.lengths} latent steps, got {steps}. Ask for fewer seconds.")
    guided = unconditional if sampling.guidance != 1.0 else None
    stepper = Stepper(model, prompts, unconditional=guided, guidance=sampling.guidance, use_cache=use_cache)
    drawn = on_device(chance, model.device)
    reading = dataclasses.replace(sampling, temperature=min(sampling.temperature, READING_TEMPERATURE))
    first = layout.lengths * layout.n_slots
    read = _read(model, stepper, answers, drawn[:, first:], reading, steps=steps, surest_plan=surest_plan)
    if answers:
        plans = [read.plan, torch.full_like(read.plan, layout.first_plan)] if stepper.guided else [read.plan]
        stepper.encoded = model.with_plan(stepper.encoded, rows_of_tokens(torch.cat(plans), layout))
    return StartedMotions(model, stepper, read, drawn, sampling, forcing)


def _read(
    model: StepModel,
    stepper: Stepper,
    answers: Sequence[Sequence[int]],
    chance: torch.Tensor,
    reading: Sampling,
    *,
    steps: int | Sequence[int] | None,
    surest_plan: bool,
) -> _Read:
    """Draw lengths and plans."""
    layout, N = model.layout, len(chance)
    start = torch.full((N, 1), layout.pad, device=model.device)
    logits = model.head(_feed(stepper, layout, start, start)[:N])
    shortest = layout.length_id(1)
    if steps is None:
        lengths = 1 + reading.draw(logits[:, shortest : shortest + layout.lengths], chance[:, 0])
        told = lengths
    else:
        lengths = torch.as_tensor(steps, device=model.device).expand(N)
        told = nearest_likely(logits[:, shortest : shortest + layout.lengths], lengths)
    ids = free = (told + shortest - 1)[:, None]
    surest = dataclasses.replace(reading, greedy=True) if surest_plan else reading
    plan = [ids[:, :0]]
    for k, allowed in enumerate(answers):
        known = torch.tensor(allowed, device=model.device)
        logits = model.head(_feed(stepper, layout, ids, free)[:N])[:, known]
        ids = known[surest.draw(logits, chance[:, 1 + k])][:, None]
        free = torch.full_like(ids, layout.first_plan)
        plan.append(ids)
    return _Read(lengths, torch.cat(plan, 1), (ids, free))


def nearest_likely(logits: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Of the lengths 1, 2, … with these logits (N, lengths), the likely one nearest to each of ``lengths`` (N,)."""
    share = logits.float().softmax(-1)
    likely = (share >= LIKELY_LENGTH) | (share == share.amax(-1, keepdim=True))
    distance = (torch.arange(1, logits.shape[1] + 1, device=logits.device) - lengths[:, None]).abs()
    return 1 + distance.masked_fill(~likely, logits.shape[1] + 1).argmin(-1)


@dataclasses.dataclass
class StartedMotions:
    """Motions of which all is told that comes before their latent steps."""

    model: StepModel
    stepper: Stepper
    read: _Read
    chance: torch.Tensor
    sampling: Sampling
    forcing: Forcing | None = None

    @torch.inference_mode()
    def write(self) -> Iterator[torch.Tensor]:
        """Draw the latent steps one by one, as many as the longest motion has: codes (N, n_slots) each."""
        model, stepper, read = self.model, self.stepper, self.read
        layout, n, N = model.layout, model.layout.n_slots, len(read.lengths)
        offsets = torch.from_numpy(layout.slot_offsets).to(model.device)
        som = torch.full((N, 1), layout.som, device=model.device)
        ids, free = (rows_of_tokens(torch.cat([last, som], 1), layout) for last in read.last)
        for step in range(int(read.lengths.max())):
            positions = torch.zeros(*ids.shape[:2], 2, dtype=torch.int64, device=model.device)
            positions[:, -1, 0] = step + 1
            positions[:, -1, 1] = (read.lengths - step).clamp(min=1)  # past its end, a row's codes are not used
            states = stepper.step(ids, positions, free)
            codes = torch.zeros(N, n, dtype=torch.int64, device=model.device)
            given, known = self.forcing.at(step) if self.forcing else (codes, torch.zeros(n, dtype=torch.bool))
            for slot in range(n):
                if bool(known[slot]):
                    codes[:, slot] = given[:, slot] + offsets[slot]
                    continue
                before = torch.cat([codes, codes]) if stepper.guided else codes
                logits = stepper.guide(model.depth_logits(states, before, slot))
                codes[:, slot] = self.sampling.draw(logits, self.chance[:, step * n + slot]) + offsets[slot]
            if self.forcing:
                self.forcing.follow(codes - offsets)
            yield codes - offsets
            ids = free = codes[:, None]


def _feed(stepper: Stepper, layout: TokenLayout, ids: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """Feed one token each, after which a token follows."""
    nowhere = torch.zeros(*ids.shape, 2, dtype=torch.int64, device=ids.device)
    return stepper.step(rows_of_tokens(ids, layout), nowhere, rows_of_tokens(free, layout))


@torch.inference_mode()
def write_freely(
    model: StepModel,
    prompts: Sequence[Prompt],
    *,
    answers: Sequence[Sequence[int]],
    chance: np.ndarray,
    sampling: Sampling,
) -> list[np.ndarray]:
    """Draw what stands before the latent steps with no constraint: a length, the plan's answers and ``<som>``?

    How often it is that is what "well-formed without constraint" means in the step form: after ``<som>``, the head of
    each slot has no other codes to choose from.

    Args:
        model: the language model.
        prompts: text-to-motion prompts.
        answers: as for `generate_steps`.
        chance: uniform in [0, 1), shape (N, `chances_needed` + 1).
        sampling: how tokens are drawn; guidance is not used.

    Returns:
        ``<som>``, codes, ``<eom>`` where it is as it should be, and else the tokens that were drawn.
    """
    model.eval()
    layout, drawn = model.layout, on_device(chance, model.device)
    stepper, first = Stepper(model, prompts), layout.lengths * layout.n_slots
    ids = torch.full((len(prompts), 1), layout.pad, device=model.device)
    told = [ids]
    for at in range(2 + len(answers)):
        ids = sampling.draw(model.head(_feed(stepper, layout, ids, ids)), drawn[:, first + at])[:, None]
        told.append(ids)
    heads = torch.cat(told, 1)
    out = list(heads[:, 1:].cpu().numpy())
    lengths = range(layout.length_id(1), layout.length_id(layout.lengths) + 1)
    good = [k for k, head in enumerate(out) if _as_it_should_be(head.tolist(), [lengths, *answers, [layout.som]])]
    if good:
        stepper, heads = Stepper(model, [prompts[k] for k in good]), heads[good, :-1]
        _feed(stepper, layout, heads[:, :-1], heads[:, :-1])
        stepper.encoded = model.with_plan(stepper.encoded, rows_of_tokens(heads[:, 2:], layout))
        read = _Read(heads[:, 1] - layout.length_id(1) + 1, heads[:, 2:], (heads[:, -1:], heads[:, -1:]))
        steps = list(StartedMotions(model, stepper, read, drawn[good], sampling).write())
        codes = torch.stack(steps, 1).cpu().numpy() + layout.slot_offsets
        for k, row, length in zip(good, codes, read.lengths.tolist(), strict=True):
            out[k] = np.concatenate([[layout.som], row[:length].reshape(-1), [layout.eom]])
    return out


def _as_it_should_be(head: Sequence[int], allowed: Sequence[Collection[int]]) -> bool:
    return all(token in tokens for token, tokens in zip(head, allowed, strict=True))
