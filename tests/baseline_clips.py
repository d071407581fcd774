"""Four made-up clips whose captions tell their motions apart, and small settings that learn them by heart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from clutch_llm import ClutchConfig, PretrainConfig
from hand_geometry import params_to_features, relaxed_hand
from shift_tokenizer import ShiftConfig, TokenizerTraining

from pipelines.baselines.base import Baseline, Budget, Train
from pipelines.baselines.plan import BaselinesPlan, makers
from pipelines.protocol import Protocol

#: Caption, the axis along which the right wrist goes (across, up, forth) and how far, in metres.
WAYS = (
    ("the right hand rises", 1, 0.3),
    ("the right hand sinks", 1, -0.3),
    ("the right hand is pushed forward", 2, 0.3),
    ("the right hand is pulled back", 2, -0.3),
)
TOKENIZERS: dict[str, Any] = {
    "plain": {"decomposition": "plain"},
    "residual": {"decomposition": "plain", "residual_depth": 2},
    "fsq": {"decomposition": "plain", "quantizer": "fsq", "fsq_levels": [4, 4, 4]},
    "shift": {},
}
PLAN = BaselinesPlan(
    minutes=1.0,
    seeds=[0],
    tokenizers=TOKENIZERS,
    width=32,
    layers=2,
    heads=2,
    batch_size=8,
    learning_rate=3e-3,
    masked_rounds=4,
    diffusion_rounds=10,
)
SHIFT = ShiftConfig(width=16, codebook_size=64, code_dim=8, dilations=(1,))
TRAINING = TokenizerTraining(batch_size=8, window=16, translation_weight=4.0)
LLM = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, dropout=0.0, max_steps=6)
PRETRAIN = PretrainConfig(batch_size=8, learning_rate=5e-3, target_truncation=0.0, decoder_input_dropout=0.1)
PROTOCOL = Protocol(samples=2, temperature=0.3, guidance=1.5, seed=3)
STEPS = {
    "retrieval": 0,
    "plain_language_model": 300,
    "plain_decoder": 250,
    "residual_masked": 250,
    "fsq_decoder": 250,
    "diffusion": 300,
    "shift_language_model": 300,
}


class Steps(Budget):
    """So many steps for a tokenizer and for what is trained on it, whatever they cost."""

    def __init__(self, network: int, tokenizer: int = 300) -> None:
        super().__init__(60.0)
        self.network, self.tokenizer = network, tokenizer

    def steps(self, share: float, train: Train) -> int:
        return self.tokenizer if share < 0.5 else self.network


def moving_clip(number: int, frames: int = 16, split: str = "train") -> dict[str, Any]:
    """The clip of a way: the right hand goes from rest, the left one rests."""
    caption, axis, distance = WAYS[number % len(WAYS)]
    hands = [relaxed_hand(side) for side in ("left", "right")]
    params = {
        "global_orient": np.stack([np.asarray(h["global_orient"]) for h in hands]),
        "hand_pose": np.stack([np.asarray(h["hand_pose"]) for h in hands]),
        "transl": np.stack([np.asarray(h["wrist"]) for h in hands]),
    }
    row = np.asarray(params_to_features({k: v[None].astype(np.float32) for k, v in params.items()}))
    features = np.repeat(row, frames, axis=0).astype(np.float32)
    features[:, 99 + 96 + axis] += np.linspace(0, distance, frames, dtype=np.float32)
    return {
        "clip_id": f"{split}/{number}",
        "source": "made",
        "split": split,
        "fps": 15.0,
        "features": features,
        "valid": np.ones((frames, 2), bool),
        "captions": ["the right hand moves", caption],
        "attributes": {"way": caption.split()[-1]},
    }


def made(name: str, folder: Path, protocol: Protocol = PROTOCOL) -> Callable[[], Baseline]:
    """How a small baseline is made."""
    return makers(PLAN, SHIFT, TRAINING, LLM, PRETRAIN, protocol, folder, "data")[name]
