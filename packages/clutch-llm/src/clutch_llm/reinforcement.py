"""Reinforcement with verifiable rewards: motions are drawn for captions, measured, and the better ones made likelier.

For each caption of a step several motions are drawn from the model itself, decoded and measured (`rewards`). A motion's
advantage is its reward above the mean of its caption's motions, in their standard deviations (GRPO, Shao et al. 2024);
the log-probability of every code and plan token of a motion is pushed by its advantage, and held near the model that
the stage started from by the k3 estimate of their KL divergence.

What is pushed is what was drawn: the same temperature, codes among those of their slot, plan tokens among the answers
to their question, no guidance, no dropout. A motion's length is the clip's; it is given, so it is not pushed. Each
draw is used for one update, so that no ratio of old to new probabilities is left to be clipped.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from shift_tokenizer import ShiftTokenizer

from clutch_llm.batching import BatchPlan, Sample, SampleMaker, collate
from clutch_llm.clips import Example
from clutch_llm.clutch import Clutch
from clutch_llm.corpus import mirrored
from clutch_llm.engine import micro_batch_size, sum_over_ranks
from clutch_llm.evaluation.claims import ClaimReader
from clutch_llm.generation import chunks_of, generate_motion
from clutch_llm.model import ClutchModel, TokenBatch
from clutch_llm.models import StepModel
from clutch_llm.prompts import Prompt
from clutch_llm.rewards import reward_terms, targets_of, weighted
from clutch_llm.rows import IGNORE, are_steps
from clutch_llm.sampling import Sampling
from clutch_llm.stages import ReinforceConfig
from clutch_llm.step_generation import READING_TEMPERATURE, DrawnMotion, generate_steps

Array = NDArray[np.float64]

#: Nats. Log-probabilities that differ by less are alike: with and without gradients, kernels round differently, and
#: AdamW would take what is left of that for a direction where nothing else has one.
ROUNDING = 1e-4


def draw_motions(
    model: ClutchModel,
    prompts: Sequence[Prompt],
    lengths: Sequence[int],
    *,
    answers: Sequence[Sequence[int]],
    chance: np.ndarray,
    temperature: float,
) -> list[DrawnMotion]:
    """Draw one motion of a given length for each prompt, without guidance.

    Args:
        model: the language model, of either form; it is put in eval mode.
        prompts: N text-to-motion prompts.
        lengths: latent steps of each.
        answers: ids that may answer each question of a plan; empty for a model without plans.
        chance: the random numbers, one row for each, as `generate_steps` and `generate_motion` take them.
        temperature: of the codes.
    """
    sampling = Sampling(temperature=temperature)
    drawn = [DrawnMotion(np.empty(0), np.empty(0))] * len(prompts)
    if isinstance(model, StepModel):
        for chunk in chunks_of(prompts):
            rows, own = [prompts[k] for k in chunk], [lengths[k] for k in chunk]
            made = generate_steps(model, rows, answers=answers, chance=chance[chunk], sampling=sampling, steps=own)
            for k, one in zip(chunk, made, strict=True):
                drawn[k] = one
        return drawn
    for length in sorted(set(lengths)):
        members = [k for k, own in enumerate(lengths) if own == length]
        for chunk in chunks_of([prompts[k] for k in members]):
            some = [members[k] for k in chunk]
            rows = [prompts[k] for k in some]
            codes = generate_motion(model, rows, chance=chance[some], sampling=sampling, steps=length)
            for k, row in zip(some, codes, strict=True):
                drawn[k] = DrawnMotion(row, np.empty(0, dtype=np.int64))
    return drawn


def log_probabilities(
    model: ClutchModel, batch: TokenBatch, *, answers: Sequence[Sequence[int]], temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities with which `draw_motions` draws the targets of a batch.

    Args:
        model: in eval mode.
        batch: prompts, and whole motions as targets (`SampleMaker.motion_target`).
        answers: as there.
        temperature: as there; plans are drawn at `READING_TEMPERATURE` at most.

    Returns:
        (B, M) with gradient: of the plan's tokens, then of the codes in their order; and a mask of the same shape,
        false on padding, where the log-probability is 0.
    """
    layout = model.layout
    told = []
    if isinstance(model, StepModel):
        target = batch.target
        steps = are_steps(target, layout)
        states = _step_states(model, batch)
        colder = min(temperature, READING_TEMPERATURE)
        for k, allowed in enumerate(answers):
            known = torch.tensor(allowed, device=target.device)
            logits = model.head(states[:, 1 + k])[:, known].float() / colder
            chosen = (known == target[:, 1 + k, :1]).int().argmax(-1)
            told.append(logits.log_softmax(-1).gather(-1, chosen[:, None]))
        first = 2 + len(answers)  # the length, the plan and <som> stand before the latent steps
        mask, codes = steps[:, first:], target[:, first:]
        of_steps = model.step_logits(states[steps], target[steps]).float()
        slots = of_steps.new_zeros(*mask.shape, *of_steps.shape[1:])
        slots = slots.masked_scatter(mask[..., None, None], of_steps)
    else:
        output = model(batch, refine=True)
        assert output.slot_logits is not None
        assert output.step_mask is not None
        slots, mask = output.slot_logits, output.step_mask
        codes = batch.target[:, 1 : 1 + mask.shape[1] * layout.n_slots].unflatten(1, (-1, layout.n_slots))
    offsets = torch.as_tensor(layout.slot_offsets, device=codes.device)
    index = (codes - offsets).clamp(min=0)
    index = index.masked_fill(~mask[..., None], 0)
    drawn = (slots / temperature).log_softmax(-1).gather(-1, index[..., None])[..., 0]
    drawn = drawn.masked_fill(~mask[..., None], 0.0).flatten(1)
    whole = torch.cat([*told, drawn], 1)
    known_mask = torch.ones(len(whole), len(told), dtype=torch.bool, device=whole.device)
    return whole, torch.cat([known_mask, mask.repeat_interleave(layout.n_slots, 1)], 1)


def _step_states(model: StepModel, batch: TokenBatch) -> torch.Tensor:
    """The decoder's states where each row of the targets is to be written (B, T, d_model)."""
    target = batch.target
    encoded = model.encode(batch.prompt, batch.prompt_mask, batch.prompt_positions)
    encoded = model.with_plan(encoded, target)
    before = target.new_full(target.shape, IGNORE)
    before[..., 0] = model.layout.pad
    before[:, 1:] = target[:, :-1]
    return model.decode(before, batch.target_positions, encoded, batch.prompt_mask)


def advantages(rewards: Array, samples: int, least_spread: float) -> Array:
    """Of each motion its reward above its caption's mean, in their standard deviations, or in ``least_spread``.

    Args:
        rewards: (N * samples,), the motions of a caption one after the other.
        samples: motions a caption.
        least_spread: what is divided by where the standard deviation is smaller.
    """
    groups = rewards.reshape(-1, samples)
    above = groups - groups.mean(1, keepdims=True)
    return np.asarray((above / np.maximum(groups.std(1, keepdims=True), least_spread)).reshape(-1))


def policy_losses(
    log_p: torch.Tensor, reference: torch.Tensor, advantage: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a step of the policy goes down, and its distance from the reference: sums over all tokens.

    Args:
        log_p: (B, M) log-probabilities of what was drawn, with gradient.
        reference: (B, M) those of the model that is stayed near.
        advantage: (B,) of each motion.
        mask: (B, M) which tokens count.

    Returns:
        The policy's loss, whose gradient is that of ``-advantage * log_p``; and the k3 estimate of the KL divergence,
        ``r - 1 - log r`` of ``r = p_reference / p``, which is never below 0.
    """
    ratio = (log_p - log_p.detach()).exp()  # 1, with the gradient of log_p
    gone = F.hardshrink(reference - log_p, ROUNDING)
    apart = gone.exp() - 1.0 - gone
    return -(advantage[:, None] * ratio * mask).sum(), (apart * mask).sum()


@dataclasses.dataclass
class Draws:
    """Motions of a step, those of a caption one after the other, N in all.

    Attributes:
        samples: prompt and drawn motion of each, as the model is to be taught.
        texts: the caption of each.
        examples: the example that each is held against.
        terms: (N,) of each reward term.
        rewards: (N,).
    """

    samples: list[Sample]
    texts: list[str]
    examples: list[Example]
    terms: Mapping[str, Array]
    rewards: Array


class Reinforcement:
    """Takes the optimizer steps of the stage.

    Args:
        engine: around the model that is trained.
        clutch: the model that the stage starts from, which the policy is held near.
        examples: what captions are drawn from.
        config: the stage.
        tokenizer: decodes the motions; on the engine's device.
        reader: of captions; None as in `rewards.targets_of`.
    """

    def __init__(
        self,
        engine: Any,
        clutch: Clutch,
        examples: Sequence[Example],
        config: ReinforceConfig,
        *,
        tokenizer: ShiftTokenizer,
        reader: ClaimReader | None,
    ) -> None:
        self.engine, self.config, self.tokenizer, self.reader = engine, config, tokenizer, reader
        self.rank, self.world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.micro = micro_batch_size(config, self.world) * config.samples
        self.examples = examples
        self.images = mirrored(examples, clutch.tokenizer) if config.mirror > 0 else examples
        self.plan = BatchPlan(examples, config)
        self.maker = SampleMaker(clutch.vocabulary)
        self.answers, self.chances = clutch._answers_to_text, clutch._chances
        self.how: dict[str, Any] = {"answers": self.answers, "temperature": config.temperature}
        self.reference: ClutchModel | None = None
        if config.kl:
            like = next(iter(engine.module.parameters()))
            self.reference = copy.deepcopy(clutch.model).to(like.device, like.dtype).eval().requires_grad_(False)

    def draw(self, step: int) -> Draws:
        """Draw and measure this process's motions of a step."""
        config = self.config
        chosen = self.plan.batch(step)
        rows: list[tuple[Example, str, Array]] = []
        for row in range(self.rank, config.batch_size, self.world):
            rng = np.random.default_rng([config.seed, 4, step, row])
            image = rng.random() < config.mirror
            example = (self.images if image else self.examples)[chosen[row]]
            text = self.maker.caption(example, rng)
            rows.append((example, text, rng.random((config.samples, self.chances))))
        rows.sort(key=lambda row: len(row[0]["tokens"]))  # little padding
        examples = [example for example, _, _ in rows for _ in range(config.samples)]
        texts = [text for _, text, _ in rows for _ in range(config.samples)]
        prompts = [self.maker.prompts.t2m(text) for text in texts]
        lengths = [len(example["tokens"]) for example in examples]
        chance = np.concatenate([own for _, _, own in rows])
        drawn = draw_motions(self.engine.module, prompts, lengths, chance=chance, **self.how)
        targets = targets_of([row[0] for row in rows], [row[1] for row in rows], self.reader)
        terms = reward_terms(self._decode(drawn), [t for t in targets for _ in range(config.samples)])
        samples = [
            Sample(*prompt, *self.maker.motion_target(motion.tokens, motion.plan.tolist()))
            for prompt, motion in zip(prompts, drawn, strict=True)
        ]
        return Draws(samples, texts, examples, terms, weighted(terms, config.reward))

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step; gives what is logged of it."""
        config, engine = self.config, self.engine
        engine.eval()  # no dropout: what is scored is what was drawn
        drawn = self.draw(step)
        gain = torch.from_numpy(advantages(drawn.rewards, config.samples, config.least_spread)).float()
        each = [self._scored(sample) for sample in drawn.samples]
        total = sum_over_ranks(torch.tensor(float(sum(each)), device=engine.device))
        sums = torch.zeros(3, dtype=torch.float64, device=engine.device)
        pad = self.maker.layout.pad
        for start in range(0, len(each), self.micro):
            part = slice(start, start + self.micro)
            batch = collate(drawn.samples[part], pad).to(engine.device)
            log_p, mask = log_probabilities(engine.module, batch, **self.how)
            with torch.no_grad():
                held = log_p if self.reference is None else log_probabilities(self.reference, batch, **self.how)[0]
            policy, apart = policy_losses(log_p, held.detach(), gain[part].to(log_p.device), mask)
            loss = (policy + config.kl * apart) / total
            engine.backward(loss * self.world, scale_wrt_gas=False)  # the ranks' gradients are averaged, not added
            engine.step()  # which steps when the last micro-batch is in
            sums += torch.stack([policy.detach(), apart.detach(), -log_p.detach().sum()])
        policy_sum, kl, surprise = (sum_over_ranks(sums) / total.double()).tolist()
        logged = {"loss": policy_sum + config.kl * kl, "kl": kl, "surprise": surprise}
        return logged | self._means(drawn)

    @torch.no_grad()
    def _decode(self, drawn: Sequence[DrawnMotion]) -> list[NDArray[np.float32]]:
        tokens = [torch.from_numpy(np.ascontiguousarray(d.tokens)).to(self.engine.device) for d in drawn]
        return [np.asarray(f.float().cpu(), dtype=np.float32) for f in self.tokenizer.decode_list(tokens)]

    def _scored(self, sample: Sample) -> int:
        """How many tokens of a sample were drawn: its codes and its plan."""
        layout = self.maker.layout
        if not layout.stepwise:
            return len(sample.target) - 2  # <som> and <eom>
        return len(self.answers) + (len(sample.target) - len(self.answers) - 2) * layout.n_slots

    def _means(self, drawn: Draws) -> dict[str, float]:
        """Mean reward, its spread within a caption, and the mean of each term where it is known; of all processes."""
        spread = np.repeat(drawn.rewards.reshape(-1, self.config.samples).std(1), self.config.samples)
        values = {"reward": drawn.rewards, "spread": spread}
        values |= {f"reward/{name}": own for name, own in drawn.terms.items()}
        sums = [[np.nansum(own), np.isfinite(own).sum()] for own in values.values()]
        whole = sum_over_ranks(torch.tensor(sums, dtype=torch.float64, device=self.engine.device)).tolist()
        return {name: total / count for name, (total, count) in zip(values, whole, strict=True) if count}
