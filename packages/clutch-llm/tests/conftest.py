"""Small random models and hand-made clips that the tests share."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, ClutchModel, TokenLayout, build_corpus
from clutch_llm.backbones import T5Backbone
from shift_tokenizer import ShiftConfig, ShiftTokenizer, TokenizerTraining, train_tokenizer
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

_spec = importlib.util.spec_from_file_location("evaluation_clips", Path(__file__).with_name("evaluation_clips.py"))
assert _spec is not None
_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = _clips  # importable by name in the tests of evaluation
_spec.loader.exec_module(_clips)  # type: ignore[union-attr]

CAPTIONS = (
    ("the left hand waves", "the left hand waves slowly with small movements"),
    ("the right hand makes a fist", "the right hand quickly makes a fist three times"),
    ("both hands clap", "both hands clap twice, with large movements"),
    ("the right hand spells the letter B", "the right hand spells the letter B: all fingers extended"),
)


@pytest.fixture(scope="session")
def clips() -> list[dict[str, Any]]:
    """Sixteen smooth clips of two sources and of 8 to 32 frames; clips of a caption are alike."""
    rng = np.random.default_rng(0)
    clips = []
    for k in range(16):
        kind = k % 4
        frames = (32, 32, 32, 8 + 4 * (k // 4))[kind]
        phase = np.linspace(0, 3 + kind, frames)[:, None]
        wave = np.sin(phase + np.arange(198) * (1 + kind)) + 0.01 * rng.normal(size=(frames, 198))
        clips.append(
            {
                "clip_id": f"clip-{k}",
                "source": "fingerspelling" if kind == 3 else "procedural",
                "split": "train",
                "fps": 15.0,
                "features": wave.astype(np.float32),
                "valid": np.ones((frames, 2), dtype=bool),
                "captions": list(CAPTIONS[kind]),
                "attributes": {},
            }
        )
    return clips


@pytest.fixture(scope="session")
def tokenizer(clips: list[dict[str, Any]]) -> ShiftTokenizer:
    """A tiny tokenizer, trained for a second, so that other codes mean other motions."""
    config = ShiftConfig(width=16, codebook_size=24, code_dim=8)
    training = TokenizerTraining(steps=80, batch_size=8, window=8, learning_rate=5e-3, source_weights={})
    tokenizer, _ = train_tokenizer(clips, config, training)
    tokenizer.zero_grad(set_to_none=True)
    return tokenizer.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def examples(clips: list[dict[str, Any]], tokenizer: ShiftTokenizer) -> list[dict[str, Any]]:
    return build_corpus(clips, tokenizer)


@pytest.fixture(scope="session")
def small_config() -> ClutchConfig:
    return ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8)


@pytest.fixture(scope="session")
def clutch(tokenizer: ShiftTokenizer, small_config: ClutchConfig) -> Clutch:
    return Clutch.create(small_config, tokenizer=tokenizer, captions=[c for pair in CAPTIONS for c in pair], seed=0)


class KnownModel(ClutchModel):
    """A model that says what a test tells it to: its head is the identity, its states are the logits that are given.

    Args:
        layout: of the vocabulary.
        max_steps: longest motion.
        logits: (ids of the prompt without padding, ids written so far) -> logits (size,) of the next one.
    """

    def __init__(self, layout: TokenLayout, max_steps: int, logits: Callable[[list[int], list[int]], Any]) -> None:
        sizes = T5Config(vocab_size=layout.size, d_model=layout.size, d_kv=1, d_ff=1, num_layers=1, num_heads=1)
        super().__init__(T5Backbone(T5ForConditionalGeneration(sizes)), layout, max_steps)
        self.backbone.t5.lm_head.weight = torch.nn.Parameter(torch.eye(layout.size))
        self.logits = logits
        self.fed: list[tuple[list[list[int]], list[list[int]]]] = []  # ids and positions of every call, for tests

    def encode(self, ids, mask, positions):
        return [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)]

    def new_cache(self):
        return []

    def decode(self, ids, positions, encoded, mask, cache=None):
        self.fed.append((ids.tolist(), positions.tolist()))
        if cache is not None:
            cache.append(ids)
            ids = torch.cat(cache, 1)
        rows = [self.logits(prompt, row[1:]) for prompt, row in zip(encoded, ids.tolist(), strict=True)]
        return torch.tensor(np.array(rows), dtype=torch.float32)[:, None]


@pytest.fixture(scope="session")
def known_model() -> type[KnownModel]:
    return KnownModel


@pytest.fixture(scope="session")
def make_t5_tokenizer() -> Callable[[], T5Tokenizer]:
    """SentencePiece's model as T5 has it, small: a few words and ASCII without capitals; its marks are pieces."""
    words = ["▁the", "▁left", "▁right", "▁hand", "▁waves", "▁"]
    letters = [chr(k) for k in range(33, 127) if not chr(k).isupper()]
    sentinels = [f"<extra_id_{k}>" for k in range(99, -1, -1)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((w, -2.0) for w in words + letters)]
    return lambda: T5Tokenizer(vocab=[*pieces, *((s, 0.0) for s in sentinels)])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
