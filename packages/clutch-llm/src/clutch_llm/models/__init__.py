"""Models by the form of a motion: interleaved (`model`) or one position a latent step (`models.step`)."""

from __future__ import annotations

from clutch_llm.backbones import Backbone
from clutch_llm.model import ClutchModel
from clutch_llm.models.step import StepModel
from clutch_llm.vocabulary import TokenLayout

__all__ = ["StepModel", "new_model"]


def new_model(backbone: Backbone, layout: TokenLayout, max_steps: int) -> ClutchModel:
    """The model of the layout's form over a backbone."""
    return (StepModel if layout.stepwise else ClutchModel)(backbone, layout, max_steps)
