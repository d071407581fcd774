"""Every field of every training configuration does what it is there for: no case, or no effect, fails."""

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import AdaptConfig, InstructConfig, PretrainConfig, RefineConfig, train_stage
from clutch_llm.engine import start_engine
from clutch_llm.model import IGNORE
from clutch_llm.step_batches import StepBatches
from clutch_llm.training import _Run, learning_rate_at
from hand_geometry import features_to_joints

#: Small, and with chance where a stage has any.
BASE: dict[str, Any] = {
    "steps": 4,
    "batch_size": 4,
    "log_every": 1,
    "warmup": 2,
    "learning_rate": 3e-3,
    "tasks": {"t2m": 1.0},
    "condition_dropout": 0.0,
    "decoder_input_dropout": 0.0,
    "target_truncation": 0.0,
    "mirror": 0.0,
}
STAGES = (PretrainConfig, RefineConfig, InstructConfig)


class Probe:
    """What a configuration makes of a model and some examples."""

    def __init__(self, clutch, examples, tmp_path) -> None:
        self.clutch, self.examples, self.tmp_path = clutch, examples, tmp_path

    def config(self, stage: type, **changes: Any) -> Any:
        return stage(**{**BASE, **changes})

    def train(self, stage: type, **changes: Any) -> tuple[torch.Tensor, list[dict[str, float]]]:
        """All weights in one row, and the history."""
        config = self.config(stage, **changes)
        trained, history = train_stage(self.clutch, self.examples, config, joints_fn=features_to_joints)
        return torch.cat([p.detach().flatten() for p in trained.model.parameters()]), history

    def batches(self, stage: type, **changes: Any) -> list[Any]:
        config = self.config(stage, **changes)
        drawn = StepBatches(self.examples, config, self.clutch.tokenizer, self.clutch.vocabulary)
        return [drawn.draw(step) for step in range(20)]

    def parts(self, stage: type, **changes: Any) -> list[Any]:
        return [part for b in self.batches(stage, **changes) for micro in b.micro_batches for part in micro.parts]

    def ids(self, stage: type, **changes: Any) -> list[str]:
        drawn = self.batches(stage, **changes)
        return [e["clip_id"] for b in drawn for micro in b.micro_batches for e in micro.examples]

    def share_of(self, source: str, stage: type, **changes: Any) -> float:
        by_id = {e["clip_id"]: e["source"] for e in self.examples}
        return float(np.mean([by_id[i] == source for i in self.ids(stage, **changes)]))

    def questions(self, stage: type, **changes: Any) -> set[str]:
        vocabulary = self.clutch.vocabulary
        return {vocabulary.decode_text(row) for part in self.parts(stage, **changes) for row in part.prompt.tolist()}

    def rows(self, stage: type, key: str, **changes: Any) -> list[float]:
        return [row[key] for row in self.train(stage, **changes)[1]]

    def engine(self, stage: type, ask: Callable[[Any], Any], **changes: Any) -> Any:
        engine = start_engine(torch.nn.Linear(3, 3), self.config(stage, **changes))
        try:
            return ask(engine)
        finally:
            engine.destroy()

    def differ(self, stage: type, one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Whether two settings train to other weights."""
        return not torch.equal(self.train(stage, **one)[0], self.train(stage, **other)[0])


def _steps(p: Probe, stage: type) -> None:
    assert [row["step"] for row in p.train(stage, steps=3)[1]] == [1, 2, 3]


def _batch_size(p: Probe, stage: type) -> None:
    assert len(p.ids(stage, batch_size=6)) == 20 * 6


def _micro_batch_size(p: Probe, stage: type) -> None:
    assert {len(b.micro_batches) for b in p.batches(stage, micro_batch_size=2)} == {2}
    assert p.engine(stage, lambda e: e.gradient_accumulation_steps(), micro_batch_size=1) == 4


def _learning_rate(p: Probe, stage: type) -> None:
    assert p.rows(stage, "lr", learning_rate=1e-3, warmup=0, min_lr_ratio=1.0) == pytest.approx([1e-3] * 4)
    assert p.differ(stage, {"learning_rate": 1e-3}, {"learning_rate": 2e-3})


def _warmup(p: Probe, stage: type) -> None:
    assert p.rows(stage, "lr", learning_rate=1.0e-3, warmup=4, min_lr_ratio=1.0) == pytest.approx(
        [2.5e-4, 5e-4, 7.5e-4, 1e-3]
    )
    assert p.differ(stage, {"warmup": 0}, {"warmup": 4})


def _min_lr_ratio(p: Probe, stage: type) -> None:
    halves = [learning_rate_at(50, p.config(stage, steps=100, min_lr_ratio=r, learning_rate=1.0)) for r in (0.0, 0.5)]
    assert halves == pytest.approx([0.5, 0.75])  # a cosine's middle, between the peak and the floor
    assert p.differ(stage, {"min_lr_ratio": 0.0}, {"min_lr_ratio": 1.0})


def _weight_decay(p: Probe, stage: type) -> None:
    groups = p.engine(stage, lambda e: [g["weight_decay"] for g in e.optimizer.param_groups], weight_decay=0.3)
    assert groups == [0.3, 0.0]
    assert p.train(stage, weight_decay=5.0)[0].norm() < p.train(stage, weight_decay=0.0)[0].norm()


def _max_grad_norm(p: Probe, stage: type) -> None:
    assert p.engine(stage, lambda e: e.gradient_clipping(), max_grad_norm=0.25) == 0.25
    assert p.differ(stage, {"max_grad_norm": 1e-9}, {"max_grad_norm": 1e9})


def _optimizer(p: Probe, stage: type) -> None:
    kinds = [p.engine(stage, lambda e: type(e.optimizer).__name__, optimizer=name) for name in ("adamw", "muon")]
    assert kinds == ["AdamW", "MuonWithAdamW"]
    assert p.differ(stage, {"optimizer": "adamw"}, {"optimizer": "muon"})


def _zero_stage(p: Probe, stage: type) -> None:
    assert p.engine(stage, lambda e: e.zero_optimization_stage(), zero_stage=1) == 1


def _precision(p: Probe, stage: type) -> None:
    assert p.engine(stage, lambda e: next(e.module.parameters()).dtype, precision="bf16") == torch.bfloat16
    assert p.engine(stage, lambda e: next(e.module.parameters()).dtype, precision="fp32") == torch.float32


def _adapt(p: Probe, stage: type) -> None:
    """A mapping is taken for the settings; what each way leaves alone is seen in `test_adapting`."""
    last = AdaptConfig(method="last_n", layers=1)
    assert p.differ(stage, {"adapt": AdaptConfig()}, {"adapt": AdaptConfig(method="lora")})
    assert not p.differ(stage, {"adapt": last}, {"adapt": {"method": "last_n", "layers": 1}})


def _gradient_checkpointing(p: Probe, stage: type) -> None:
    """Which changes memory, time and the order of sums alone; that it is in use is seen in `test_adapting`."""
    losses = [p.rows(stage, "loss", gradient_checkpointing=on) for on in (False, True)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def _deepspeed_config(p: Probe, stage: type) -> None:
    (p.tmp_path / "ds.json").write_text(json.dumps({"gradient_predivide_factor": 4.0}))
    path = str(p.tmp_path / "ds.json")
    assert p.engine(stage, lambda e: e.gradient_predivide_factor(), deepspeed_config=path) == 4.0


def _seed(p: Probe, stage: type) -> None:
    assert p.ids(stage, seed=1) == p.ids(stage, seed=1) != p.ids(stage, seed=2)


def _tasks(p: Probe, stage: type) -> None:
    drawn = [b.task for b in p.batches(stage, tasks={"m2t": 1.0, "t2t": 1.0, "text": 0.0})]
    assert set(drawn) == {"m2t", "t2t"}
    assert "ce/m2t" in p.train(stage, tasks={"m2t": 1.0})[1][0]


def _source_temperature(p: Probe, stage: type) -> None:
    """Of 12 and 4 clips, three quarters and a quarter by size; by the root of size, sqrt 3 to 1."""
    assert p.share_of("procedural", stage, source_temperature=1.0, batch_size=20) == pytest.approx(0.75, abs=0.02)
    assert p.share_of("procedural", stage, source_temperature=2.0, batch_size=20) == pytest.approx(0.634, abs=0.02)


def _source_weights(p: Probe, stage: type) -> None:
    weights = {"procedural": 0.1, "fingerspelling": 0.9}
    assert p.share_of("procedural", stage, source_weights=weights, batch_size=20) == pytest.approx(0.1, abs=0.02)


def _mirror(p: Probe, stage: type) -> None:
    assert all(i.endswith("#mirror") for i in p.ids(stage, mirror=1.0))
    assert not any(i.endswith("#mirror") for i in p.ids(stage, mirror=0.0))


def _condition_dropout(p: Probe, stage: type) -> None:
    assert p.questions(stage, condition_dropout=1.0) == {"generate hand motion:"}
    assert "generate hand motion:" not in p.questions(stage, condition_dropout=0.0)
    some = [q for b in p.parts(stage, condition_dropout=0.5) for q in b.prompt_mask.sum(1).tolist()]
    shortest = min(some)
    assert 0.3 < np.mean([length == shortest for length in some]) < 0.7


def _decoder_input_dropout(p: Probe, stage: type) -> None:
    assert any(part.target_hidden.any() for part in p.parts(stage, decoder_input_dropout=1.0))
    assert not any(part.target_hidden.any() for part in p.parts(stage, decoder_input_dropout=0.0))


def _labels_of_long_motions(p: Probe, stage: type, **changes: Any) -> set[int]:
    """Numbers of labels that motions of eight steps get: 34 whole, with <som> and <eom>."""
    long = Probe(p.clutch, [e for e in p.examples if len(e["tokens"]) == 8], p.tmp_path)
    return {int((row != IGNORE).sum()) for part in long.parts(stage, **changes) for row in part.target}


def _target_truncation(p: Probe, stage: type) -> None:
    assert _labels_of_long_motions(p, stage, target_truncation=0.0) == {34}
    assert _labels_of_long_motions(p, stage, target_truncation=1.0) == {1 + 4 * 4}
    assert _labels_of_long_motions(p, stage, target_truncation=0.5) == {34, 17}


def _truncated_steps(p: Probe, stage: type) -> None:
    assert _labels_of_long_motions(p, stage, target_truncation=1.0, truncated_steps=3) == {1 + 3 * 4}


def _checkpoint_every(p: Probe, stage: type) -> None:
    for every, expected in ((1, ["step-00000003"]), (2, ["step-00000002"])):
        folder, found = p.tmp_path / str(every), []
        train_stage(
            p.clutch,
            p.examples,
            p.config(stage, checkpoint_every=every),
            checkpoint_dir=folder,
            on_log=lambda step, _, f=folder, g=found: g.extend(x.name for x in f.glob("step-*") if step == 4),
        )
        assert found == expected


def _keep_checkpoints(p: Probe, stage: type) -> None:
    for number, expected in ((1, ["step-00000003"]), (2, ["step-00000002", "step-00000003"])):
        folder, found = p.tmp_path / str(number), []
        train_stage(
            p.clutch,
            p.examples,
            p.config(stage, checkpoint_every=1, keep_checkpoints=number),
            checkpoint_dir=folder,
            on_log=lambda step, _, f=folder, g=found: g.extend(sorted(x.name for x in f.glob("step-*") if step == 4)),
        )
        assert found == expected


def _keep(p: Probe, stage: type) -> None:
    """A rate that throws the model off after its first step: the best is that of the first validation."""
    config = p.config(stage, keep="best", learning_rate=0.5, warmup=1, min_lr_ratio=1.0)
    best, history = train_stage(p.clutch, p.examples, config, val_examples=p.examples)
    losses = [(row["val/t2m"] + row["val/m2t"]) / 2 for row in history]
    assert best.stages[-1]["best_step"] == 1 + losses.index(min(losses)) < 4
    last, _ = train_stage(p.clutch, p.examples, dataclasses.replace(config, keep="last"), val_examples=p.examples)
    assert "best_step" not in last.stages[-1]
    assert not torch.equal(best.model.slot_embedding.weight, last.model.slot_embedding.weight)


def _log_every(p: Probe, stage: type) -> None:
    assert [row["step"] for row in p.train(stage, log_every=2)[1]] == [2, 4]


def _alpha(p: Probe, stage: type) -> None:
    row = p.train(stage, alpha=0.25, lam=0.0)[1][0]
    assert row["loss"] == pytest.approx(0.25 * row["ce/t2m"])
    assert p.differ(stage, {"alpha": 0.0}, {"alpha": 1.0})


def _lam(p: Probe, stage: type) -> None:
    row = p.train(stage, alpha=0.0, lam=0.5)[1][0]
    assert row["loss"] == pytest.approx(0.5 * row["rec/t2m"])
    assert p.differ(stage, {"lam": 0.0}, {"lam": 2.0})


def _temperature_start(p: Probe, stage: type) -> None:
    first, *_, last = p.rows(stage, "temperature", temperature_start=3.0, temperature_end=1.0)
    assert (first, last) == (3.0, 1.0)
    cold, hot = (p.rows(stage, "rec/t2m", hard=False, temperature_start=t)[0] for t in (0.1, 10.0))
    assert hot < 0.95 * cold  # nearer to the mean of all codes


def _temperature_end(p: Probe, stage: type) -> None:
    assert p.rows(stage, "temperature", temperature_end=0.25) == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert p.differ(stage, {"temperature_end": 0.1}, {"temperature_end": 1.0})
    cold, hot = (p.rows(stage, "rec/t2m", hard=False, temperature_end=t, learning_rate=1e-9) for t in (0.1, 10.0))
    assert cold[0] == pytest.approx(hot[0], rel=1e-4)
    assert hot[-1] < 0.95 * cold[-1]


def _joint_weight(p: Probe, stage: type) -> None:
    _linear(p, stage, "joint_weight", "velocity_weight")


def _velocity_weight(p: Probe, stage: type) -> None:
    _linear(p, stage, "velocity_weight", "joint_weight")


def _linear(p: Probe, stage: type, name: str, other: str) -> None:
    """The distance grows by the same with each unit of the weight, and the weights that are learnt differ."""
    none, one, three = (p.rows(stage, "rec/t2m", **{name: w, other: 0.0})[0] for w in (0.0, 1.0, 3.0))
    assert one > 1.05 * none
    assert three - none == pytest.approx(3 * (one - none), rel=1e-3)
    assert p.differ(stage, {name: 0.0}, {name: 1.0})


def _hard(p: Probe, stage: type) -> None:
    """A soft sample at a high temperature is near the mean of all codes, a hard one is a code."""
    soft, hard = (p.rows(stage, "rec/t2m", hard=h, temperature_start=20.0)[0] for h in (False, True))
    assert soft < 0.95 * hard


def _relaxation(probe: Probe, stage: type) -> None:
    """Three ways to a distance, which are three distances; mixed and expected codes know no noise."""
    first = {
        kind: probe.train(stage, steps=1, relaxation=kind)[1][0]["rec/t2m"] for kind in ("gumbel", "soft", "expected")
    }
    assert len(set(first.values())) == 3
    for kind in ("soft", "expected"):
        soft = probe.train(stage, steps=1, relaxation=kind, hard=False)[1][0]["rec/t2m"]
        assert soft == first[kind]


def _control(p: Probe, stage: type) -> None:
    row = p.train(stage, control=True, lam=5.0, alpha=0.5)[1][0]
    assert row["loss"] == pytest.approx(0.5 * row["ce/t2m"])
    assert not p.differ(stage, {"control": True}, {"lam": 0.0})


SHARED: dict[str, Callable[[Probe, type], None]] = {
    "steps": _steps,
    "batch_size": _batch_size,
    "micro_batch_size": _micro_batch_size,
    "learning_rate": _learning_rate,
    "warmup": _warmup,
    "min_lr_ratio": _min_lr_ratio,
    "optimizer": _optimizer,
    "weight_decay": _weight_decay,
    "max_grad_norm": _max_grad_norm,
    "zero_stage": _zero_stage,
    "precision": _precision,
    "adapt": _adapt,
    "gradient_checkpointing": _gradient_checkpointing,
    "deepspeed_config": _deepspeed_config,
    "seed": _seed,
    "tasks": _tasks,
    "source_temperature": _source_temperature,
    "source_weights": _source_weights,
    "mirror": _mirror,
    "condition_dropout": _condition_dropout,
    "decoder_input_dropout": _decoder_input_dropout,
    "target_truncation": _target_truncation,
    "truncated_steps": _truncated_steps,
    "checkpoint_every": _checkpoint_every,
    "keep_checkpoints": _keep_checkpoints,
    "keep": _keep,
    "log_every": _log_every,
}
REFINED: dict[str, Callable[[Probe, type], None]] = {
    **SHARED,
    "alpha": _alpha,
    "lam": _lam,
    "temperature_start": _temperature_start,
    "temperature_end": _temperature_end,
    "joint_weight": _joint_weight,
    "velocity_weight": _velocity_weight,
    "relaxation": _relaxation,
    "hard": _hard,
    "control": _control,
}
CASES = {PretrainConfig: SHARED, RefineConfig: REFINED, InstructConfig: REFINED}


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_has_its_case(stage: type) -> None:
    assert set(CASES[stage]) == {field.name for field in dataclasses.fields(stage)}


#: The loop is one and the same; stages differ by their fields, so what they share is tried on the first.
EVERY = [(PretrainConfig, name) for name in SHARED] + [(RefineConfig, name) for name in CASES[RefineConfig]]
EVERY += [
    (InstructConfig, n) for n in ("condition_dropout", "tasks", "learning_rate", "mirror", "alpha", "lam", "control")
]


@pytest.mark.parametrize(("stage", "name"), EVERY, ids=[f"{s.__name__}.{n}" for s, n in EVERY])
def test_a_field_does_what_it_is_there_for(clutch, examples, tmp_path, stage: type, name: str) -> None:
    CASES[stage][name](Probe(clutch, examples, tmp_path), stage)


def test_instruction_tuning_has_a_loss_in_motion_space_only_where_it_is_given_one() -> None:
    plain, kept = InstructConfig(alpha=0.5), InstructConfig(alpha=0.5, lam=3.0)
    assert [plain.loss_weights(task) for task in ("t2m", "masked", "m2t")] == [(0.5, 0.0)] * 3
    assert [kept.loss_weights(task) for task in ("t2m", "masked", "m2t")] == [(0.5, 3.0), (0.0, 3.0), (0.5, 0.0)]
    control = InstructConfig(alpha=0.5, lam=3.0, control=True)
    assert [control.loss_weights(task) for task in ("t2m", "masked", "m2t")] == [(0.5, 0.0), (0.0, 0.0), (0.5, 0.0)]


@pytest.mark.parametrize(("stage", "varied"), [(PretrainConfig, False), (RefineConfig, False), (InstructConfig, True)])
@pytest.mark.parametrize("task", ["t2m", "m2t"])
def test_instruction_tuning_alone_varies_the_question(clutch, examples, tmp_path, stage, varied, task: str) -> None:
    first = {"t2m": ("generate hand motion:",), "m2t": ("describe the motion:", "describe the motion in detail:")}[task]
    questions = Probe(clutch, examples, tmp_path).questions(stage, tasks={task: 1.0}, batch_size=8)
    assert any(q.startswith(first) for q in questions)
    others = [q for q in questions if not q.startswith(first)]
    assert len(others) > 10 if varied else not others


def test_the_optimizer_steps_at_the_rate_of_the_schedule(clutch, examples) -> None:
    """What is logged is what every group of the optimizer has."""
    config = PretrainConfig(**{**BASE, "steps": 6})
    engine = start_engine(copy.deepcopy(clutch.model), config)
    try:
        run = _Run(engine, clutch, examples, config, None)
        for step in range(6):
            run.step(step)
            rates = {group["lr"] for group in engine.optimizer.param_groups}
            assert rates == {learning_rate_at(step, config)}
    finally:
        engine.destroy()


def test_each_step_draws_dropout_from_its_own_seed(clutch, examples, monkeypatch) -> None:
    """One seed for all steps would leave out the same units every time."""
    config = PretrainConfig(steps=3, batch_size=4, log_every=3)
    drawn = StepBatches(examples, config, clutch.tokenizer, clutch.vocabulary)
    expected = [drawn.draw(step).dropout_seed for step in range(3)]
    seeds, plain = [], torch.manual_seed

    def watched(seed):
        seeds.append(seed)
        return plain(seed)

    monkeypatch.setattr(torch, "manual_seed", watched)
    train_stage(clutch, examples, config)
    assert len(set(expected)) == 3
    assert [seed for seed in seeds if seed in expected] == expected
