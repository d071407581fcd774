"""Tokens and captions -> the language model, in its stages.

Reinforcement may follow as a fourth stage: it is off where it takes no steps.

Refinement has two arms from the same pretrained model: the refined one goes on, the control arm takes the same steps of
cross-entropy alone and exists to be compared with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from clutch_llm import (
    Clutch,
    ClutchConfig,
    InstructConfig,
    PretrainConfig,
    RefineConfig,
    ReinforceConfig,
    Sampling,
    train_stage,
)
from clutch_llm.evaluation import claim_reader
from hand_geometry import features_to_joints
from hiw_data import HiwStore
from kedro.pipeline import Pipeline, node
from shift_tokenizer import ShiftTokenizer

from pipelines.processes import TOGETHER
from pipelines.protocol import Protocol
from pipelines.tokenizer import TokenizedClips
from pipelines.tracking import live_metrics

Tokens = dict[str, np.ndarray]
History = list[dict[str, float]]
Trained = tuple[Clutch, History]
StageConfig = PretrainConfig | RefineConfig | InstructConfig | ReinforceConfig


def run_stage(clutch: Clutch, store: HiwStore, tokens: Tokens, config: StageConfig, checkpoint_dir: str) -> Trained:
    """Train one stage on the train split, validating on the val split."""
    with live_metrics() as log:
        return train_stage(
            clutch,
            TokenizedClips(store, "train", tokens),
            config,
            val_examples=TokenizedClips(store, "val", tokens),
            joints_fn=features_to_joints,
            claim_reader=claim_reader(),
            checkpoint_dir=checkpoint_dir,
            on_log=log,
        )


def pretrain(
    store: HiwStore,
    tokens: Tokens,
    shift: ShiftTokenizer,
    model: ClutchConfig,
    config: PretrainConfig,
    checkpoints: str,
) -> Trained:
    """Make the model over text and this tokenizer's codes, and pretrain it."""
    rows = store.rows(("captions", "paraphrases"), split="train")
    captions = [text for row in rows for text in (*row["captions"], *(row["paraphrases"] or ()))]
    clutch = Clutch.create(model, tokenizer=shift, captions=captions)
    return run_stage(clutch, store, tokens, config, f"{checkpoints}/pretrain")


def refine(store: HiwStore, tokens: Tokens, clutch: Clutch, config: RefineConfig, checkpoints: str) -> Trained:
    """Refine through the frozen decoder: the loss on motion reaches the language model."""
    return run_stage(clutch, store, tokens, config, f"{checkpoints}/refine")


def refine_control(store: HiwStore, tokens: Tokens, clutch: Clutch, config: RefineConfig, checkpoints: str) -> Trained:
    """Take the same steps of cross-entropy alone: what refinement must beat."""
    return run_stage(clutch, store, tokens, replace(config, control=True), f"{checkpoints}/control")


def instruct(
    store: HiwStore,
    tokens: Tokens,
    clutch: Clutch,
    config: InstructConfig,
    reinforce: ReinforceConfig,
    protocol: Protocol,
    checkpoints: str,
) -> tuple[Clutch, History, History]:
    """Tune the refined model on many wordings of each task, and reinforce it where that takes any steps.

    The final model generates by default as it will be evaluated.
    """
    final, history = run_stage(clutch, store, tokens, config, f"{checkpoints}/instruct")
    rewards: History = []
    if reinforce.steps:
        final, rewards = run_stage(final, store, tokens, reinforce, f"{checkpoints}/reinforce")
    sampling = Sampling(temperature=protocol.temperature, guidance=protocol.guidance)
    return replace(final, generation=sampling), history, rewards


def _stage(function: Callable[..., Any], name: str, inputs: list[str], outputs: list[str]) -> Pipeline:
    nodes = [node(function, ["hiw_store", "tokens", *inputs, "params:checkpoints"], outputs)]
    return Pipeline(nodes, tags=[f"stage.{name}", TOGETHER])


def create_pretrain_pipeline() -> Pipeline:
    """`shift` and `tokens` -> `clutch_pretrained`."""
    inputs = ["shift", "params:llm", "params:pretrain"]
    return _stage(pretrain, "llm_pretrain", inputs, ["clutch_pretrained", "pretrain_history"])


def create_refine_pipeline() -> Pipeline:
    """`clutch_pretrained` -> `clutch_refined` and, the same steps without the motion loss, `clutch_control`."""
    inputs = ["clutch_pretrained", "params:refine"]
    refined = _stage(refine, "llm_refine", inputs, ["clutch_refined", "refine_history"])
    control = _stage(refine_control, "llm_refine_control", inputs, ["clutch_control", "control_history"])
    return refined + control


def create_instruct_pipeline() -> Pipeline:
    """`clutch_refined` -> `clutch`, the final model: after instruction tuning, and reinforcement where it is on."""
    inputs = ["clutch_refined", "params:instruct", "params:reinforce", "params:evaluation.protocol"]
    return _stage(instruct, "llm_instruct", inputs, ["clutch", "instruct_history", "reinforce_history"])
