import math

import numpy as np
import pytest
import torch
from clutch_llm import Sampling
from clutch_llm.errors import ConfigError
from clutch_llm.sampling import chance_of, chances_of, seeds_of

LAST = 1 - 2**-53  # the largest number that a generator gives
SHARES = torch.tensor([[0.5, 0.3, 0.2]]).log()


@pytest.mark.parametrize(
    ("sampling", "chance", "drawn"),
    [
        # 0.5 | 0.8 | 1
        (Sampling(), 0.49, 0), (Sampling(), 0.51, 1), (Sampling(), 0.79, 1), (Sampling(), 0.81, 2),
        # squares 0.25, 0.09, 0.04 of 0.38: 0.658 | 0.895 | 1
        (Sampling(temperature=0.5), 0.64, 0), (Sampling(temperature=0.5), 0.67, 1),
        (Sampling(temperature=0.5), 0.88, 1), (Sampling(temperature=0.5), 0.91, 2),
        # roots 0.707, 0.548, 0.447 of 1.702: 0.415 | 0.737 | 1
        (Sampling(temperature=2.0), 0.41, 0), (Sampling(temperature=2.0), 0.43, 1),
        (Sampling(temperature=2.0), 0.75, 2),
        # the two likeliest: 0.625 | 1
        (Sampling(top_k=2), 0.61, 0), (Sampling(top_k=2), 0.64, 1), (Sampling(top_k=2), LAST, 1),
        (Sampling(top_k=1), LAST, 0), (Sampling(top_k=9), 0.81, 2), (Sampling(greedy=True), LAST, 0),
    ],
)  # fmt: skip
def test_a_draw_is_where_the_chance_falls_among_the_shares(sampling: Sampling, chance: float, drawn: int) -> None:
    assert sampling.draw(SHARES, torch.tensor([chance], dtype=torch.float64)).tolist() == [drawn]


@pytest.mark.parametrize("chance", [0.0, 0.5, LAST])
def test_what_cannot_be_is_never_drawn(chance: float) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf]])
    assert Sampling().draw(logits, torch.tensor([chance], dtype=torch.float64)).tolist() == [1]


def test_each_row_is_drawn_by_its_own_chance() -> None:
    chance = torch.tensor([0.9, 0.1, 0.6], dtype=torch.float64)
    assert Sampling().draw(SHARES.repeat(3, 1), chance).tolist() == [2, 0, 1]


def test_chance_is_uniform_and_belongs_to_text_seed_and_index() -> None:
    numbers = chance_of("a", seed=0, index=0, count=20000)
    assert 0 <= numbers.min() < 0.001 < 0.999 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.03
    keys = [("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1), ("a", 10, 0), ("a", 1, 10), ("a", -1, 0), ("", 0, 0)]
    first = [float(chance_of(t, seed=s, index=k, count=1)[0]) for t, s, k in keys]
    assert len(set(first)) == len(keys)
    np.testing.assert_array_equal(numbers[:5], chance_of("a", seed=0, index=0, count=5))


def test_chances_stand_in_the_order_of_texts_then_samples() -> None:
    table = chances_of(["a", "b"], seeds=[3, 4], samples=2, count=3)
    for row, (text, seed, index) in zip(table, [("a", 3, 0), ("a", 3, 1), ("b", 4, 0), ("b", 4, 1)], strict=True):
        np.testing.assert_array_equal(row, chance_of(text, seed=seed, index=index, count=3))
    assert chances_of([], seeds=[], samples=2, count=3).shape == (0, 3)


def test_one_seed_is_for_all_texts_and_several_are_one_for_each() -> None:
    assert seeds_of(7, 3) == [7, 7, 7]
    assert seeds_of([1, 2, 3], 3) == [1, 2, 3]
    with pytest.raises(ConfigError, match="each of 3 texts, got 2"):
        seeds_of([1, 2], 3)


@pytest.mark.parametrize(
    "bad",
    [{"temperature": 0.0}, {"temperature": -1.0}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0},
     {"top_k": -1}, {"guidance": math.nan}, {"guidance": math.inf}, {"guidance": -0.5}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(bad: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(bad)).split('_')[0]}.*got {next(iter(bad.values()))}"):
        Sampling(**bad)
