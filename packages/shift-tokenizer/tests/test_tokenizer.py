import dataclasses

import numpy as np
import pytest
import torch
from shift_tokenizer import ShapeError, ShiftConfig, ShiftTokenizer, codebook_usage
from shift_tokenizer.layout import mirror_signs

from .conftest import make_clip, ready

FAMILY = [
    ("shift", 1, "own", 4),
    ("shift", 1, "whole", 4),
    ("part", 2, "own", 4),
    ("modality", 1, "own", 2),
    ("plain", 3, "whole", 8),
    ("plain", 1, "own", 1),
]


def batch(count: int = 3, frames: int = 16) -> torch.Tensor:
    rng = np.random.default_rng(5)
    return torch.stack([torch.from_numpy(make_clip(rng, frames)["features"]) for _ in range(count)])


def family(config: ShiftConfig, decomposition: str, depth: int, inputs: str, frames: int) -> ShiftTokenizer:
    changed = dataclasses.replace(
        config,
        decomposition=decomposition,
        residual_depth=depth,
        encoder_input=inputs,
        frames_per_latent=frames,
        prediction=0.0 if inputs == "own" else 0.5,
    )
    return ready(ShiftTokenizer(changed, seed=1))


@pytest.mark.parametrize(("decomposition", "depth", "inputs", "frames"), FAMILY)
def test_every_member_encodes_and_decodes(
    config: ShiftConfig, decomposition: str, depth: int, inputs: str, frames: int
) -> None:
    tokenizer = family(config, decomposition, depth, inputs, frames)
    features = batch()
    tokens = tokenizer.encode(features)
    assert tokens.shape == (3, 16 // frames, tokenizer.config.n_slots)
    assert tokens.dtype == torch.int64
    assert len(tokens.unique()) > 3
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == features.shape
    output = tokenizer(tokenizer.normalize(features))
    torch.testing.assert_close(tokenizer.denormalize(output.reconstruction), decoded, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("decomposition", "depth", "inputs", "frames"), FAMILY)
def test_one_hot_probabilities_decode_like_tokens(
    config: ShiftConfig, decomposition: str, depth: int, inputs: str, frames: int
) -> None:
    tokenizer = family(config, decomposition, depth, inputs, frames)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.codebook_size, (2, 4, tokenizer.config.n_slots), generator=generator)
    one_hot = torch.nn.functional.one_hot(tokens, config.codebook_size).float()
    torch.testing.assert_close(tokenizer.decode_probabilities(one_hot), tokenizer.decode(tokens))


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("quantizer", ["cosine", "fsq"])
@pytest.mark.parametrize("decomposition", ["shift", "plain"])
def test_other_quantizers_encode_decode_and_differentiate(
    config: ShiftConfig, quantizer: str, decomposition: str, mirror: bool
) -> None:
    levels = (4, 6) if quantizer == "fsq" else ()
    changed = dataclasses.replace(
        config,
        quantizer=quantizer,
        fsq_levels=levels,
        decomposition=decomposition,
        mirror_left=mirror,
        prediction=0.0 if decomposition == "plain" else 0.5,
    )
    tokenizer = ready(ShiftTokenizer(changed, seed=1))
    features = batch()
    tokens = tokenizer.encode(features)
    assert len(tokens.unique()) > 3
    decoded = tokenizer.decode(tokens)
    output = tokenizer(tokenizer.normalize(features))
    torch.testing.assert_close(tokenizer.denormalize(output.reconstruction), decoded, atol=1e-5, rtol=1e-4)
    one_hot = torch.nn.functional.one_hot(tokens, config.codebook_size).float().requires_grad_()
    again = tokenizer.decode_probabilities(one_hot)
    torch.testing.assert_close(again, decoded)
    again.square().sum().backward()
    assert bool((one_hot.grad.abs().amax(-1) > 0).all())
    output.reconstruction.square().sum().backward()
    for stream in tokenizer.stream_list():
        assert float(stream.encoder.first.weight.grad.abs().sum()) > 0


def test_half_precision_probabilities_are_taken(tokenizer: ShiftTokenizer) -> None:
    probabilities = torch.full((1, 2, 4, 24), 1 / 32, dtype=torch.bfloat16)  # exact in both types
    assert torch.equal(
        tokenizer.decode_probabilities(probabilities), tokenizer.decode_probabilities(probabilities.float())
    )


def test_each_slot_moves_its_own_features(tokenizer: ShiftTokenizer) -> None:
    tokens = torch.zeros(1, 4, 4, dtype=torch.int64)
    trajectory, pose = [*range(6), 96, 97, 98], [*range(6, 96)]
    expected = [trajectory, pose, [99 + i for i in trajectory], [99 + i for i in pose]]
    for slot, features in enumerate(expected):
        changed = tokens.clone()
        changed[..., slot] = 7
        moved = (tokenizer.decode(changed) - tokenizer.decode(tokens)).abs().amax((0, 1)) > 1e-6
        assert moved.nonzero().flatten().tolist() == features


def test_probabilities_carry_gradients_to_every_slot(tokenizer: ShiftTokenizer) -> None:
    logits = torch.randn(2, 3, 4, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    double = tokenizer.double()
    for parameter in double.parameters():
        parameter.requires_grad_(False)
    logits.requires_grad_()

    def loss(values: torch.Tensor) -> torch.Tensor:
        return double.decode_probabilities(values.softmax(-1)).square().sum()

    loss(logits).backward()
    assert bool((logits.grad.abs().amax(-1) > 0).all())
    step = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1e-6
    with torch.no_grad():
        difference = loss(logits + step) - loss(logits - step)
    torch.testing.assert_close(difference, 2 * (logits.grad * step).sum(), rtol=1e-5, atol=0)


def test_a_list_of_lengths_gives_what_each_clip_gives_alone(tokenizer: ShiftTokenizer) -> None:
    rng = np.random.default_rng(0)
    clips = [make_clip(rng, frames)["features"] for frames in (8, 24, 8, 4, 64, 24)]
    together = tokenizer.encode_list(clips, batch_size=2)
    alone = [tokenizer.encode(clip) for clip in clips]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    decoded = tokenizer.decode_list(together)
    for features, tokens, clip in zip(decoded, alone, clips, strict=True):
        assert features.shape == clip.shape
        torch.testing.assert_close(features, tokenizer.decode(tokens))
    assert tokenizer.encode_list([]) == []
    assert tokenizer.decode_list([]) == []


def test_training_on_a_padded_batch_sees_what_encoding_sees(tokenizer: ShiftTokenizer) -> None:
    short, long = batch(1, 8), batch(2, 16)[1:]
    padded = torch.cat([torch.cat([short, short[:, -1:].expand(-1, 8, -1)], 1), long])
    mask = torch.arange(16) < torch.tensor([[8], [16]])
    output = tokenizer(tokenizer.normalize(padded), mask)
    decoded = tokenizer.denormalize(output.reconstruction)
    for row, clip in enumerate((short, long)):
        tokens = tokenizer.encode(clip)
        torch.testing.assert_close(decoded[row, : clip.shape[1]], tokenizer.decode(tokens)[0], atol=1e-5, rtol=1e-4)


def test_hands_that_are_left_out_cost_nothing_and_change_nothing(tokenizer: ShiftTokenizer) -> None:
    normalized = tokenizer.normalize(batch(3, 16))
    mask = torch.arange(16) < torch.tensor([[8], [16], [12]])
    hands = torch.tensor([[True, True], [False, True], [True, False]])
    whole, part = tokenizer(normalized, mask), tokenizer(normalized, mask, hands)
    chosen = hands.flatten()
    for one, other in zip(whole.latents + whole.indices, part.latents + part.indices, strict=True):
        torch.testing.assert_close(one[chosen], other)
    made = part.reconstruction.unflatten(-1, (2, 99)).transpose(1, 2)  # (B, 2, T, 99)
    assert float(made[~hands].detach().abs().max()) == 0
    expected = whole.reconstruction.unflatten(-1, (2, 99)).transpose(1, 2)
    torch.testing.assert_close(made[hands], expected[hands])


def test_a_mirrored_motion_gets_the_tokens_of_the_other_hand(config: ShiftConfig) -> None:
    tokenizer = ready(ShiftTokenizer(dataclasses.replace(config, mirror_left=True)))
    tokenizer.mean.copy_(tokenizer.mean[:1].expand(2, -1))
    tokenizer.std.copy_(tokenizer.std[:1].expand(2, -1))
    features = batch()
    mirrored = (features.unflatten(-1, (2, 99)).flip(2) * mirror_signs()).flatten(2)
    tokens, swapped = tokenizer.encode(features), tokenizer.encode(mirrored)
    assert torch.equal(swapped, tokens[..., [2, 3, 0, 1]])


def test_mirror_signs_are_those_of_the_rotation_matrix() -> None:
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close((flip @ rotation @ flip)[:2].flatten(), rotation[:2].flatten() * mirror_signs()[:6])
    assert mirror_signs()[96:].tolist() == [-1, 1, 1]


def test_normalization_is_undone(tokenizer: ShiftTokenizer) -> None:
    features = batch()
    torch.testing.assert_close(tokenizer.denormalize(tokenizer.normalize(features)), features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mirror", [True, False])
def test_fitted_statistics_standardise_what_is_valid(config: ShiftConfig, mirror: bool) -> None:
    tokenizer = ShiftTokenizer(dataclasses.replace(config, mirror_left=mirror))
    features = batch(6, 32).flatten(0, 1)
    valid = torch.rand(len(features), 2, generator=torch.Generator().manual_seed(0)) < 0.7
    poisoned = features.unflatten(-1, (2, 99)).masked_fill(~valid[..., None], 1e6).flatten(1)
    tokenizer.fit_normalisation(poisoned, valid)
    hands = tokenizer.normalize(features).unflatten(-1, (2, 99))
    seen = [torch.cat([hands[valid[:, h], h] for h in (0, 1)])] if mirror else [hands[valid[:, h], h] for h in (0, 1)]
    for rows in seen:
        torch.testing.assert_close(rows.mean(0), torch.zeros(99), atol=1e-3, rtol=0)
        torch.testing.assert_close(rows.std(0), torch.ones(99), atol=1e-3, rtol=0)


def test_constant_features_and_unseen_hands_leave_the_statistics_usable(config: ShiftConfig) -> None:
    tokenizer = ShiftTokenizer(dataclasses.replace(config, mirror_left=False, std_floor=0.01))
    features = torch.ones(10, 198)
    valid = torch.ones(10, 2, dtype=torch.bool)
    valid[:, 0] = False
    tokenizer.fit_normalisation(features, valid)
    assert torch.equal(tokenizer.std, torch.full((2, 99), 0.01))
    assert torch.equal(tokenizer.mean, torch.ones(2, 99))


def test_frames_that_are_not_valid_do_not_matter(tokenizer: ShiftTokenizer) -> None:
    features = batch(2)
    valid = torch.ones(2, 16, 2, dtype=torch.bool)
    valid[0, 5:9, 1] = False
    valid[1, :3, 0] = False
    held = features.clone()
    held[0, 5:7, 99:], held[0, 7:9, 99:] = features[0, 4, 99:], features[0, 9, 99:]
    held[1, :3, :99] = features[1, 3, :99]
    broken = features.unflatten(-1, (2, 99)).masked_fill(~valid[..., None], float("nan")).flatten(2)
    assert torch.equal(tokenizer.encode(broken, valid), tokenizer.encode(held))
    with pytest.raises(ShapeError, match="finite"):
        tokenizer.encode(broken)


def test_a_single_clip_needs_no_batch(tokenizer: ShiftTokenizer) -> None:
    features = batch(1)
    tokens = tokenizer.encode(features[0].numpy())
    assert torch.equal(tokens, tokenizer.encode(features)[0])
    torch.testing.assert_close(tokenizer.decode(tokens), tokenizer.decode(tokens[None])[0])


@pytest.mark.parametrize("shape", [(1, 18, 198), (1, 0, 198), (1, 16, 99), (16, 198, 1, 1)])
def test_features_of_a_wrong_shape_are_refused(tokenizer: ShiftTokenizer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"Expected features \(B, T, 198\)"):
        tokenizer.encode(torch.zeros(shape))


def test_tokens_that_are_no_codes_are_refused(tokenizer: ShiftTokenizer) -> None:
    with pytest.raises(ShapeError, match=r"Expected tokens \(B, L, 4\)"):
        tokenizer.decode(torch.zeros(1, 3, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"Expected tokens \(B, L, 4\)"):
        tokenizer.decode(torch.zeros(0, 4, dtype=torch.int64))
    for wrong in (-1, 24):
        with pytest.raises(ShapeError, match="from 0 to 23"):
            tokenizer.decode(torch.full((1, 3, 4), wrong))
    with pytest.raises(ShapeError, match=r"\(B, L, 4, 24\)"):
        tokenizer.decode_probabilities(torch.zeros(1, 3, 4, 23))


def test_the_seed_alone_decides_the_weights(config: ShiftConfig) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one = ShiftTokenizer(config, seed=5)
    assert torch.equal(torch.rand(1), expected)
    same, other = ShiftTokenizer(config, seed=5), ShiftTokenizer(config, seed=6)
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_usage_counts_codes_and_leaves_out_hands_that_are_not_seen(config: ShiftConfig) -> None:
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    tokens[:, 0] = 3
    tokens[1, 2] = 5
    trajectory, pose = codebook_usage([tokens], config)
    assert trajectory.counts[[0, 3, 5]].tolist() == [1, 2, 1]
    assert trajectory.in_use == pytest.approx(3 / 24)
    assert pose.perplexity == pytest.approx(1)
    assert trajectory.perplexity == pytest.approx(2**1.5)
    valid = torch.ones(8, 2, dtype=torch.bool)
    valid[:, 0] = False
    seen = codebook_usage([tokens], config, valid=[valid])
    assert seen[0].counts[[0, 3, 5]].tolist() == [1, 0, 1]
    assert codebook_usage([], config)[0].perplexity == 0


def test_a_hand_that_is_seen_in_one_frame_of_a_step_counts_in_usage(config: ShiftConfig) -> None:
    tokens = torch.tensor([[3, 0, 5, 0], [7, 0, 5, 0]])
    valid = torch.zeros(8, 2, dtype=torch.bool)
    valid[2, 0] = True  # the left hand, in the first step
    trajectory, pose = codebook_usage([tokens], config, valid=[valid])
    assert (int(trajectory.counts.sum()), int(trajectory.counts[3])) == (1, 1)
    assert int(pose.counts.sum()) == 1
