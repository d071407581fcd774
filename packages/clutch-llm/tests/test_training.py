import copy
import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clutch_llm import Clutch, InstructConfig, PretrainConfig, RefineConfig, train_stage, training
from clutch_llm.batching import SampleMaker, collate
from clutch_llm.corpus import mirrored
from clutch_llm.errors import ConfigError, DataError, MissingDependencyError
from clutch_llm.model import IGNORE, LMOutput
from clutch_llm.refinement import TrueMotion, motion_distances
from clutch_llm.step_batches import StepBatches
from clutch_llm.training import learning_rate_at
from hand_geometry import features_to_joints
from shift_tokenizer import ShiftConfig, ShiftTokenizer

SHORT = {"batch_size": 8, "log_every": 5, "warmup": 2, "learning_rate": 3e-3, "checkpoint_every": 5}


def weights_of(clutch) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in clutch.model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize(
    ("config", "key", "bound"),
    [
        (PretrainConfig(steps=60, tasks={"t2m": 1.0}, **SHORT), "ce/t2m", 0.8),
        (PretrainConfig(steps=60, tasks={"m2t": 1.0}, **SHORT), "ce/m2t", 0.8),
        (PretrainConfig(steps=60, tasks={"motion": 1.0}, **SHORT), "ce/motion", 0.82),
        (PretrainConfig(steps=60, tasks={"text": 1.0}, **SHORT), "ce/text", 0.75),
        (InstructConfig(steps=60, tasks={"t2t": 1.0}, **SHORT), "ce/t2t", 0.78),
        (RefineConfig(steps=60, tasks={"masked": 1.0}, temperature_end=1.0, **SHORT), "rec/masked", 0.9),
        (RefineConfig(steps=60, tasks={"t2m": 1.0}, control=True, **SHORT), "ce/t2m", 0.8),
        (RefineConfig(steps=60, tasks={"t2m": 1.0}, relaxation="soft", **SHORT), "rec/t2m", 0.9),
        (RefineConfig(steps=60, tasks={"t2m": 1.0}, relaxation="expected", **SHORT), "rec/t2m", 0.8),
    ],
    ids=["t2m", "m2t", "motion", "text", "instruct", "refine", "control", "soft", "expected"],
)
def test_each_stage_learns(clutch, examples, config, key: str, bound: float) -> None:
    """What it is trained on falls to under a bound; it stays at 0.96 to 1.0 of the start where nothing is learnt."""
    before = weights_of(clutch)
    trained, history = train_stage(clutch, examples, config, joints_fn=features_to_joints)
    assert history[-1]["step"] == 60
    assert np.mean([row[key] for row in history[-3:]]) < bound * history[0][key]
    assert same(before, weights_of(clutch))  # what was given is not changed
    assert not same(before, weights_of(trained))
    assert trained.stages[-1]["stage"] == type(config).__name__


STEPS = {"steps": 5, **SHORT}


@pytest.fixture(scope="module")
def calm(clutch, small_config) -> Clutch:
    """The same model without dropout, which is all that differs between ways to share out a batch."""
    captions = ["the left hand waves", "both hands clap"]
    return Clutch.create(replace(small_config, dropout=0.0), tokenizer=clutch.tokenizer, captions=captions)


@pytest.mark.parametrize("tasks", [{"t2m": 1.0}, {"masked": 1.0}, {"t2m": 0.4, "m2t": 0.2, "masked": 0.4}])
def test_without_weight_on_motion_refinement_is_the_control_bit_for_bit(clutch, examples, tasks) -> None:
    config = {"tasks": tasks, "alpha": 0.7, **STEPS}
    zero, first = train_stage(clutch, examples, RefineConfig(lam=0.0, **config), joints_fn=features_to_joints)
    control, second = train_stage(clutch, examples, RefineConfig(lam=3.0, control=True, **config))
    assert first == second
    assert same(weights_of(zero), weights_of(control))


@pytest.mark.parametrize("task", ["t2m", "masked"])
def test_the_motion_loss_is_all_that_tells_refinement_from_its_control(clutch, examples, task: str) -> None:
    """With next to no weight on it, computing it moves nothing: no batch, no dropout, no weight of another loss."""
    config = {"tasks": {task: 1.0}, "alpha": 0.7, **STEPS}
    refined, first = train_stage(clutch, examples, RefineConfig(lam=1e-30, **config), joints_fn=features_to_joints)
    control, second = train_stage(clutch, examples, RefineConfig(control=True, **config))
    assert first[0][f"ce/{task}"] == second[0][f"ce/{task}"]
    assert f"rec/{task}" in first[0]
    assert f"rec/{task}" not in second[0]
    for name, weight in weights_of(control).items():
        torch.testing.assert_close(weights_of(refined)[name], weight, atol=1e-12, rtol=0)


def test_refinement_weighs_cross_entropy_by_alpha_and_motion_by_lambda(clutch, examples) -> None:
    config = {"tasks": {"t2m": 1.0}, "alpha": 0.7, **STEPS}
    _, refined = train_stage(clutch, examples, RefineConfig(lam=3.0, **config))
    _, control = train_stage(clutch, examples, RefineConfig(control=True, **config))
    row = refined[0]
    assert row["loss"] == pytest.approx(0.7 * row["ce/t2m"] + 3.0 * row["rec/t2m"], rel=1e-5)
    assert control[0]["loss"] == pytest.approx(0.7 * control[0]["ce/t2m"], rel=1e-5)


def test_masked_prediction_refines_without_cross_entropy(clutch, examples) -> None:
    config = {"tasks": {"masked": 1.0}, **STEPS}
    _, history = train_stage(clutch, examples, RefineConfig(lam=3.0, **config))
    assert history[0]["loss"] == pytest.approx(3.0 * history[0]["rec/masked"], rel=1e-5)
    trained, control = train_stage(clutch, examples, RefineConfig(control=True, weight_decay=0.0, **config))
    assert control[0]["loss"] == 0.0
    assert same(weights_of(trained), weights_of(clutch))  # no gradient from it at all


class Oracle(torch.nn.Module):
    """A model that is sure of every code of its target."""

    def __init__(self, clutch) -> None:
        super().__init__()
        self.layout = clutch.vocabulary.layout
        self.bias = torch.nn.Parameter(torch.zeros(self.layout.codebook_size))

    def forward(self, *batches, refine: bool = False) -> LMOutput:
        logits, masks = [], []
        for batch in batches:
            codes = (batch.target >= self.layout.text_size) & (batch.target < self.layout.som)
            body = torch.zeros(len(batch.target), 32, dtype=torch.int64)
            for row, target, code in zip(body, batch.target, codes, strict=True):
                row[: int(code.sum())] = target[code]
            known = (body.unflatten(1, (8, 4)) - torch.from_numpy(self.layout.slot_offsets)).clamp(min=0)
            logits.append(1e4 * F.one_hot(known, self.layout.codebook_size).float() + self.bias)
            masks.append(torch.arange(8) * 4 < codes.sum(1)[:, None])
        return LMOutput(0.0 * self.bias.sum(), torch.cat(logits), torch.cat(masks))


@pytest.mark.parametrize("micro", [None, 2, 1])
@pytest.mark.parametrize("task", ["t2m", "masked"])
def test_refinement_compares_each_motion_with_its_own_truth(clutch, examples, task: str, micro: int | None) -> None:
    """Where every code is right, what is left is the tokenizer's own error, each clip's counted once.

    Lengths are mixed and half of the clips mirrored: another clip's truth, a neighbour's padding or a wrong weight of a
    micro-batch would show.
    """
    sure = copy.copy(clutch)
    sure.model = Oracle(clutch)
    settings = {"batch_size": 16, "mirror": 0.5, "source_temperature": 1.0, "log_every": 1, "micro_batch_size": micro}
    config = RefineConfig(steps=8, tasks={task: 1.0}, joint_weight=0.5, velocity_weight=0.25, **settings)
    seen: list[float] = []
    train_stage(
        sure, examples, config, joints_fn=features_to_joints, on_log=lambda _, row: seen.append(row[f"rec/{task}"])
    )
    distances = {}
    for clip in (*examples, *mirrored(examples, clutch.tokenizer)):
        decoded = clutch.tokenizer.decode(torch.from_numpy(clip["tokens"])[None])
        keywords = {"joints_fn": features_to_joints, "joint_weight": 0.5, "velocity_weight": 0.25}
        distances[clip["clip_id"]] = float(
            motion_distances(decoded, TrueMotion.of([clip]), clutch.tokenizer, **keywords)
        )
    images = {k.removesuffix("#mirror"): v for k, v in distances.items() if k.endswith("#mirror")}
    assert max(distances.values()) > 1.2 * min(distances.values())
    # Eight steps of sixteen show each of sixteen clips eight times, as it is or in a mirror: both have the same codes.
    expected = np.mean([distances[k] for k in images])
    assert images == pytest.approx({k: distances[k] for k in images}, rel=1e-3)
    assert np.mean(seen) == pytest.approx(expected, rel=1e-4)


def test_the_decoder_stays_frozen(clutch, examples) -> None:
    """No parameter of the motion tokenizer is in the graph of the loss, although it asks for gradients."""
    free = copy.copy(clutch)
    free.tokenizer = copy.deepcopy(clutch.tokenizer).requires_grad_(True)
    leaves: list[torch.Tensor] = []

    def spy(features: torch.Tensor) -> torch.Tensor:
        nodes, known = [features.grad_fn] if features.requires_grad else [], set()
        while nodes:
            node = nodes.pop()
            if node is not None and node not in known:
                known.add(node)
                nodes += [parent for parent, _ in node.next_functions]
                if hasattr(node, "variable"):
                    leaves.append(node.variable.detach().clone())
        return features_to_joints(features)

    train_stage(free, examples, RefineConfig(steps=1, tasks={"t2m": 1.0}, **SHORT), joints_fn=spy)
    assert len(leaves) > 10
    own = list(free.tokenizer.parameters())
    assert not any(leaf.shape == p.shape and torch.equal(leaf, p) for leaf in leaves for p in own)
    assert all(p.grad is None for p in own)


def test_refinement_of_beginnings_compares_beginnings(clutch, examples) -> None:
    sure = copy.copy(clutch)
    sure.model = Oracle(clutch)
    whole = [e for e in examples if len(e["tokens"]) == 8][:1]
    settings = {"batch_size": 1, "mirror": 0.0, "target_truncation": 1.0, "truncated_steps": 3, "log_every": 1}
    _, history = train_stage(sure, whole, RefineConfig(steps=1, tasks={"t2m": 1.0}, **settings))
    decoded = clutch.tokenizer.decode(torch.from_numpy(whole[0]["tokens"][:3])[None])
    expected = motion_distances(decoded, TrueMotion.of(whole, 12), clutch.tokenizer)
    assert history[0]["rec/t2m"] == pytest.approx(float(expected), rel=1e-4)


def test_mirrored_examples_are_another_half_of_the_data(clutch, examples) -> None:
    """Shown mirrored all the time, a run is the run over the mirrored examples shown as they are, to the bit."""
    images = mirrored(examples, clutch.tokenizer)
    config = {"tasks": {"m2t": 1.0}, **STEPS}
    seen, history = train_stage(clutch, examples, PretrainConfig(mirror=1.0, **config))
    given, again = train_stage(clutch, images, PretrainConfig(mirror=0.0, **config))
    _, plain = train_stage(clutch, examples, PretrainConfig(mirror=0.0, **config))
    assert history == again
    assert same(weights_of(seen), weights_of(given))
    assert history[0]["loss"] != plain[0]["loss"]


@pytest.mark.parametrize(
    "config",
    [PretrainConfig, RefineConfig, InstructConfig],
    ids=["pretrain", "refine", "instruct"],
)
@pytest.mark.parametrize("micro", [1, 4])
def test_micro_batches_add_up_to_the_batch(calm, examples, config, micro: int) -> None:
    """Of rows of many lengths: every token and every motion counts alike, whichever micro-batch it is in."""
    whole, history = train_stage(calm, examples, config(**STEPS), joints_fn=features_to_joints)
    parts, again = train_stage(calm, examples, config(micro_batch_size=micro, **STEPS), joints_fn=features_to_joints)
    assert again[0] == pytest.approx(history[0], rel=1e-4)
    for name, weight in weights_of(whole).items():
        torch.testing.assert_close(weights_of(parts)[name], weight, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("micro", [None, 2, 1])
def test_a_motion_in_which_no_hand_is_seen_does_not_count(clutch, examples, micro: int | None) -> None:
    """The mean is over those that are seen, however many of them a micro-batch has."""
    sure = copy.copy(clutch)
    sure.model = Oracle(clutch)
    blind = [{**e, "valid": np.zeros_like(e["valid"])} if k % 3 == 0 else e for k, e in enumerate(examples)]
    settings: dict[str, Any] = {"batch_size": 8, "mirror": 0.0, "log_every": 1, "tasks": {"t2m": 1.0}, "steps": 1}
    config = RefineConfig(micro_batch_size=micro, **settings)
    drawn = StepBatches(blind, config, clutch.tokenizer, clutch.vocabulary).draw(0)
    seen = [e for m in drawn.micro_batches for e in m.examples if e["valid"].any()]
    assert 0 < len(seen) < 8
    distances = [
        float(
            motion_distances(
                clutch.tokenizer.decode(torch.from_numpy(e["tokens"])[None]), TrueMotion.of([e]), clutch.tokenizer
            )
        )
        for e in seen
    ]
    _, history = train_stage(sure, blind, config)
    assert history[0]["rec/t2m"] == pytest.approx(np.mean(distances), rel=1e-4)


@pytest.mark.parametrize("unseen", [0.0, float("nan")])
def test_what_stands_where_a_hand_is_not_seen_changes_no_weight(clutch, examples, unseen: float) -> None:
    def hidden(value: float | None) -> list[dict[str, Any]]:
        some = []
        for example in examples:
            features, valid = example["features"].copy(), example["valid"].copy()
            valid[2:6, 0] = False
            if value is not None:
                features[2:6, :99] = value
            some.append({**example, "features": features, "valid": valid})
        return some

    config = RefineConfig(tasks={"t2m": 1.0}, **STEPS)
    one, history = train_stage(clutch, hidden(None), config, joints_fn=features_to_joints)
    other, again = train_stage(clutch, hidden(unseen), config, joints_fn=features_to_joints)
    assert history == again
    assert same(weights_of(one), weights_of(other))


def test_validation_is_on_the_held_out_examples(clutch, examples, monkeypatch) -> None:
    """Its figures are the cross-entropy a token of both directions on them, by the model as it then is."""
    monkeypatch.setattr("clutch_llm.training.VAL_BATCH", 3)
    held_out = [e for e in examples if e["source"] == "fingerspelling"]
    train = [e for e in examples if e["source"] != "fingerspelling"]
    config = PretrainConfig(**{**STEPS, "learning_rate": 1e-12, "weight_decay": 0.0})
    _, history = train_stage(clutch, train, config, val_examples=held_out)
    maker, pad = SampleMaker(clutch.vocabulary), clutch.vocabulary.layout.pad
    for task in ("t2m", "m2t"):
        rng, total, labels = np.random.default_rng(0), 0.0, 0
        for example in sorted(held_out, key=lambda e: len(e["tokens"])):
            batch = collate([maker.make(task, example, rng)], pad)
            count = int((batch.target != IGNORE).sum())
            with torch.no_grad():
                total += float(clutch.model.eval()(batch).loss) * count
            labels += count
        assert history[-1][f"val/{task}"] == pytest.approx(total / labels, rel=1e-5)


def test_validation_is_spread_over_the_split(clutch, examples, monkeypatch) -> None:
    """Stores hold one source after the other: the first ones alone would be of one."""
    seen = []
    planned = training.planned
    record = lambda some, vocabulary: seen.append([e["clip_id"] for e in some]) or planned(some, vocabulary)  # noqa: E731
    monkeypatch.setattr(training, "planned", record)
    monkeypatch.setattr(training, "VAL_EXAMPLES", 4)
    train_stage(clutch, examples, PretrainConfig(**{**STEPS, "steps": 1}), val_examples=examples)
    assert seen[-1] == ["clip-0", "clip-4", "clip-8", "clip-12"]


# DeepSpeed compiles an optimizer that is not used, which imports an old part of torch.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore:.torch.distributed.(all_gather_into|reduce_scatter)_tensor. is deprecated:FutureWarning"
)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_stages_train_to_the_same_weights(clutch, examples, stage: int) -> None:
    config: dict[str, Any] = {"steps": 5, "tasks": {"t2m": 1.0}, **SHORT}
    plain, history = train_stage(clutch, examples, PretrainConfig(**config))
    spread, again = train_stage(clutch, examples, PretrainConfig(zero_stage=stage, **config))
    assert again[0]["loss"] == pytest.approx(history[0]["loss"], rel=1e-4)
    for name, weight in weights_of(plain).items():
        torch.testing.assert_close(weights_of(spread)[name], weight, atol=2e-3, rtol=1e-2)


# Sums of bf16 are looser; and what is given back is float32.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_bf16_trains_to_about_the_same_loss(clutch, examples) -> None:
    config: dict[str, Any] = {"steps": 5, "tasks": {"t2m": 1.0}, **SHORT}
    _, history = train_stage(clutch, examples, PretrainConfig(**config))
    half, again = train_stage(clutch, examples, PretrainConfig(precision="bf16", zero_stage=2, **config))
    assert again[0]["loss"] == pytest.approx(history[0]["loss"], rel=0.02)
    assert {w.dtype for w in weights_of(half).values()} == {torch.float32}


def test_the_learning_rate_warms_up_and_falls() -> None:
    config = PretrainConfig(steps=100, warmup=10, learning_rate=1.0, min_lr_ratio=0.1)
    rates = [learning_rate_at(s, config) for s in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_what_does_not_agree_is_named_before_anything_runs(clutch, examples) -> None:
    nine = {
        "tokens": np.zeros((9, 4), dtype=np.int64),
        "features": np.zeros((36, 198), dtype=np.float32),
        "valid": np.ones((36, 2), dtype=bool),
    }
    longer = [{**examples[0], **nine}]
    with pytest.raises(DataError, match=r"max_steps = 8 latent steps, got 9 in clip 'clip-0': 36 frames at .*= 4"):
        train_stage(clutch, longer, PretrainConfig())
    with pytest.raises(DataError, match="got 9 in clip"):
        train_stage(clutch, examples, PretrainConfig(), val_examples=longer)
    with pytest.raises(DataError, match="'clip-0' at the 15 frames a second of the motion tokenizer, got 30"):
        train_stage(clutch, [{**examples[0], "fps": 30.0}], PretrainConfig())
    other = copy.copy(clutch)
    other.tokenizer = ShiftTokenizer(ShiftConfig(width=16, codebook_size=32, code_dim=8))
    with pytest.raises(DataError, match="one codebook_size in the vocabulary and the motion tokenizer, got 24 and 32"):
        train_stage(other, examples, PretrainConfig())
    with pytest.raises(DataError, match="got none"):
        train_stage(clutch, [], PretrainConfig())


def test_a_missing_deepspeed_names_the_extra(clutch, examples, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(MissingDependencyError, match=r"clutch-llm\[train\]"):
        train_stage(clutch, examples, PretrainConfig(steps=5, **SHORT))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps of at least 1"),
        ({"zero_stage": 4}, "zero_stage 0, 1, 2 or 3"),
        ({"precision": "fp8"}, "precision"),
        ({"tasks": {"walk": 1.0}}, "walk"),
        ({"tasks": {"t2m": 0.0}}, "above 0"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainConfig(**changes)


def test_history_is_plain_numbers(clutch, examples) -> None:
    _, history = train_stage(clutch, examples, PretrainConfig(steps=5, **SHORT), val_examples=examples)
    assert json.loads(json.dumps(history)) == history
    assert {"step", "loss", "lr", "val/t2m", "val/m2t"} <= set(history[0])
