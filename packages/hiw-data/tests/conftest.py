"""Shared pieces of the tests: small clips and small stores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hiw_data import BuildConfig, HiwStore, ProceduralSource, build
from hiw_data.clips import Clip

sys.path.insert(0, str(Path(__file__).parent))  # helpers of the tests, such as stand_in


def _make_clip(name: str = "a", frames: int = 8, seed: int = 0, **changes: object) -> Clip:
    rng = np.random.default_rng(seed)
    clip = Clip(
        clip_id=name,
        source="made",
        split="train",
        fps=15.0,
        features=rng.normal(size=(frames, 198)).astype(np.float32),
        valid=np.ones((frames, 2), bool),
        captions=["short", "longer"],
        attributes={"synthetic": True},
        origin=name,
    )
    clip.update(changes)  # type: ignore[typeddict-item]
    return clip


MakeClip = Callable[..., Clip]


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    """Makes a well-formed clip of noise; keywords replace its entries."""
    return _make_clip


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> HiwStore:
    """A store of 60 procedural clips, built once."""
    folder: Path = tmp_path_factory.mktemp("store")
    return build([ProceduralSource(clips=60, seed=1)], folder / "hiw.zarr", BuildConfig())


@pytest.fixture(scope="session")
def mano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of a hand model in MANO's layout."""
    from .mano_files import write_mano

    return write_mano(tmp_path_factory.mktemp("mano"))
