import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from shift_tokenizer import (
    ConfigError,
    DataError,
    ShiftConfig,
    ShiftTokenizer,
    ShiftTokenizerError,
    TokenizerTraining,
    TrainingCallback,
    evaluate_reconstruction,
    train_tokenizer,
)
from shift_tokenizer.checkpoint import STATE_FILE
from shift_tokenizer.losses import commitment_loss, joint_losses, reconstruction_losses, translation_velocity_loss
from shift_tokenizer.windows import WindowSampler, allot

from .conftest import make_clip

JointsFn = Callable[[torch.Tensor], torch.Tensor]
TINY = TokenizerTraining(steps=7, batch_size=6, window=16, checkpoint_every=3, log_every=2, validate_every=2)


class KilledError(Exception):
    pass


def equal(one: ShiftTokenizer, other: ShiftTokenizer) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def kill_at(step: int) -> Callable[[int, dict[str, float]], None]:
    def on_log(done: int, metrics: dict[str, float]) -> None:
        if done == step:
            raise KilledError

    return on_log


def without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in entry.items() if k != "seconds_per_step"} for entry in history]


def test_a_killed_run_ends_bit_for_bit_as_one_that_was_not(
    clips: list[dict], config: ShiftConfig, joints_fn: JointsFn, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, reset_every=2, residual_depth=2)
    whole, history = train_tokenizer(clips, config, TINY, joints_fn=joints_fn)
    with pytest.raises(KilledError):
        train_tokenizer(clips, config, TINY, joints_fn=joints_fn, checkpoint_dir=tmp_path, on_log=kill_at(4))
    assert (tmp_path / STATE_FILE).exists()
    torch.manual_seed(123)
    seen: list[int] = []
    resumed, rest = train_tokenizer(
        clips, config, TINY, joints_fn=joints_fn, checkpoint_dir=tmp_path, on_log=lambda step, _: seen.append(step)
    )
    assert seen == [4, 6, 7]
    assert equal(whole, resumed)
    assert without_times(rest) == without_times(history)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert equal(ShiftTokenizer.from_pretrained(tmp_path / "last"), whole)


def test_a_finished_stage_trains_again_to_the_same_bytes(
    clips: list[dict], config: ShiftConfig, tmp_path: Path
) -> None:
    first, _ = train_tokenizer(clips, config, TINY, checkpoint_dir=tmp_path)
    second, history = train_tokenizer(clips, config, TINY, checkpoint_dir=tmp_path)
    assert equal(first, second)
    assert [entry["step"] for entry in history] == [2, 4, 6, 7]


@pytest.mark.parametrize("what", ["training", "config", "data", "file"])
def test_a_state_of_something_else_is_left_with_a_log_line(
    what: str, clips: list[dict], config: ShiftConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KilledError):
        train_tokenizer(clips, config, TINY, checkpoint_dir=tmp_path, on_log=kill_at(4))
    training = TINY
    if what == "training":
        training = dataclasses.replace(TINY, learning_rate=1e-3)
    elif what == "config":
        config = dataclasses.replace(config, width=24)
    elif what == "data":
        clips[0]["features"] = clips[0]["features"] + 0.01
    else:
        (tmp_path / STATE_FILE).write_bytes(b"not a state")
    seen: list[int] = []
    with caplog.at_level(logging.WARNING):
        train_tokenizer(clips, config, training, checkpoint_dir=tmp_path, on_log=lambda step, _: seen.append(step))
    assert seen[0] == 2
    assert "from the beginning" in caplog.text


def test_logging_and_saving_more_often_does_not_change_the_result(
    clips: list[dict], config: ShiftConfig, tmp_path: Path
) -> None:
    often = dataclasses.replace(TINY, log_every=1, validate_every=1, checkpoint_every=1)
    one, _ = train_tokenizer(clips, config, TINY)
    other, _ = train_tokenizer(clips, config, often, val_clips=clips[:2], checkpoint_dir=tmp_path)
    assert equal(one, other)


class Diary(TrainingCallback):
    def __init__(self) -> None:
        self.entries: list[tuple] = []

    def on_start(self, config: ShiftConfig, training: TokenizerTraining, step: int) -> None:
        self.entries.append(("start", step))

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.entries.append(("log", step, "val_reconstruction" in metrics))

    def on_checkpoint(self, step: int, folder: Path, best: bool) -> None:
        assert ShiftTokenizer.from_pretrained(folder).provenance["step"] == step
        self.entries.append(("best" if best else "last", step))

    def on_end(self, tokenizer: ShiftTokenizer, history: Sequence[Mapping[str, float]]) -> None:
        self.entries.append(("end", len(history)))


def test_callbacks_hear_of_every_event_in_order(clips: list[dict], config: ShiftConfig, tmp_path: Path) -> None:
    diary = Diary()
    training = dataclasses.replace(TINY, log_every=3, validate_every=4)
    train_tokenizer(clips, config, training, val_clips=clips[:2], checkpoint_dir=tmp_path, callbacks=[diary])
    entries = [entry for entry in diary.entries if entry[0] != "best"]
    assert entries == [
        ("start", 0),
        ("log", 3, False),
        ("last", 3),
        ("log", 4, True),
        ("log", 6, False),
        ("last", 6),
        ("log", 7, True),
        ("last", 7),
        ("end", 4),
    ]
    assert next(entry for entry in diary.entries if entry[0] == "best") == ("best", 4)


def test_the_best_state_is_kept_and_survives_a_kill(clips: list[dict], config: ShiftConfig, tmp_path: Path) -> None:
    training = dataclasses.replace(
        TINY,
        steps=12,
        keep="best",
        learning_rate=0.3,
        warmup_steps=0,
        gradient_clip=100.0,
        validate_every=1,
        log_every=1,
    )
    best, history = train_tokenizer(clips, config, training, val_clips=clips, checkpoint_dir=tmp_path / "whole")
    errors = [entry["val_reconstruction"] for entry in history]
    assert errors[-1] > min(errors)  # it got worse at such a rate, or there is nothing to see here
    assert evaluate_reconstruction(best, clips)["reconstruction"] == min(errors)
    assert best.provenance["best_step"] == 1 + errors.index(min(errors))
    assert equal(ShiftTokenizer.from_pretrained(tmp_path / "whole" / "best"), best)
    with pytest.raises(KilledError):
        train_tokenizer(clips, config, training, val_clips=clips, checkpoint_dir=tmp_path / "cut", on_log=kill_at(11))
    again, _ = train_tokenizer(clips, config, training, val_clips=clips, checkpoint_dir=tmp_path / "cut")
    assert equal(best, again)
    with pytest.raises(ConfigError, match="val_clips"):
        train_tokenizer(clips, config, training)


def test_bfloat16_trains_to_nearly_the_same(clips: list[dict], config: ShiftConfig) -> None:
    errors = []
    for precision in ("fp32", "bf16"):
        training = dataclasses.replace(TINY, steps=80, learning_rate=1e-2, precision=precision)
        tokenizer, history = train_tokenizer(clips, config, training, val_clips=clips)
        assert {t.dtype for t in tokenizer.state_dict().values()} <= {torch.float32, torch.int64, torch.bool}
        errors.append([history[0]["val_reconstruction"], history[-1]["val_reconstruction"]])
    (first, exact), (_, rounded) = errors
    assert abs(exact - rounded) < 0.25 * (first - exact)
    assert exact != rounded


def test_a_tokenizer_knows_what_it_was_trained_on(clips: list[dict], config: ShiftConfig, tmp_path: Path) -> None:
    tokenizer, _ = train_tokenizer(clips, config, TINY, val_clips=clips[:2])
    tokenizer.save_pretrained(tmp_path / "a")
    known = ShiftTokenizer.from_pretrained(tmp_path / "a").provenance
    assert known["clips_by_source"] == {"fingerspelling": 4, "procedural": 6}
    assert known["frames"] == sum(len(clip["features"]) for clip in clips)
    assert known["step"] == TINY.steps
    assert known["settings"] == TINY.to_dict()
    assert known["metrics"]["val_reconstruction"] > 0
    again, _ = train_tokenizer(clips, config, TINY, val_clips=clips[:2])
    again.save_pretrained(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("decomposition", ["shift", "part", "modality", "plain"])
def test_every_decomposition_learns(decomposition: str, clips: list[dict], config: ShiftConfig) -> None:
    config = dataclasses.replace(config, decomposition=decomposition)
    training = dataclasses.replace(TINY, steps=120, learning_rate=1e-2, log_every=60)
    mean = np.concatenate([clip["features"] for clip in clips]).mean(0)
    tokenizer, history = train_tokenizer(clips, config, training, val_clips=clips)
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_codes_in_use"] > 0.3
    decoded = tokenizer.decode_list(tokenizer.encode_list([clip["features"] for clip in clips]))
    error = sum(float(np.abs(d.numpy() - c["features"]).mean()) for d, c in zip(decoded, clips, strict=True))
    still = sum(float(np.abs(mean - c["features"]).mean()) for c in clips)
    assert error < 0.75 * still


@pytest.mark.parametrize("quantizer", ["cosine", "fsq"])
def test_every_quantizer_learns(quantizer: str, clips: list[dict], config: ShiftConfig) -> None:
    levels = (4, 6) if quantizer == "fsq" else ()
    config = dataclasses.replace(config, quantizer=quantizer, fsq_levels=levels, codebook_init="kmeans")
    training = dataclasses.replace(TINY, steps=100, learning_rate=1e-2, log_every=50)
    tokenizer, history = train_tokenizer(clips, config, training, val_clips=clips)
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_codes_in_use"] > 0.3
    fresh = ShiftTokenizer(config, seed=training.seed)
    fresh.mean.copy_(tokenizer.mean)
    fresh.std.copy_(tokenizer.std)
    errors = [evaluate_reconstruction(t, clips)["reconstruction"] for t in (fresh, tokenizer)]
    assert errors[1] < 0.75 * errors[0]


def test_the_joint_losses_lower_the_joint_error(clips: list[dict], config: ShiftConfig, joints_fn: JointsFn) -> None:
    errors = []
    for weight in (0.0, 2.0):
        training = dataclasses.replace(
            TINY, steps=60, learning_rate=5e-3, joint_weight=weight, root_joint_weight=weight
        )
        tokenizer, history = train_tokenizer(clips, config, training, val_clips=clips, joints_fn=joints_fn)
        errors.append(history[-1]["val_mpjpe_mm"])
        assert history[-1]["val_mpjpe_mm"] == evaluate_reconstruction(tokenizer, clips, joints_fn)["mpjpe_mm"]
    assert errors[1] < errors[0]


def test_mirroring_shows_both_hands_what_only_one_did(config: ShiftConfig) -> None:
    config = dataclasses.replace(config, mirror_left=False, decomposition="plain")
    clip = make_clip(np.random.default_rng(0), 16)
    calls = []

    def mirror(features: torch.Tensor) -> torch.Tensor:
        calls.append(features.shape)
        return features.roll(99, -1)

    training = dataclasses.replace(TINY, mirror_probability=0.5)
    train_tokenizer([clip], config, training, mirror_fn=mirror)
    assert calls == [(6, 16, 198)] * TINY.steps
    with pytest.raises(ConfigError, match="mirror_fn"):
        train_tokenizer([clip], config, training)


def test_windows_lie_within_their_clip_and_say_what_is_padding() -> None:
    clips = []
    for number, frames in enumerate((8, 40)):
        stamp = np.zeros((frames, 198), np.float32)
        stamp[:, 0], stamp[:, 1] = number, np.arange(frames)
        clips.append({"features": stamp, "source": str(number)})
    sampler = WindowSampler(clips, window=16, batch_size=8, shares={"0": 0.25, "1": 0.75}, frames_per_latent=4, fps=15)
    starts = set()
    for seed in range(20):
        features, valid, mask = sampler.draw(torch.Generator().manual_seed(seed))
        number, frame = features[..., 0], features[..., 1]
        assert number[:, 0].tolist() == [0] * 2 + [1] * 6
        assert torch.equal(number, number[:, :1].expand_as(number))
        steps = frame.diff(dim=1)
        assert torch.equal(steps, (mask[:, 1:]).float())
        assert torch.equal(mask.sum(1), torch.tensor([8] * 2 + [16] * 6))
        assert torch.equal(valid, mask[..., None].expand_as(valid))
        starts |= set(frame[2:, 0].tolist())
    assert min(starts) == 0
    assert max(starts) == 24


def test_batches_are_shared_out_by_share() -> None:
    assert allot({"a": 1 / 3, "b": 2 / 3}, 48) == {"a": 16, "b": 32}
    assert allot({"a": 0.001, "b": 0.999}, 8) == {"a": 1, "b": 7}
    assert allot({"a": 2 / 3, "b": 0.0, "c": 1 / 3}, 6) == {"a": 4, "b": 0, "c": 2}
    assert sum(allot({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 7).values()) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((9, 198))}, "multiple of 4"),
        ({"features": np.zeros((8, 99))}, r"features \(T, 198\)"),
        ({"features": np.full((8, 198), np.nan)}, "finite"),
        ({"valid": np.ones((4, 2), bool)}, "valid"),
    ],
)
def test_a_malformed_clip_is_named(change: dict, message: str, config: ShiftConfig) -> None:
    clip = {"clip_id": "the-bad-one", "features": np.zeros((8, 198), np.float32), **change}
    with pytest.raises(DataError, match=f"the-bad-one.*{message}"):
        train_tokenizer([clip], config, TINY)
    with pytest.raises(DataError, match="at least one clip"):
        train_tokenizer([], config, TINY)


def test_a_window_must_fit_the_latent_step(clips: list[dict], config: ShiftConfig) -> None:
    with pytest.raises(ConfigError, match="multiple of frames_per_latent 4"):
        train_tokenizer(clips, config, dataclasses.replace(TINY, window=18))


def test_a_loss_that_is_not_finite_stops_the_run(clips: list[dict], config: ShiftConfig) -> None:
    def broken(features: torch.Tensor) -> torch.Tensor:
        return features.unflatten(-1, (2, 33, 3)) * torch.inf

    with pytest.raises(ShiftTokenizerError, match="Step 1: expected a finite loss"):
        train_tokenizer(clips, config, TINY, joints_fn=broken)


def test_losses_count_only_what_is_weighted(joints_fn: JointsFn) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 8, 198, generator=generator)
    weights = torch.zeros(2, 8, 2)
    weights[0, 2:6, 1] = 1.0
    broken = target.unflatten(-1, (2, 99)).masked_fill(weights[..., None] == 0, 50.0).flatten(2)
    groups = reconstruction_losses(broken, target, weights)
    assert [float(g) for g in (groups.rotation, groups.translation, groups.pose)] == [0, 0, 0]
    assert float(translation_velocity_loss(broken, target, weights)) == 0
    assert [float(x) for x in joint_losses(broken, target, weights, joints_fn)] == [0, 0]


def test_joints_are_compared_where_they_are_and_relative_to_the_wrist() -> None:
    """5 cm is one unit: smooth-L1 of it, quadratic below 0.3, is 0.85."""
    target, weights = torch.zeros(1, 1, 198), torch.ones(1, 1, 2)

    def three_joints(features: torch.Tensor) -> torch.Tensor:
        return features[..., :18].unflatten(-1, (2, 3, 3))

    last, all_three = target.clone(), target.clone()
    three_joints(last)[..., 2, 0] = 0.05
    three_joints(all_three)[..., 0] = 0.05
    absolute, relative = joint_losses(last, target, weights, three_joints)
    assert [float(absolute), float(relative)] == pytest.approx([0.85 / 9, 0.85 / 9])
    absolute, relative = joint_losses(all_three, target, weights, three_joints)
    assert [float(absolute), float(relative)] == pytest.approx([0.85 / 3, 0.0])


def test_commitment_leaves_padding_out() -> None:
    errors = (torch.tensor([[4.0, 9.0], [2.0, 9.0]]), torch.tensor([[8.0, 9.0], [0.0, 9.0]]))
    own = torch.tensor([[True, False], [True, False]])
    assert float(commitment_loss(errors, own, 2)) == pytest.approx((6 + 8) / 2 / 2)


def test_a_batch_without_a_hand_in_sight_is_survived(config: ShiftConfig) -> None:
    clip = make_clip(np.random.default_rng(0), 16) | {"valid": np.zeros((16, 2), bool)}
    tokenizer, history = train_tokenizer([clip], config, dataclasses.replace(TINY, unseen_share=0.0))
    assert np.isfinite(history[-1]["loss"])
    assert bool(tokenizer.codebooks().isfinite().all())


def test_each_group_has_its_own_mean(joints_fn: JointsFn) -> None:
    target = torch.zeros(1, 4, 198)
    prediction = target.clone()
    prediction[..., 0:6], prediction[..., 6:96], prediction[..., 96:99] = 1.0, 2.0, 4.0
    weights = torch.zeros(1, 4, 2)
    weights[..., 0] = 1.0
    groups = reconstruction_losses(prediction, target, weights)
    assert [float(g) for g in (groups.rotation, groups.translation, groups.pose)] == [0.5, 3.5, 1.5]
    prediction[..., 1, 96:99] = 6.0
    assert float(translation_velocity_loss(prediction, target, weights)) > 0
    moved = target.clone()
    moved[..., 96:99] += 0.05
    absolute, relative = joint_losses(
        moved, target, weights, lambda f: joints_fn(f)[..., :1, :].expand(-1, -1, -1, 3, 3)
    )
    assert float(absolute) == pytest.approx(0.85, abs=1e-5)
    assert float(relative) == pytest.approx(0, abs=1e-6)
