"""Training on clips that are read when they are drawn: the same windows, the same resumption, few clips in memory."""

import dataclasses
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from shift_tokenizer import (
    ShiftConfig,
    ShiftTokenizer,
    TokenizerTraining,
    evaluate_reconstruction,
    train_tokenizer,
)
from shift_tokenizer.normalisation import hand_statistics, streamed_statistics
from shift_tokenizer.run import Run

from .conftest import make_clip, ready

TINY = TokenizerTraining(steps=7, batch_size=6, window=16, checkpoint_every=3, log_every=2)
READ = dataclasses.replace(TINY, memory_mb=0)


class Shelf:
    """A map-style dataset that makes each clip anew when it is asked for, and counts those that are held."""

    def __init__(self, clips: list[dict]) -> None:
        self.clips, self.held, self.most = clips, 0, 0

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        features = self.clips[index]["features"].copy()
        self.held += 1
        self.most = max(self.most, self.held)
        weakref.finalize(features, self._gone)
        return self.clips[index] | {"features": features}

    def _gone(self) -> None:
        self.held -= 1


class KilledError(Exception):
    pass


def equal(one: ShiftTokenizer, other: ShiftTokenizer) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_dataset_that_fits_gives_the_weights_that_its_list_gives(clips: list[dict], config: ShiftConfig) -> None:
    listed, history = train_tokenizer(clips, config, TINY, val_clips=clips[:2])
    read, same = train_tokenizer(Shelf(clips), config, TINY, val_clips=Shelf(clips[:2]))
    assert equal(listed, read)
    assert [entry["loss"] for entry in same] == [entry["loss"] for entry in history]
    assert [e.get("val_reconstruction") for e in same] == [e.get("val_reconstruction") for e in history]
    assert read.provenance == listed.provenance


def test_a_killed_run_that_reads_ends_bit_for_bit_as_one_that_was_not(
    clips: list[dict], config: ShiftConfig, tmp_path: Path
) -> None:
    def kill(step: int, metrics: dict[str, float]) -> None:
        if step == 4:
            raise KilledError

    config = dataclasses.replace(config, reset_every=2)
    whole, _ = train_tokenizer(Shelf(clips), config, READ)
    with pytest.raises(KilledError):
        train_tokenizer(Shelf(clips), config, READ, checkpoint_dir=tmp_path, on_log=kill)
    resumed, history = train_tokenizer(Shelf(clips), config, READ, checkpoint_dir=tmp_path)
    assert [entry["step"] for entry in history] == [2, 4, 6, 7]
    assert equal(whole, resumed)


def test_what_is_read_is_what_is_kept(clips: list[dict], config: ShiftConfig) -> None:
    """The windows bit for bit, unseen hands filled in as well; the statistics, and so the losses, to rounding."""
    clips[-1] = clips[-1] | {"features": clips[-1]["features"].copy()}
    clips[-1]["features"][:, :99] = np.nan  # the hand that is not seen
    clips[0] = clips[0] | {"valid": np.arange(24)[:, None].repeat(2, 1) % 5 > 0}
    kept, read = (Run(Shelf(clips), config, training, None, None) for training in (TINY, READ))
    assert (kept.sampler.packed, read.sampler.packed) == (True, False)
    torch.testing.assert_close(read.tokenizer.mean, kept.tokenizer.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(read.tokenizer.std, kept.tokenizer.std, rtol=1e-5, atol=0)
    read.tokenizer.mean.copy_(kept.tokenizer.mean)
    read.sampler.fill_unseen(kept.tokenizer.fill_unseen)
    for _ in range(8):
        drawn = zip(*(run.sampler.draw(run.state.generator) for run in (kept, read)), strict=True)
        for a, b in drawn:
            assert torch.equal(a, b)


def test_few_clips_are_held_at_a_time(config: ShiftConfig) -> None:
    """Of 40 clips at most the batch of 6, and the one that is being read."""
    rng = np.random.default_rng(0)
    shelf = Shelf([make_clip(rng, 24) for _ in range(40)])
    run = Run(shelf, config, READ, None, None)
    run.step()
    run.step()
    assert shelf.most <= 7
    assert shelf.held == 0


def test_what_is_measured_does_not_depend_on_the_block(
    clips: list[dict], config: ShiftConfig, joints_fn: Callable[[torch.Tensor], torch.Tensor], monkeypatch
) -> None:
    """10 clips of two sources, at once and by threes."""
    tokenizer = ready(ShiftTokenizer(config, seed=3))
    whole = evaluate_reconstruction(tokenizer, clips, joints_fn, prefix="val_")
    monkeypatch.setattr("shift_tokenizer.evaluation.BLOCK", 3)
    shelf = Shelf(clips)
    assert evaluate_reconstruction(tokenizer, shelf, joints_fn, prefix="val_") == pytest.approx(whole, rel=1e-5)
    assert shelf.most <= 3
    assert {"val_mpjpe_mm", "val_mpjpe_mm/fingerspelling", "val_reconstruction/procedural"} <= set(whole)


@pytest.mark.parametrize("mirror_left", [True, False])
def test_streamed_statistics_are_those_of_all_frames(mirror_left: bool) -> None:
    """By hand: frames 1, 2, 3 of the left hand and 7 of the right, which alone has too few for a deviation."""
    config = ShiftConfig(width=16, codebook_size=24, code_dim=8, mirror_left=mirror_left, group_std=False)
    values = torch.tensor([[1.0, 50.0], [2.0, 50.0], [3.0, 7.0], [9.0, 50.0]])
    hands = values[..., None].expand(4, 2, 99)
    valid = torch.tensor([[True, False], [True, False], [True, True], [False, False]])
    found = streamed_statistics([(hands[:1], valid[:1]), (hands[1:], valid[1:])], config)
    mean, std = (3.25, 2.6299557) if mirror_left else (2.0, 1.0)  # of 1, 2, 3, 7; or of 1, 2, 3
    for statistics, whole in zip(found, hand_statistics(hands, valid, config), strict=True):
        assert statistics is not None
        assert whole is not None
        for streamed, packed, value in zip(statistics, whole, (mean, std), strict=True):
            torch.testing.assert_close(streamed, torch.full((99,), value))
            torch.testing.assert_close(streamed, packed)
    assert streamed_statistics([(hands, torch.zeros(4, 2, dtype=torch.bool))], config) == [None, None]
