import torch
from clutch_llm.positions import motion_positions, prompt_positions, slots_and_steps


def test_the_encoder_is_told_each_code_its_own_position_and_no_mark_any() -> None:
    #                                    som  one step    two steps   eom
    assert prompt_positions(10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]


def test_the_decoder_is_told_the_position_that_it_fills() -> None:
    assert motion_positions(10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_slots_and_steps_count_from_one_and_zero_is_no_motion() -> None:
    slots, steps = slots_and_steps(torch.tensor([0, 1, 2, 3, 4, 5, 8, 9]), 4, max_steps=18)
    assert slots.tolist() == [0, 1, 2, 3, 4, 1, 4, 1]
    assert steps.tolist() == [0, 1, 1, 1, 1, 2, 2, 3]


def test_steps_past_the_last_share_its_row() -> None:
    _, steps = slots_and_steps(torch.tensor([1 + 4 * 2, 1 + 4 * 9]), 4, max_steps=2)
    assert steps.tolist() == [3, 3]
