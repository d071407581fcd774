"""What reaches what: clips, splits, masks and settings on their way to losses, codes, metrics and commands."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from shift_tokenizer import (
    ShiftConfig,
    ShiftTokenizer,
    ShiftTokenizerError,
    TokenizerTraining,
    cli,
    codebook_usage,
    evaluate_reconstruction,
    train_tokenizer,
    training,
)
from shift_tokenizer.losses import translation_velocity_loss
from shift_tokenizer.quantizer import EmaQuantizer, ResidualQuantizer
from shift_tokenizer.run import Run
from shift_tokenizer.windows import WindowSampler

from .conftest import make_clip, ready
from .test_cli import write_store

SMALL = ShiftConfig(width=16, codebook_size=24, code_dim=8, dilations=(3, 1))
SETTINGS = TokenizerTraining(steps=6, batch_size=6, window=16, log_every=1, validate_every=1, warmup_steps=0)


def joints(features: torch.Tensor) -> torch.Tensor:
    """A wrist, and a point 10 cm before it that the pose moves."""
    hands = features.unflatten(-1, (2, 99))
    return torch.stack([hands[..., 96:], hands[..., 96:] + 0.1 + 0.1 * hands[..., 6:9]], -2)


def clip_of(frames: int, seed: int = 0, **more: object) -> dict:
    return make_clip(np.random.default_rng(seed), frames) | more


def run_of(clips: list[dict], config: ShiftConfig = SMALL, **changes: object) -> Run:
    return Run(clips, config, dataclasses.replace(SETTINGS, **changes), joints, None)


def test_padding_changes_no_loss_and_no_code() -> None:
    """Clips of 8 frames in windows of 8, and in windows of 16, half of which are padding."""
    clips = [clip_of(8, seed) for seed in range(5)]
    exact, padded = (run_of(clips, window=window) for window in (8, 16))
    for _ in range(3):
        one, other = exact.step(), padded.step()
        assert set(one) == {
            *("loss", "rotation", "translation", "pose", "commitment", "velocity", "joint", "root_joint"),
        }
        for name, value in one.items():
            assert float(other[name]) == pytest.approx(float(value), rel=1e-3), name
    for a, b in zip(exact.tokenizer.state_dict().values(), padded.tokenizer.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_without_a_weight_unseen_frames_are_in_no_loss() -> None:
    valid = np.ones((16, 2), bool)
    valid[5:9, 0] = valid[:3, 1] = False
    run = run_of([clip_of(16, valid=valid)], invalid_weight=0.0)
    batch = run._batch()
    output = run._forward(batch)
    noise = torch.randn(batch.normalized.shape, generator=torch.Generator().manual_seed(0))
    noise = torch.where(batch.valid.repeat_interleave(99, -1), 0.0, noise)
    moved = dataclasses.replace(output, reconstruction=output.reconstruction + 10 * noise)
    with torch.no_grad():
        before, after = run._losses(output, batch), run._losses(moved, batch)
    for name, value in before.items():
        assert float(after[name]) == pytest.approx(float(value), rel=1e-5), name


def test_a_hand_that_is_not_worked_on_is_in_no_loss() -> None:
    """The left hand is never seen; whatever a frame without a hand weighs, the losses are those of the right one."""
    clip = clip_of(16, valid=np.array([[False, True]] * 16))
    totals = [run_of([clip], unseen_share=0.0, invalid_weight=weight).step() for weight in (0.0, 1.0)]
    for name, value in totals[0].items():
        assert float(totals[1][name]) == pytest.approx(float(value), rel=1e-6), name


def test_joint_losses_compare_motion_in_metres_absolute_and_by_the_wrist() -> None:
    """Both hands lie 5 cm off in each direction: 1 in the loss's unit, a smooth-L1 of 0.85, and 0 by the wrist."""
    run = run_of([clip_of(16)])
    batch = run._batch()
    moved = batch.features.clone()
    moved[..., [96, 97, 98, 195, 196, 197]] += 0.05
    output = dataclasses.replace(run._forward(batch), reconstruction=run.tokenizer.normalize(moved))
    losses = run._losses(output, batch)
    assert float(losses["joint"]) == pytest.approx(0.85, rel=1e-3)
    assert float(losses["root_joint"]) == pytest.approx(0, abs=1e-5)


def test_the_velocity_of_a_frame_counts_where_it_and_the_one_before_are_seen() -> None:
    """Of three frames the hand is seen in the first two; it jumps by 3 to the second, and by 7 to the third."""
    target, prediction = torch.zeros(1, 3, 198), torch.zeros(1, 3, 198)
    prediction[0, 1, 96:99], prediction[0, 2, 96:99] = 3.0, 10.0
    weights = torch.zeros(1, 3, 2)
    weights[0, :2, 0] = 1.0
    assert float(translation_velocity_loss(prediction, target, weights)) == pytest.approx(2.5)


class Spy:
    """Stands in for a quantizer's `initialise` and `update`, and keeps what they are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.initialised: list[torch.Tensor] = []
        self.updated: list[SimpleNamespace] = []
        initialise = ResidualQuantizer.initialise

        def first(quantizer: ResidualQuantizer, latents: torch.Tensor, generator: torch.Generator) -> None:
            self.initialised.append(latents)
            initialise(quantizer, latents, generator)

        def then(_: ResidualQuantizer, latents: torch.Tensor, indices: torch.Tensor, visible: torch.Tensor, __) -> None:
            self.updated.append(SimpleNamespace(latents=latents, indices=indices, visible=visible))

        monkeypatch.setattr(ResidualQuantizer, "initialise", first)
        monkeypatch.setattr(ResidualQuantizer, "update", then)


def test_codes_learn_what_they_stand_for_and_are_drawn_from_what_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip of two latent steps in a window of four; the left hand is seen in one frame of the second step alone."""
    valid = np.ones((8, 2), bool)
    valid[:, 0] = np.arange(8) == 5
    run = run_of([clip_of(8, valid=valid)], batch_size=1)
    spy = Spy(monkeypatch)
    batch = run._batch()
    monkeypatch.setattr(run, "_batch", lambda: batch)
    run._initialise_codes(batch)
    output = run._forward(batch)
    assert [len(latents) for latents in spy.initialised] == [3, 3]  # left: the second step; right: both
    run._update_codes(output, batch)
    for stream, update in enumerate(spy.updated):
        torch.testing.assert_close(update.latents, output.targets[stream][:, :2].flatten(0, 1))
        assert torch.equal(update.indices, output.indices[stream][:, :2].flatten(0, 1))
        assert update.visible.tolist() == [False, True, True, True]
    trajectory = output.targets[0], output.latents[0]
    assert not torch.allclose(*trajectory)  # a trajectory's codes stand for what is not predicted


def test_a_first_count_is_a_share_of_an_equal_share() -> None:
    """96 latents for 24 codes are 4 each; at a threshold of 0.75 each code begins with 3."""
    level = EmaQuantizer(24, 8, decay=0.9, reset_every=1, reset_threshold=0.75)
    level.initialise(torch.randn(96, 8), torch.Generator().manual_seed(0))
    assert level.counts.unique().tolist() == [3.0]
    torch.testing.assert_close(level.sums, 3 * level.codebook)


def test_a_code_of_directions_comes_back_as_long_as_the_others() -> None:
    level = EmaQuantizer(4, 9, decay=0.0, reset_every=1, reset_threshold=0.5, cosine=True)
    level.ready.fill_(True)
    pool = 100 * torch.ones(5, 9)
    level.update(torch.ones(8, 9), torch.zeros(8, dtype=torch.int64), pool, torch.Generator().manual_seed(0))
    assert (level.sums / level.counts[:, None]).norm(dim=-1).tolist() == pytest.approx([3.0] * 4)


def test_a_long_clip_is_drawn_as_often_as_it_has_windows() -> None:
    clips = [clip_of(16), clip_of(160, 1)]
    clips[1]["features"][:, 0] = 77.0
    sampler = WindowSampler(clips, window=16, batch_size=50, shares={"procedural": 1.0}, frames_per_latent=4, fps=15)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([sampler.draw(generator)[0][:, 0, 0] for _ in range(20)])
    assert float((drawn == 77).double().mean()) == pytest.approx(10 / 11, abs=0.03)


def test_the_best_step_is_that_of_the_joints_on_the_validation_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joints are best at step 3, features at step 5."""
    clips, val_clips = [clip_of(16, 1)], [clip_of(16, 2)]
    mpjpe, features = [5.0, 4.0, 1.0, 3.0, 2.0, 6.0], [6.0, 5.0, 4.0, 3.0, 1.0, 2.0]
    seen: list[Any] = []

    def measure(tokenizer: ShiftTokenizer, own: list, joints_fn: Any, *, prefix: str) -> dict[str, float]:
        assert own is val_clips
        assert prefix == "val_"
        seen.append(joints_fn)
        number = len(seen) - 1
        joint = {} if joints_fn is None else {"val_mpjpe_mm": mpjpe[number]}
        return {"val_reconstruction": features[number], **joint}

    monkeypatch.setattr(training, "evaluate_reconstruction", measure)
    for joints_fn, best in ((joints, 3), (None, 5)):
        seen.clear()
        tokenizer, _ = train_tokenizer(clips, SMALL, SETTINGS, val_clips=val_clips, joints_fn=joints_fn)
        assert seen == [joints_fn] * 6
        assert tokenizer.provenance["best_step"] == best


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Run, "step", lambda run: pytest.fail("a step was taken"))
    with pytest.raises(ShiftTokenizerError, match=r"Could not write .*file/run.*choose another folder"):
        train_tokenizer([clip_of(16)], SMALL, SETTINGS, checkpoint_dir=tmp_path / "file" / "run")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ShiftTokenizerError, match=r"Could not write .*run: .*Permission denied"):
        train_tokenizer([clip_of(16)], SMALL, SETTINGS, checkpoint_dir=tmp_path / "run")


def test_provenance_tells_every_clip(config: ShiftConfig, clips: list[dict]) -> None:
    settings = dataclasses.replace(SETTINGS, steps=1)
    known = train_tokenizer(clips, config, settings, val_clips=clips[:1])[0].provenance["data_sha256"]
    changed = [*clips[:-1], clips[-1] | {"features": clips[-1]["features"] + 0.5}]
    assert train_tokenizer(clips, config, settings, val_clips=clips[1:])[0].provenance["data_sha256"] == known
    assert train_tokenizer(changed, config, settings)[0].provenance["data_sha256"] != known


def test_figures_of_a_source_are_those_of_its_clips_alone(tokenizer: ShiftTokenizer) -> None:
    clips = [clip_of(frames, frames, source=source) for frames, source in ((8, "a"), (16, "b"), (12, "a"), (20, "c"))]
    together = evaluate_reconstruction(tokenizer, clips, joints, prefix="x_")
    for source in "abc":
        alone = evaluate_reconstruction(tokenizer, [clip for clip in clips if clip["source"] == source], joints)
        for name in ("reconstruction", "mpjpe_mm", "root_mpjpe_mm"):
            assert together[f"x_{name}/{source}"] == pytest.approx(alone[name], rel=1e-5)
    assert together["x_mpjpe_mm"] != together["x_mpjpe_mm/a"]


def test_figures_are_of_hands_that_are_seen(tokenizer: ShiftTokenizer) -> None:
    """Codes of a hand that is never seen are not counted; its joints neither."""
    seen = clip_of(16, valid=np.array([[False, True]] * 16))
    figures = evaluate_reconstruction(tokenizer, [seen], joints)
    tokens = tokenizer.encode(seen["features"], seen["valid"])
    right = [len(tokens[:, slot].unique()) / 24 for slot in (2, 3)]
    assert figures["codes_in_use"] == pytest.approx(sum(right) / 2)
    decoded = tokenizer.decode(tokens)
    error = (joints(decoded) - joints(torch.from_numpy(seen["features"])))[:, 1].norm(dim=-1).mean()
    assert figures["mpjpe_mm"] == pytest.approx(1000 * float(error), rel=1e-4)
    assert codebook_usage([tokens], tokenizer.config)[0].in_use >= right[0]


def test_the_train_command_passes_on_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(tmp_path / "hands.zarr")
    (tmp_path / "c.json").write_text(json.dumps({"model": {"width": 4}, "training": {"seed": 1, "window": 8}}))
    given: dict[str, Any] = {}

    def train(clips: list, config: ShiftConfig, training: TokenizerTraining, **options: Any) -> tuple:
        given.update(clips=clips, config=config, training=training, **options)
        return ready(ShiftTokenizer(config)), []

    monkeypatch.setattr(cli, "train_tokenizer", train)
    store, out = str(tmp_path / "hands.zarr"), str(tmp_path / "out")
    command = ["train", store, "--split", "train", "--val-split", "test", "--config", str(tmp_path / "c.json")]
    command += ["--joints", f"{__name__}:joints", "--steps", "7", "--seed", "9", "--device", "cpu"]
    cli.main([*command, "--out", out, "--checkpoints", str(tmp_path / "kept")])
    assert [clip["clip_id"] for clip in given["clips"]] == ["0", "1", "2"]
    assert [clip["clip_id"] for clip in given["val_clips"]] == ["3"]
    assert given["config"] == ShiftConfig(width=4)
    assert given["training"] == TokenizerTraining(steps=7, seed=9, window=8, device="cpu")
    assert given["joints_fn"].__name__ == "joints"
    assert given["checkpoint_dir"] == tmp_path / "kept"
    assert ShiftTokenizer.from_pretrained(out).config == ShiftConfig(width=4)
    cli.main(["train", store, "--val", store, "--out", out])
    assert [len(given["clips"]), len(given["val_clips"])] == [4, 4]
    assert given["checkpoint_dir"] == tmp_path / "out" / "checkpoints"
    assert given["joints_fn"] is None


def test_the_inspect_command_counts_hands_that_are_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tokenizer: ShiftTokenizer
) -> None:
    tokenizer.save_pretrained(tmp_path / "model")
    clip = clip_of(16)
    valid = np.array([[False, True]] * 16)
    np.savez(tmp_path / "clip.npz", features=clip["features"], valid=valid, fps=15)
    cli.main(["inspect", str(tmp_path / "model"), "--data", str(tmp_path / "clip.npz")])
    tokens = tokenizer.encode(clip["features"], valid)
    shares = [len(tokens[:, slot].unique()) / 24 for slot in (2, 3)]
    shown = capsys.readouterr().out
    assert [f"codebook {book} over 1 clips: {share:.0%} in use" in shown for book, share in enumerate(shares)] == [
        True
    ] * 2
