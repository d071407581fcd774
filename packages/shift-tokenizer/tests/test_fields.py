"""Every field of the two configurations does what it is there for; a new field without a case fails here.

Each case builds the thing with the field at another value, and measures on it what the field is for, against numbers
that are written by hand.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shift_tokenizer import RateError, ShiftConfig, ShiftTokenizer, TokenizerTraining, train_tokenizer
from shift_tokenizer.fsq import FiniteScalarQuantizer
from shift_tokenizer.quantizer import EmaQuantizer
from shift_tokenizer.run import Run

from .conftest import make_clip, ready

SMALL = ShiftConfig(width=16, codebook_size=24, code_dim=8, dilations=(3, 1))
FEATURES = torch.from_numpy(make_clip(np.random.default_rng(0), 16)["features"])


def small(**changes: object) -> ShiftTokenizer:
    return ShiftTokenizer(dataclasses.replace(SMALL, **changes))


def quantizer(**changes: object) -> EmaQuantizer:
    level = small(**changes).stream_list()[0].quantizer.quantizers()[0]
    assert isinstance(level, EmaQuantizer)
    return level


def one_code(updates: int, **changes: object) -> EmaQuantizer:
    """A quantizer after updates of 24 latents, all zero, that all got code 0; new codes are drawn from ones."""
    level = quantizer(**changes)
    level.ready.fill_(True)
    for _ in range(updates):
        zeros = torch.zeros(24, 8)
        level.update(zeros, torch.zeros(24, dtype=torch.int64), zeros + 1, torch.Generator().manual_seed(0))
    return level


def decomposition() -> None:
    assert [small(decomposition=d).config.n_slots for d in ("shift", "part", "modality", "plain")] == [4, 2, 2, 1]


def width() -> None:
    assert small(width=12).stream_list()[0].encoder.first.weight.shape == (3, 9, 12)
    assert small(width=12).stream_list()[1].decoder.last.weight.shape == (3, 12, 90)


def codebook_size() -> None:
    assert small(codebook_size=7).codebooks().shape == (2, 7, 8)


def code_dim() -> None:
    assert small(code_dim=5).codebooks().shape == (2, 24, 5)


def frames_per_latent() -> None:
    assert [len(ready(small(frames_per_latent=n)).encode(FEATURES)) for n in (1, 2, 8)] == [16, 8, 2]


def residual_depth() -> None:
    tokenizer = ready(small(residual_depth=3))
    assert tokenizer.encode(FEATURES).shape == (4, 12)
    assert len(tokenizer.codebooks()) == 6


def dilations() -> None:
    stream = small(dilations=(5, 2, 1)).stream_list()[0]
    for net in (stream.encoder, stream.decoder):
        assert [[block.wide.dilation for block in blocks] for blocks in net.blocks] == [[5, 2, 1]] * 2


def mirror_left() -> None:
    """Both hands at x = 0.1: the left one is at -0.1 as a right hand."""
    features = torch.zeros(1, 198)
    features[0, [96, 195]] = 0.1
    for mirror, left in ((True, -0.1), (False, 0.1)):
        assert small(mirror_left=mirror).normalize(features)[0, [96, 195]].tolist() == pytest.approx([left, 0.1])


def encoder_input() -> None:
    for inputs, numbers in (("own", [9, 90]), ("whole", [99, 99])):
        streams = small(encoder_input=inputs).stream_list()
        assert [stream.encoder.first.weight.shape[1] for stream in streams] == numbers


def quantizer_kind() -> None:
    cosine = ready(small(quantizer="cosine"))
    assert cosine.codebooks().norm(dim=-1).flatten().tolist() == pytest.approx([math.sqrt(8)] * 48, rel=1e-5)
    fsq = small(quantizer="fsq", fsq_levels=(4, 6)).stream_list()[0].quantizer.quantizers()[0]
    assert isinstance(fsq, FiniteScalarQuantizer)


def fsq_levels() -> None:
    levels = [
        s.quantizer.quantizers()[0].levels.tolist() for s in small(quantizer="fsq", fsq_levels=(3, 8)).stream_list()
    ]
    assert levels == [[3, 8], [3, 8]]


def codebook_init() -> None:
    """Two clouds, drawn from once: by k-means, codes lie in their middles, at -1 and 1."""
    latents = torch.cat([-torch.ones(50, 8), torch.ones(50, 8)])
    latents += 0.5 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    distances = []
    for init in ("kmeans", "sample"):
        level = quantizer(codebook_init=init, codebook_size=2)
        level.initialise(latents, torch.Generator().manual_seed(1))
        distances.append(float((level.codebook.sort(0).values - torch.tensor([[-1.0], [1.0]])).abs().max()))
    assert distances[0] < 0.25 < distances[1]


def decay() -> None:
    """Counts begin at 1; 24 latents come to code 0 and none to the others."""
    level = one_code(1, decay=0.75, reset_every=9)
    assert level.counts[:2].tolist() == pytest.approx([0.75 + 0.25 * 24, 0.75])


def reset_every() -> None:
    """Codes of no use, of which there are 23, become ones after the third update and not before."""
    for updates, moved in ((2, 0), (3, 23), (4, 23)):
        level = one_code(updates, reset_every=3, decay=0.5, reset_threshold=0.6)
        assert int((level.codebook > 0.999).all(-1).sum()) == moved


def reset_threshold() -> None:
    """After one update at decay 0.5 the counts of idle codes are 0.5; an equal share of 24 latents is 1."""
    for threshold, moved in ((0.49, 0), (0.51, 23)):
        level = one_code(1, reset_every=1, decay=0.5, reset_threshold=threshold)
        assert int((level.codebook == 1).all(-1).sum()) == moved


def prediction() -> None:
    assert [stream.prediction for stream in small(prediction=0.3).stream_list()] == [0.3, 0.0]


def pose_prediction() -> None:
    assert [stream.prediction for stream in small(pose_prediction=0.6).stream_list()] == [0.8, 0.6]


def std_floor() -> None:
    tokenizer = small(std_floor=0.25, mirror_left=False)
    tokenizer.fit_normalisation(torch.ones(5, 198), torch.ones(5, 2, dtype=torch.bool))
    assert tokenizer.std.unique().tolist() == [0.25]


def group_std() -> None:
    """Of a pose whose 90 features have the standard deviations 1 and 7 by turns, the root of the mean square is 5."""
    signs = torch.tensor([1.0, -1.0]).repeat(500)[:, None]
    features = torch.zeros(1000, 2, 99)
    features[..., 6:96:2], features[..., 7:96:2] = signs[..., None], 7 * signs[..., None]
    tokenizer = small(group_std=True, mirror_left=False)
    tokenizer.fit_normalisation(features.flatten(1), torch.ones(1000, 2, dtype=torch.bool))
    torch.testing.assert_close(tokenizer.std[:, 6:96], torch.full((2, 90), 5.0), rtol=1e-3, atol=0)
    assert tokenizer.std[:, 96:].unique().tolist() == pytest.approx([1e-3])


def fps() -> None:
    ready(small(fps=24.0)).encode(FEATURES, fps=24)
    with pytest.raises(RateError):
        ready(small(fps=24.0)).encode(FEATURES, fps=15)


MODEL_CASES: dict[str, Callable[[], None]] = {
    "decomposition": decomposition,
    "width": width,
    "codebook_size": codebook_size,
    "code_dim": code_dim,
    "frames_per_latent": frames_per_latent,
    "residual_depth": residual_depth,
    "dilations": dilations,
    "mirror_left": mirror_left,
    "encoder_input": encoder_input,
    "quantizer": quantizer_kind,
    "fsq_levels": fsq_levels,
    "codebook_init": codebook_init,
    "decay": decay,
    "reset_every": reset_every,
    "reset_threshold": reset_threshold,
    "prediction": prediction,
    "pose_prediction": pose_prediction,
    "std_floor": std_floor,
    "group_std": group_std,
    "fps": fps,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ShiftConfig)])
def test_every_field_of_the_model_does_what_it_is_for(field: str) -> None:
    assert field in MODEL_CASES, (
        f"ShiftConfig.{field} has no case: write one that fails when the field is not passed on."
    )
    MODEL_CASES[field]()


# Training

BASE = TokenizerTraining(steps=8, batch_size=6, window=16, warmup_steps=0, log_every=4)


def joints(features: torch.Tensor) -> torch.Tensor:
    hands = features.unflatten(-1, (2, 99))
    return torch.stack([hands[..., 96:], hands[..., 96:] + 0.1 * hands[..., 6:9]], -2)


def mirror(features: torch.Tensor) -> torch.Tensor:
    """Swaps the hands, and marks them."""
    return features.unflatten(-1, (2, 99)).flip(-2).flatten(-2) + 1000


def some_clips() -> list[dict]:
    rng = np.random.default_rng(1)
    return [make_clip(rng, 24) for _ in range(9)] + [make_clip(rng, 24, "fingerspelling")]


def run_of(clips: list[dict] | None = None, **changes: object) -> Run:
    return Run(clips or some_clips(), SMALL, dataclasses.replace(BASE, **changes), joints, mirror)


def trained(folder: Path | None = None, **changes: object) -> SimpleNamespace:
    notes: list[int] = []
    clips = some_clips()
    tokenizer, history = train_tokenizer(
        clips,
        SMALL,
        dataclasses.replace(BASE, **changes),
        val_clips=clips[:2],
        joints_fn=joints,
        mirror_fn=mirror,
        checkpoint_dir=folder,
        on_log=lambda step, metrics: notes.append(step),
    )
    return SimpleNamespace(tokenizer=tokenizer, history=history, logged=notes)


def steps(_: Path) -> None:
    assert trained(steps=3).history[-1]["step"] == 3


def batch_size(_: Path) -> None:
    assert len(run_of(batch_size=5)._batch().features) == 5


def window(_: Path) -> None:
    assert run_of(window=8)._batch().features.shape == (6, 8, 198)


def learning_rate(_: Path) -> None:
    run = run_of(learning_rate=0.05, final_rate=0.1)
    assert [run.learning_rate(step) for step in (0, 4)] == pytest.approx([0.05, 0.05 * (0.1 + 0.9 * 0.5)])
    run.step()
    run.step()
    assert run.state.optimizer.param_groups[0]["lr"] == run.learning_rate(1)


def warmup_steps(_: Path) -> None:
    run = run_of(warmup_steps=4, final_rate=1.0, learning_rate=0.08)
    assert [run.learning_rate(step) for step in range(5)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.08])


def final_rate(_: Path) -> None:
    assert run_of(final_rate=0.25, learning_rate=0.4).learning_rate(8) == pytest.approx(0.1)


def weight_decay(_: Path) -> None:
    """Of a weight without a gradient, the first step takes the share learning_rate * weight_decay."""
    run = run_of(weight_decay=0.5, learning_rate=0.1)
    weight = next(run.tokenizer.parameters())
    before = weight.detach().clone()
    weight.register_hook(torch.zeros_like)
    run.step()
    torch.testing.assert_close(weight.detach(), before * 0.95)


def source_temperature(_: Path) -> None:
    """9 clips and 1: shares by the size, 0.1; by the root, 0.25; nearly alike, 0.5."""
    sizes = [
        {s: n for (_, n), s in zip(run_of(batch_size=20, source_temperature=t).sampler.groups, "fp", strict=True)}
        for t in (1.0, 2.0, 1e9)
    ]
    assert [size["f"] for size in sizes] == [2, 5, 10]


def source_weights(_: Path) -> None:
    groups = run_of(batch_size=20, source_weights={"fingerspelling": 0.8, "procedural": 0.2}).sampler.groups
    assert [count for _, count in groups] == [16, 4]


def weight_of(loss: str) -> Callable[[Path], None]:
    """The loss grows by as many times the part as its weight grows by; the first batch is the same."""

    def case(_: Path) -> None:
        totals = []
        for weight in (0.0, 5.0):
            run = run_of(**{f"{loss}_weight": weight})
            totals.append(run.step())
        part = float(totals[1][loss])
        assert part > 1e-4
        assert float(totals[1]["loss"] - totals[0]["loss"]) == pytest.approx(5 * part, rel=1e-3)

    return case


def invalid_weight(_: Path) -> None:
    """Errors of 1.5 (a smooth-L1 of 1) where a hand is seen, in 4 of 16 frames, and of 3.5 (3) where it is not."""
    clip = make_clip(np.random.default_rng(0), 16) | {"valid": np.arange(16)[:, None].repeat(2, 1) < 4}
    for weight in (0.0, 0.25, 1.0):
        run = run_of([clip], invalid_weight=weight)
        batch = run._batch()
        error = torch.where(batch.valid, 1.5, 3.5).repeat_interleave(99, -1)
        output = dataclasses.replace(run._forward(batch), reconstruction=batch.normalized + error)
        expected = (4 * 1 + weight * 12 * 3) / (4 + weight * 12)
        for name in ("rotation", "translation", "pose"):
            assert float(run._losses(output, batch)[name]) == pytest.approx(expected, rel=1e-5)


def unseen_share(_: Path) -> None:
    """The left hand is never seen."""
    clip = make_clip(np.random.default_rng(0), 16) | {"valid": np.array([[False, True]] * 16)}
    for share, worked_on in ((0.0, 0), (1.0, 6)):
        assert int(run_of([clip], unseen_share=share)._batch().hands[:, 0].sum()) == worked_on


def mirror_probability(_: Path) -> None:
    """Features and validity are swapped together."""
    clip = make_clip(np.random.default_rng(0), 16) | {"valid": np.array([[False, True]] * 16)}
    plain, mirrored = (run_of([clip], mirror_probability=p)._batch() for p in (0.0, 1.0))
    assert plain.valid[..., 1].all()
    assert mirrored.valid[..., 0].all()
    assert not mirrored.valid[..., 1].any()
    torch.testing.assert_close(mirrored.features, mirror(plain.features))
    torch.testing.assert_close(mirrored.normalized, run_of([clip]).tokenizer.normalize(mirrored.features))


def gradient_clip(_: Path) -> None:
    run = run_of(gradient_clip=1e-3)
    run.step()
    norms = torch.stack([p.grad.norm() for p in run.tokenizer.parameters() if p.grad is not None])
    assert float(norms.norm()) == pytest.approx(1e-3, rel=1e-3)


def seed(_: Path) -> None:
    one, same, other = (run_of(seed=number) for number in (1, 1, 2))
    weights = [next(run.tokenizer.parameters()) for run in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    batches = [run._batch().features for run in (one, same, other)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def log_every(_: Path) -> None:
    assert trained(log_every=3, validate_every=100).logged == [3, 6, 8]


def validate_every(_: Path) -> None:
    history = trained(log_every=100, validate_every=3).history
    assert [entry["step"] for entry in history if "val_mpjpe_mm" in entry] == [3, 6, 8]


def checkpoint_every(folder: Path) -> None:
    seen: list[bool] = []

    class KilledError(Exception):
        pass

    def note(step: int, _: dict[str, float]) -> None:
        seen.append((folder / "training_state.safetensors").exists())
        if step == 7:
            raise KilledError

    training = dataclasses.replace(BASE, log_every=1, checkpoint_every=3)
    with pytest.raises(KilledError):
        train_tokenizer(some_clips(), SMALL, training, joints_fn=joints, checkpoint_dir=folder, on_log=note)
    assert seen == [False] * 3 + [True] * 4  # it is written after the third step was logged


def precision(_: Path) -> None:
    run = run_of(precision="bf16")
    exact = float(run_of().step()["rotation"])
    assert float(run.step()["rotation"]) == pytest.approx(exact, rel=0.05)
    assert float(run.step()["rotation"]) != exact
    kept: list[torch.dtype] = []
    run.tokenizer.stream_list()[0].encoder.last.register_forward_hook(lambda _, __, y: kept.append(y.dtype))
    run.step()
    assert kept == [torch.bfloat16]


def keep(_: Path) -> None:
    """At such a rate it gets worse: the best is of an earlier step than the last."""
    wild = {"steps": 12, "learning_rate": 0.5, "gradient_clip": 100.0, "validate_every": 1, "log_every": 1}
    last, best = (trained(keep=name, **wild) for name in ("last", "best"))
    assert best.tokenizer.provenance["best_step"] < 12
    assert not torch.equal(last.tokenizer.codebooks(), best.tokenizer.codebooks())


def device(_: Path) -> None:
    assert run_of(device="cpu").device.type == "cpu"
    assert run_of(device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def memory_mb(_: Path) -> None:
    """9 clips of 24 frames of 794 bytes are 0.2 MiB; the same windows are drawn from memory and not from memory."""
    kept, read = (run_of(memory_mb=size) for size in (1, 0))
    assert (kept.sampler.packed, read.sampler.packed) == (True, False)
    for a, b in zip(*(run.sampler.draw(run.state.generator) for run in (kept, read)), strict=True):
        assert torch.equal(a, b)


TRAINING_CASES: dict[str, Callable[[Path], None]] = {
    "steps": steps,
    "batch_size": batch_size,
    "window": window,
    "learning_rate": learning_rate,
    "warmup_steps": warmup_steps,
    "final_rate": final_rate,
    "weight_decay": weight_decay,
    "source_temperature": source_temperature,
    "source_weights": source_weights,
    **{
        f"{loss}_weight": weight_of(loss)
        for loss in ("rotation", "translation", "pose", "commitment", "velocity", "joint", "root_joint")
    },
    "invalid_weight": invalid_weight,
    "unseen_share": unseen_share,
    "mirror_probability": mirror_probability,
    "gradient_clip": gradient_clip,
    "seed": seed,
    "log_every": log_every,
    "validate_every": validate_every,
    "checkpoint_every": checkpoint_every,
    "precision": precision,
    "keep": keep,
    "device": device,
    "memory_mb": memory_mb,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TokenizerTraining)])
def test_every_field_of_training_does_what_it_is_for(field: str, tmp_path: Path) -> None:
    assert field in TRAINING_CASES, f"TokenizerTraining.{field} has no case: write one that fails when it is ignored."
    TRAINING_CASES[field](tmp_path)


def test_commitment_pulls_the_encoders_alone() -> None:
    """With every other weight at 0, encoders get a gradient and decoders none."""
    off = dict.fromkeys(("rotation", "translation", "pose", "velocity", "joint", "root_joint"), 0.0)
    run = run_of(**{f"{name}_weight": 0.0 for name in off}, weight_decay=0.0)
    losses = run.step()
    assert float(losses["loss"]) == pytest.approx(0.25 * float(losses["commitment"]), rel=1e-4)
    for stream in run.tokenizer.stream_list():
        assert float(stream.encoder.first.weight.grad.abs().max()) > 0
        grad = stream.decoder.last.weight.grad
        assert grad is None or float(grad.abs().max()) == 0
