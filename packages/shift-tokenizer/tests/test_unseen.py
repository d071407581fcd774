"""Hands that are not seen: what stands in their frames changes nothing, anywhere."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from shift_tokenizer import (
    DataError,
    RateError,
    ShapeError,
    ShiftConfig,
    ShiftTokenizer,
    TokenizerTraining,
    evaluate_reconstruction,
    train_tokenizer,
)

from .conftest import make_clip, ready

STAND_INS = [0.0, np.nan, 1e6]


def poison(clip: dict, value: float) -> dict:
    """The clip with `value` where a hand is not seen."""
    hands = clip["features"].reshape(-1, 2, 99)
    return clip | {"features": np.where(clip["valid"][..., None], hands, np.float32(value)).reshape(-1, 198)}


@pytest.fixture
def clip() -> dict:
    """The left hand is not seen in frames 3 to 7, the right one never."""
    valid = np.ones((16, 2), bool)
    valid[3:8, 0], valid[:, 1] = False, False
    return make_clip(np.random.default_rng(0), 16) | {"valid": valid}


def test_an_unseen_frame_holds_the_nearest_seen_one_and_an_unseen_hand_the_mean(
    tokenizer: ShiftTokenizer, clip: dict
) -> None:
    filled = tokenizer.fill_unseen(poison(clip, np.nan)["features"], clip["valid"]).numpy()
    expected = clip["features"].copy()
    expected[3:6, :99] = clip["features"][2, :99]  # frame 5 is as near to 2 as to 8: the earlier
    expected[6:8, :99] = clip["features"][8, :99]
    expected[:, 99:] = tokenizer.mean[1].numpy()
    assert np.array_equal(filled, expected)


def test_the_mean_of_a_mirrored_left_hand_is_a_left_hand(config: ShiftConfig) -> None:
    """Wrists at x = +0.1 on the right and -0.1 on the left, in training; so is the hand that is never seen."""
    features = np.zeros((8, 198), np.float32)
    features[:, 96], features[:, 195] = -0.1, 0.1
    tokenizer = ready(ShiftTokenizer(dataclasses.replace(config, mirror_left=True)))
    tokenizer.fit_normalisation(torch.from_numpy(features), torch.ones(8, 2, dtype=torch.bool))
    filled = tokenizer.fill_unseen(np.full((4, 198), np.nan, np.float32), np.zeros((4, 2), bool))
    assert filled[0, 96] == pytest.approx(-0.1)
    assert filled[0, 195] == pytest.approx(0.1)


@pytest.mark.parametrize("value", STAND_INS)
def test_encoding_does_not_read_what_is_not_seen(tokenizer: ShiftTokenizer, clip: dict, value: float) -> None:
    expected = tokenizer.encode(clip["features"], clip["valid"])
    other = poison(clip, value)
    assert torch.equal(tokenizer.encode(other["features"], clip["valid"]), expected)
    assert torch.equal(tokenizer.encode_list([other["features"]], [clip["valid"]])[0], expected)
    batch = np.stack([other["features"], clip["features"]])
    assert torch.equal(tokenizer.encode(batch, np.stack([clip["valid"]] * 2))[0], expected)


def test_a_hand_that_is_seen_must_be_finite(tokenizer: ShiftTokenizer, clip: dict) -> None:
    clip["features"][0, 0] = np.nan
    with pytest.raises(ShapeError, match="finite"):
        tokenizer.encode(clip["features"], clip["valid"])
    with pytest.raises(ShapeError, match=r"Expected valid \(1, 16, 2\), got \(1, 16\)"):
        tokenizer.encode(clip["features"], clip["valid"][:, 0])


@pytest.mark.parametrize("mirror_left", [True, False])
@pytest.mark.parametrize("value", STAND_INS)
def test_training_does_not_read_what_is_not_seen(
    clips: list[dict],
    config: ShiftConfig,
    joints_fn: Callable[[torch.Tensor], torch.Tensor],
    clip: dict,
    value: float,
    mirror_left: bool,
) -> None:
    """Statistics, losses, codes and resets: weights, running counts and the history are equal, bit for bit."""
    config = dataclasses.replace(config, reset_every=1, mirror_left=mirror_left)
    training = TokenizerTraining(
        steps=6, batch_size=6, window=16, log_every=1, validate_every=3, unseen_share=1.0, mirror_probability=0.5
    )
    runs = []
    for own in ([*clips, clip], [*clips, poison(clip, value)]):
        tokenizer, history = train_tokenizer(
            own,
            config,
            training,
            val_clips=own[-2:],
            joints_fn=joints_fn,
            mirror_fn=lambda x: x.unflatten(-1, (2, 99)).flip(-2).flatten(-2),
        )
        runs.append((tokenizer, [{k: v for k, v in entry.items() if k != "seconds_per_step"} for entry in history]))
    (one, history), (other, again) = runs
    assert history == again
    assert one.provenance == other.provenance
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("value", STAND_INS)
def test_measuring_does_not_read_what_is_not_seen(
    tokenizer: ShiftTokenizer, clip: dict, joints_fn: Callable[[torch.Tensor], torch.Tensor], value: float
) -> None:
    expected = evaluate_reconstruction(tokenizer, [clip], joints_fn)
    assert evaluate_reconstruction(tokenizer, [poison(clip, value)], joints_fn) == expected


def test_motion_of_another_rate_is_refused(tokenizer: ShiftTokenizer, clip: dict) -> None:
    features = clip["features"]
    for wrong in (lambda: tokenizer.encode(features, fps=30), lambda: tokenizer.encode_list([features], fps=30.0)):
        with pytest.raises(RateError, match=r"15 frames a second.*got 30.*hand_geometry\.resample_params"):
            wrong()
    assert torch.equal(tokenizer.encode(features, fps=15), tokenizer.encode(features))
    faster = ready(ShiftTokenizer(dataclasses.replace(tokenizer.config, fps=30.0), seed=3))
    assert torch.equal(faster.encode(features, fps=29.97), faster.encode(features))  # NTSC's 30
    with pytest.raises(RateError, match=r"of 30 frames a second.*got 15"):
        faster.encode(features, fps=15)


def test_clips_of_another_rate_are_named(clips: list[dict], config: ShiftConfig) -> None:
    training = TokenizerTraining(steps=1, batch_size=4, window=16)
    clips = [clip | {"fps": 15.0} for clip in clips]
    wrong = clips[1] | {"clip_id": "too-fast", "fps": 30}
    with pytest.raises(RateError, match=r"clip too-fast of 15 frames a second.*got 30"):
        train_tokenizer([clips[0], wrong], config, training)
    with pytest.raises(DataError, match="too-fast"):
        train_tokenizer(clips, config, training, val_clips=[wrong])
    tokenizer, _ = train_tokenizer([wrong], dataclasses.replace(config, fps=30.0), training)
    with pytest.raises(RateError, match=r"of 30 frames a second.*got 15"):
        evaluate_reconstruction(tokenizer, clips)
