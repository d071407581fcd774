"""Baselines: other ways to make motion of two hands from a caption, on the same data and within the same budget.

A baseline (`base.Baseline`) learns from the train split within a budget of processor time and makes motions of
captions. They share the corpus, a transformer, a training loop and the tokenizers; `clutch_llm.evaluation` measures.
"""

from __future__ import annotations

import logging
from typing import Any

from kedro.pipeline import Pipeline, node

from pipelines.baselines.plan import BaselinesPlan
from pipelines.baselines.study import compare_baselines
from pipelines.baselines.table import as_markdown
from pipelines.processes import ALONE

__all__ = ["BaselinesPlan", "baselines_page", "compare_baselines", "create_baselines"]

logger = logging.getLogger(__name__)


def baselines_page(study: dict[str, Any]) -> str:
    """The tables as a page of Markdown, which is printed too."""
    page = as_markdown(study)
    logger.info("\n%s", page)
    return page


def create_baselines() -> Pipeline:
    """`hiw_store` x baselines x seeds -> `baselines`, and `baselines_table` for reading."""
    inputs = [
        "hiw_store",
        "evaluator",
        "judge",
        "params:baselines",
        "params:tokenizer.model",
        "params:tokenizer.training",
        "params:llm",
        "params:pretrain",
        "params:evaluation.protocol",
        "params:checkpoints",
    ]
    return Pipeline(
        [node(compare_baselines, inputs, "baselines"), node(baselines_page, "baselines", "baselines_table")],
        tags=["stage.baselines", ALONE],
    )
