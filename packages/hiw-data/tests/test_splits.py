from __future__ import annotations

from typing import Any

import pytest
from hiw_data import HiwDataError
from hiw_data.splits import assign_split, assign_splits, attribute_overlap
from hypothesis import given
from hypothesis import strategies as st


def rows(count: int, source: str = "made", **changes: Any) -> list[dict[str, Any]]:
    return [{"clip_id": str(k), "source": source, "origin": str(k), "split": "", **changes} for k in range(count)]


def test_splits_never_change_between_versions_and_machines() -> None:
    got = [assign_split(f"fingerspelling/ase/{k}.pose") for k in range(12)]
    assert got == (["train", "val", "train", "test", "test", "test", "train", "train", "val", "test", "val", "train"])


def test_a_split_depends_on_the_name_alone_not_on_order_or_company() -> None:
    clips = rows(200)
    together, _ = assign_splits(clips)
    backwards, _ = assign_splits(clips[::-1])
    beside, _ = assign_splits([*rows(40, source="other"), *clips])
    half, _ = assign_splits(clips[::2])
    assert together == backwards[::-1] == beside[40:]
    assert half == together[::2]
    assert together == [assign_split(f"made/{k}") for k in range(200)]


def test_shares_come_out_as_asked() -> None:
    got = [assign_split(str(k), fractions=(0.6, 0.3, 0.1)) for k in range(5000)]
    assert [got.count(s) / 5000 for s in ("train", "val", "test")] == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


def test_another_seed_draws_other_splits() -> None:
    assert [assign_split(str(k), seed=0) for k in range(50)] != [assign_split(str(k), seed=1) for k in range(50)]
    assert assign_splits(rows(50), seed=1)[0] == [assign_split(f"made/{k}", seed=1) for k in range(50)]


@pytest.mark.parametrize("fractions", [(0.8, 0.1), (0.8, 0.3, -0.1), (0.5, 0.1, 0.1)])
def test_fractions_that_do_not_sum_to_one_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        assign_split("a", fractions=fractions)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30), st.integers(0, 50))
def test_a_group_is_in_one_split(groups: list[str], seed: int) -> None:
    clips = [{**row, "group": group} for row, group in zip(rows(len(groups)), groups, strict=True)]
    splits, _ = assign_splits(clips, seed=seed)
    by_group: dict[str, set[str]] = {}
    for group, split in zip(groups, splits, strict=True):
        by_group.setdefault(group, set()).add(split)
    assert all(len(found) == 1 for found in by_group.values())
    assert {"train", "val", "test"} == set(splits) or len(by_group) < 3


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [3, 4, 7])
def test_a_few_recordings_still_give_each_split_one(count: int, seed: int) -> None:
    splits, notes = assign_splits(rows(count), seed=seed)
    assert set(splits) == {"train", "val", "test"}
    assert splits == assign_splits(rows(count), seed=seed)[0]
    assert notes == [] or all("is small" in note for note in notes)


@pytest.mark.parametrize(
    ("seed", "by_hash", "filled"),
    [
        (0, ["train", "train", "val", "train"], ["test", "train", "val", "train"]),  # at 0.70, 0.60, 0.81, 0.15
        (3, ["train", "val", "train", "train"], ["train", "val", "train", "test"]),  # at 0.27, 0.84, 0.637, 0.639
        (4, ["train", "train", "train", "train"], ["train", "test", "val", "train"]),  # at 0.04, 0.64, 0.65, 0.63
        (5, ["test", "train", "train", "test"], ["test", "val", "train", "test"]),  # at 0.91, 0.48, 0.30, 0.90
    ],
)
def test_an_empty_split_gets_the_group_that_is_nearest_to_it(seed: int, by_hash: list, filled: list) -> None:
    assert [assign_split(f"made/{k}", seed=seed) for k in range(4)] == by_hash
    assert assign_splits(rows(4), seed=seed)[0] == filled


def test_three_recordings_are_one_for_each_split() -> None:
    for seed in range(5):
        assert sorted(assign_splits(rows(3), seed=seed)[0]) == ["test", "train", "val"]


def test_too_few_groups_are_said_clearly() -> None:
    splits, notes = assign_splits([{**row, "group": "me"} for row in rows(9)])
    assert len(set(splits)) == 1
    assert len(notes) == 1
    assert notes[0].startswith("Source 'made' has 1 group(s) of recordings to share out, too few for train, val, test")
    assert assign_splits(rows(5), fractions=(1.0, 0.0, 0.0)) == (["train"] * 5, [])


def test_a_source_may_set_splits_of_its_own() -> None:
    clips = rows(30)
    clips[3]["split"], clips[4]["split"] = "test", "val"
    clips[4]["origin"] = clips[5]["origin"] = "the same recording"
    splits, _ = assign_splits(clips, fractions=(1.0, 0.0, 0.0))
    assert splits[3] == "test"
    assert splits[4] == splits[5] == "val"
    assert splits.count("train") == 27
    clips[5]["split"] = "train"
    with pytest.raises(HiwDataError, match="one split for all clips of 'made/the same recording', got val and train"):
        assign_splits(clips)


def test_what_val_and_test_share_with_train_is_counted_by_attribute_and_together() -> None:
    told = [
        ("train", "A", "x", False), ("train", "B", "y", False), ("test", "A", "y", False), ("test", "C", "x", False),
        ("test", "A", "z", True), ("test", "B", "y", False), ("val", "A", "x", False),
    ]  # fmt: skip
    clips = [{"split": s, "held_out": h, "attributes": {"letter": a, "language": b}} for s, a, b, h in told]
    assert attribute_overlap(clips, ["letter", "language"]) == {
        "val": {
            "clips": 1,
            "held_out": 0,
            "in_train": {"letter": 1.0, "language": 1.0},
            "all_in_train": 1.0,
            "all_in_train_held_out": None,
        },
        "test": {
            "clips": 4,
            "held_out": 1,
            "in_train": {"letter": 0.75, "language": 0.75},
            "all_in_train": 0.25,
            "all_in_train_held_out": 0.0,
        },
    }
    nothing = attribute_overlap(clips[:2], ["letter"])["test"]
    assert (nothing["clips"], nothing["in_train"], nothing["all_in_train"]) == (0, {"letter": None}, None)
