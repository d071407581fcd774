from __future__ import annotations

import pytest
from hiw_data.splits import assign_split, letter_overlap
from hypothesis import given
from hypothesis import strategies as st


def test_splits_never_change_between_versions_and_machines() -> None:
    got = [assign_split(f"fingerspelling/ase/{k}.pose") for k in range(12)]
    assert got == (["train", "val", "train", "test", "test", "test", "train", "train", "val", "test", "val", "train"])


@given(st.text(), st.integers(0, 1000))
def test_a_split_depends_on_the_origin_and_the_seed_alone(origin: str, seed: int) -> None:
    assert assign_split(origin, seed=seed) == assign_split(origin, seed=seed)


def test_shares_come_out_as_asked() -> None:
    got = [assign_split(str(k), fractions=(0.6, 0.3, 0.1)) for k in range(5000)]
    assert [got.count(s) / 5000 for s in ("train", "val", "test")] == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


def test_another_seed_draws_other_splits() -> None:
    assert [assign_split(str(k), seed=0) for k in range(50)] != [assign_split(str(k), seed=1) for k in range(50)]


@pytest.mark.parametrize("fractions", [(0.8, 0.1), (0.8, 0.3, -0.1), (0.5, 0.1, 0.1)])
def test_fractions_that_do_not_sum_to_one_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        assign_split("a", fractions=fractions)


def test_letters_are_counted_across_languages_and_splits() -> None:
    rows = [("train", "A", "x"), ("train", "B", "y"), ("test", "A", "y"), ("test", "C", "x"), ("val", "A", "x")]
    clips = [{"split": s, "attributes": {"letter": a, "language": b}} for s, a, b in rows]
    report = letter_overlap([*clips, {"split": "train", "attributes": {}}])
    assert report["letters"] == 3
    assert report["letters_in_several_languages"] == 1
    assert report["test_clips_with_letter_in_train"] == 0.5
    assert report["test_clips_with_letter_and_language_in_train"] == 0
    assert report["val_clips_with_letter_and_language_in_train"] == 1
    assert letter_overlap([{"split": "train", "attributes": {}}]) == {}
