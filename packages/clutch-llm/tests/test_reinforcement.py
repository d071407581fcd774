"""Reinforcement: what is scored is what was drawn, rewards go to their own motions, and the policy follows them."""

import copy
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, ReinforceConfig, reinforcement, train_stage
from clutch_llm.batching import Sample, SampleMaker, collate
from clutch_llm.errors import ConfigError
from clutch_llm.reinforcement import (
    Draws,
    Reinforcement,
    advantages,
    draw_motions,
    log_probabilities,
    policy_losses,
)
from clutch_llm.sampling import Sampling

LENGTHS = [5, 2, 8, 3]
TEXTS = ["the left hand waves", "both hands clap twice, with large movements", "the right hand", "left"]
SHORT = {"batch_size": 4, "samples": 4, "log_every": 1, "warmup": 1, "learning_rate": 1e-2, "mirror": 0.0}


@pytest.fixture(scope="module")
def step_clutch(tokenizer) -> Clutch:
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8, motion_form="step", plan=True)
    return Clutch.create(config, tokenizer=tokenizer, captions=["the left hand waves", "both hands clap"], seed=0)


@pytest.fixture(scope="module")
def brief(examples) -> list[dict[str, Any]]:
    """Examples of 2 to 5 latent steps, which take little time."""
    return [e for e in examples if len(e["tokens"]) < 8]


@pytest.fixture(params=["step", "interleaved"])
def either(request, step_clutch, clutch) -> Clutch:
    return step_clutch if request.param == "step" else clutch


def weights_of(clutch) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in clutch.model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[n], b[n]) for n in a)


def how(clutch: Clutch, temperature: float = 1.0) -> dict[str, Any]:
    return {"answers": clutch._answers, "temperature": temperature}


def batch_of(clutch: Clutch, samples: list[Sample]):
    return collate(samples, clutch.vocabulary.layout.pad)


@pytest.mark.parametrize("temperature", [0.8, 1.3, 0.3])
def test_what_is_scored_is_the_very_probability_that_was_drawn_from(either, temperature, monkeypatch) -> None:
    """Every draw is watched; prompts and motions of several lengths stand in one batch, with a cache."""
    watched: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = Sampling.draw

    def draw(self, logits, chance):
        index = original(self, logits, chance)
        p = (logits.double() / self.temperature).log_softmax(-1)
        watched.append((chance, p.gather(-1, index[:, None])[:, 0]))
        return index

    monkeypatch.setattr(Sampling, "draw", draw)
    maker = SampleMaker(either.vocabulary)
    prompts = [maker.prompts.t2m(text) for text in TEXTS]
    chance = np.random.default_rng(0).random((4, either._chances))
    drawn = draw_motions(either.model, prompts, LENGTHS, chance=chance, **how(either, temperature))
    assert [len(d.tokens) for d in drawn] == LENGTHS
    samples = [
        Sample(*prompt, *maker.motion_target(d.tokens, d.plan.tolist()))
        for prompt, d in zip(prompts, drawn, strict=True)
    ]
    log_p, mask = log_probabilities(either.model, batch_of(either, samples), **how(either, temperature))
    questions, n = len(either._answers), either.vocabulary.layout.n_slots
    assert mask.sum(1).tolist() == [questions + n * length for length in LENGTHS]
    assert questions == (10 if either.config.plan else 0)
    found = {float(c): float(p) for chances, ps in watched for c, p in zip(chances, ps, strict=True)}  # by their chance
    first = either.vocabulary.layout.lengths * n + 1
    for k, length in enumerate(LENGTHS):
        order = [*range(first, first + questions), *range(length * n)]
        expected = [found[float(chance[k, column])] for column in order]
        np.testing.assert_allclose(log_p[k][mask[k]].detach().numpy(), expected, atol=2e-5)
    assert not log_p[~mask].any()
    assert float(log_p[mask].detach().std()) > 0.05  # probabilities that differ, so that a mix-up would show


def test_advantages_are_within_a_caption() -> None:
    rewards = np.array([0.0, 1.0, 0.5, 0.5, 0.70, 0.71])
    assert advantages(rewards, 2, 0.02).tolist() == pytest.approx([-1, 1, 0, 0, -0.25, 0.25])
    assert advantages(rewards[:3], 3, 0.02).tolist() == pytest.approx([-(1.5**0.5), 1.5**0.5, 0])


def test_the_policys_loss_and_the_distance_are_as_worked_by_hand() -> None:
    """r = 2 costs 2 - 1 - ln 2, r = 1/2 costs 1/2 - 1 + ln 2; the gradient is -A of what counts, plus 1 - r for kl."""
    log_p = torch.tensor([[0.5, 0.25, 0.9], [0.5, 0.5, 0.5]]).log().requires_grad_()
    reference = torch.tensor([[1.0, 0.125, 0.1], [0.5, 0.5, 0.5]]).log()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    policy, apart = policy_losses(log_p, reference, torch.tensor([2.0, -1.0]), mask)
    assert policy.item() == pytest.approx(-2 * 2 + 1 * 3)
    assert apart.item() == pytest.approx((1 - np.log(2)) + (-0.5 + np.log(2)))
    (gradient,) = torch.autograd.grad(policy, log_p, retain_graph=True)
    assert gradient.tolist() == [[-2, -2, 0], [1, 1, 1]]
    (gradient,) = torch.autograd.grad(apart, log_p)
    np.testing.assert_allclose(gradient.numpy(), [[-1, 0.5, 0], [0, 0, 0]], atol=1e-6)


#: Tokens of a motion -> its reward, in place of what is measured on it.
Rule = Callable[[np.ndarray], float]


@pytest.fixture
def rewarded(monkeypatch) -> Callable[[Rule], list[Draws]]:
    """Reward motions by a rule over their tokens; gives the draws of every step, which it keeps."""
    seen: list[Draws] = []
    original = Reinforcement.draw

    def start(rule: Rule) -> list[Draws]:
        def terms(motions, targets):
            return {"claims": np.array([rule(m) for m in motions])}

        def draw(self, step):
            seen.append(original(self, step))
            return seen[-1]

        monkeypatch.setattr(Reinforcement, "_decode", lambda self, drawn: [d.tokens for d in drawn])
        monkeypatch.setattr(reinforcement, "reward_terms", terms)
        monkeypatch.setattr(reinforcement, "weighted", lambda terms, weights: terms["claims"])
        monkeypatch.setattr(Reinforcement, "draw", draw)
        return seen

    return start


def prefers(code: int) -> Rule:
    return lambda tokens: float((tokens[:, 0] == code).mean())


def test_a_policy_learns_the_code_that_is_rewarded_and_is_held_by_the_kl(either, brief, rewarded) -> None:
    rewarded(prefers(3))
    settings = ReinforceConfig(steps=20, min_lr_ratio=1.0, **{**SHORT, "samples": 6})
    free, history = train_stage(either, brief, replace(settings, kl=0.0))
    assert np.mean([row["reward"] for row in history[:2]]) < 0.2
    assert np.mean([row["reward"] for row in history[-3:]]) > 0.4
    assert free.stages[-1]["stage"] == "ReinforceConfig"
    _, held = train_stage(either, brief, replace(settings, kl=10.0))
    assert np.mean([row["reward"] for row in held[-3:]]) < 0.2
    assert held[0]["kl"] == 0.0
    assert 0.0 < held[-1]["kl"] < 0.5


@pytest.mark.parametrize("kl", [0.0, 0.5])
def test_where_nothing_is_better_nothing_moves(either, brief, rewarded, kl: float) -> None:
    rewarded(lambda tokens: 0.7)
    trained, history = train_stage(either, brief, ReinforceConfig(steps=3, kl=kl, **SHORT))
    assert [row["reward"] for row in history] == pytest.approx([0.7] * 3)
    assert same(weights_of(trained), weights_of(either))


@pytest.mark.parametrize("micro", [None, 1])
def test_the_better_motions_of_each_caption_become_likelier(either, examples, rewarded, micro) -> None:
    """One small step: of every caption's motions, those above its mean gain against those below."""
    seen = rewarded(lambda tokens: float(np.random.default_rng(tokens.reshape(-1)).random()))
    config = ReinforceConfig(**{**SHORT, "learning_rate": 1e-3}, steps=1, kl=0.0, micro_batch_size=micro)
    trained, _ = train_stage(either, examples, config)
    (drawn,) = seen
    batch = batch_of(either, drawn.samples)
    with torch.no_grad():
        before, after = (log_probabilities(c.model.eval(), batch, **how(either))[0].sum(1) for c in (either, trained))
    gained = (after - before).reshape(4, 4)
    gain = torch.from_numpy(advantages(drawn.rewards, 4, 0.02)).reshape(4, 4)
    assert ((gained * gain).sum(1) > 0).all()


def test_each_motion_has_its_own_captions_claims_and_each_caption_its_own_prompt(either, examples, monkeypatch) -> None:
    """Targets carry their text, rewards count what was asked: a mix-up between rows would show in each."""
    held: list[tuple[list, list]] = []
    monkeypatch.setattr(reinforcement, "targets_of", lambda clips, texts, reader: [*zip(clips, texts, strict=True)])

    def terms(motions, targets):
        held.append((list(motions), list(targets)))
        return {"claims": np.arange(len(motions)) / 100.0}

    monkeypatch.setattr(reinforcement, "reward_terms", terms)
    monkeypatch.setattr(reinforcement, "weighted", lambda terms, weights: terms["claims"])
    kept: list[Draws] = []
    original = Reinforcement.draw
    monkeypatch.setattr(Reinforcement, "draw", lambda self, step: kept.append(original(self, step)) or kept[-1])
    train_stage(either, examples, ReinforceConfig(steps=2, **{**SHORT, "batch_size": 6, "mirror": 0.5}))
    maker, layout = SampleMaker(either.vocabulary), either.vocabulary.layout
    images = 0
    for drawn, (motions, targets) in zip(kept, held, strict=True):
        assert len(drawn.samples) == 24
        np.testing.assert_array_equal(drawn.rewards, np.arange(24) / 100.0)
        for k, sample in enumerate(drawn.samples):
            clip, text = targets[k]
            images += clip["clip_id"].endswith("#mirror")
            assert clip["clip_id"] == drawn.examples[k]["clip_id"] == drawn.examples[k - k % 4]["clip_id"]
            assert text == drawn.texts[k]
            assert text in clip["captions"]
            np.testing.assert_array_equal(sample.prompt, maker.prompts.t2m(text).ids)
            codes = sample.target.reshape(-1)[-4 * len(clip["tokens"]) :]
            if not layout.stepwise:
                codes = sample.target[1:-1]
            tokens = codes.reshape(-1, 4) - layout.slot_offsets
            assert len(tokens) == len(clip["tokens"])
            (alone,) = either.tokenizer.decode_list([torch.from_numpy(tokens)])
            np.testing.assert_allclose(motions[k], alone.numpy(), atol=1e-4)
    assert 0 < images < 48


def test_a_step_is_the_same_however_it_is_shared_out(step_clutch, brief, rewarded) -> None:
    rewarded(prefers(3))
    config = ReinforceConfig(steps=2, kl=0.2, **{**SHORT, "learning_rate": 1e-3})
    whole, history = train_stage(step_clutch, brief, config)
    shared, again = train_stage(step_clutch, brief, replace(config, micro_batch_size=2))
    assert again[0]["reward"] == history[0]["reward"]
    assert again[1]["kl"] == pytest.approx(history[1]["kl"], rel=0.02)
    for name, weight in weights_of(whole).items():
        torch.testing.assert_close(weights_of(shared)[name], weight, atol=5e-5, rtol=0)


#: What each setting is changed to from `SETTING`: those that matter, and those that have no say in this stage.
SETTING = {"steps": 3, "kl": 0.2, **SHORT}
TELLING: dict[str, Any] = {
    "steps": 2, "batch_size": 3, "learning_rate": 2e-2, "warmup": 3, "min_lr_ratio": 0.9, "weight_decay": 0.5,
    "max_grad_norm": 1e-4, "optimizer": "muon", "seed": 1, "mirror": 1.0, "samples": 3, "temperature": 0.5, "kl": 3.0,
    "reward": {"jitter": 1.0}, "least_spread": 10.0, "source_weights": {"procedural": 9.0},
}  # fmt: skip
SILENT: dict[str, Any] = {
    "tasks": {"m2t": 1.0}, "condition_dropout": 1.0, "decoder_input_dropout": 1.0, "target_truncation": 1.0,
    "truncated_steps": 1, "checkpoint_every": 1, "keep_checkpoints": 2,
}  # fmt: skip
#: What these do is the engine's, the loop's and the batch plan's, and is tried with the other stages.
ELSEWHERE = {
    "source_temperature", "micro_batch_size", "zero_stage", "precision", "deepspeed_config", "log_every", "adapt",
    "gradient_checkpointing", "keep",
}  # fmt: skip


def test_every_setting_is_tried() -> None:
    names = {field.name for field in fields(ReinforceConfig)}
    assert names == {*TELLING, *SILENT, *ELSEWHERE}


def few(examples) -> list[dict[str, Any]]:
    """Short clips of two sources."""
    cut = [{**e, "features": e["features"][:12], "valid": e["valid"][:12], "tokens": e["tokens"][:3]} for e in examples]
    return [*cut[:6], *(e for e in examples if len(e["tokens"]) < 8)]


@pytest.fixture(scope="module")
def plain(step_clutch, examples) -> dict[str, torch.Tensor]:
    return weights_of(train_stage(step_clutch, few(examples), ReinforceConfig(**SETTING))[0])


@pytest.mark.parametrize("name", [*TELLING, *SILENT])
def test_a_setting_does_what_it_is_there_for_and_what_has_no_say_does_nothing(
    step_clutch, examples, plain, name: str
) -> None:
    config = ReinforceConfig(**{**SETTING, name: (TELLING | SILENT)[name]})
    trained, _ = train_stage(step_clutch, few(examples), config)
    assert same(weights_of(trained), plain) == (name in SILENT)


class KilledError(Exception):
    pass


def test_a_run_that_was_killed_ends_bit_equal(step_clutch, examples, tmp_path) -> None:
    """With rewards as they are measured."""
    config = ReinforceConfig(steps=5, checkpoint_every=2, **{**SHORT, "mirror": 0.5})
    whole, history = train_stage(step_clutch, examples, config)

    def die(step: int, _: dict[str, float]) -> None:
        if step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_stage(step_clutch, examples, config, checkpoint_dir=tmp_path, on_log=die)
    assert [p.name for p in tmp_path.glob("step-*")] == ["step-00000002"]
    resumed, again = train_stage(step_clutch, examples, config, checkpoint_dir=tmp_path)
    assert again == history
    assert same(weights_of(resumed), weights_of(whole))
    assert {"reward", "reward/claims", "reward/contact", "reward/limits", "reward/jitter", "kl"} <= set(history[0])


def test_no_steps_leave_the_model_as_it_is(step_clutch, examples) -> None:
    trained, history = train_stage(step_clutch, examples, ReinforceConfig())
    assert history == []
    assert same(weights_of(trained), weights_of(step_clutch))


def test_the_model_that_is_given_and_its_dropout_are_left_alone(tokenizer, examples) -> None:
    """With dropout in the model the first step's distance from it is 0 all the same: none is used."""
    sizes = {"d_model": 32, "d_ff": 64, "heads": 2, "layers": 1, "max_steps": 8, "dropout": 0.3}
    config = ClutchConfig(motion_form="step", plan=True, **sizes)
    dropping = Clutch.create(config, tokenizer=tokenizer, captions=["both hands clap"])
    before = copy.deepcopy(weights_of(dropping))
    _, history = train_stage(dropping, examples, ReinforceConfig(steps=2, **SHORT))
    assert history[0]["kl"] == 0.0
    assert history[1]["kl"] > 0.0
    assert same(before, weights_of(dropping))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1}, "samples of at least 2, got 1"),
        ({"zero_stage": 3}, "zero_stage 0, 1 or 2, got 3"),
        ({"temperature": 0.0}, "temperature above 0, got 0"),
        ({"kl": -0.1}, "kl of at least 0, got -0.1"),
        ({"reward": {"judge": 1.0}}, "reward among .*'claims'.*, got .*judge"),
        ({"reward": {"claims": 0.0}}, "reward of weights of at least 0, one above, got"),
        ({"steps": -1}, "steps of at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReinforceConfig(**settings)
