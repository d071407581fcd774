import dataclasses

import pytest
import torch
from shift_tokenizer import ConfigError, ShiftConfig, ShiftTokenizer, codebook_gallery

from .conftest import ready

TRAJECTORY, POSE = [*range(99, 105), *range(195, 198)], [*range(105, 195)]


@pytest.fixture(params=[0.0, 0.8])
def tokenizer(config: ShiftConfig, request: pytest.FixtureRequest) -> ShiftTokenizer:
    return ready(ShiftTokenizer(dataclasses.replace(config, prediction=request.param), seed=3))


def lead(tokenizer: ShiftTokenizer) -> int:
    """Steps of mean codes that come first and are not shown."""
    return 24 if tokenizer.config.prediction else 0


def used(tokenizer: ShiftTokenizer) -> list[torch.Tensor]:
    """Tokens in which trajectory code 5 is used most, then 2, and pose code 9."""
    tokens = torch.zeros(6, tokenizer.config.n_slots, dtype=torch.int64)
    tokens[:, 0] = torch.tensor([5, 5, 5, 2, 2, 7])
    tokens[:, 2] = torch.tensor([5, 2, 2, 5, 5, 1])
    tokens[:, 1] = tokens[:, 3] = 9
    return [tokens[:4], tokens[4:]]


def test_the_most_used_codes_come_first_with_their_share(tokenizer: ShiftTokenizer) -> None:
    entries = codebook_gallery(tokenizer, used(tokenizer), top=3)
    assert [(e.codebook, e.code, e.count) for e in entries] == [(0, 5, 6), (0, 2, 4), (0, 1, 1), (1, 9, 12)]
    assert [e.slot for e in entries] == [2, 2, 2, 3]
    assert entries[0].share == pytest.approx(0.5)
    assert entries[3].share == 1
    assert entries[0].features.shape == (20, 198)
    assert entries[0].span == (8, 12)
    assert entries[0].hands.tolist() == [False, True]
    assert tokenizer.config.codebook_names == ("trajectory", "pose")
    assert codebook_gallery(tokenizer, []) == []


def test_a_code_moves_what_it_carries_and_nothing_else(tokenizer: ShiftTokenizer) -> None:
    first, second, _, _ = codebook_gallery(tokenizer, used(tokenizer), top=3)
    moved = (first.features - second.features).abs().amax(0) > 1e-6
    assert moved.nonzero().flatten().tolist() == TRAJECTORY
    before = lead(tokenizer)
    half = torch.zeros(1, before + 20 // 4, 4, 24)  # mean codes are the expectation over use
    half[..., 0, 5], half[..., 0, 2], half[..., 0, 1], half[..., 0, 7] = 6 / 12, 4 / 12, 1 / 12, 1 / 12
    half[..., 2, :] = half[..., 0, :]
    half[..., 1, 9] = half[..., 3, 9] = 1
    half[:, before + 2, 2] = torch.nn.functional.one_hot(torch.tensor(5), 24)
    torch.testing.assert_close(first.features, tokenizer.decode_probabilities(half)[0, 4 * before :])


def test_a_repeated_code_decodes_as_tokens_do_where_nothing_else_varies(tokenizer: ShiftTokenizer) -> None:
    tokens = torch.tensor([[3, 4, 3, 4]])
    entries = codebook_gallery(tokenizer, [tokens], latent_steps=3, context="repeat")
    for entry in entries:
        before = lead(tokenizer)
        whole = tokenizer.decode(tokens.expand(before + 3, -1))
        torch.testing.assert_close(entry.features, whole[4 * before :], atol=1e-5, rtol=1e-4)
        assert entry.span == (0, 12)


def test_codes_of_hands_that_are_not_seen_do_not_count(tokenizer: ShiftTokenizer) -> None:
    tokens, valid = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[False, True]] * 4)
    assert [e.code for e in codebook_gallery(tokenizer, [tokens], valid=[valid])] == [3, 4]


@pytest.mark.parametrize(("decomposition", "depth", "names"), [("plain", 2, 2), ("part", 1, 1), ("modality", 1, 2)])
def test_other_members_have_a_gallery(config: ShiftConfig, decomposition: str, depth: int, names: int) -> None:
    changed = dataclasses.replace(config, decomposition=decomposition, residual_depth=depth)
    tokenizer = ready(ShiftTokenizer(changed, seed=1))
    entries = codebook_gallery(tokenizer, tokenizer.encode(torch.randn(4, 16, 198)), top=2)
    assert len(tokenizer.config.codebook_names) == names == len({e.codebook for e in entries})
    assert entries[0].hands.tolist() == [decomposition != "part", True]
    assert bool(torch.stack([e.features for e in entries]).isfinite().all())


@pytest.mark.parametrize("wrong", [{"latent_steps": 4}, {"top": 0}, {"context": "alone"}])
def test_a_wrong_wish_is_named(tokenizer: ShiftTokenizer, wrong: dict) -> None:
    with pytest.raises(ConfigError, match="Expected context"):
        codebook_gallery(tokenizer, [], **wrong)
