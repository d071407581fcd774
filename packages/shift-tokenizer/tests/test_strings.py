import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shift_tokenizer import ShapeError, ShiftConfig, string_to_tokens, tokens_to_string

CONFIG = ShiftConfig()


def test_tokens_read_as_documented() -> None:
    text = tokens_to_string(torch.tensor([[3, 7, 0, 1]]), CONFIG)
    assert text == "<som><motion_id_3><motion_id_519><motion_id_0><motion_id_513><eom>"


@given(
    seed=st.integers(0, 1000),
    steps=st.integers(0, 9),
    depth=st.integers(1, 3),
    decomposition=st.sampled_from(["shift", "part", "modality", "plain"]),
)
def test_tokens_come_back_from_their_string(seed: int, steps: int, depth: int, decomposition: str) -> None:
    config = ShiftConfig(decomposition=decomposition, residual_depth=depth)
    tokens = torch.randint(512, (steps, config.n_slots), generator=torch.Generator().manual_seed(seed))
    text = tokens_to_string(tokens, config)
    assert torch.equal(string_to_tokens(text, config), tokens)
    assert torch.equal(string_to_tokens(text.replace("><", "> \n<"), config), tokens)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a wave", "Cut out one motion"),
        ("<som><motion_id_1>", "Cut out one motion"),
        ("<som><motion_id_-1><eom>", "Cut out one motion"),
        ("<som><motion_id_1>well<eom>", "Cut out one motion"),
        ("<som><motion_id_1><eom>", "4 ids a step, got 1"),
        ("<som><motion_id_3><motion_id_7><motion_id_0><motion_id_513><eom>", "512 to 1023 in slot 1, got 7 in step 0"),
        ("<som><motion_id_3><motion_id_519><motion_id_512><motion_id_513><eom>", "0 to 511 in slot 2, got 512"),
    ],
)
def test_text_that_is_no_motion_is_refused(text: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        string_to_tokens(text, CONFIG)


def test_tokens_that_are_no_codes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"tokens \(L, 4\)"):
        tokens_to_string(torch.zeros(1, 2, 4), CONFIG)
    with pytest.raises(ShapeError, match="from 0 to 511, got 0 to 512"):
        tokens_to_string(torch.tensor([[0, 512, 0, 0]]), CONFIG)
