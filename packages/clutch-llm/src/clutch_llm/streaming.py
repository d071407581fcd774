"""Frames while tokens come: a motion is decoded as it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from shift_tokenizer.streaming import StreamingDecoder

from clutch_llm.generation import write_codes
from clutch_llm.models import StepModel
from clutch_llm.prompts import PromptBuilder
from clutch_llm.sampling import chance_of
from clutch_llm.step_generation import start_steps

if TYPE_CHECKING:
    from clutch_llm.clutch import Clutch


def stream(
    self: Clutch,
    text: str,
    seconds: float | None = None,
    *,
    seed: int = 0,
    temperature: float | None = None,
    top_k: int | None = None,
    greedy: bool | None = None,
    guidance: float | None = None,
    lookahead: int | None = None,
) -> Iterator[np.ndarray]:
    """The motion that `generate` gives, frame by frame as it is written.

    Arguments and motion are those of `generate` with one sample, up to the rounding of the motion tokenizer's decoder.

    Args:
        self: the model.
        text: what the hands should do.
        seconds: exact length, rounded to a whole latent step; None lets the model decide.
        seed: seed of the sampling.
        temperature: see `generate`, as the next three.
        top_k: see there.
        greedy: see there.
        guidance: see there.
        lookahead: latent steps that the decoder waits for before it gives a step's frames. None for all that they
            depend on; with fewer, frames come sooner and differ a little.

    Returns:
        Pieces of the features (t, 198) float32, t of 1 or more; together the motion.

    Raises:
        ConfigError, DataError: as `generate`, at once and not when the first frame is asked for.
    """
    sampling = self._sampling(temperature=temperature, top_k=top_k, greedy=greedy, guidance=guidance)
    steps = None if seconds is None else self._steps(seconds)
    builder = PromptBuilder(self.vocabulary)
    prompt = self._t2m_prompt(builder, text)
    decoder = StreamingDecoder(self.tokenizer, lookahead=lookahead, chunk=1)
    how = {
        "chance": chance_of(text, seed=seed, index=0, count=self._chances)[None],
        "sampling": sampling,
        "steps": steps,
        "unconditional": builder.t2m(None),
    }
    return _frames(decoder, _codes(self, [prompt], how))


def _codes(clutch: Clutch, prompts: list[Any], how: dict[str, Any]) -> Iterator[torch.Tensor]:
    if isinstance(clutch.model, StepModel):
        yield from start_steps(clutch.model, prompts, answers=clutch._answers_to_text, **how).write()
        return
    length = torch.full((1,), how["steps"] or clutch.config.max_steps, device=clutch.model.device)
    yield from write_codes(clutch.model, prompts, length, **how)


@torch.no_grad()
def _frames(decoder: StreamingDecoder, codes: Iterator[torch.Tensor]) -> Iterator[np.ndarray]:
    for step in codes:
        ready = decoder.push(step)
        if len(ready):
            yield _array(ready)
    rest = decoder.finish()
    if len(rest):
        yield _array(rest)


def _array(frames: torch.Tensor) -> np.ndarray:
    return np.asarray(frames.cpu(), dtype=np.float32)
