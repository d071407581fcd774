"""Motion to text at the border: what is seen, at which rate, where it begins, and how long it may be."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, build_corpus
from clutch_llm.errors import DataError
from clutch_llm.windows import canonical_motion, check_motion, cut_windows, join_texts, pairs_of
from hand_geometry import features_to_joints, params_to_features, relaxed_hand
from shift_tokenizer import RateError

CPU = torch.device("cpu")
LEFT, RIGHT = slice(0, 99), slice(99, 198)


def hands(frames: int, *, at: tuple[float, float, float] = (0.0, 0.0, 0.0), speed: float = 0.01) -> np.ndarray:
    """Two relaxed hands (T, 198); the right one moves along x by ``speed`` metres a frame; both are moved by ``at``."""
    rest = [relaxed_hand(side) for side in ("left", "right")]
    params = {
        "global_orient": np.stack([np.asarray(h["global_orient"]) for h in rest])[None].repeat(frames, 0),
        "hand_pose": np.stack([np.asarray(h["hand_pose"]) for h in rest])[None].repeat(frames, 0),
        "transl": np.stack([np.asarray(h["transl"]) for h in rest])[None].repeat(frames, 0) + np.array(at),
    }
    params["transl"][:, 1, 0] += speed * np.arange(frames)
    return np.asarray(params_to_features({k: v.astype(np.float32) for k, v in params.items()}), dtype=np.float32)


def wrists(features: torch.Tensor) -> np.ndarray:
    """Wrists (T, 2, 3) in metres."""
    return np.asarray(features_to_joints(features))[..., 0, :]


def cut(clutch: Clutch, features: np.ndarray, valid: Any = None, max_steps: int = 8):
    return cut_windows(*check_motion(features, valid, CPU), clutch.tokenizer, max_steps=max_steps)


def seen(frames: int, *, left: Any = True, right: Any = True) -> np.ndarray:
    valid = np.zeros((frames, 2), dtype=bool)
    valid[:, 0], valid[:, 1] = left, right
    return valid


def speaking(clutch: Clutch) -> Clutch:
    """Captions are the tokens themselves."""
    other = copy.copy(clutch)
    other.caption_tokens = lambda tokens, detailed=False: [  # type: ignore[method-assign]
        f"{'detailed ' if detailed else ''}{t.tolist()}" for t in tokens
    ]
    return other


# What is seen


def junk(kind: str, frames: int) -> np.ndarray:
    made = {
        "zeros": np.zeros((frames, 99)),
        "nan": np.full((frames, 99), np.nan),
        "infinity": np.full((frames, 99), -np.inf),
        "huge": np.full((frames, 99), 1e6),
        "noise": np.random.default_rng(0).normal(size=(frames, 99)),
    }
    return made[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["zeros", "nan", "infinity", "huge", "noise"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_what_stands_where_a_hand_is_never_seen_changes_nothing(clutch, kind: str, side: str) -> None:
    whole = hands(24)
    valid = seen(24, **{side: False})
    other = whole.copy()
    other[:, LEFT if side == "left" else RIGHT] = junk(kind, 24)
    told = speaking(clutch)
    assert told.caption(other, valid) == told.caption(whole, valid)
    assert told.caption([whole, other], [valid, valid]) == told.caption(whole, valid) * 2


@pytest.mark.parametrize("kind", ["zeros", "nan", "noise"])
def test_what_stands_where_a_hand_is_not_seen_for_a_while_changes_nothing(clutch, kind: str) -> None:
    """At the beginning too, where it would move the origin of both hands."""
    whole, valid = hands(24), seen(24)
    valid[:5, 0] = valid[10:14, 1] = False
    other = whole.copy()
    other[:5, LEFT], other[10:14, RIGHT] = junk(kind, 5), junk(kind, 4)
    told = speaking(clutch)
    assert told.caption(other, valid) == told.caption(whole, valid)


def test_which_hand_is_seen_changes_the_tokens(clutch) -> None:
    told, whole = speaking(clutch), hands(24, speed=0.0)
    texts = [told.caption(whole, seen(24, **{side: False}))[0] for side in ("left", "right")]
    assert len({*texts, told.caption(whole)[0]}) == 3


def test_an_unseen_hand_is_encoded_as_the_tokenizer_fills_it(clutch) -> None:
    whole, valid = hands(24), seen(24, left=False)
    expected = clutch.tokenizer.encode(torch.tensor(whole), torch.tensor(valid)).tolist()
    assert speaking(clutch).caption(whole, valid) == [str(expected)]


def test_a_motion_seen_throughout_is_encoded_as_it_is(clutch, clips) -> None:
    features = clips[0]["features"]
    expected = clutch.tokenizer.encode(torch.tensor(features)).tolist()
    assert speaking(clutch).caption(features) == [str(expected)]
    assert speaking(clutch).caption(features, detailed=True) == [f"detailed {expected}"]


def begun(clutch: Clutch, features: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Wrists (T, 2, 3) of a motion that was made canonical."""
    return wrists(canonical_motion(*check_motion(features, valid, CPU), clutch.tokenizer))


@pytest.mark.parametrize("at", [(0.0, 0.0, 0.0), (1.0, -2.0, 0.5)])
def test_a_hand_alone_begins_where_it_rests(clutch, at: tuple[float, float, float]) -> None:
    left = begun(clutch, hands(8, at=at), seen(8, right=False))
    np.testing.assert_allclose(left[0], [[-0.13, 0.0, 0.0], [0.13, 0.0, 0.0]], atol=1e-5)
    right = begun(clutch, hands(8, at=at), seen(8, left=False))
    np.testing.assert_allclose(right[[0, 7], 1], [[0.13, 0.0, 0.0], [0.20, 0.0, 0.0]], atol=1e-5)


def test_two_hands_begin_around_the_origin_where_a_late_one_is_seen_first(clutch) -> None:
    """The right hand comes in frame 3, when it has gone right by 3 cm."""
    both = begun(clutch, hands(8, at=(1.0, 2.0, 3.0)), seen(8))
    np.testing.assert_allclose(both[0], [[-0.13, 0, 0], [0.13, 0, 0]], atol=1e-5)
    late = begun(clutch, hands(8, at=(1.0, 2.0, 3.0)), seen(8, right=np.arange(8) > 2))
    np.testing.assert_allclose(late[0], [[-0.145, 0, 0], [0.145, 0, 0]], atol=1e-5)


def test_canonical_features_are_taken_where_they_are(clutch) -> None:
    """As in training: the one who gives canonical features has decided on the origin."""
    features = hands(8, at=(0.01, 0.0, 0.0))
    (window,) = cut(clutch, features, seen(8, left=np.arange(8) > 2))
    np.testing.assert_array_equal(window.features[:, RIGHT], features[:, RIGHT])


def test_windows_of_a_hand_alone_begin_around_the_middle_to_where_the_other_would_rest(clutch) -> None:
    """The right hand goes right by a centimetre a frame: at frame 28 the middle has gone 14 cm."""
    windows = cut(clutch, hands(56), seen(56, left=False), max_steps=7)
    np.testing.assert_allclose(wrists(windows[0].features)[0, 1], [0.13, 0, 0], atol=1e-5)
    np.testing.assert_allclose(wrists(windows[1].features)[0, 1], [0.27, 0, 0], atol=1e-5)


# How long


def test_a_short_motion_is_one_window_and_its_last_frame_is_held(clutch) -> None:
    features = hands(30)
    (window,) = cut(clutch, features)
    assert (window.start, window.stop) == (0, 30)
    np.testing.assert_array_equal(window.features[:30], features)
    np.testing.assert_array_equal(window.features[30:], features[[-1, -1]])
    assert window.valid.sum(0).tolist() == [30, 30]
    assert not window.valid[30:].any()


def test_a_long_motion_is_cut_into_the_fewest_windows_of_like_length(clutch) -> None:
    """22 steps, the last of them half, by at most 8: 7, 7 and 8."""
    windows = cut(clutch, hands(86))
    assert [(w.start, w.stop) for w in windows] == [(0, 28), (28, 56), (56, 86)]
    assert [len(w.features) for w in windows] == [28, 28, 32]
    assert [(w.start, w.stop) for w in cut(clutch, hands(300), max_steps=18)] == [
        (0, 60), (60, 120), (120, 180), (180, 240), (240, 300),
    ]  # fmt: skip
    assert [(w.start, w.stop) for w in cut(clutch, hands(64))] == [(0, 32), (32, 64)]


def test_each_window_begins_around_the_origin_and_moves_as_the_motion_does(clutch) -> None:
    """The right hand goes right by a centimetre a frame: at frame 28 the middle has gone 14 cm."""
    windows = cut(clutch, hands(56), max_steps=7)
    np.testing.assert_allclose(wrists(windows[0].features)[0], [[-0.13, 0, 0], [0.13, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(wrists(windows[1].features)[0], [[-0.27, 0, 0], [0.27, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(wrists(windows[1].features)[-1], [[-0.27, 0, 0], [0.54, 0, 0]], atol=1e-5)


def test_the_first_window_of_hands_that_come_late_begins_around_the_origin(clutch) -> None:
    """Nobody for 10 frames, then hands a metre to the right, of which one has gone 10 cm."""
    valid = np.zeros((40, 2), dtype=bool)
    valid[10:] = True
    (window,) = cut(clutch, hands(40, at=(1.0, 0.0, 0.0)), valid)
    assert (window.start, window.stop) == (10, 40)
    np.testing.assert_allclose(wrists(window.features)[0], [[-0.18, 0, 0], [0.18, 0, 0]], atol=1e-5)


def test_frames_and_windows_without_a_hand_are_left_out(clutch) -> None:
    """10 frames, then 32 seen, 32 not, 32 seen, 10 not: three windows of 8 steps, the middle one empty."""
    valid = np.zeros((116, 2), dtype=bool)
    valid[10:42] = valid[74:106] = True
    assert [(w.start, w.stop) for w in cut(clutch, hands(116), valid)] == [(10, 42), (74, 106)]
    (window,) = cut(clutch, hands(40), seen(40, left=False, right=np.arange(40) > 8))
    assert (window.start, window.stop) == (9, 40)
    (window,) = cut(clutch, hands(32), seen(32, left=False, right=np.arange(32) > 8))
    assert (window.start, window.stop) == (0, 32)  # short enough as it is


def test_clips_have_the_tokens_of_training(clutch, clips) -> None:
    """With hands that are not seen at the beginning, in between and never."""
    clip = dict(clips[0], valid=np.ones((32, 2), dtype=bool))
    for hidden in (np.s_[:5, 0], np.s_[:3], np.s_[9:15, 1], np.s_[:, 1]):
        clip["valid"] = np.ones((32, 2), dtype=bool)
        clip["valid"][hidden] = False
        (example,) = build_corpus([clip], clutch.tokenizer)
        assert speaking(clutch).caption(clip["features"], clip["valid"]) == [str(example["tokens"].tolist())]


def test_windows_have_their_times_and_one_text_in_turn(clutch) -> None:
    other = copy.copy(clutch)
    answers = ["the left hand waves", "both hands clap", "both hands clap", "a fist"]
    asked: list[list[np.ndarray]] = []

    def answer(tokens, detailed=False):
        asked.append(tokens)
        return answers[: len(tokens)]

    other.caption_tokens = answer  # type: ignore[method-assign]
    long, short = hands(86), hands(12)
    windows = other.caption_windows([long, short])
    assert [[(round(w["start"], 3), round(w["stop"], 3), w["text"]) for w in own] for own in windows] == [
        [(0.0, 1.867, answers[0]), (1.867, 3.733, answers[1]), (3.733, 5.733, answers[2])],
        [(0.0, 0.8, answers[3])],
    ]
    assert [len(t) for t in asked[0]] == [7, 7, 8, 3]
    assert other.caption([long, short]) == ["the left hand waves, then both hands clap", "a fist"]


def test_texts_of_windows_are_joined_in_order_without_repeats() -> None:
    assert join_texts(["a", "a", "", "b", "a"]) == "a, then b, then a"
    assert join_texts(["", ""]) == join_texts([]) == ""


def test_tokens_longer_than_the_model_are_refused(clutch) -> None:
    with pytest.raises(DataError, match="at most 8 latent steps, got 9"):
        clutch.caption_tokens([np.zeros((9, 4), dtype=np.int64)])
    assert clutch.caption_tokens([]) == []


# Which rate


def test_another_rate_is_refused_and_the_models_own_is_not(clutch) -> None:
    features = hands(12)
    with pytest.raises(RateError, match=r"15 frames a second.* got 30.*resample_params"):
        clutch.caption(features, fps=30)
    assert clutch.caption(features, fps=15.0) == clutch.caption(features, None, 15) == clutch.caption(features)


def test_the_rate_is_the_tokenizers(clutch) -> None:
    import dataclasses

    fast = copy.copy(clutch)
    fast.tokenizer = copy.deepcopy(clutch.tokenizer)
    fast.tokenizer.config = dataclasses.replace(clutch.tokenizer.config, fps=30.0)
    assert (fast.fps, fast.seconds_per_step, fast.max_seconds) == (30.0, 4 / 30, 32 / 30)
    assert (clutch.fps, clutch.seconds_per_step, clutch.max_seconds) == (15.0, 4 / 15, 32 / 15)
    motion = fast.generate("the left hand waves", seconds=0.8)[0][0]
    assert motion["fps"] == 30.0
    assert len(motion["features"]) == 24
    assert len(clutch.generate("the left hand waves", seconds=0.8)[0][0]["features"]) == 12
    windows = fast.caption_windows(hands(60), fps=30)[0]
    assert [(w["start"], w["stop"]) for w in windows] == [(0.0, 28 / 30), (28 / 30, 2.0)]


# What is refused


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused_where_a_hand_is_seen(clutch, value: float) -> None:
    features = hands(12)
    features[7, 99 + 4] = value
    with pytest.raises(DataError, match="NaN or infinity in frame 7 of the right hand"):
        clutch.caption(features)
    assert len(clutch.caption(features, seen(12, right=np.arange(12) != 7))) == 1


@pytest.mark.parametrize(
    ("features", "valid", "message"),
    [
        (np.zeros((8, 99)), None, r"shape \(T, 198\) with T >= 1, got \(8, 99\)"),
        (np.zeros((0, 198)), None, r"T >= 1, got \(0, 198\)"),
        (np.zeros((8, 198)), np.ones((7, 2), bool), r"valid of shape \(8, 2\).* got \(7, 2\)"),
        (np.zeros((8, 198)), np.ones(8, bool), r"valid of shape \(8, 2\)"),
        (np.zeros((8, 198)), np.zeros((8, 2), bool), "a hand is seen, got none"),
    ],
)
def test_motions_that_are_none_are_refused(clutch, features: np.ndarray, valid: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        clutch.caption(features, valid)


def test_several_motions_need_as_many_masks(clutch) -> None:
    with pytest.raises(DataError, match="each of 2 motions, got 1"):
        clutch.caption([hands(8), hands(8)], [seen(8)])


def test_one_motion_or_several_are_told_apart() -> None:
    one, mask = np.zeros((8, 198)), np.ones((8, 2), bool)
    for motions, valid in ((one, mask), (torch.zeros(8, 198), torch.ones(8, 2).bool()), ([one], [mask]),
                           (np.stack([one]), np.stack([mask]))):  # fmt: skip
        ((features, seen_of),) = pairs_of(motions, valid)
        assert features.shape == (8, 198)
        assert seen_of.shape == (8, 2)
    assert pairs_of([one, one], None)[1][1] is None


def test_captions_are_text_of_any_motions(clutch, clips) -> None:
    texts = clutch.caption([c["features"] for c in clips])
    assert len(texts) == len(clips)
    assert all("<" not in t for t in texts)
    assert clutch.caption(clips[0]["features"]) == texts[:1]
