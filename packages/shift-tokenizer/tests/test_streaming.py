import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shift_tokenizer import (
    ConfigError,
    RateError,
    ShapeError,
    ShiftConfig,
    ShiftTokenizer,
    StreamingDecoder,
    StreamingEncoder,
)
from shift_tokenizer.layout import mirror_signs

from .conftest import make_clip, ready

MEMBERS = [("shift", 4, (3, 1)), ("plain", 1, (2,)), ("part", 8, (1,)), ("modality", 2, (9, 3, 1))]


def member(decomposition: str, frames: int, dilations: tuple[int, ...], **changes: float) -> ShiftTokenizer:
    """In float64, so that no code is decided by the last bit."""
    config = ShiftConfig(
        decomposition=decomposition,
        frames_per_latent=frames,
        dilations=dilations,
        width=8,
        codebook_size=24,
        code_dim=4,
        **changes,
    )
    return ready(ShiftTokenizer(config, seed=3)).double()


TOKENIZERS = {frames: member(decomposition, frames, dilations) for decomposition, frames, dilations in MEMBERS}


def motion(frames: int) -> torch.Tensor:
    return torch.from_numpy(make_clip(np.random.default_rng(frames), frames)["features"])


def stream(worker: StreamingEncoder | StreamingDecoder, rows: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    pieces = rows.tensor_split(sorted(cut % (len(rows) + 1) for cut in cuts))
    return torch.cat([*[worker.push(piece) for piece in pieces], worker.finish()])


@pytest.mark.parametrize("frames", TOKENIZERS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(length=st.integers(1, 150), cuts=st.lists(st.integers(0, 200), max_size=8), chunk=st.sampled_from([1, 3, 16]))
def test_a_stream_gives_what_the_whole_gives(frames: int, length: int, cuts: list[int], chunk: int) -> None:
    tokenizer, features = TOKENIZERS[frames], motion(length)
    padded = torch.cat([features, features[-1:].expand(-length % frames, -1)])
    tokens = tokenizer.encode(padded)
    assert torch.equal(stream(StreamingEncoder(tokenizer, chunk=chunk), features, cuts), tokens)
    made = stream(StreamingDecoder(tokenizer, chunk=chunk), tokens, cuts)
    torch.testing.assert_close(made, tokenizer.decode(tokens))


@pytest.mark.parametrize("frames", TOKENIZERS)
def test_the_border_is_what_the_networks_see_and_no_more(frames: int) -> None:
    tokenizer = TOKENIZERS[frames]
    network = tokenizer.stream_list()[0]
    for convolution in network.modules():  # keep every path open, so that what is seen shows in the gradient
        if hasattr(convolution, "weight"):
            convolution.weight.data.abs_()
    (first, last), steps = network.encoder.reach(), 64
    x = torch.rand(1, steps * frames, network.encoder.first.weight.shape[1], dtype=torch.float64, requires_grad=True)
    network.encoder(x)[0, steps // 2].sum().backward()
    seen = (x.grad[0].abs().amax(-1) > 0).nonzero().flatten() - steps // 2 * frames
    assert (int(seen.min()), int(seen.max())) == (first, last)
    z = torch.rand(1, steps, 4, dtype=torch.float64, requires_grad=True)
    network.decoder(z)[0, steps // 2 * frames : (steps // 2 + 1) * frames].sum().backward()
    seen = (z.grad[0].abs().amax(-1) > 0).nonzero().flatten() - steps // 2
    assert (int(seen.min()), int(seen.max())) == network.decoder.reach()
    TOKENIZERS[frames] = member(*next(m for m in MEMBERS if m[1] == frames))


def test_memory_does_not_grow_with_the_motion(tokenizer: ShiftTokenizer) -> None:
    encoder, decoder = StreamingEncoder(tokenizer, chunk=8), StreamingDecoder(tokenizer, chunk=8)
    whole, held = motion(3000), []
    for piece in whole.split(50):
        decoder.push(encoder.push(piece))
        held.append((encoder.frames_held, decoder.latent_steps_held))
    assert max(h for h, _ in held) <= sum(encoder.border) + 2 * 8 * 4 + 4
    assert max(h for _, h in held) <= sum(decoder.border) + 2 * 8
    encoder.push(whole)
    assert encoder.frames_held <= sum(encoder.border) + 2 * 8 * 4 + 4


def test_a_stream_entered_in_the_middle_agrees_from_its_border_on() -> None:
    tokenizer, features = member("shift", 4, (3, 1), prediction=0.0), motion(200)
    encoder = StreamingEncoder(tokenizer)
    entered = torch.cat([encoder.push(features[80:]), encoder.finish()])
    border = -(-encoder.border[0] // 4)
    assert torch.equal(entered[border:], tokenizer.encode(features)[20 + border :])


def test_tokens_come_with_the_delay_and_a_smaller_one_can_be_had(tokenizer: ShiftTokenizer) -> None:
    for lookahead in (None, 6, 0):
        encoder = StreamingEncoder(tokenizer, lookahead=lookahead, chunk=1)
        came = []
        for number, frame in enumerate(motion(120)):
            came += [number] * len(encoder.push(frame[None]))
        assert came[0] == 4 * -(-(4 + encoder.delay) // 4) - 1
        assert np.diff(came).tolist() == [4] * (len(came) - 1)
        assert len(came) + len(encoder.finish()) == 30
    assert encoder.delay == 0
    assert StreamingEncoder(tokenizer, lookahead=10**6).delay == encoder.border[1]


def test_a_hand_that_is_not_seen_stays_where_it_was_seen_last(tokenizer: ShiftTokenizer) -> None:
    features = motion(48)
    valid = torch.ones(48, 2, dtype=torch.bool)
    valid[10:30, 0], valid[:7, 1], valid[40:, 1] = False, False, False
    held = features.clone()
    held[10:30, :99], held[40:, 99:] = features[9, :99], features[39, 99:]
    held[:7, 99:] = tokenizer.mean[1]  # not seen yet
    valid[:3, 0] = False
    held[:3, :99] = tokenizer.mean[0] * mirror_signs()
    features = torch.where(valid.repeat_interleave(99, 1), features, torch.nan)
    encoder = StreamingEncoder(tokenizer, chunk=2)
    came = [encoder.push(f, v) for f, v in zip(features.split(5), valid.split(5), strict=True)]
    assert torch.equal(torch.cat([*came, encoder.finish()]), tokenizer.encode(held))


def test_a_finished_stream_starts_anew(tokenizer: ShiftTokenizer) -> None:
    encoder, features = StreamingEncoder(tokenizer), motion(40)
    first = torch.cat([encoder.push(features), encoder.finish()])
    assert encoder.finish().shape == (0, 4)
    assert torch.equal(torch.cat([encoder.push(features), encoder.finish()]), first)


def test_wrong_pieces_are_named(tokenizer: ShiftTokenizer) -> None:
    with pytest.raises(ShapeError, match=r"features \(t, 198\)"):
        StreamingEncoder(tokenizer).push(torch.zeros(2, 99))
    with pytest.raises(ShapeError, match=r"valid \(2, 2\)"):
        StreamingEncoder(tokenizer).push(torch.zeros(2, 198), torch.ones(2))
    with pytest.raises(ShapeError, match=r"tokens \(l, 4\)"):
        StreamingDecoder(tokenizer).push(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="tokens from 0 to 23, got 24 to 24"):
        StreamingDecoder(tokenizer).push(torch.full((2, 4), 24))
    with pytest.raises(ShapeError, match="finite"):
        StreamingEncoder(tokenizer).push(torch.full((2, 198), torch.nan))
    with pytest.raises(ConfigError, match="chunk"):
        StreamingEncoder(tokenizer, chunk=0)
    with pytest.raises(ConfigError, match="lookahead"):
        StreamingDecoder(tokenizer, lookahead=-1)


def test_the_published_tokenizer_looks_as_far_as_its_dilations_say() -> None:
    with torch.device("meta"):
        tokenizer = ShiftTokenizer(dataclasses.replace(ShiftConfig.paper(), width=8, codebook_size=8))
    assert StreamingEncoder(tokenizer).border == (86, 86)
    assert StreamingDecoder(tokenizer).border == (22, 22)


def test_a_stream_of_another_rate_is_refused(tokenizer: ShiftTokenizer) -> None:
    with pytest.raises(RateError, match=r"15 frames a second.*got 30"):
        StreamingEncoder(tokenizer, fps=30)
    StreamingEncoder(tokenizer, fps=15)
