import torch
from clutch_llm.positions import next_positions, own_positions, slots_and_steps
from clutch_llm.vocabulary import TokenLayout

LAYOUT = TokenLayout(text_size=10, codebook_size=5)
SOM, EOM = LAYOUT.som, LAYOUT.eom
#        text, <som>, two steps of four codes, <eom>, text, <som>, one code
IDS = torch.tensor([[3, SOM, 10, 15, 10, 15, 10, 15, 10, 15, EOM, 4, SOM, 11]])


def test_the_encoder_is_told_each_code_its_own_place() -> None:
    assert own_positions(IDS, LAYOUT).tolist() == [[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1]]


def test_the_decoder_is_told_the_place_that_comes_next() -> None:
    assert next_positions(IDS, LAYOUT).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 1, 2]]


def test_slots_and_steps_count_from_one_and_zero_is_no_motion() -> None:
    slots, steps = slots_and_steps(torch.tensor([0, 1, 2, 3, 4, 5, 8, 9]), 4, max_steps=18)
    assert slots.tolist() == [0, 1, 2, 3, 4, 1, 4, 1]
    assert steps.tolist() == [0, 1, 1, 1, 1, 2, 2, 3]


def test_steps_past_the_last_share_its_row() -> None:
    _, steps = slots_and_steps(torch.tensor([1 + 4 * 2, 1 + 4 * 9]), 4, max_steps=2)
    assert steps.tolist() == [3, 3]
