"""Captions from motion codes beside those that the demo's sources write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hand_geometry import (
    MotionCodes,
    features_to_joints,
    mirror_features,
    motion_codes,
    params_to_features,
    relaxed_hand,
)
from hand_geometry.codes import Claim
from hiw_data import ProceduralSource, build, check_caption
from hiw_data.captioning import facts, words
from hiw_data.clips import Clip, check_clip
from hiw_data.motion import MotionPiece
from hiw_data.sources.families import FAMILIES
from hiw_data.sources.measured import add_measured, measured_words
from hiw_data.sources.phrasing import paraphrase

CLIPS = 2 * len(FAMILIES)
MEASURED = slice(1, 4)


def stream(**options: object) -> list[Clip]:
    return [c for c in ProceduralSource(CLIPS, 5, **options).stream(15.0) if isinstance(c, dict)]  # type: ignore[arg-type]


def codes_of(features: np.ndarray, valid: np.ndarray) -> MotionCodes:
    codes = motion_codes(np.asarray(features_to_joints(features)), valid, 15.0)
    assert isinstance(codes, MotionCodes)
    return codes


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return stream(measured_captions=True)


def test_nothing_but_words_changes(clips: list[Clip]) -> None:
    for before, clip in zip(stream(), clips, strict=True):
        check_clip(clip)
        np.testing.assert_array_equal(clip["features"], before["features"])
        words = ("captions", "mirrored_captions", "caption_provenance", "features", "valid")
        assert {k: v for k, v in clip.items() if k not in words} == {k: v for k, v in before.items() if k not in words}
        for key in ("captions", "mirrored_captions"):
            assert [clip[key][0], clip[key][-1]] == before[key]  # type: ignore[literal-required]
            assert len(set(clip[key])) == 5  # type: ignore[literal-required]
        assert [made["maker"] for made in clip["caption_provenance"]] == ["script", *["motion codes"] * 3, "script"]
        assert clip["caption_provenance"][1]["version"].startswith("hand-geometry ")
        assert clip["caption_provenance"][0]["version"].startswith("hiw-data ")


def test_a_stir_is_told_at_three_lengths(clips: list[Clip]) -> None:
    """The script's own facts: a circle clockwise, so often, with this hand; the longest says how large and how held."""
    told = 0
    for clip in clips:
        a = clip["attributes"]
        if (a["family"], a["direction"]) != ("stir", "clockwise"):
            continue
        short, medium, long = clip["captions"][MEASURED]
        assert all("clockwise" in text and a["hand"] in text for text in (short, medium, long))
        times = {1: ("once", "one time"), 2: ("twice", "two times"), 3: ("three times",), 4: ("four times",)}
        assert any(word in medium for word in times[a["repetitions"]])
        assert not any(word in short for words in times.values() for word in words)
        assert "palm" in long
        assert "palm" not in medium
        told += 1
    assert told


def test_what_is_measured_holds_of_the_clip_and_of_its_image(clips: list[Clip]) -> None:
    supported = 0
    for clip in clips:
        image = np.asarray(mirror_features(clip["features"]))
        for key, features, valid in (
            ("captions", clip["features"], clip["valid"]),
            ("mirrored_captions", image, clip["valid"][:, ::-1]),
        ):
            codes = codes_of(features, valid)
            for text in clip[key][MEASURED]:  # type: ignore[literal-required]
                check = check_caption(text, codes)
                assert not check.contradictions, (clip["clip_id"], text, check.contradictions)
                supported += check.count("supported")
    assert supported > 6 * len(clips)


def test_no_phrasing_that_is_held_out_is_said(clips: list[Clip]) -> None:
    held_out = set()
    for number, clip in enumerate(clips):
        rng = np.random.default_rng(number)
        directions = FAMILIES[number % len(FAMILIES)].directions
        for terse in (0.0, 1.0):
            asked = [
                paraphrase(clip["attributes"], directions, rng, unseen=True, typo=0, terse=terse) for _ in range(9)
            ]
            held_out.update(asked)
    said = {text for clip in clips for key in ("captions", "mirrored_captions") for text in clip[key][MEASURED]}  # type: ignore[literal-required]
    assert len(held_out) > 200
    assert not said & held_out


def test_a_stream_that_begins_inside_says_the_same(clips: list[Clip]) -> None:
    rest = list(ProceduralSource(CLIPS, 5, measured_captions=True).stream_from(15.0, CLIPS - 3))
    assert [c["captions"] for c in rest] == [c["captions"] for c in clips[-3:]]  # type: ignore[index]


def test_words_that_motion_cannot_show_stay_before_what_is_measured_without_directions(clips: list[Clip]) -> None:
    """As of fingerspelling: the letter is said each time, and no direction, whose axes are not the wearer's."""
    moved = next(c for c in clips if c["attributes"]["family"] == "push" and c["attributes"]["hand"] == "right")
    clip = {**moved, "captions": ["spelling the letter L", "fine"], "mirrored_captions": ["spelling the letter L", "f"]}
    codes = codes_of(clip["features"], clip["valid"])
    add_measured(clip, codes, maker="x", version="1", wearers_axes=False, after_words=True)  # type: ignore[arg-type]
    assert [text.startswith("spelling the letter L: ") for text in clip["captions"]] == [False, True, True, True, False]
    words = " ".join(clip["captions"][MEASURED]).replace("right hand", "").replace("left hand", "")
    assert not {"left", "right", "up", "down", "forward", "body", "palm", "pointing"} & set(words.split())
    assert "right hand" in clip["captions"][1]
    assert "left hand" in clip["mirrored_captions"][1]
    assert "letter L: " in clip["mirrored_captions"][1]


def lift(valid: np.ndarray) -> MotionPiece:
    """The right hand goes up by 10 cm and back, twice; the left one rests. 64 frames at 15 a second."""
    rest = [{name: value.numpy() for name, value in relaxed_hand(side).items()} for side in ("left", "right")]
    names = ("global_orient", "hand_pose", "transl")
    params = {name: np.repeat(np.stack([hand[name] for hand in rest])[None], 64, 0) for name in names}
    phase = 2 * np.clip((np.arange(64) - 8) / 48, 0, 1)
    params["transl"][:, 1, 1] -= 0.1 * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
    return MotionPiece(np.asarray(params_to_features(params)), valid, np.full((64, 2), np.nan, np.float32))


@pytest.mark.parametrize(("wearers_axes", "said"), [
    (True, [
        "the person's right hand is travelling up and returning",
        "the wearer's right hand is going up and returning two times, while the wearer's left hand does not move",
        "the right hand is travelling up and returning twice, the palm facing down, the fingers pointing forward, "
        "in a c shape; the left hand keeps still",
    ]),
    (False, [
        "the person's right hand is making a movement",
        "the wearer's right hand is making a movement two times, while the wearer's left hand does not move",
        "the right hand makes a movement twice, in a c shape while the person's left hand stays still",
    ]),
])  # fmt: skip
def test_without_the_wearers_axes_all_is_told_but_directions(wearers_axes: bool, said: list[str]) -> None:
    assert measured_words(lift(np.ones((64, 2), bool)), 15.0, wearers_axes) == said


@pytest.mark.parametrize(("hands", "said"), [
    ([True, True], "both hands are seen"),
    ([True, False], "the left hand is seen"),
    ([False, True], "the right hand is seen"),
])  # fmt: skip
def test_of_hands_that_are_hardly_seen_it_is_said_which_are(hands: list[bool], said: str) -> None:
    valid = np.zeros((64, 2), bool)
    valid[:20] = hands
    for wearers_axes in (True, False):
        assert measured_words(lift(valid), 15.0, wearers_axes) == [said]


def test_a_store_keeps_who_made_each_caption_and_the_splits_they_had(tmp_path: Path) -> None:
    plain = build([ProceduralSource(60, 1)], tmp_path / "plain.zarr")
    store = build([ProceduralSource(60, 1, measured_captions=True)], tmp_path / "measured.zarr")
    assert store.data_hash != plain.data_hash
    for name in ("clip_id", "split", "length", "held_out"):
        assert store.column(name).to_pylist() == plain.column(name).to_pylist()
    clip = store.clip(7)
    np.testing.assert_array_equal(clip["features"], plain.clip(7)["features"])
    assert len(clip["captions"]) == len(clip["caption_provenance"]) == 5


@pytest.mark.parametrize(("bent", "one_way", "said"), [
    (60, False, "[close] the fingers and [open] them again"),
    (-60, False, "[open] the fingers and [close] them again"),
    (60, True, "[close] the fingers"),
])  # fmt: skip
def test_fingers_that_come_back_do_the_opposite(bent: float, one_way: bool, said: str) -> None:
    movement = SimpleNamespace(hand="left", fluttering=False, one_way=one_way, flex=(0.0, bent, bent, bent, bent))
    (fact,) = facts._flex(movement)  # type: ignore[arg-type]
    assert fact.phrases[0] == said


def test_a_touch_is_told_of_the_hand_that_holds_it() -> None:
    """The right hand's thumb and index finger touch for a second, the left one's for a tenth of one."""
    touches = [("right", 1.0, 2.0), ("left", 1.5, 1.6)]
    events = [
        SimpleNamespace(kind="contact", subject="thumb+index", hand=hand, start=start, end=end)
        for hand, start, end in touches
    ]
    codes = SimpleNamespace(events=events, thresholds=SimpleNamespace(state_s=0.3))
    assert [str(f.claim) for f in facts._contacts(codes, "right")] == ["contact:right/thumb+index=touch"]  # type: ignore[arg-type]
    assert facts._contacts(codes, "left") == []  # type: ignore[arg-type]


def test_two_hands_have_two_palms() -> None:
    for hand, said in (("both", "the palms facing up"), ("left", "the palm facing up")):
        fact = facts.Fact(Claim("palm", hand, "up"), ("the palm facing up",))
        assert words._extra(fact, hand, np.random.default_rng(0)) == said
