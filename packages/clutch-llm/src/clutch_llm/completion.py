"""Completion: a motion with gaps becomes whole, what is given forced into what is written.

One way for all kinds: future, past, what lies between, keyframes, one hand, the wrist's path, the pose. The encoder
reads the motion with ``<mask>`` for what is missing; the decoder writes the motion step by step, and a slot that is
given takes its code, whatever the model would write. For that a model has to have been trained on the task "complete".
Without it, in either form, a motion can still go on from its beginning, which needs no more than a forced prefix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from hand_geometry.codes import parse_claim

from clutch_llm.blending import BLEND_FRAMES, keep_given
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.given import Given, moved, read_given
from clutch_llm.planning import FIELDS, claims_in, field_names
from clutch_llm.prompts import Prompt, PromptBuilder
from clutch_llm.ranking import best_of
from clutch_llm.sampling import chance_of

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch, Motion

#: Name of the training task.
TASK = "complete"


def complete(
    self: Clutch,
    motion: np.ndarray | torch.Tensor,
    text: str | None = None,
    *,
    valid: np.ndarray | torch.Tensor | None = None,
    seconds: float | None = None,
    keep: bool = False,
    blend: int = BLEND_FRAMES,
    claims: Sequence[str] = (),
    samples: int = 1,
    seed: int = 0,
    temperature: float | None = None,
    top_k: int | None = None,
    greedy: bool | None = None,
    guidance: float | None = None,
    explain: bool = False,
    rank: int = 1,
) -> list[Motion]:
    """Fill the gaps of a motion; the same arguments give the same motions.

    A gap is what is NaN, what is not valid, and what lies behind the motion where ``seconds`` asks for more. So the
    future is a motion and more seconds, the past NaN and then a motion, keyframes single frames among NaN, the other
    hand a hand that is not valid, and a wrist path or a pose that is given has NaN in the rest of its hand. See `given`
    on what is taken of it.

    Args:
        self: the model.
        motion: features (T, 198) at the model's rate, wherever the hands are; the results are at the same place.
        text: what the hands do; None leaves it open.
        valid: (T, 2) bool, whether each hand is given in a frame.
        seconds: length of the whole, to the frame; None for the motion's.
        keep: give back what is given exactly, blended with what is made. Otherwise it comes back as the motion
            tokenizer tells it.
        blend: frames over which they are blended, at least 1.
        claims: what else has to be so, in the text form of `hand_geometry.codes`, with its time where it has one: a
            contact at a time is ``contact:both/palms=touch@1.0-1.5``. A model with plans is made to plan for those
            that a plan can tell; of ``rank`` motions the one that fulfils most of them is kept.
        samples: motions to give.
        seed: seed of the sampling.
        temperature: as of `generate`, as the next three; guidance counts where there is a text.
        top_k: see there.
        greedy: see there.
        guidance: see there.
        explain: give each motion its plan; for models with plans.
        rank: draw so many for each and keep the one that fulfils most of the claims, or without claims most of its
            plan; gives each its score.

    Returns:
        ``samples`` motions of exactly the length; their tokens are whole latent steps, and may reach further.

    Raises:
        ConfigError: when a setting is out of its range, or the model was not trained for the kind of gap.
        DataError: when the motion is not one, nothing is given, or the text is empty or too long.
        hand_geometry.errors.InputError: when a claim is none.
    """
    _check(self, samples=samples, rank=rank, blend=blend, explain=explain, claims=claims)
    frames = None if seconds is None else round(seconds * self.fps)
    given = read_given(motion, valid, self.tokenizer, frames=frames, max_steps=self.config.max_steps)
    prompt, unconditional = _prompts(self, given, text)
    sampling = self._sampling(temperature=temperature, top_k=top_k, greedy=greedy, guidance=guidance)
    if unconditional is None:
        sampling = dataclasses.replace(sampling, guidance=1.0)
    many = samples * rank
    chances = [chance_of(text or "", seed=seed, index=k, count=self._chances) for k in range(many)]
    tokens, plans = self._draw(
        [prompt] * many,
        np.stack(chances),
        surest_plan=rank > 1,
        answers=_answers(self, text, claims),
        given=given,
        steps=given.steps,
        sampling=sampling,
        unconditional=unconditional,
    )
    motions = self.decode(tokens)
    for made, plan in zip(motions, plans, strict=True):
        made["features"] = moved(made["features"], given.origin)
        if keep:
            made["features"] = keep_given(made["features"], given.features, given.known, self.tokenizer, blend=blend)
        made["features"] = made["features"][: given.frames]
        made["plan"] = claims_in(plan)
    if rank > 1:
        judged = [{**made, "plan": list(claims) or made["plan"], "own": made["plan"]} for made in motions]
        chosen = [best_of(judged[k : k + rank]) for k in range(0, many, rank)]
        motions = [{**made, "plan": made.pop("own")} for made in chosen]
    if not explain:
        for made in motions:
            made.pop("plan", None)
    return motions


def is_trained(clutch: Clutch) -> bool:
    """Whether a model was trained on completion."""
    return any(stage.get("tasks", {}).get(TASK, 0) > 0 for stage in clutch.stages)


def _check(clutch: Clutch, *, samples: int, rank: int, blend: int, explain: bool, claims: Sequence[str]) -> None:
    for name, value in (("samples", samples), ("rank", rank), ("blend", blend)):
        if value < 1:
            raise ConfigError(f"Expected {name} of at least 1, got {value}.")
    if explain and not clutch.config.plan:
        raise ConfigError("Expected a model with plans for explain, got one without: ClutchConfig.plan.")
    if rank > 1 and not clutch.config.plan and not claims:
        raise ConfigError(f"Expected claims to choose by for rank {rank}, got none, and a model without plans.")
    for claim in claims:
        parse_claim(claim)
    if claims and rank == 1 and not all(_question(clutch, claim) for claim in claims):
        raise ConfigError(
            f"Expected rank above 1 for the claims {', '.join(claims)}, got 1: the model can't plan for all of them. "
            "Ask for the best of several."
        )


def _prompts(clutch: Clutch, given: Given, text: str | None) -> tuple[Prompt, Prompt | None]:
    """The prompt, and with a text the one that guidance compares with."""
    builder, vocabulary = PromptBuilder(clutch.vocabulary), clutch.vocabulary
    if text is not None and not text.strip():
        raise DataError(f"Expected a text that says what the hands do, or None, got {text!r}.")
    asked = None if text is None else clutch._t2m_prompt(builder, text)  # checks the text's length as well
    if not is_trained(clutch):
        if not given.is_beginning:
            form, stages = clutch.config.motion_form, ", ".join(s["stage"] for s in clutch.stages) or "nothing"
            raise ConfigError(
                f"Expected a model trained on the task {TASK!r} to fill such gaps, got one of the {form} form trained "
                f"on {stages} without it. Train it with {TASK} among the tasks, or give a beginning to go on from."
            )
        return (builder.t2m(None), None) if asked is None else (asked, builder.t2m(None))
    shown = vocabulary.shown_rows(given.tokens(clutch.tokenizer), given.slots)
    free = builder.masked("", shown)
    return (free, None) if text is None else (builder.masked(text, shown), free)


def _question(clutch: Clutch, claim: str) -> int | None:
    """Which of a plan's questions a claim answers, counted from 1; None where a plan can't tell it."""
    if not clutch.config.plan:
        return None
    if claim not in clutch.vocabulary.plan_names:
        return None
    return next((k for k, field in enumerate(FIELDS, 1) if claim in field_names(field)), None)


def _answers(clutch: Clutch, text: str | None, claims: Sequence[str]) -> list[list[int]]:
    """Ids that may answer each question of the plan: what claims say, without a text nothing, and else all."""
    first, names = clutch.vocabulary.layout.first_plan, list(clutch.vocabulary.plan_names)
    answers = [own[:1] for own in clutch._answers] if text is None else clutch._answers_to_text
    for claim in claims:
        timeless = str(dataclasses.replace(parse_claim(claim), when=""))
        at = _question(clutch, timeless)
        if at is not None:
            answers[at - 1] = [first + names.index(timeless)]
    return answers
