"""Claims of captions on motions of which it is known what they do, second by second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clutch_llm.evaluation import claim_reader, claims, measure_claims
from clutch_llm.evaluation.claims import claims_of, codes_of, seconds_in
from evaluation_clips import relaxed_features
from hand_geometry.codes import Claim, Norm

RIGHT_HEIGHT = 99 + 97
FRAMES = 60  # four seconds
MOVES, LEFT_MOVES, LEFT_STILL = (
    Claim("hands", h, v) for h, v in (("right", "moves"), ("left", "moves"), ("left", "still"))
)


def bobbing(seconds: float, frames: int = FRAMES, hertz: float = 2.0) -> np.ndarray:
    """The right hand goes up and down by 10 cm for so many seconds, then rests; the left one rests."""
    features = relaxed_features(frames)
    t = np.arange(frames) / 15.0
    features[:, RIGHT_HEIGHT] += 0.05 * (1 - np.cos(2 * np.pi * hertz * np.minimum(t, seconds))).astype(np.float32)
    return features


def clip(k: int, seconds: float = 2.0, **others: Any) -> dict[str, Any]:
    return {
        "clip_id": f"bob-{k}",
        "source": "bob",
        "fps": 15.0,
        "features": bobbing(seconds),
        "valid": np.ones((FRAMES, 2), dtype=bool),
        "captions": [f"bob {k}"],
        "attributes": {},
        **others,
    }


def reader(_: str) -> list[tuple[Claim, bool, Norm | None]]:
    """Right moves; left moves, which is false; left does not move; left is still."""
    return [(MOVES, False, None), (LEFT_MOVES, False, None), (LEFT_MOVES, True, None), (LEFT_STILL, False, None)]


def test_counted_is_what_is_stated_and_true_of_the_whole_and_of_each_second() -> None:
    one = clip(0)
    (codes,) = codes_of([one["features"]], [one["valid"]], [15.0])
    found = claims_of(reader, "", codes)
    assert [(str(s.claim), s.negated) for s in found if s.second < 0] == [
        ("hands:right=moves", False),
        ("hands:left=moves", True),
        ("hands:left=still", False),
    ]
    seconds = {k: {str(s.claim).split("@")[0] for s in found if s.second == k} for k in range(4)}
    assert seconds[0] == seconds[1] == {"hands:right=moves", "hands:left=still"}
    assert seconds[2] == seconds[3] == {"hands:right=still", "hands:left=still"}


def test_shares_of_known_motions_by_kind_and_by_second() -> None:
    clips = [clip(k) for k in range(3)]
    arms = {
        "frozen": [[bobbing(0.0)]] * 3,
        "restless": [[bobbing(4.0)]] * 3,
        "mixed": [[bobbing(0.0), bobbing(2.0)]] * 3,
    }
    found = measure_claims(reader, clips, arms, [c["features"] for c in clips])["bob"]
    assert (found["stated"], found["claims"], found["kinds"]) == (12, 9, {"hands": 9})
    assert found["in_second"] == {f"second_{k}": 6 for k in (1, 2, 3, 4)}
    rows, seconds = found["rows"], found["by_second"]
    assert rows["truth"]["claims"] == rows["reconstruction"]["claims"] == rows["restless"]["claims"] == 1.0
    assert rows["frozen"]["claims"] == rows["frozen"]["hands"] == pytest.approx(2 / 3)
    assert rows["mixed"]["claims"] == pytest.approx(5 / 6)
    assert [seconds["truth"][f"second_{k}"] for k in (1, 2, 3, 4)] == [1.0] * 4
    assert [seconds["frozen"][f"second_{k}"] for k in (1, 2, 3, 4)] == [0.5, 0.5, 1.0, 1.0]
    assert [seconds["restless"][f"second_{k}"] for k in (1, 2, 3, 4)] == [1.0, 1.0, 0.5, 0.5]


def test_claims_count_alike_and_the_interval_is_over_clips() -> None:
    clips = [clip(k) for k in range(4)]
    made = [[bobbing(2.0)], [bobbing(2.0)], [bobbing(0.0)], [bobbing(0.0)]]
    row = measure_claims(lambda _: [(MOVES, False, None)], clips, made)["bob"]["rows"]["generated"]
    assert row["claims"] == 0.5
    assert (row["claims_ci95_low"], row["claims_ci95_high"]) == (0.0, 1.0)
    same = measure_claims(lambda _: [(MOVES, False, None)], clips, [[bobbing(0.0)]] * 4)["bob"]["rows"]["generated"]
    assert (same["claims"], same["claims_ci95_low"], same["claims_ci95_high"]) == (0.0, 0.0, 0.0)

    def more(text: str) -> list[tuple[Claim, bool, Norm | None]]:  # clip 0 has three claims, all of which are met
        return reader(text) if text == "bob 0" else [(MOVES, False, None)]

    assert measure_claims(more, clips, made)["bob"]["rows"]["generated"]["claims"] == pytest.approx(4 / 6)


def test_an_arm_is_held_against_what_it_was_asked_and_parts_are_told_apart() -> None:
    clips = [clip(k, attributes={"new": bool(k)}) for k in range(2)]
    asked = {"": ["detailed"] * 2, "short": ["short"] * 2}
    both = {"long": [[bobbing(0.0)], [bobbing(2.0)]], "short": [[bobbing(0.0)]] * 2}

    def read(text: str) -> list[tuple[Claim, bool, Norm | None]]:
        return [(LEFT_STILL if text == "short" else MOVES, False, None)]

    found = measure_claims(read, clips, both, texts=asked, split_by=["new"])["bob"]
    assert found["rows"]["short"]["claims"] == 1.0
    assert found["rows"]["long"]["claims"] == 0.5
    parts = found["parts"]["new"]
    assert (parts["true"]["rows"]["long"]["claims"], parts["false"]["rows"]["long"]["claims"]) == (1.0, 0.0)


def test_a_caption_is_read_once_for_all_clips_and_arms() -> None:
    clips = [clip(k) for k in range(3)] + [clip(3, captions=["bob twice"])]
    read: list[str] = []

    def counting(text: str) -> list[tuple[Claim, bool, Norm | None]]:
        read.append(text)
        return reader(text)

    arms = {name: [[bobbing(2.0)]] * 4 for name in ("a", "b")}
    found = measure_claims(counting, clips, arms, texts={"b": ["bob twice"] * 4})
    assert sorted(read) == sorted({c["captions"][0] for c in clips})
    assert found == measure_claims(reader, clips, arms, texts={"b": ["bob twice"] * 4})


def test_the_norm_of_the_action_decides_what_is_fast() -> None:
    fast = Claim("speed", "right", "fast")
    strict, mild = (Norm(slow, quick, 0.0, 1.0) for slow, quick in ((4.0, 5.0), (0.5, 1.0)))
    (codes,) = codes_of([bobbing(2.0)], [np.ones((FRAMES, 2), bool)], [15.0])
    assert [len(claims_of(lambda _, n=norm: [(fast, False, n)], "", codes)) for norm in (strict, mild)] == [0, 1]


def test_a_motion_that_ends_early_is_not_asked_for_what_comes_later() -> None:
    clips = [clip(0), clip(1)]
    row = measure_claims(reader, clips, [[bobbing(2.0, 30)], [bobbing(2.0, 30)]])["bob"]["by_second"]["generated"]
    assert (row["second_2"], row["second_3"]) == (1.0, None)
    assert [seconds_in(s) for s in (0.4, 0.5, 1.07, 4.0, 4.5)] == [0, 1, 1, 4, 5]


def test_a_hand_that_is_not_seen_makes_no_claim_and_what_stands_there_changes_nothing() -> None:
    seen = np.ones((FRAMES, 2), dtype=bool)
    seen[:, 0] = False
    one, two = clip(0, valid=seen), clip(1, valid=seen)
    one["features"] = one["features"].copy()
    one["features"][:, :99] = np.nan
    found = measure_claims(reader, [one, two], [[bobbing(2.0)]] * 2)["bob"]
    assert found["claims"] == 2
    assert found["rows"]["generated"]["claims"] == 1.0


def test_another_clips_motion_is_measured_where_its_own_hands_are_seen() -> None:
    """A hand that the other clip does not show is not still; clip 1 itself states nothing that can be measured."""
    seen = np.ones((FRAMES, 2), dtype=bool)
    seen[:, 0] = False
    clips = [clip(0), clip(1, valid=seen)]
    found = measure_claims(lambda _: [(LEFT_STILL, False, None)], clips, [[bobbing(2.0)]] * 2)["bob"]
    assert found["claims"] == 1
    assert found["rows"]["truth"]["claims"] == found["rows"]["generated"]["claims"] == 1.0
    assert found["rows"]["random_caption"]["claims"] == 0.0


def test_what_states_nothing_is_left_out_and_arms_may_leave_out_sources() -> None:
    clips = [clip(0), clip(1), clip(2, source="other"), clip(3, source="other")]
    made = [[bobbing(2.0)]] * 4
    some = {"all": made, "bob alone": [*made[:2], [], []]}
    found = measure_claims(reader, clips, some)
    assert set(found["bob"]["rows"]) == {"truth", "all", "bob alone", "random_caption"}
    assert set(found["other"]["rows"]) == {"truth", "all", "random_caption"}
    assert measure_claims(lambda _: [], clips, made) == {}
    for missing in ([*made[:3], []], [[]] * 4):
        with pytest.raises(ValueError, match="at least one motion"):
            measure_claims(reader, clips, missing)


class _EntryPoint:
    def load(self) -> Any:
        return reader


def test_the_reader_comes_from_whichever_package_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "entry_points", lambda group: {"clutch_llm.caption_claims": [_EntryPoint()]}[group])
    assert claim_reader() is reader
    monkeypatch.setattr(claims, "entry_points", lambda group: [])
    assert claim_reader() is None
