"""Models by the form of a motion: interleaved (`model`) or one position a latent step (`models.step`)."""

from __future__ import annotations

from transformers import T5ForConditionalGeneration

from clutch_llm.model import ClutchModel
from clutch_llm.models.step import StepModel
from clutch_llm.vocabulary import TokenLayout

__all__ = ["StepModel", "new_model"]


def new_model(t5: T5ForConditionalGeneration, layout: TokenLayout, max_steps: int) -> ClutchModel:
    """The model of the layout's form over a T5."""
    return (StepModel if layout.stepwise else ClutchModel)(t5, layout, max_steps)
