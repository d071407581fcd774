from itertools import pairwise

import numpy as np
from clutch_llm.spans import choose_spans, corrupt
from hypothesis import given
from hypothesis import strategies as st

SENTINELS = [1000 + k for k in range(8)]


@given(n=st.integers(1, 60), seed=st.integers(0, 999), density=st.floats(0.05, 0.95), mean=st.floats(1, 6))
def test_spans_are_in_order_apart_and_leave_something(n: int, seed: int, density: float, mean: float) -> None:
    spans = choose_spans(n, np.random.default_rng(seed), density=density, mean_length=mean, most=8)
    assert 1 <= len(spans) <= 8
    edges = [e for span in spans for e in span]
    assert edges[0] >= 0
    assert edges[-1] <= n
    assert all(b > a for a, b in pairwise(edges))  # neighbours never touch
    covered = sum(b - a for a, b in spans)
    assert covered < n or n == 1


def test_corruption_has_t5s_form() -> None:
    assert corrupt([1, 2, 3, 4, 5], [(1, 2), (3, 5)], SENTINELS) == ([1, 1000, 3, 1001], [1000, 2, 1001, 4, 5])


def test_a_span_at_either_end_and_none_at_all() -> None:
    assert corrupt([1, 2, 3], [(0, 1), (2, 3)], SENTINELS) == ([1000, 2, 1001], [1000, 1, 1001, 3])
    assert corrupt([1, 2], [(0, 2)], SENTINELS) == ([1000], [1000, 1, 2])
    assert corrupt([1, 2], [], SENTINELS) == ([1, 2], [])
