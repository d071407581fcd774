"""Steps that are predicted from the step before: codes stand for what is missing."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shift_tokenizer import ConfigError, ShiftConfig, ShiftTokenizer
from shift_tokenizer.streams import Stream

from .conftest import ready


def stream(prediction: float, codes: list[list[float]], depth: int = 1) -> Stream:
    """A stream whose levels all have these codes."""
    config = ShiftConfig(width=4, codebook_size=len(codes), code_dim=len(codes[0]), residual_depth=depth)
    made = Stream(config, (0, 1, 2), prediction).double()
    for level in made.quantizer.quantizers():
        level.codebook.copy_(torch.tensor(codes))
        level.ready.fill_(True)
    return made


def test_a_code_stands_for_what_the_step_before_does_not_predict() -> None:
    quantized = stream(0.5, [[0.25], [0.5], [1.0]]).quantize(torch.tensor([[[1.0], [1.0], [0.75], [2.0]]]).double())
    assert quantized.indices.flatten().tolist() == [2, 1, 0, 2]  # 1; 0.5 of 0.5; 0.25 of 0.25; 1 of 1.625
    assert quantized.targets.flatten().tolist() == [1.0, 0.5, 0.25, 1.625]
    assert quantized.values.flatten().tolist() == [1.0, 1.0, 0.75, 1.375]
    assert quantized.sq_errors.flatten().tolist() == [0.0, 0.0, 0.0, 0.625**2]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    prediction=st.sampled_from([0.0, 0.3, 0.8, 0.99]),
    depth=st.integers(1, 3),
    cut=st.integers(1, 6),
)
def test_codes_say_the_same_to_whoever_reads_them(seed: int, prediction: float, depth: int, cut: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    made = stream(prediction, torch.randn(9, 3, generator=generator).tolist(), depth)
    latents = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    quantized = made.quantize(latents)
    torch.testing.assert_close(made.embed(quantized.indices), quantized.values)
    one_hot = torch.nn.functional.one_hot(quantized.indices, 9).double()
    torch.testing.assert_close(made.embed_probabilities(one_hot), quantized.values)
    first = made.quantize(latents[:, :cut])
    rest = made.quantize(latents[:, cut:], first.values[:, -1])
    assert torch.equal(torch.cat([first.indices, rest.indices], 1), quantized.indices)
    torch.testing.assert_close(made.embed(rest.indices, first.values[:, -1]), quantized.values[:, cut:])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), prediction=st.sampled_from([0.0, 0.3, 0.8]))
def test_a_wrong_code_is_forgotten(seed: int, prediction: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(9, 3, generator=generator)
    made = stream(prediction, codes.tolist())
    indices = torch.randint(9, (1, 8, 1), generator=generator)
    other = indices.clone()
    other[0, 2] = (indices[0, 2] + 1) % 9
    moved = (made.embed(other) - made.embed(indices))[0]
    share = torch.tensor([0.0, 0.0, *[prediction**n for n in range(6)]], dtype=torch.float64)[:, None]
    torch.testing.assert_close(moved, share * (codes[other[0, 2]] - codes[indices[0, 2]]).double())


def test_gradients_pass_straight_through_and_commit_each_latent() -> None:
    made = stream(0.8, [[0.3, 0.0], [1.0, -1.0], [0.0, 2.0]])
    latents = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    quantized = made.quantize(latents)
    weight = torch.rand_like(latents)
    (straight,) = torch.autograd.grad((quantized.values * weight).sum(), latents, retain_graph=True)
    torch.testing.assert_close(straight, weight)
    (committed,) = torch.autograd.grad(quantized.sq_errors.sum(), latents)
    torch.testing.assert_close(committed, 2 * (latents - quantized.values).detach())


def test_a_hand_that_keeps_still_is_told_ever_more_exactly() -> None:
    """Random codes of many sizes: after some steps the error is far under that of the single nearest code."""
    generator = torch.Generator().manual_seed(0)
    sizes = 10.0 ** torch.linspace(-2, 0.5, 200)[:, None]
    codes = (sizes * torch.randn(200, 4, generator=generator)).tolist()
    latents = torch.randn(16, 1, 4, generator=generator, dtype=torch.float64).expand(16, 30, 4)
    alone, predicted = (stream(p, codes).quantize(latents).sq_errors[:, 15:].mean() for p in (0.0, 0.8))
    assert float(predicted) < 0.25 * float(alone)


@pytest.mark.parametrize(
    ("decomposition", "shares"), [("shift", (0.7, 0.3)), ("modality", (0.7, 0.3)), ("part", (0.7,)), ("plain", (0.7,))]
)
def test_trajectory_and_pose_have_shares_of_their_own(decomposition: str, shares: tuple[float, ...]) -> None:
    config = ShiftConfig(decomposition=decomposition, width=8, codebook_size=8, prediction=0.7, pose_prediction=0.3)
    assert tuple(stream.prediction for stream in ShiftTokenizer(config).stream_list()) == shares


def test_a_padded_clip_gets_the_tokens_it_gets_alone(config: ShiftConfig) -> None:
    tokenizer = ready(ShiftTokenizer(dataclasses.replace(config, pose_prediction=0.8), seed=1))
    features = torch.randn(2, 24, 198, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 24, dtype=torch.bool)
    mask[1, 12:] = False
    output = tokenizer(features, mask)
    alone = tokenizer(features[1:, :12])
    for padded, own in zip(output.indices, alone.indices, strict=True):
        assert torch.equal(padded[2:, :3], own)


def test_a_share_of_one_never_forgets_and_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"prediction: expected .* 0.99, got 1.0"):
        ShiftConfig(prediction=1.0)
