"""Windows -> SHIFT; the tokens of every clip."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from hand_geometry import features_to_joints, mirror_features
from hiw_data import HiwDataset, HiwStore
from kedro.pipeline import Pipeline, node
from shift_tokenizer import ShiftConfig, ShiftTokenizer, TokenizerTraining, find_device, train_tokenizer
from shift_tokenizer.distributed import ensure_process_group

from pipelines.processes import TOGETHER
from pipelines.tracking import live_metrics

BLOCK = 1024
"""Clips that are read before they are encoded: those of one length share a batch."""


def train(
    store: HiwStore, config: ShiftConfig, training: TokenizerTraining, checkpoints: str
) -> tuple[ShiftTokenizer, list[dict[str, float]]]:
    """Train SHIFT on the train split; its joint loss goes through the open hand.

    Under `torchrun` all processes train it as one, and all return the same; whoever saves it is the caller's choice.
    """
    ensure_process_group()
    with live_metrics() as log:
        return train_tokenizer(
            HiwDataset(store, "train", window=None),
            config,
            training,
            val_clips=HiwDataset(store, "val", window=None),
            joints_fn=features_to_joints,
            mirror_fn=mirror_features,
            checkpoint_dir=f"{checkpoints}/tokenizer",
            on_log=log,
        )


def tokenize(store: HiwStore, shift: ShiftTokenizer) -> dict[str, np.ndarray]:
    """Return the tokens (T / frames_per_latent, n_slots) of every clip, by clip id; few clips are in memory at once."""
    clips, shift = store.iterate(), shift.to(find_device())
    found: dict[str, np.ndarray] = {}
    while block := list(islice(clips, BLOCK)):
        features, valid = [clip["features"] for clip in block], [clip["valid"] for clip in block]
        tokens = shift.encode_list(features, valid, fps=store.fps)
        found |= {clip["clip_id"]: ids.cpu().numpy() for clip, ids in zip(block, tokens, strict=True)}
    return found


def create_pipeline() -> Pipeline:
    """Train `shift`, with its history, and write `tokens`."""
    inputs = ["hiw_store", "params:tokenizer.model", "params:tokenizer.training", "params:checkpoints"]
    return Pipeline(
        [
            node(train, inputs, ["shift", "tokenizer_history"], tags=TOGETHER),
            node(tokenize, ["hiw_store", "shift"], "tokens"),
        ],
        tags="stage.tokenizer",
    )


class TokenizedClips:
    """The clips of a split with their `tokens`, which is what the language model learns from; read when asked for."""

    def __init__(self, store: HiwStore, split: str, tokens: dict[str, np.ndarray]) -> None:
        self._clips, self._tokens = HiwDataset(store, split, window=None), tokens

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self._clips[index]
        return {**clip, "tokens": self._tokens[clip["clip_id"]]}
