import pytest
from hypothesis import given
from hypothesis import strategies as st
from shift_tokenizer import ConfigError, source_shares


def test_at_temperature_one_shares_are_those_of_the_sizes() -> None:
    assert source_shares({"a": 100, "b": 300}, 1.0, {}) == pytest.approx({"a": 0.25, "b": 0.75})


def test_at_temperature_two_shares_are_those_of_the_square_roots() -> None:
    assert source_shares({"a": 100, "b": 900, "c": 400}, 2.0, {}) == pytest.approx({"a": 1 / 6, "b": 0.5, "c": 1 / 3})


def test_a_named_source_takes_its_weight_and_the_others_keep_their_natural_share() -> None:
    """Natural shares are 1/6, 1/2, 1/3; with 1/6 -> 1 the sum is 11/6."""
    shares = source_shares({"a": 100, "b": 900, "c": 400}, 2.0, {"a": 1.0})
    assert shares == pytest.approx({"a": 6 / 11, "b": 3 / 11, "c": 2 / 11})


def test_a_weight_of_zero_leaves_a_source_out() -> None:
    assert source_shares({"a": 5, "b": 5}, 2.0, {"a": 0}) == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(
    ("counts", "temperature", "weights", "message"),
    [
        ({"mine": 3}, 2.0, {"theirs": 1.0, "mine": 1.0}, r"source_weights: expected .* \('mine'\), got also 'theirs'"),
        ({"a": 3}, 2.0, {"a": 0.0}, "source_weights: expected a weight above 0 for one"),
        ({"a": 3}, 2.0, {"a": -1.0}, "source_weights: expected numbers of at least 0"),
        ({"a": 3}, 2.0, {"a": float("nan")}, "source_weights: expected numbers of at least 0"),
        ({"a": 3}, 0.5, {}, "source_temperature: expected a number of at least 1, got 0.5"),
        ({"a": 3}, float("nan"), {}, "source_temperature"),
        ({}, 2.0, {}, "Expected sources with at least one clip"),
        ({"a": 0}, 2.0, {}, "Expected sources with at least one clip"),
    ],
)
def test_what_cannot_be_shared_is_named(counts: dict, temperature: float, weights: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        source_shares(counts, temperature, weights)


@given(
    counts=st.dictionaries(st.text(max_size=3), st.integers(1, 10**6), min_size=1, max_size=6),
    temperature=st.floats(1, 100),
)
def test_shares_add_up_and_keep_the_order_of_sizes(counts: dict[str, int], temperature: float) -> None:
    shares = source_shares(counts, temperature, {})
    assert list(shares) == list(counts)
    assert sum(shares.values()) == pytest.approx(1)
    natural = {name: count / sum(counts.values()) for name, count in counts.items()}
    smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    assert shares[smallest] >= natural[smallest] - 1e-9
    assert shares[largest] <= natural[largest] + 1e-9
