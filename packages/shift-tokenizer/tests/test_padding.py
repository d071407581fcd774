"""Padded batches: a clip gives what it gives alone, whatever stands in the padding."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shift_tokenizer import ShapeError, ShiftConfig, ShiftTokenizer
from torch.nn import functional as F

from .conftest import ready

LENGTHS = (3, 16, 1, 7)
MEMBERS = [
    {},
    {"prediction": 0.0, "dilations": (9, 3, 1)},
    {"decomposition": "plain", "residual_depth": 2, "pose_prediction": 0.5},
    {"decomposition": "modality", "frames_per_latent": 8, "mirror_left": False},
    {"quantizer": "fsq", "fsq_levels": (4, 6)},
]


def some_tokens(config: ShiftConfig) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Clips of several lengths; padded with other codes (4, 16, n_slots); and the mask."""
    generator = torch.Generator().manual_seed(0)
    padded = torch.randint(config.codebook_size, (4, 16, config.n_slots), generator=generator)
    mask = torch.arange(16) < torch.tensor(LENGTHS)[:, None]
    return [row[:length] for row, length in zip(padded, LENGTHS, strict=True)], padded, mask


@pytest.mark.parametrize("changes", MEMBERS, ids=str)
def test_a_padded_batch_decodes_each_clip_as_it_is_alone(config: ShiftConfig, changes: dict) -> None:
    tokenizer = ready(ShiftTokenizer(dataclasses.replace(config, **changes), seed=1))
    clips, padded, mask = some_tokens(tokenizer.config)
    step = tokenizer.config.frames_per_latent
    one_hot = F.one_hot(padded, config.codebook_size).float()
    for decoded in (tokenizer.decode(padded, mask), tokenizer.decode_probabilities(one_hot, mask)):
        for row, clip in zip(decoded, clips, strict=True):
            alone = tokenizer.decode(clip)
            torch.testing.assert_close(row[: len(alone)], alone, atol=1e-5, rtol=0)
        mean = (tokenizer.mean * tokenizer.signs).flatten()
        torch.testing.assert_close(decoded[0, 3 * step :], mean.expand(13 * step, -1))
    unmasked = tokenizer.decode(padded)
    assert float((unmasked[0, : 3 * step] - tokenizer.decode(clips[0])).abs().max()) > 1e-2


def test_anything_may_stand_in_the_padding(tokenizer: ShiftTokenizer) -> None:
    _, padded, mask = some_tokens(tokenizer.config)
    other = padded.masked_fill(~mask[..., None], -100)
    assert torch.equal(tokenizer.decode(other, mask), tokenizer.decode(padded, mask))
    one_hot = F.one_hot(padded, 24).float()
    poisoned = one_hot.masked_fill(~mask[..., None, None], torch.nan).requires_grad_()
    decoded = tokenizer.decode_probabilities(poisoned, mask)
    assert torch.equal(decoded, tokenizer.decode_probabilities(one_hot, mask))
    decoded.square().sum().backward()
    assert poisoned.grad is not None
    assert float(poisoned.grad[~mask].abs().max()) == 0
    assert bool((poisoned.grad[mask].abs().amax(-1) > 0).all())


def test_a_mask_of_one_clip_needs_no_batch(tokenizer: ShiftTokenizer) -> None:
    clips, padded, mask = some_tokens(tokenizer.config)
    decoded = tokenizer.decode(padded[3], mask[3].numpy())
    torch.testing.assert_close(decoded[:28], tokenizer.decode(clips[3]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("wrong", [torch.ones(4, 15, dtype=torch.bool), torch.ones(4, 16), "hole"])
def test_a_mask_that_is_none_is_refused(tokenizer: ShiftTokenizer, wrong: torch.Tensor | str) -> None:
    _, padded, mask = some_tokens(tokenizer.config)
    if isinstance(wrong, str):
        wrong = mask.clone()
        wrong[1, 4] = False
    with pytest.raises(ShapeError, match=r"Expected mask \(4, 16\) of bool"):
        tokenizer.decode(padded, wrong)
    with pytest.raises(ShapeError, match=r"Expected mask \(4, 16\) of bool"):
        tokenizer.decode_probabilities(F.one_hot(padded, 24).float(), wrong)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), max_size=7), batch_size=st.integers(1, 4))
def test_a_list_decodes_to_what_each_clip_decodes_to(lengths: list[int], batch_size: int) -> None:
    tokenizer = ready(ShiftTokenizer(ShiftConfig(width=8, codebook_size=16, code_dim=4, dilations=(1,))))
    generator = torch.Generator().manual_seed(len(lengths))
    clips = [torch.randint(16, (length, 4), generator=generator) for length in lengths]
    decoded = tokenizer.decode_list(clips, batch_size=batch_size)
    assert len(decoded) == len(clips)
    for made, clip in zip(decoded, clips, strict=True):
        torch.testing.assert_close(made, tokenizer.decode(clip), atol=1e-5, rtol=0)
