from typing import Any

import numpy as np
import pytest
from clutch_llm.clips import check_clip, check_example
from clutch_llm.errors import DataError
from shift_tokenizer import ShiftConfig

CONFIG = ShiftConfig(width=16, codebook_size=24, code_dim=8)


def clip(**changes: Any) -> dict[str, Any]:
    return {
        "clip_id": "a",
        "source": "mine",
        "fps": 15.0,
        "features": np.zeros((8, 198), dtype=np.float32),
        "valid": np.ones((8, 2), dtype=bool),
        "captions": ["a hand waves"],
        "tokens": np.zeros((2, 4), dtype=np.int64),
        **changes,
    }


def test_a_clip_is_passed_on_as_it_is() -> None:
    given = clip(mood="calm")
    assert check_clip(given, CONFIG) is given
    assert check_example(given, CONFIG) is given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 30.0}, "'a' at the 15 frames a second of the motion tokenizer, got 30. Resample"),
        ({"captions": []}, "'a' with at least one caption"),
        ({"captions": ["a hand", " "]}, "none of them empty"),
        ({"captions": ["a hand"], "mirrored_captions": ["x", "y"]}, "for each of the 1 of clip 'a', got 2"),
        ({"features": np.zeros((8, 99), dtype=np.float32)}, r"\(T, 198\) in clip 'a', got \(8, 99\)"),
        ({"features": np.zeros((6, 198), dtype=np.float32)}, "'a' with whole latent steps of 4 frames, got 6"),
        ({"valid": np.ones(8, dtype=bool)}, r"\(8, 2\) in clip 'a', got bool \(8,\)"),
        ({"valid": np.ones((8, 2))}, "got float64"),
        ({"features": np.full((8, 198), np.nan, dtype=np.float32)}, "finite features where a hand of clip 'a'"),
    ],
)
def test_a_clip_that_cannot_be_used_is_named_with_what_to_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_clip(clip(**changes), CONFIG)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(DataError, match=r"clip 'a' with the keys .*, got no fps"):
        check_clip({key: value for key, value in clip().items() if key != "fps"}, CONFIG)


def test_a_hand_that_is_not_seen_may_hold_anything() -> None:
    features, valid = np.zeros((8, 198), dtype=np.float32), np.ones((8, 2), dtype=bool)
    features[3:, :99], valid[3:, 0] = np.nan, False
    check_clip(clip(features=features, valid=valid), CONFIG)
    valid[:, 0], valid[:, 1] = valid[:, 1].copy(), valid[:, 0].copy()
    with pytest.raises(DataError, match="finite"):
        check_clip(clip(features=features, valid=valid), CONFIG)


@pytest.mark.parametrize(
    "tokens", [np.zeros((3, 4), int), np.zeros((2, 2), int), np.full((2, 4), 24), np.full((2, 4), -1)]
)
def test_tokens_of_another_motion_or_tokenizer_are_refused(tokens: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"tokens of shape \(2, 4\) in 0..23 for the 8 frames of clip 'a'"):
        check_example(clip(tokens=tokens), CONFIG)
    with pytest.raises(DataError, match="build_corpus"):
        check_example({key: value for key, value in clip().items() if key != "tokens"}, CONFIG)
