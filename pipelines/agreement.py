"""Settings of different stages that have to agree are compared before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.data import SOURCES
from pipelines.parameters import ParameterError

TRAINED = ("pretrain", "refine", "instruct")
"""Sections whose `batch_size` is shared out among the processes; `reinforce` where it takes any steps."""


LENGTHS = ("max_frames", "frames")
"""Options of sources that limit how long their clips are."""


def check_agreement(parameters: Mapping[str, Any], processes: int = 1) -> None:
    """Compare lengths, rates and batches across the stages.

    Args:
        parameters: of all stages, as the typed configurations that nodes receive.
        processes: how many train together.

    Raises:
        ParameterError: two settings do not agree; the message names both, with their values.
    """
    for problem in disagreements(parameters, processes):
        raise ParameterError(problem)


def disagreements(parameters: Mapping[str, Any], processes: int = 1) -> Iterator[str]:
    """Yield a sentence for each two settings that do not agree."""

    def get(name: str) -> Any:
        value: Any = parameters
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
        return value

    def say(first: str, must: str, second: str, why: str) -> str:
        return (
            f"Expected '{first}' {must} '{second}', got {get(first)} and {get(second)}: {why}. "
            "Correct one of the two in conf."
        )

    fps, step = "data.build.fps", "tokenizer.model.frames_per_latent"
    if get("tokenizer.model.fps") != get(fps):
        yield say("tokenizer.model.fps", "equal to", fps, "the tokenizer would learn motion of another rate")
    for name, why in (
        ("data.build.multiple", "clips are padded to whole latent steps"),
        ("tokenizer.training.window", "a training window is of whole latent steps"),
    ):
        if get(name) % get(step):
            yield say(name, "a multiple of", step, why)
    room = get("llm.max_steps") * get(step)
    for name, frames in longest_clips(get("data.sources"), get("data.build.multiple")):
        if frames > room:
            yield (
                f"Expected '{name}' of at most 'llm.max_steps' x '{step}' = {room} frames, got {frames}: the language "
                f"model could not hold the longest clips. Raise llm.max_steps to {-(-frames // get(step))}, or lower "
                f"'{name}'."
            )
    for section in (*TRAINED, *(["reinforce"] if get("reinforce.steps") else [])):
        size = get(f"{section}.batch_size")
        if size is not None and size % processes:
            yield (
                f"Expected '{section}.batch_size' a multiple of the {processes} processes, got {size}: it counts the "
                "examples of all of them. Correct it in conf, or start another number of processes."
            )


def longest_clips(sources: Any, multiple: int) -> Iterator[tuple[str, int]]:
    """Yield, for each source that limits its clips, the setting that does and the frames it leaves, with padding."""
    for number, options in enumerate(sources if isinstance(sources, list) else []):
        for option in LENGTHS:
            frames = options.get(option) or _default(options.get("type"), option)
            if frames is not None:
                yield f"data.sources[{number}].{option}", -(-frames // multiple) * multiple


def _default(source: Any, option: str) -> Any:
    """What a source takes for an option that is left out, or None where it has no such option."""
    made_by = SOURCES.get(source)
    parameter = inspect.signature(made_by).parameters.get(option) if made_by else None
    return None if parameter is None or parameter.default is parameter.empty else parameter.default
