from __future__ import annotations

import pytest
from hand_geometry import mirror_text
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("the left hand stirs clockwise", "the right hand stirs counterclockwise"),
        ("Left palm up, then RIGHT", "Right palm up, then LEFT"),
        ("pushes to the right", "pushes to the left"),
        ("moving leftward, then rightwards", "moving rightward, then leftwards"),
        ("LH over RH", "RH over LH"),
        ("left-handed, with the left-hand side", "right-handed, with the right-hand side"),
        ("the leftmost key", "the rightmost key"),
        ("plays the piano up the keys", "plays the piano down the keys"),
        ("a run down the keys of a piano", "a run up the keys of a piano"),
        ("turns ccw, then CW", "turns cw, then CCW"),
        ("wrings a towel, right hand forward", "wrings a towel, left hand forward"),
        ("right, left; (left) 'right'", "left, right; (right) 'left'"),
        ("walks up the stairs, thumbs up", "walks up the stairs, thumbs up"),
        ("the leftover is bright, upright, human rights", "the leftover is bright, upright, human rights"),
        ("all right, right away, at right angles", "all right, right away, at right angles"),
        ("both hands clap", "both hands clap"),
        ("", ""),
    ],
)
def test_a_text_and_its_mirror_image_are_each_others(text: str, mirrored: str) -> None:
    assert mirror_text(text) == mirrored
    assert mirror_text(mirrored) == text


@pytest.mark.parametrize(
    "word", ["anticlockwise", "anti-clockwise", "counter-clockwise", "counter clockwise", "counterclockwise"]
)
def test_every_spelling_of_counterclockwise_is_known(word: str) -> None:
    assert mirror_text(f"stirs {word}.") == "stirs clockwise."
    assert mirror_text(f"{word.capitalize()} it goes") == "Clockwise it goes"
    assert mirror_text(mirror_text(f"stirs {word}.")) == "stirs counterclockwise."


WORDS = ("left", "right", "Left", "RIGHT", "clockwise", "counterclockwise", "up the keys", "down the keys", "LH", "cw")
PLAIN = ("hand", "waves", "all right", "right away", "thumbs up", "{motion}", "é", "-", "leftwards", "ccw")


@given(st.lists(st.sampled_from(WORDS + PLAIN)), st.sampled_from([" ", ", ", "; "]))
def test_mirrored_twice_a_text_is_itself(words: list[str], between: str) -> None:
    text = between.join(words)
    assert mirror_text(mirror_text(text)) == text


def test_letters_that_only_look_alike_are_no_error() -> None:
    assert mirror_text("cloc\u212awise, leftward\u017f") == "counterclockwise, rightwards"


@given(st.text())
def test_any_text_can_be_mirrored_and_the_third_image_is_the_first(text: str) -> None:
    once = mirror_text(text)
    assert mirror_text(mirror_text(once)).lower() == once.lower()
