"""Small configurations and smooth, random clips for the tests of this package."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from shift_tokenizer import ShiftConfig, ShiftTokenizer

IDENTITY_6D = np.array([1, 0, 0, 0, 1, 0], np.float32)


# What moves together: two movements of each hand, so that a small tokenizer has something to find.
MOVEMENTS = np.random.default_rng(42).normal(size=(2, 99)) * 0.2


def make_clip(rng: np.random.Generator, frames: int, source: str = "procedural") -> dict:
    """A clip whose hands swing about the flat hand."""
    rest = np.concatenate([np.tile(IDENTITY_6D, 16), np.zeros(3)])
    time = np.arange(frames)[:, None] / 15
    hands = [rest + np.sin(rng.uniform(1, 3) * time + rng.uniform(0, 6.3, 2)) @ MOVEMENTS for _ in range(2)]
    return {"clip_id": f"{source}/{frames}", "source": source, "features": np.concatenate(hands, 1).astype(np.float32)}


@pytest.fixture
def config() -> ShiftConfig:
    return ShiftConfig(width=16, codebook_size=24, code_dim=8, dilations=(3, 1))


@pytest.fixture
def tokenizer(config: ShiftConfig) -> ShiftTokenizer:
    return ready(ShiftTokenizer(config, seed=3))


def ready(tokenizer: ShiftTokenizer) -> ShiftTokenizer:
    """Gives a fresh tokenizer statistics that differ by feature, so that mistakes in order show, and codes in use."""
    generator = torch.Generator().manual_seed(0)
    tokenizer.mean.copy_(torch.randn(tokenizer.mean.shape, generator=generator))
    tokenizer.std.copy_(0.5 + torch.rand(tokenizer.std.shape, generator=generator))
    normalized = torch.randn(50, 16, 198, generator=generator)
    with torch.no_grad():
        for stream, z in zip(tokenizer.stream_list(), tokenizer(normalized).latents, strict=True):
            stream.quantizer.initialise(z.flatten(0, 1), generator)
    return tokenizer.eval()


@pytest.fixture
def clips() -> list[dict]:
    """Clips of two sources and several lengths, one of them with a hand that is not seen."""
    rng = np.random.default_rng(0)
    made = [make_clip(rng, 24) for _ in range(6)]
    made += [make_clip(rng, frames, "fingerspelling") for frames in (8, 12, 20, 8)]
    valid = np.ones((8, 2), bool)
    valid[:, 0] = False
    made[-1]["valid"] = valid
    return made


@pytest.fixture
def joints_fn() -> Callable[[torch.Tensor], torch.Tensor]:
    """A stand-in for hand kinematics: a wrist, and four points that also depend on pose and rotation."""
    mixing = torch.randn(99, 15, generator=torch.Generator().manual_seed(1)) * 0.02

    def joints(features: torch.Tensor) -> torch.Tensor:
        hands = features.unflatten(-1, (2, 99))
        wrist = hands[..., None, 96:]
        return torch.cat([wrist, wrist + (hands @ mixing).unflatten(-1, (5, 3))], -2)

    return joints
